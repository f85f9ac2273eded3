"""The watching room on a real engine: what its book says, and how soon."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from resolver.names.model import Sandbox
from resolver.watch.book import Book
from resolver.watch.engine import Engine
from resolver.watch.find import Place
from resolver.watch.follow import Follower
from resolver.watch.picture import picture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from lab.topology import Lab
    from resolver.names.changes import Change


def named(name: str) -> str:
    """A name no other run uses on the same engine."""
    return f"watch-{os.getpid()}-{name}"


class Watched:
    """A follower on the laboratory's engine; operations run in a thread, so that it goes on following."""

    def __init__(self, lab: Lab) -> None:
        self.book = Book()
        self.told: list[tuple[float, Change]] = []
        follower = Follower(lambda: [Place(lab.url, "")], self.book, self._tell, self._pictured)
        self.task = asyncio.create_task(follower.run())

    def _tell(self, changes: Iterable[Change]) -> None:
        now = time.monotonic()
        self.told += [(now, change) for change in changes if self.book.note(change)]

    def _pictured(self) -> None:
        self.book.pictured = True

    async def until(self, reached: Callable[[], object]) -> None:
        async with asyncio.timeout(15):
            while not reached():
                assert not self.task.done()
                await asyncio.sleep(0.002)

    def alive(self, container: str) -> dict[str, tuple[str, ...]]:
        """Network id → names, where it has an address."""
        one = self.book.sandboxes.get(container)
        return {e.network: e.names for e in one.endpoints if e.alive} if one else {}

    def first_told(self, container: str, *, alive: bool, since: float) -> float:
        """When a line first said so."""
        return next(
            at
            for at, change in self.told
            if at >= since
            and isinstance(change, Sandbox)
            and change.id == container
            and any(e.alive for e in change.endpoints) is alive
        )


@pytest.fixture
async def watched(lab: Lab) -> AsyncIterator[Watched]:
    one = Watched(lab)
    await one.until(lambda: one.book.pictured)
    yield one
    one.task.cancel()
    await asyncio.wait([one.task])


async def test_a_life(lab: Lab, watched: Watched) -> None:
    prod, dev = lab.network(named("prod")), lab.network(named("dev"))
    web = named("web")
    c = await asyncio.to_thread(lab.container, web, network=prod, aliases=["es"])
    await watched.until(lambda: watched.alive(c) == {prod: (web, "es", c[:12])})
    await asyncio.to_thread(lab.connect, dev, c, aliases=["db"])
    await watched.until(lambda: watched.alive(c).get(dev) == (web, "db", c[:12]))
    await asyncio.to_thread(lab.rename, c, web + "2")
    await watched.until(lambda: watched.alive(c)[prod][0] == web + "2")
    await asyncio.to_thread(lab.pause, c)
    await watched.until(lambda: watched.book.sandboxes[c].state == "paused")
    assert set(watched.alive(c)) == {prod, dev}
    await asyncio.to_thread(lab.unpause, c)
    await asyncio.to_thread(lab.restart, c)
    await watched.until(lambda: set(watched.alive(c)) == {prod, dev} and not watched.book.pending)
    await asyncio.to_thread(lab.disconnect, dev, c)
    await watched.until(lambda: set(watched.alive(c)) == {prod})
    await asyncio.to_thread(lab.kill, c)
    await watched.until(lambda: not watched.alive(c))
    await asyncio.to_thread(lab.start, c)
    await watched.until(lambda: set(watched.alive(c)) == {prod})
    await asyncio.to_thread(lab.remove, c)
    await watched.until(lambda: c not in watched.book.sandboxes)
    await asyncio.to_thread(lab.remove_network, dev)
    await watched.until(lambda: dev not in watched.book.networks)


async def test_the_order_of_connection_outlives_a_restart(lab: Lab, watched: Watched) -> None:
    z, m, a = (lab.network(named(name)) for name in "zma")
    c = await asyncio.to_thread(lab.container, named("web"), network=z)
    await asyncio.to_thread(lab.connect, m, c)
    await asyncio.to_thread(lab.connect, a, c)
    await asyncio.to_thread(lab.restart, c)
    await watched.until(lambda: set(watched.alive(c)) == {z, m, a} and not watched.book.pending)
    assert list(watched.alive(c)) == [z, m, a]
    fresh = await asyncio.to_thread(picture, Engine.reach([Place(lab.url, "")]))
    (one,) = (change for change in fresh if isinstance(change, Sandbox) and change.id == c)
    assert [endpoint.network for endpoint in one.endpoints] == [z, m, a]


async def test_an_alias_comes_before_a_name_the_engine_made_up(lab: Lab, watched: Watched) -> None:
    prod = lab.network(named("prod"))
    c = await asyncio.to_thread(lab.container, None, network=prod, aliases=["hello"])
    await watched.until(lambda: watched.alive(c))
    assert watched.alive(c)[prod][0] == "hello"


async def test_the_book_is_a_fresh_picture(lab: Lab, watched: Watched) -> None:
    prod = lab.network(named("prod"))
    made = [await asyncio.to_thread(lab.container, named(f"c{n}"), network=prod) for n in range(6)]
    await asyncio.gather(*(asyncio.to_thread(lab.restart, c) for c in made[:3]))
    await asyncio.to_thread(lab.stop, made[3])
    await asyncio.to_thread(lab.rename, made[4], named("other"))
    await asyncio.sleep(1.5)
    fresh = await asyncio.to_thread(picture, Engine.reach([Place(lab.url, "")]))
    mine = {change.id: change for change in fresh if isinstance(change, Sandbox) and change.id in made}
    assert {c: watched.book.sandboxes[c] for c in made} == mine


async def test_a_name_is_known_when_the_engine_says_it_runs(lab: Lab, watched: Watched) -> None:
    """The bounds are for a machine that does other things too; alone: 3 ms in the middle, 8 at the end."""
    prod = lab.network(named("prod"))
    up, down = [], []
    for n in range(15):
        began = time.monotonic()
        c = await asyncio.to_thread(lab.container, named(f"c{n}"), network=prod)
        returned = time.monotonic()
        await watched.until(lambda c=c: watched.alive(c))  # type: ignore[misc]
        up.append(watched.first_told(c, alive=True, since=began) - returned)
        began = time.monotonic()
        await asyncio.to_thread(lab.kill, c)
        returned = time.monotonic()
        await watched.until(lambda c=c: not watched.alive(c))  # type: ignore[misc]
        down.append(watched.first_told(c, alive=False, since=began) - returned)
    assert sorted(up)[7] < 0.02
    assert sorted(down)[7] < 0.02
    assert max(*up, *down) < 0.1
