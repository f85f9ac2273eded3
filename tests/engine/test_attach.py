"""``--attach``: we answer inside containers that run, in place of their own nameserver, and let go.

Who answered is told by the TTL: Docker's records have 600 seconds, ours are given 7.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from lab import packages
from lab.clients import ask, question
from lab.served import PROGRAM, Served
from lab.upstream import Upstream, zone
from tests.engine.steady import Steady

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology import Lab

_NET: Final = "att-net"
_LISTEN: Final = "127.0.0.61:53"
_OURS, _DOCKERS = 7, 600
_LIFE: Final = 3
"""Seconds a redirect outlives us: the least that is allowed, so that tests are short."""
_SLACK: Final = 5.0
"""Seconds a busy machine may take longer."""
_WORLD: Final = zone("www.example.com. 60 IN A 192.0.2.80")


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    packages.ensure({"nft": "nftables", "dnsmasq": "dnsmasq-base"})


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(_WORLD) as world:
        yield world


@pytest.fixture
def street(lab: Lab) -> Lab:
    """``att-a``, who asks, and ``att-b``, also called ``db``, on one network."""
    lab.network(_NET)
    lab.container("att-a", network=_NET)
    lab.container("att-b", network=_NET, aliases=["db"])
    return lab


def _served(lab: Lab, upstream: Upstream, *flags: str, attach: str = "name=att-*") -> Served:
    return Served(
        *(f"--attach={attach}", f"--listen={_LISTEN}", f"--engine={lab.url}", f"--ttl={_OURS}"),
        *(f"--release-after={_LIFE}", f"--upstream={upstream.address}", *flags),
    )


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *words, f"--listen={_LISTEN}"], capture_output=True, text=True, check=False
    )


def _ttl(lab: Lab, container: str = "att-a", name: str = "db", *, tcp: bool = False) -> int:
    """The TTL of the record, from whoever answers at 127.0.0.11 there; 0 for nobody, or none."""
    reply = lab.dig(container, name, tcp=tcp)
    return reply.answers[0].ttl if reply.answers else 0


def _until(lab: Lab, ttl: int, container: str = "att-a", seconds: float = 0.0) -> float:
    """Wait for one of the two to answer; how long it took."""
    began = time.monotonic()
    while _ttl(lab, container) != ttl:
        assert time.monotonic() < began + seconds + _SLACK, f"not answered with TTL {ttl}"
        time.sleep(0.05)
    return time.monotonic() - began


def _rules(lab: Lab, container: str) -> str:
    """All of them, without what changes with time: counters, time-outs."""
    prefix = lab.namespace(container)
    assert prefix is not None
    listed = [*prefix, "nft", "--stateless", "list", "ruleset"]
    return subprocess.run(listed, capture_output=True, text=True, check=True).stdout


def test_attached_and_let_go(street: Lab, upstream: Upstream) -> None:
    before = {name: _rules(street, name) for name in ("att-a", "att-b")}
    with _served(street, upstream) as served:
        _until(street, _OURS)
        assert _ttl(street, tcp=True) == _OURS
        assert street.dig("att-a", "db").values == [street.address("att-b", _NET)]
        assert street.dig("att-a", f"att-b.{_NET}").values == [street.address("att-b", _NET)]
        assert street.dig("att-a", "www.example.com").values == ["192.0.2.80"]
        assert street.dig("att-b", "att-a", "AAAA").rcode == "NOERROR"
        reverse = ".".join(reversed(street.address("att-b", _NET).split("."))) + ".in-addr.arpa"
        assert street.dig("att-a", reverse, "PTR").values == [f"att-b.{_NET}."]
        assert served.stop() == 0
    assert (_ttl(street), _ttl(street, tcp=True)) == (_DOCKERS, _DOCKERS)
    assert {name: _rules(street, name) for name in before} == before


def test_not_one_question_is_lost(street: Lab, upstream: Upstream) -> None:
    """1,000 a second where the machine can, from sockets that are kept and from fresh ones, through attach,
    detach, restart of the answering process, and the end."""
    right = [street.address("att-b", _NET)]
    with Steady(street.pid("att-a"), "db") as steady:
        time.sleep(0.5)
        with _served(street, upstream) as served:
            _until(street, _OURS)
            time.sleep(0.5)
            for _ in range(3):
                assert _command("detach", "att-a").returncode == 0
                _until(street, _DOCKERS)
                time.sleep(0.2)
                assert _command("attach", "att-a").returncode == 0
                _until(street, _OURS)
                time.sleep(0.2)
            os.kill(served.child, signal.SIGKILL)
            _until(street, _OURS)
            time.sleep(0.5)
            assert served.stop() == 0
        time.sleep(0.5)
    assert steady.reached > 300
    assert {one.ttl for one in steady.asked} == {_OURS, _DOCKERS}
    assert not steady.lost, f"{len(steady.lost)} of {len(steady.asked)} lost"
    assert not steady.wrong(right)


def test_killed_and_everybody_is_back(lab: Lab, upstream: Upstream) -> None:
    """Both processes, with 50 containers, under load: what fails was asked while the redirect outlived us."""
    count = 50
    lab.network(_NET)
    lab.container("att-b", network=_NET, aliases=["db"])
    with ThreadPoolExecutor(4) as starts:
        list(starts.map(lambda n: lab.container(f"att-{n}", network=_NET), range(count)))
    before = {n: _rules(lab, f"att-{n}") for n in range(count)}
    asking = [Steady(lab.pid(f"att-{n}"), "db", rate=100) for n in (0, count // 2, count - 1)]
    with contextlib.ExitStack() as stack:
        for steady in asking:
            stack.enter_context(steady)
        with _served(lab, upstream) as served:
            for n in range(count):
                _until(lab, _OURS, f"att-{n}")
            answering = served.child
            os.kill(served.pid, signal.SIGKILL)
            os.kill(answering, signal.SIGKILL)
            killed = time.monotonic()
            served.await_end()
        for n in range(count):
            _until(lab, _DOCKERS, f"att-{n}", _LIFE)
        time.sleep(0.5)
        for steady in asking:
            steady.end()
    for steady in asking:
        for one in steady.lost:
            assert -0.1 < one.sent - killed < _LIFE + _SLACK
        assert any(one.sent < killed and one.ttl == _OURS for one in steady.asked)
        assert any(one.sent > killed and one.ttl == _DOCKERS for one in steady.asked)
    with _served(lab, upstream, attach="none"):
        deadline = time.monotonic() + _SLACK
        while any(_rules(lab, f"att-{n}") != before[n] for n in range(count)):
            assert time.monotonic() < deadline, "what the killed one left is still there"
            time.sleep(0.1)
        assert _ttl(lab, "att-0") == _DOCKERS


def test_restarted_and_new_containers(street: Lab, upstream: Upstream) -> None:
    with _served(street, upstream):
        _until(street, _OURS)
        street.restart("att-a")
        _until(street, _OURS)
        street.container("att-late", network=_NET)
        _until(street, _OURS, "att-late")
        street.remove("att-late")
        shown = _rows()
        assert set(shown) == {"att-a", "att-b"}
        assert shown["att-a"]["networks"] == [_NET]
        assert shown["att-a"]["queries"] > 0


def test_who_is_attached(street: Lab, upstream: Upstream) -> None:
    """Selectors, labels, commands; and whom nobody can attach."""
    street.container("att-no", network=_NET, labels={"resolver.attach": "false"})
    street.container("other-yes", network=_NET, labels={"resolver.attach": "true"})
    street.container("other", network=_NET)
    street.container("att-host", network_mode="host")
    street.container("att-none", network_mode="none")
    street.container("att-shares", network_mode="container:att-a")
    flags = ("--attach=not:name=att-b",)
    with _served(street, upstream, *flags):
        _until(street, _OURS)
        assert set(_rows()) == {"att-a", "other-yes"}
        assert _ttl(street, "att-shares") == _OURS, "it shares the network stack of att-a"
        assert [_ttl(street, name) for name in ("att-b", "att-no", "other")] == [_DOCKERS] * 3
        assert _command("attach", "other").returncode == 0
        assert _ttl(street, "other") == _OURS
        assert _command("detach", "att-a").returncode == 0
        assert _ttl(street, "att-a") == _DOCKERS
        assert set(_rows()) == {"other", "other-yes"}
        for name, why in (("att-host", "host"), ("att-none", "no network"), ("att-shares", "shares")):
            refused = _command("attach", name)
            assert refused.returncode == 1
            assert why in refused.stderr
        assert "no container" in _command("attach", "nobody").stderr


def test_names_on_the_default_bridge(lab: Lab, upstream: Upstream) -> None:
    """Where Docker gives none. Its containers ask the host's nameservers, and are answered in their name."""
    lab.container("att-x")
    lab.container("att-y")
    before = _rules(lab, "att-x")
    address = str(lab.inspect("att-y")["NetworkSettings"]["IPAddress"])
    with _served(lab, upstream, "--names-on-default-bridge") as served:
        deadline = time.monotonic() + _SLACK
        while lab.dig("att-x", "att-y", server=None).values != [address]:
            assert time.monotonic() < deadline, served.log
        assert lab.dig("att-x", "att-y", server=None, tcp=True).values == [address]
        assert lab.dig("att-x", "www.example.com", server=None).values == ["192.0.2.80"]
        assert served.stop() == 0
    assert _rules(lab, "att-x") == before


