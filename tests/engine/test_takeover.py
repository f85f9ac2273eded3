"""127.0.0.11 inside a container, taken over from Docker's own resolver and given back.

Who answered is told by the TTL: Docker's records have 600 seconds, ours are given 7.
"""

import os
import signal
import subprocess
import time

import pytest

from lab.served import Served
from lab.topology import Lab
from resolver.watch.takeover import LIFE

_ASKER, _PEER, _NETWORK = "take-asker", "take-peer", "take-net"
_OURS, _DOCKERS = 7, 600
_BACK_WITHIN = 7.0
_SLACK = 4.0
"""Seconds a busy machine may take longer."""


@pytest.fixture
def inside(lab: Lab) -> list[str]:
    """A container on a network with a peer; what brings a command into its network namespace."""
    lab.network(_NETWORK)
    lab.container(_PEER, network=_NETWORK)
    lab.container(_ASKER, network=_NETWORK)
    prefix = lab.namespace(_ASKER)
    assert prefix is not None
    return prefix


def _served(lab: Lab, inside: list[str], *flags: str) -> Served:
    return Served("--take-over", f"--ttl={_OURS}", f"--engine={lab.url}", *flags, prefix=inside)


def _answered_by(lab: Lab, *, tcp: bool = False, within: bool = False) -> int:
    """The TTL of the peer's record, from whoever answers at 127.0.0.11 now; 0 for nobody."""
    reply = lab.dig(_ASKER, _PEER, tcp=tcp, inside=within)
    assert not reply.answers or reply.values == [lab.address(_PEER, _NETWORK)]
    return reply.answers[0].ttl if reply.answers else 0


def _rules(inside: list[str]) -> str:
    listed = subprocess.run(
        [*inside, "nft", "--stateless", "list", "ruleset"], capture_output=True, text=True, check=True
    )
    return listed.stdout


def test_taken_over_and_given_back_at_the_end(lab: Lab, inside: list[str]) -> None:
    before = _rules(inside)
    assert "11" in before, "Docker's own rules are there"
    assert (_answered_by(lab), _answered_by(lab, tcp=True)) == (_DOCKERS, _DOCKERS)
    with _served(lab, inside) as served:
        assert (_answered_by(lab), _answered_by(lab, tcp=True)) == (_OURS, _OURS)
        assert _answered_by(lab, within=True) == _OURS
        assert "table ip resolver" in _rules(inside)
        assert served.stop() == 0
    assert (_answered_by(lab), _answered_by(lab, tcp=True)) == (_DOCKERS, _DOCKERS)
    assert _rules(inside) == before


def test_killed_and_docker_answers_again(lab: Lab, inside: list[str]) -> None:
    before = _rules(inside)
    with _served(lab, inside) as served:
        # Longer than one life of the set's element: it must have been renewed.
        deadline = time.monotonic() + LIFE + 1
        while time.monotonic() < deadline:
            assert _answered_by(lab) == _OURS
            time.sleep(0.5)
        os.kill(served.pid, signal.SIGKILL)
        served.await_end()
        killed = time.monotonic()
        while (_answered_by(lab), _answered_by(lab, tcp=True)) != (_DOCKERS, _DOCKERS):
            assert time.monotonic() < killed + _BACK_WITHIN + _SLACK, (
                "Docker's own resolver did not come back"
            )
            time.sleep(0.2)
    with _served(lab, inside):
        assert _answered_by(lab) == _OURS, "taken over again, whatever the killed one left"
    assert _rules(inside) == before


def test_the_answering_process_is_killed_and_we_go_on(lab: Lab, inside: list[str]) -> None:
    with _served(lab, inside) as served:
        os.kill(served.child, signal.SIGKILL)
        assert _answered_by(lab) == _OURS
        assert _answered_by(lab, tcp=True) == _OURS


def test_docker_stays_until_there_are_names(lab: Lab, inside: list[str]) -> None:
    """A resolver that has not reached its engine knows no names: Docker's own is the better one."""
    served = Served(
        "--take-over", f"--ttl={_OURS}", "--engine=unix:///run/no-engine-here.sock", prefix=inside
    )
    with served.started():
        served.await_log("no-engine-here")
        assert _answered_by(lab) == _DOCKERS


def test_without_net_admin_it_says_so(inside: list[str]) -> None:
    served = Served("--take-over", prefix=[*inside, "setpriv", "--bounding-set=-net_admin"])
    with served.started():
        assert served.await_end() == 1
    lines = served.log.strip().splitlines()
    assert len(lines) == 1, lines
    assert "NET_ADMIN" in lines[0]


@pytest.mark.parametrize("network", ["bridge", "none"])
def test_where_docker_has_no_resolver_binding_is_enough(lab: Lab, network: str) -> None:
    lab.container("take-plain", network_mode=network)
    prefix = lab.namespace("take-plain")
    assert prefix is not None
    assert lab.dig("take-plain", "localhost", flags=["+time=1"]).rcode == "TIMEOUT"
    with Served("--listen=127.0.0.11", f"--engine={lab.url}", "--names-on-default-bridge", prefix=prefix):
        assert lab.dig("take-plain", "localhost").values == ["127.0.0.1"]
        reply = lab.dig("take-plain", "take-plain")
        expected = [lab.address("take-plain", "bridge")] if network == "bridge" else []
        assert reply.values == expected
        assert "table ip resolver" not in _rules(prefix)


def test_a_new_version_goes_on_with_it(lab: Lab, inside: list[str]) -> None:
    """Docker's resolver is not seen in between, and the end of the old one takes nothing back."""
    before, newer = _rules(inside), _OURS + 1
    with _served(lab, inside, "--replace") as old:
        new = Served("--take-over", f"--ttl={newer}", f"--engine={lab.url}", "--replace", prefix=inside)
        with new.started():
            seen = []
            deadline = time.monotonic() + 30
            while old.status is None:
                assert time.monotonic() < deadline, old.log + new.log
                seen.append(_answered_by(lab))
            assert set(seen) <= {_OURS, newer}
            time.sleep(LIFE + 1)
            assert (_answered_by(lab), _answered_by(lab, tcp=True)) == (newer, newer)
    assert old.status == 0
    assert _rules(inside) == before
