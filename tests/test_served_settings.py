"""Settings that only a running resolver can show: workers, split DNS, the cache and emptying it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from lab.upstream import Upstream, zone
from tests.faults.running import ADDRESS, Running, ask_tcp, ask_udp, question, running

if TYPE_CHECKING:
    from pathlib import Path

WORLD = "out.test 300 A 192.0.2.1\nhost.corp.test 300 A 192.0.2.2"


def address_of(resolver: Running, name: str, ident: int = 7) -> bytes:
    """The last four octets of a reply with one A record; empty when it has none."""
    reply = ask_udp(resolver.at, question(name, ident))
    assert reply[:2] == ident.to_bytes(2, "big")
    return reply[-4:] if reply[6:8] == b"\0\1" else b""


def counters(resolver: Running) -> dict[str, int]:
    found: dict[str, int] = json.loads(resolver.served.check("--json").stdout)["counters"]
    return found


def test_several_workers_answer_the_same(tmp_path: Path) -> None:
    with running(tmp_path, "--workers=3") as resolver:
        asked = 200
        assert {address_of(resolver, "es.dev", ident) for ident in range(asked)} == {ADDRESS}
        first = counters(resolver)["queries"]
        assert 0 < first < asked, "the kernel spreads questions over the workers' sockets"


def test_a_domain_has_servers_of_its_own(tmp_path: Path) -> None:
    with Upstream(zone("out.test 300 A 192.0.2.1")) as world, Upstream(zone(WORLD)) as corp:
        flags = (f"--upstream={world.address}", f"--forward=corp.test={corp.address}")
        with running(tmp_path, *flags) as resolver:
            assert address_of(resolver, "host.corp.test") == bytes((192, 0, 2, 2))
            assert address_of(resolver, "out.test") == bytes((192, 0, 2, 1))
        assert [asked.name for asked in corp.server.asked] == ["host.corp.test"]
        assert [asked.name for asked in world.server.asked] == ["out.test"]


def test_the_cache_is_emptied_on_request(tmp_path: Path) -> None:
    with Upstream(zone(WORLD)) as world, running(tmp_path, f"--upstream={world.address}") as resolver:
        for ident in range(5):
            assert address_of(resolver, "out.test", ident)
        assert len(world.server.asked) == 1
        resolver.served.tell(signal.SIGUSR1)
        resolver.served.await_log("the cache was emptied entries=1")
        assert address_of(resolver, "out.test")
        assert len(world.server.asked) == 2


def test_without_a_cache_every_question_is_asked(tmp_path: Path) -> None:
    flags = "--cache-size=0"
    with Upstream(zone(WORLD)) as world, running(tmp_path, flags, f"--upstream={world.address}") as resolver:
        for ident in range(3):
            assert address_of(resolver, "out.test", ident)
        assert len(world.server.asked) == 3


def test_answers_that_lead_inside_are_blocked_from_the_reload_on(tmp_path: Path) -> None:
    config = tmp_path / "resolver.toml"
    config.write_text("")
    with (
        Upstream(zone("inside.test 300 A 10.0.0.1")) as world,
        running(tmp_path, f"--upstream={world.address}", f"--config={config}") as resolver,
    ):
        assert address_of(resolver, "inside.test") == bytes((10, 0, 0, 1))
        config.write_text("block-private-answers = true")
        resolver.served.tell(signal.SIGHUP)
        resolver.served.await_log("settings reread")
        assert address_of(resolver, "inside.test") == b"", "also what was in the cache"
        assert counters(resolver)["blocked"] == 1


def test_a_client_that_asks_too_much_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, "--client-rate=5") as resolver:
        for ask in (ask_udp, ask_tcp):
            rcodes = {ask(resolver.at, question())[3] & 15 for _ in range(100)}
            assert 5 in rcodes <= {0, 5}
        assert counters(resolver)["over_rate"] > 0