def test_rules_of_others_stay_and_ours_come_back(street: Lab, upstream: Upstream) -> None:
    """A container's own NAT goes on working; and where somebody flushes all rules, ours are put back."""
    prefix = street.namespace("att-a")
    assert prefix is not None
    own = (
        "table ip mine { chain out { type nat hook output priority 0; "
        "ip daddr 192.0.2.200 tcp dport 80 counter dnat to 127.0.0.1:8080 ; } ; }"
    )
    subprocess.run([*prefix, "nft", own], check=True)
    before = _rules(street, "att-a")
    with _served(street, upstream) as served:
        _until(street, _OURS)
        assert "table ip mine" in _rules(street, "att-a")
        subprocess.run([*prefix, "nft", "delete", "table", "ip", "resolver_attached"], check=True)
        assert _ttl(street) == _DOCKERS
        _until(street, _OURS, seconds=_LIFE)
        assert served.stop() == 0
    assert _rules(street, "att-a") == before


def test_own_dns_servers_are_asked_from_inside(lab: Lab, upstream: Upstream) -> None:
    """A container's ``--dns`` server that only its network reaches: here its own loopback."""
    lab.network(_NET)
    lab.container("att-a", network=_NET, dns=["127.0.0.1"])
    lab.container("att-b", network=_NET, aliases=["db"])
    prefix = lab.namespace("att-a")
    assert prefix is not None
    inside = [*prefix, "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--port=53"]
    inside += ["--listen-address=127.0.0.1", "--bind-interfaces", "--host-record=only.inside,192.0.2.7"]
    own = subprocess.Popen([*inside, "--conf-file=/dev/null", "--pid-file="])
    try:
        with _served(lab, upstream):
            _until(lab, _OURS)
            assert lab.dig("att-a", "only.inside").values == ["192.0.2.7"]
            assert lab.dig("att-a", "only.inside", tcp=True).values == ["192.0.2.7"]
            assert lab.dig("att-b", "only.inside").rcode == "NXDOMAIN"
    finally:
        own.kill()
        own.wait()


