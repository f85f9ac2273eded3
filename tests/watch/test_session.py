"""Whatever happens, in whatever order events and answers come: in the end the book is what a fresh look
says."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resolver.names.changes import Change, Pending
from resolver.names.model import Sandbox
from resolver.watch import session as session_module
from resolver.watch.book import Book
from resolver.watch.engine import EngineError, NotThere
from resolver.watch.events import Running
from resolver.watch.follow import Follower
from resolver.watch.picture import Picture
from resolver.watch.session import Session
from tests.watch.fake_engine import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OPERATIONS = ("create", "start", "stop", "connect", "disconnect", "rename", "remove")


class Scripted:
    """Calls wait until they are made (``serve``) and, once made, until the answer is handed over
    (``answer``)."""

    def __init__(self) -> None:
        self.asked: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self.served: list[tuple[Any, asyncio.Future[Any]]] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.asked.append((lambda: function(*arguments), future))
        return future

    def serve(self, which: int = 0) -> None:
        if self.asked:
            call, future = self.asked.pop(which % len(self.asked))
            try:
                self.served.append((call(), future))
            except EngineError as error:
                self.served.append((error, future))

    async def answer(self, which: int = 0) -> None:
        if self.served:
            result, future = self.served.pop(which % len(self.served))
            if isinstance(result, EngineError):
                future.set_exception(result)
            else:
                future.set_result(result)
            await _turns()


async def _turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


class Stage:
    """A session over a world, moved by hand."""

    def __init__(self) -> None:
        self.world, self.book, self.workers = World(), Book(), Scripted()
        self.told: list[Change] = []
        self.follower = SimpleNamespace(
            book=self.book,
            tell=self.tell,
            picture=Picture(),
            running=Running(),
            recent=deque(),
            workers=self.workers,
            seen=None,
        )
        self.follower.picture.addresses = ()
        self.session = Session(cast(Follower, self.follower), cast(Any, self.world))

    def tell(self, changes: Iterable[Change]) -> None:
        self.told += [change for change in changes if self.book.note(change)]

    async def hear(self) -> None:
        """The next event arrives."""
        if self.world.events_told:
            self.session._heard(self.world.events_told.pop(0))
            await _turns()

    async def settle(self) -> None:
        """Everything arrives."""
        for _ in range(10_000):
            if not (self.world.events_told or self.workers.asked or self.workers.served):
                await asyncio.sleep(0.001)
                if not (self.workers.asked or self.session._timers):
                    return
            await self.hear()
            self.workers.serve()
            await self.workers.answer()
        raise AssertionError("it never comes to rest")

    @classmethod
    async def of_one(cls, alias: str = "") -> Stage:
        """With one container that runs, in the picture."""
        stage = cls()
        stage.world.create("a", "n1", alias=alias)
        stage.world.start("a")
        stage.world.events_told.clear()
        await stage.draw()
        return stage

    def names(self, identity: str) -> tuple[str, ...]:
        """On its first network."""
        return self.book.sandboxes[identity].endpoints[0].names

    def fresh(self) -> dict[str, Sandbox]:
        """What a new picture would say."""
        drawing = Picture()
        for body in self.world.networks():
            drawing.network(body)
        return {identity: drawing.sandbox(self.world.container(identity)) for identity in self.world.all}

    async def draw(self) -> None:
        """The first picture."""
        task = asyncio.create_task(self.session._draw())
        while not task.done():
            await self.hear()
            self.workers.serve()
            await self.workers.answer()
            await _turns()
        await task


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "SETTLE", 0.0)
    monkeypatch.setattr(session_module, "PATIENCE", 0.0)


def placeless(sandboxes: dict[str, Sandbox]) -> dict[str, Sandbox]:
    """Without the order of connection, which a fresh look does not know, and without endpoints that have no
    address: what is connected while it does not run is no event."""
    return {
        identity: replace(
            one,
            endpoints=tuple(
                sorted((replace(e, place=0) for e in one.endpoints if e.alive), key=lambda e: e.network)
            ),
        )
        for identity, one in sandboxes.items()
    }


def operate(world: World, word: str, identity: str, network: str) -> None:
    if word == "create":
        if identity not in world.all:
            world.create(identity, network, alias=f"alias-{network}")
    elif identity not in world.all:
        return
    elif word in ("connect", "disconnect"):
        getattr(world, word)(identity, network)
    elif word == "rename":
        world.rename(identity, f"renamed-{network}")
    else:
        getattr(world, word)(identity)


MOVES = st.one_of(
    st.tuples(st.sampled_from(OPERATIONS), st.sampled_from("abc"), st.sampled_from(("n1", "n2", "n3"))),
    st.tuples(st.sampled_from(("hear", "serve", "answer")), st.integers(0, 3), st.just("")),
)


@given(moves=st.lists(MOVES, max_size=60), first=st.lists(MOVES, max_size=10))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_the_end_the_book_is_right(moves: list[Any], first: list[Any]) -> None:
    async def play() -> None:
        stage = Stage()
        for word, who, network in first:
            if word in OPERATIONS:
                operate(stage.world, word, who, network)
        stage.world.events_told.clear()
        await stage.draw()
        for word, who, network in moves:
            if word == "hear":
                await stage.hear()
            elif word == "serve":
                stage.workers.serve(who)
            elif word == "answer":
                await stage.workers.answer(who)
            else:
                operate(stage.world, word, who, network)
        await stage.settle()
        assert placeless(stage.book.sandboxes) == placeless(stage.fresh())
        assert not stage.book.pending
        stage.session.close()

    asyncio.run(play())


async def test_a_start_is_announced_before_it_can_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "SETTLE", 9.0)
    monkeypatch.setattr(session_module, "PATIENCE", 9.0)
    stage = Stage()
    await stage.draw()
    stage.told.clear()
    stage.world.create("a", "n1")
    stage.world.start("a")
    await stage.hear()
    await stage.hear()
    assert stage.told == [Pending("a", ("n1",))]
    assert not stage.workers.asked
    await stage.hear()
    stage.workers.serve()
    await stage.workers.answer()
    assert isinstance(stage.told[-1], Sandbox)
    assert not stage.session._timers
    stage.session.close()


async def test_a_disconnect_is_told_at_once() -> None:
    stage = Stage()
    stage.world.create("a", "n1", "n2")
    stage.world.start("a")
    stage.world.events_told.clear()
    await stage.draw()
    stage.world.disconnect("a", "n2")
    await stage.hear()
    assert [e.network for e in stage.book.sandboxes["a"].endpoints if e.alive] == ["n1"]
    stage.session.close()


async def test_a_late_end_of_the_last_run_takes_nothing_from_the_present_one() -> None:
    stage = Stage()
    stage.world.create("a", "n1")
    stage.world.start("a")
    stage.world.events_told.clear()
    stage.world.stop("a")
    die = stage.world.events_told.pop(0)
    stage.world.events_told.clear()
    stage.world.start("a")
    stage.world.events_told.clear()
    await stage.draw()
    stage.session._heard(die)
    assert stage.book.sandboxes["a"].endpoints[0].alive
    stage.session.close()


async def test_a_new_name_is_told_before_it_is_looked_at() -> None:
    """The old one goes on being answered where it is an alias, too."""
    stage = await Stage.of_one(alias="name-a")
    stage.world.rename("a", "b")
    await stage.hear()
    assert stage.book.sandboxes["a"].name == "b"
    assert stage.names("a") == ("b", "name-a", "a")
    await stage.settle()
    assert stage.names("a") == ("b", "name-a", "a")
    stage.world.rename("a", "NAME-A")
    await stage.hear()
    assert stage.names("a") == ("NAME-A", "a")
    await stage.settle()
    assert stage.names("a") == ("NAME-A", "a")
    stage.session.close()


async def test_an_old_name_that_is_no_alias_is_not_told_any_more() -> None:
    """Nor where the container is renamed again, to one of its aliases and on from there."""
    stage = await Stage.of_one(alias="es")
    assert stage.names("a") == ("name-a", "es", "a")
    for name, names in (("b", ("b", "es", "a")), ("es", ("es", "a")), ("c", ("c", "es", "a"))):
        stage.world.rename("a", name)
        await stage.hear()
        assert stage.names("a") == names
    await stage.settle()
    assert stage.names("a") == ("c", "es", "a")
    stage.session.close()


async def test_a_look_that_began_before_a_rename_does_not_take_the_new_name_back() -> None:
    stage = await Stage.of_one()
    stage.world.rename("a", "b")
    await stage.hear()
    stage.workers.serve()
    stage.world.rename("a", "c")
    await stage.hear()
    await stage.workers.answer()
    assert stage.book.sandboxes["a"].name == "c"
    assert stage.names("a") == ("c", "a")
    await stage.settle()
    assert stage.names("a") == ("c", "a")
    stage.session.close()


async def test_a_rename_that_a_look_has_seen_already_is_no_news() -> None:
    """Heard during the look, or only after it; the renames that follow are."""
    stage = await Stage.of_one(alias="es")
    stage.world.connect("a", "n2")
    await stage.hear()
    stage.world.rename("a", "b")
    await stage.hear()
    stage.workers.serve()
    stage.world.rename("a", "c")
    await stage.hear()
    await stage.workers.answer()
    assert stage.names("a") == ("c", "es", "a")
    stage.world.rename("a", "d")
    stage.world.rename("a", "e")
    stage.workers.serve()
    await stage.workers.answer()
    assert stage.names("a") == ("e", "es", "a")
    told = stage.world.events_told.pop(0)
    stage.session._heard(told)
    assert stage.names("a") == ("e", "es", "a"), "it is not called what it was between"
    await stage.settle()
    assert stage.names("a") == ("e", "es", "a")
    stage.session.close()


async def test_what_cannot_be_looked_at_keeps_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await Stage.of_one()
    before = stage.book.sandboxes["a"]
    look = stage.world.container

    def refuse(identity: str) -> Any:
        monkeypatch.setattr(stage.world, "container", look)
        raise EngineError("500")

    monkeypatch.setattr(stage.world, "container", refuse)
    stage.world.all["a"].name = "later"
    stage.world._tell("container", "unpause", "a")
    await stage.hear()
    stage.workers.serve()
    await stage.workers.answer()
    assert stage.book.sandboxes["a"] == before
    await stage.settle()
    assert stage.book.sandboxes["a"].name == "later"


async def test_what_is_gone_when_looked_at_is_gone() -> None:
    stage = Stage()
    stage.world.create("a", "n1")
    stage.world.events_told.clear()
    await stage.draw()
    stage.world.rename("a", "b")
    await stage.hear()
    del stage.world.all["a"]
    await stage.settle()
    assert "a" not in stage.book.sandboxes


async def test_a_picture_is_told_without_what_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "STALLED", 0.05)
    stage = Stage()
    for identity in "abcd":
        stage.world.create(identity, "n1")
    stage.world.start("a")
    stage.world.events_told.clear()
    drawing = asyncio.create_task(stage.session._draw())
    for _ in range(2):  # the lists are answered, the inspects are not
        await _turns()
        stage.workers.serve()
        await stage.workers.answer()
    await drawing
    assert set(stage.book.pending) == set("abcd")
    assert stage.book.pending["a"].networks == ("n1",)
    await stage.settle()
    assert set(stage.book.sandboxes) == set("abcd")
    stage.session.close()


async def test_those_that_run_are_looked_at_before_those_that_may_be_stuck() -> None:
    stage = Stage()
    for identity in "abcd":
        stage.world.create(identity, "n1")
    stage.world.start("d")
    stage.world.events_told.clear()
    drawing = asyncio.create_task(stage.session._draw())
    for _ in range(3):  # the two lists, and the first inspect
        await _turns()
        stage.workers.serve()
        await stage.workers.answer()
    assert set(stage.book.sandboxes) == {"d"}
    drawing.cancel()
    stage.session.close()


async def test_events_that_come_late_cause_a_new_picture() -> None:
    stage = Stage()
    await stage.draw()
    stage.world.clock = time.time_ns()
    stage.world.create("a", "n1")
    stage.world.clock -= 60_000_000_000
    stage.world.rename("a", "b")
    await stage.hear()
    await stage.hear()
    assert stage.session._doubt
    stage.session.close()


async def test_an_event_that_cannot_be_read_causes_a_new_picture() -> None:
    stage = Stage()
    stage.session._heard(None)
    assert stage.session._doubt
    stage.session.close()


async def test_names_no_question_can_carry_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.world.create("a", "n1", alias="bücher")
    stage.world.events_told.clear()
    await stage.draw()
    stage.world.rename("a", "b")
    await stage.settle()
    assert len([r for r in caplog.records if "no DNS question can carry" in r.message]) == 1


async def test_a_network_that_is_not_known_is_looked_up() -> None:
    stage = Stage()
    await stage.draw()
    stage.world.known_networks["n9"] = "new"
    stage.world.create("a", "n9")
    stage.world.start("a")
    await stage.settle()
    assert stage.book.networks["n9"].name == "new"
    with pytest.raises(NotThere):
        stage.world.network("n10")


class Podmans(World):
    """Containers have the name of a network in place of its id, and it is asked for by either."""

    def container(self, identity: str) -> dict[str, Any]:
        body = super().container(identity)
        for name, said in body["NetworkSettings"]["Networks"].items():
            said["NetworkID"] = name
        return body

    def network(self, identity: str) -> dict[str, Any]:
        ids = {name: known for known, name in self.known_networks.items()}
        return super().network(ids.get(identity, identity))


async def test_a_network_known_by_its_name_only_is_looked_up_and_the_container_again() -> None:
    """Podman 4.3 does not tell that a network was created."""
    stage = Stage()
    stage.world = stage.session._engine = cast(Any, Podmans())
    await stage.draw()
    stage.world.known_networks["n9"] = "new"
    stage.world.create("a", "n9")
    stage.world.start("a")
    stage.world.events_told = stage.world.events_told[-1:]  # a single look
    await stage.settle()
    assert stage.book.networks["n9"].name == "new"
    assert [endpoint.network for endpoint in stage.book.sandboxes["a"].endpoints] == ["n9"]
