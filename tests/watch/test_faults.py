"""An engine that misbehaves as a real one cannot be made to: what was known is kept, and in the end the book
is right."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.names.changes import Engine as EngineLine
from resolver.names.changes import Gone
from resolver.names.model import Sandbox
from resolver.watch import audit, follow, session
from resolver.watch.containers import (
    also_aliases,
    network_ids,
    read_network,
    read_sandbox,
    started_at,
    unspeakable,
)
from resolver.watch.engine import Engine
from resolver.watch.events import read_event
from tests.watch.fake_engine import World
from tests.watch.fake_socket import FakeSocket
from tests.watch.followed import Followed

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3_600_000_000_000


class Play:
    """A world behind a socket, followed."""

    def __init__(self, folder: Path, *running: str) -> None:
        self.world, self.path = World(), folder / "s"
        for identity in running:
            self.world.create(identity, "n1")
            self.world.start(identity)
        self.fake = FakeSocket(self.path, self.world)
        self.fake.buffered = [*self.take()]

    async def __aenter__(self) -> Play:
        self.fake.__enter__()
        self.followed = Followed(self.path)
        await self.ready(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.followed.end()
        self.fake.__exit__()

    def take(self) -> list[dict[str, Any]]:
        """The events that were not told yet; by the engine's clock they are some seconds old."""
        events, self.world.events_told = self.world.events_told, []
        self.world.clock += 2_000_000_000
        return events

    def tell(self) -> None:
        """What happened, to the buffer and the stream."""
        for event in self.take():
            self.fake.tell(event)

    async def ready(self, pictures: int) -> None:
        await self.until(lambda: self.followed.pictures >= pictures and self.fake.subscribers())

    async def until(self, reached: Any) -> None:
        await self.followed.until(reached)

    def alive(self) -> set[str]:
        sandboxes = self.followed.book.sandboxes.values()
        return {one.id for one in sandboxes if any(e.alive for e in one.endpoints)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(session, "SETTLE", 0.05)
    monkeypatch.setattr(session, "PATIENCE", 0.05)
    monkeypatch.setattr(session, "AUDIT", 0.1)
    monkeypatch.setattr(audit, "UNDER_WAY", 0.05)
    monkeypatch.setattr(Engine, "reach", partial(Engine.reach, timeout=1))


# The stream


async def test_a_stream_that_is_open_and_dead(tmp_path: Path) -> None:
    """Or that left something out: it is replaced, and nobody is told of a loss."""
    async with Play(tmp_path, "a", "b") as play:
        await asyncio.sleep(0.3)
        assert play.followed.pictures == 1, "a whole stream is left alone"
        play.world.stop("a")
        play.fake.buffered += play.take()
        await play.until(lambda: play.alive() == {"b"})
        await play.ready(2)
        play.world.start("a")
        play.tell()
        await play.until(lambda: play.alive() == {"a", "b"})
        assert set(play.followed.states()) == {"reached"}


async def test_an_event_that_is_on_its_way_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "UNDER_WAY", 0.3)
    async with Play(tmp_path, "a") as play:
        for _ in range(2):
            play.world.rename("a", f"b{play.world.clock}")
            (event,) = play.take()
            play.fake.buffered.append(event)
            asked = play.fake.requests.count("GET /events")
            await play.until(lambda asked=asked: play.fake.requests.count("GET /events") > asked)
            play.fake.buffered.remove(event)
            play.fake.tell(event)
        await asyncio.sleep(0.4)
        assert play.followed.pictures == 1


async def test_more_events_than_the_engine_keeps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Play(tmp_path, "a", "b") as play:
        for _ in range(300):
            play.world.rename("b", f"b{play.world.clock}")
        play.world.stop("a")
        play.fake.buffered = play.take()[-256:]
        await play.until(lambda: play.alive() == {"b"})
        await play.ready(2)
        await asyncio.sleep(0.3)
        assert play.followed.pictures == 2
        assert [r.message for r in caplog.records if "events were lost" in r.message]


@pytest.mark.parametrize(
    "octets", [b'{"Type": "container", "Acti\n', b"\xff\xfe\n", b'"text"\n', b"[" * 9999 + b"\n"]
)
async def test_an_event_nobody_can_read(tmp_path: Path, octets: bytes) -> None:
    """It may have been anything: everything is looked at again."""
    async with Play(tmp_path, "a", "b") as play:
        play.world.stop("a")
        play.take()
        play.fake.feed(octets)
        await play.until(lambda: play.alive() == {"b"})
        assert play.followed.pictures == 1
        assert set(play.followed.states()) == {"reached"}


