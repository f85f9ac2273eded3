"""A follower over a fake engine on a socket: reached, lost, found again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from resolver.names.changes import Gone
from resolver.names.model import Sandbox
from resolver.watch import follow, session
from tests.watch.fake_engine import World
from tests.watch.fake_socket import FakeSocket
from tests.watch.followed import Followed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(session, "SETTLE", 0.05)


async def test_it_waits_for_an_engine_and_says_once_that_there_is_none(tmp_path: Path) -> None:
    world = World()
    world.create("a", "n1")
    followed = Followed(tmp_path / "s")
    await followed.until(lambda: followed.told)
    await asyncio.sleep(0.3)
    assert followed.states() == ["lost"]
    with FakeSocket(tmp_path / "s", world):
        await followed.until(lambda: followed.pictures)
        assert followed.states() == ["lost", "reached"]
        assert list(followed.book.sandboxes) == ["a"]
        await followed.end()


async def test_a_loss_takes_nothing_back_and_a_new_picture_makes_it_right(tmp_path: Path) -> None:
    world = World()
    world.create("a", "n1")
    world.create("b", "n1")
    followed = Followed(tmp_path / "s")
    with FakeSocket(tmp_path / "s", world):
        await followed.until(lambda: followed.pictures)
    await followed.until(lambda: followed.states()[-1] == "lost")
    assert set(followed.book.sandboxes) == {"a", "b"}
    world.remove("a")
    world.start("b")
    followed.told.clear()
    with FakeSocket(tmp_path / "s", world):
        await followed.until(lambda: followed.pictures == 2)
        assert Gone("container", "a") in followed.told
        assert [c.id for c in followed.told if isinstance(c, Sandbox)] == ["b"]
        await followed.end()


async def test_a_stream_that_is_cut_is_no_loss_when_the_engine_is_there(tmp_path: Path) -> None:
    world = World()
    world.create("a", "n1")
    followed = Followed(tmp_path / "s")
    with FakeSocket(tmp_path / "s", world) as fake:
        await followed.until(lambda: followed.pictures and fake.subscribers())
        await asyncio.sleep(0.1)
        fake.feed(None)
        await followed.until(lambda: followed.pictures == 2)
        assert set(followed.states()) == {"reached"}
        await followed.end()


async def test_events_are_followed(tmp_path: Path) -> None:
    world = World()
    followed = Followed(tmp_path / "s")
    with FakeSocket(tmp_path / "s", world) as fake:
        await followed.until(lambda: followed.pictures and fake.subscribers())
        world.create("a", "n1")
        world.start("a")
        for event in world.events_told:
            fake.tell(event)
        await followed.until(
            lambda: "a" in followed.book.sandboxes and followed.book.sandboxes["a"].endpoints
        )
        assert followed.book.sandboxes["a"].endpoints[0].alive
        await followed.end()


async def test_an_engine_that_no_longer_answers_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "AUDIT", 0.1)
    followed = Followed(tmp_path / "s")
    with FakeSocket(tmp_path / "s", World()) as fake:
        await followed.until(lambda: followed.pictures)
        fake.answers["/_ping"] = (500, {"message": "ill"})
        await followed.until(lambda: followed.states()[-1] == "lost")
        del fake.answers["/_ping"]
        await followed.until(lambda: followed.states()[-1] == "reached")
        await followed.end()