def test_what_only_the_engine_knows(street: Lab, upstream: Upstream) -> None:
    """A name that our table lacks, because who fills it stands still: Docker's resolver in the container is
    asked, and neither its yes nor its no is kept."""
    with _served(street, upstream, "--release-after=60") as served:
        _until(street, _OURS)
        os.kill(served.pid, signal.SIGSTOP)
        try:
            assert street.dig("att-a", "att-hid").rcode == "NXDOMAIN"
            street.container("att-hid", network=_NET)
            for _ in range(2):
                reply = street.dig("att-a", "att-hid")
                assert reply.values == [street.address("att-hid", _NET)]
                assert reply.answers[0].ttl == _DOCKERS
            assert _ttl(street) == _OURS
        finally:
            os.kill(served.pid, signal.SIGCONT)
        _until(street, _OURS, "att-hid")
        assert _ttl(street, name="att-hid") == _OURS


def test_the_first_act_of_a_container(lab: Lab, upstream: Upstream) -> None:
    """Each looks up itself and a peer at its own nameserver, whoever that is in that moment."""
    count = 200
    lab.network(_NET, subnet="10.255.8.0/24")
    lab.container("att-peer", network=_NET, ip="10.255.8.250")

    def told(number: int) -> str:
        name = f"att-{number}"
        script = (
            f"nslookup -type=a {name} && nslookup -type=a att-peer && sleep 0.2 && nslookup -type=a {name}"
        )
        lab.container(name, network=_NET, command=["sh", "-c", script])
        status = lab.api.wait(name)["StatusCode"]
        log = lab.api.logs(name).decode(errors="replace")
        lab.remove(name)
        return "" if status == 0 else f"{name}: {log}"

    with _served(lab, upstream) as served, ThreadPoolExecutor(4) as starts:
        wrong = [fault for fault in starts.map(told, range(count)) if fault]
        assert not wrong, f"{len(wrong)} of {count}: {wrong[0]}\n{served.log[-2000:]}"