async def test_events_of_kinds_nobody_knows(tmp_path: Path) -> None:
    async with Play(tmp_path, "a") as play:
        for kind, action in (("container", "levitate"), ("network", "paint"), ("comet", "start")):
            play.world._tell(kind, action, "a")
        play.world._tell("container", "start", "nobody")
        play.fake.feed(b"{}\n[]\n")
        play.tell()
        play.world.create("b", "n1")
        play.world.start("b")
        play.tell()
        await play.until(lambda: play.alive() == {"a", "b"})


# Answers


async def test_an_engine_that_hangs_is_lost_since_it_last_said_something(tmp_path: Path) -> None:
    async with Play(tmp_path, "a") as play:
        asked = play.fake.requests.count("GET /_ping")
        await play.until(lambda: play.fake.requests.count("GET /_ping") > asked + 1)
        play.fake.delay = dict.fromkeys(("/_ping", "/version"), 30.0)
        hung = time.time()
        await play.until(lambda: play.followed.states()[-1] == "lost")
        (lost,) = (c for c in play.followed.told if isinstance(c, EngineLine) and c.state == "lost")
        assert lost.at <= hung < time.time() - 0.9
        assert play.alive() == {"a"}
        play.fake.delay.clear()
        await play.until(lambda: play.followed.states()[-1] == "reached")


async def test_an_engine_that_hangs_when_asked_for_its_events(tmp_path: Path) -> None:
    """These are read with a time-out too, unless they are the live ones."""
    async with Play(tmp_path, "a") as play:
        play.fake.delay["/events"] = 30.0
        await play.until(lambda: play.followed.states()[-1] == "lost")
        play.fake.delay.clear()
        await play.until(lambda: play.followed.states()[-1] == "reached")
        await play.ready(2)
        await asyncio.sleep(1.2)
        assert play.followed.pictures == 2, "silence is no time-out"


async def test_looks_that_hang_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """More of them than there are threads."""
    async with Play(tmp_path, "a") as play:
        stuck = [f"stuck{n}" for n in range(12)]
        play.fake.delay = {f"/containers/{one}/json": 30.0 for one in stuck}
        for one in (*stuck, "b"):
            play.world.create(one, "n1")
            play.world.start(one)
            play.tell()
        await play.until(lambda: play.alive() == {"a", "b"})
        assert set(play.followed.book.pending) == set(stuck)
        play.fake.delay.clear()
        await play.until(lambda: len(play.alive()) == 14)


