"""What lives beside an attached container's redirect: rules of its own, and those of the host.

Who answered is told by the TTL: Docker's records have 600 seconds, ours are given 7.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import pytest

from lab import packages
from lab.served import Served
from tests.oracle.namespaces import namespace_of, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.topology import Lab

_NET: Final = "near-net"
_OURS, _DOCKERS = 7, 600
_OUTSIDE: Final = "192.0.2.200"
"""An address nobody has."""
_ENGINES: Final = re.compile(r"docker|br-[0-9a-f]{12}", re.IGNORECASE)


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    packages.ensure({"nft": "nftables"})


@pytest.fixture
def asker(lab: Lab) -> Lab:
    """``near-a``, who asks, and ``near-b``, also called ``db``."""
    lab.network(_NET)
    lab.container("near-a", network=_NET)
    lab.container("near-b", network=_NET, aliases=["db"])
    return lab


def _served(lab: Lab) -> Served:
    return Served(
        *("--attach=name=near-*", "--listen=127.0.0.64:53", f"--ttl={_OURS}"),
        *(f"--engine={lab.url}", "--upstream=127.0.0.1:9"),
    )


def _ttl(lab: Lab, *, tcp: bool = False) -> int:
    reply = lab.dig("near-a", "db", tcp=tcp)
    return reply.answers[0].ttl if reply.answers else 0


def _await_attached(lab: Lab) -> None:
    deadline = time.monotonic() + 10
    while (_ttl(lab), _ttl(lab, tcp=True)) != (_OURS, _OURS):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _nft(*words: str, prefix: Sequence[str] = ()) -> str:
    done = subprocess.run([*prefix, "nft", *words], capture_output=True, text=True, check=True)
    return done.stdout


def _packets(prefix: Sequence[str]) -> list[int]:
    """What the counters of the container's own rules say: TCP, UDP."""
    listed = _nft("list", "table", "ip", "mine", prefix=prefix)
    return [int(number) for number in re.findall(r"counter packets (\d+)", listed)]


def test_a_containers_own_nat_is_gone_through(asker: Lab) -> None:
    """A connection and a datagram to an address nobody has arrive where its own rules lead them, while we
    answer in the same namespace."""
    prefix, here = asker.namespace("near-a"), asker.address("near-a", _NET)
    assert prefix is not None
    _nft(
        "table ip mine { chain out { type nat hook output priority 0; "
        f"ip daddr {_OUTSIDE} tcp dport 80 counter dnat to {here}:8080 ; "
        f"ip daddr {_OUTSIDE} udp dport 53 counter dnat to {here}:5300 ; }} ; }}",
        prefix=prefix,
    )
    before = _nft("--stateless", "list", "ruleset", prefix=prefix)
    inside = namespace_of(asker.pid("near-a"))
    with _served(asker) as served:
        _await_attached(asker)
        assert _packets(prefix) == [0, 0]
        within(inside, lambda: _arrive(here))
        assert _packets(prefix) == [1, 1]
        assert (_ttl(asker), _ttl(asker, tcp=True)) == (_OURS, _OURS)
        assert served.stop() == 0
    assert _nft("--stateless", "list", "ruleset", prefix=prefix) == before
    within(inside, lambda: _arrive(here))
    assert _packets(prefix) == [2, 2]


def _arrive(here: str) -> None:
    """One connection and one datagram, there and back. Called in the namespace."""
    with (
        socket.create_server((here, 8080)) as listener,
        socket.create_connection((_OUTSIDE, 80), timeout=5),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        listener.settimeout(5)
        listener.accept()[0].close()
        receiver.bind((here, 5300))
        for sock in (receiver, sender):
            sock.settimeout(5)
        sender.connect((_OUTSIDE, 53))
        sender.send(b"there")
        octets, who = receiver.recvfrom(64)
        assert octets == b"there"
        receiver.sendto(b"back", who)
        assert sender.recv(64) == b"back"


def _host() -> list[str]:
    """The host's rules without an engine's own, which change with every container that anybody starts."""
    return [line for line in _nft("--stateless", "list", "ruleset").splitlines() if not _ENGINES.search(line)]


def test_the_hosts_rules_stay_as_they_are(asker: Lab) -> None:
    before = _host()
    with _served(asker) as served:
        _await_attached(asker)
        assert _host() == before
        assert served.stop() == 0
    assert _ttl(asker) == _DOCKERS
    assert _host() == before