@pytest.mark.parametrize("client", ["dig", "drill", "nslookup"])
def test_unmodified_clients(street: Lab, upstream: Upstream, client: str) -> None:
    """In the container, as they are, with its own resolv.conf."""
    with _served(street, upstream):
        _until(street, _OURS)
        for words, expected in (("db", street.address("att-b", _NET)), ("www.example.com", "192.0.2.80")):
            argv = ["nsenter", "-t", str(street.pid("att-a")), "-n", "-m", *question(client, words, "A")]
            assert ask(argv, client, "A").values == (expected,)


def test_others_are_chosen_at_sighup(street: Lab, upstream: Upstream, tmp_path: Path) -> None:
    config = tmp_path / "resolver.toml"
    config.write_text('attach = ["name=att-a"]\n')
    settings = (f"--config={config}", f"--listen={_LISTEN}", f"--engine={street.url}", f"--ttl={_OURS}")
    with Served(*settings, f"--upstream={upstream.address}") as served:
        _until(street, _OURS)
        assert _ttl(street, "att-b", "att-a") == _DOCKERS
        config.write_text('attach = ["name=att-b"]\n')
        served.tell(signal.SIGHUP)
        _until(street, _DOCKERS)
        _until(street, _OURS, "att-b")


def test_a_new_version_takes_over(street: Lab, upstream: Upstream) -> None:
    """Nothing is lost, and commands go to the new one as soon as the old one has ended."""
    right = [street.address("att-b", _NET)]
    with Steady(street.pid("att-a"), "db") as steady, _served(street, upstream) as old:
        _until(street, _OURS)
        with _served(street, upstream, "--replace") as new:
            assert old.await_end() == 0
            _until(street, _OURS, seconds=_LIFE)
            deadline = time.monotonic() + 2 * _SLACK
            while _command("attached").returncode:
                assert time.monotonic() < deadline, new.log
                time.sleep(0.1)
            assert set(_rows()) >= {"att-a", "att-b"}
    assert not steady.lost, f"{len(steady.lost)} of {len(steady.asked)} lost"
    assert not steady.wrong(right)


def test_nothing_is_left_open(street: Lab, upstream: Upstream) -> None:
    """Descriptors of both processes are as many after twenty containers as before: none of them keeps a
    network namespace alive."""
    with _served(street, upstream) as served:
        _until(street, _OURS)
        _until(street, _OURS, "att-b")
        processes = [served.pid, served.child]
        time.sleep(0.5)
        before = _descriptors(processes)
        for n in range(20):
            street.container(f"att-{n}", network=_NET)
        _until(street, _OURS, "att-19")
        for n in range(20):
            street.remove(f"att-{n}")
        deadline = time.monotonic() + _SLACK
        while (now := _descriptors(processes)) != before:
            assert time.monotonic() < deadline, (before, now)
            time.sleep(0.1)


def test_without_the_capabilities_it_says_so(street: Lab, upstream: Upstream) -> None:
    served = _served(street, upstream)
    served._prefix = ["setpriv", "--bounding-set=-sys_admin"]
    with served.started():
        assert served.await_end() == 1
    lines = served.log.strip().splitlines()
    assert len(lines) == 1, lines
    assert "SYS_ADMIN" in lines[0]
    assert "--take-over" in lines[0]


def _rows() -> dict[str, dict[str, Any]]:
    """``resolver attached --json``, by container."""
    said = _command("attached", "--json")
    assert said.returncode == 0, said.stderr
    rows = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    return {row["container"]: row for row in rows}


def _descriptors(pids: list[int]) -> list[int]:
    """How many each has, without unix sockets of the host: connections to the engine come as threads need
    them."""
    unix = {f"socket:[{line.split()[6]}]" for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    counts = []
    for pid in pids:
        links = []
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(str(fd.readlink()))
        counts.append(sum(link not in unix for link in links))
    return counts