@pytest.mark.parametrize(
    "answer", [(500, {"message": "ill"}), (404, b"<html>no such page"), (200, b"{}"), (200, b"[")]
)
async def test_a_look_that_fails_takes_nothing_away(
    tmp_path: Path, answer: tuple[int, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Not even 404, if it is not the engine that says so."""
    async with Play(tmp_path, "a") as play:
        play.fake.answers["/containers/a/json"] = answer
        play.world._tell("container", "pause", "a")
        play.tell()
        asked = play.fake.requests.count("GET /containers/a/json")
        await play.until(lambda: play.fake.requests.count("GET /containers/a/json") > asked + 2)
        assert play.alive() == {"a"}
        assert len([r for r in caplog.records if "could not be looked at" in r.message]) == 1
        play.fake.answers["/containers/a/json"] = (404, {"message": "No such container: a"})
        await play.until(lambda: not play.alive())


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        *product(
            ("/networks", "/containers/json", "/version"), ((500, {}), (404, b"no"), (200, b"{"), (200, [7]))
        ),
        *product(("/_ping", "/events"), ((500, {}), (403, b"no"), (404, {"message": "page not found"}))),
    ],
)
async def test_a_recovery_that_fails_takes_nothing_away(
    tmp_path: Path, path: str, answer: tuple[int, Any]
) -> None:
    async with Play(tmp_path, "a", "b") as play:
        play.fake.answers[path] = answer
        play.fake.feed(None)
        await play.until(lambda: play.followed.states()[-1] == "lost")
        play.world.stop("a")
        play.fake.buffered += play.take()
        await asyncio.sleep(0.15)
        assert play.alive() == {"a", "b"}
        if path == "/version":
            play.fake.answers["/version"] = (200, {"ApiVersion": "1.41"})
        else:
            del play.fake.answers[path]
        await play.until(lambda: play.followed.pictures == 2)
        assert play.alive() == {"b"}
        told_gone = [c for c in play.followed.told if isinstance(c, Gone)]
        assert not told_gone


async def test_lists_with_things_that_are_none(tmp_path: Path) -> None:
    async with Play(tmp_path, "a") as play:
        play.fake.answers["/networks"] = (200, [{}, {"Id": 7}, *play.world.networks()])
        play.fake.answers["/containers/json"] = (200, [{}, {"Id": "gone"}, *play.world.containers()])
        play.fake.feed(None)
        await play.ready(2)
        assert play.alive() == {"a"}
        assert not play.followed.book.pending


# Much at once, and clocks


async def test_five_hundred_started_in_a_burst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "UNDER_WAY", 5.0)
    async with Play(tmp_path, "a") as play:
        names = [f"c{n:03}" for n in range(500)]
        for name in names:
            play.world.create(name, "n1")
            play.world.start(name)
        began = time.monotonic()
        play.tell()
        await play.until(lambda: play.alive() == {"a", *names})
        print(f"500 starts at once: all known after {time.monotonic() - began:.2f} s")  # noqa: T201 - shown with -rP
        assert play.followed.pictures == 1
        assert not play.followed.book.pending


async def test_an_end_is_told_though_the_engines_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its stamp it is the end of an earlier run."""
    monkeypatch.setattr(session, "SETTLE", 60.0)
    async with Play(tmp_path, "a") as play:
        play.world.clock -= HOUR
        play.world.stop("a")
        play.tell()
        await play.until(lambda: not play.alive())
        play.world.start("a")
        play.tell()
        await play.until(lambda: play.alive() == {"a"})


async def test_clocks_that_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, the engine's: the names are followed, the engine is not lost, and what is measured is measured
    by a clock that does not jump."""
    ours = time.time
    async with Play(tmp_path, "a") as play:
        for n, jump in enumerate((HOUR, -2 * HOUR, HOUR)):
            play.world.clock += jump
            monkeypatch.setattr(time, "time", lambda jump=jump: ours() - jump / 1e9)
            play.world.create(f"b{n}", "n1")
            play.world.start(f"b{n}")
            play.tell()
            await play.until(lambda n=n: f"b{n}" in play.alive())
        await asyncio.sleep(0.3)
        assert set(play.followed.states()) == {"reached"}
        monkeypatch.setattr(time, "time", ours)
        play.fake.answers["/version"] = (500, {})
        before = ours()
        play.fake.feed(None)
        await play.until(lambda: play.followed.states()[-1] == "lost")
        (lost,) = (c for c in play.followed.told if isinstance(c, EngineLine) and c.state == "lost")
        assert before - 1 < lost.at <= ours()


# Anything at all


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = [
    "Id",
    "Name",
    "Config",
    "Hostname",
    "HostConfig",
    "NetworkMode",
    "Dns",
    "State",
    "Status",
    "StartedAt",
    "NetworkSettings",
    "Networks",
    "NetworkID",
    "Aliases",
    "DNSNames",
    "GwPriority",
    "IPAddress",
    "GlobalIPv6Address",
    "Links",
    "IPAM",
    "Subnet",
    "Gateway",
    "Driver",
    "Options",
    "Internal",
    "Type",
    "Action",
    "Actor",
    "ID",
    "Attributes",
    "container",
    "name",
    "timeNano",
]
_BODIES = st.recursive(
    _VALUES,
    lambda inner: st.dictionaries(st.sampled_from(_FIELDS), inner, max_size=6) | st.lists(inner, max_size=3),
    max_leaves=30,
)


@given(body=st.dictionaries(st.sampled_from(_FIELDS), _BODIES, max_size=12))
def test_json_of_any_shape_is_read_or_refused(body: dict[str, Any]) -> None:
    """An engine of another make or version: what it sends may be anything, and must not end the process."""
    known = {"one": "n1"}
    for read in (
        read_event,
        read_network,
        started_at,
        lambda b: read_sandbox(b, known),
        lambda b: network_ids(b, known),
        lambda b: also_aliases(b, known),
    ):
        try:
            found = read(body)
        except ValueError:
            continue
        if isinstance(found, Sandbox):
            unspeakable(found)
