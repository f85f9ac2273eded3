"""When to look at the engine again: once for a burst, and after it was away."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import pytest

from resolver.settings import Settings
from resolver.show import following
from resolver.show.following import picture, stirs
from resolver.show.picture import follow_picture
from resolver.show.terminal import CommandError
from resolver.watch.engine import EngineError, EngineUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

START = {"Type": "container", "Action": "start", "Actor": {"ID": "c1", "Attributes": {}}, "timeNano": 1}
IMAGE = {"Type": "image", "Action": "pull", "Actor": {"ID": "i1"}, "timeNano": 1}


class FakeEngine:
    """Sends what is put into it; None ends the stream."""

    def __init__(self) -> None:
        self.sent: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.subscriptions = 0
        self.closed = 0
        self.faults: list[EngineError] = []

    def now(self) -> int:
        if self.faults:
            raise self.faults.pop()
        return 7

    def events(self, since: str) -> FakeEngine:
        assert since == "7.000000000"
        self.subscriptions += 1
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while body := self.sent.get():
            yield body

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine()
    monkeypatch.setattr(following, "_reach", lambda _: made)
    monkeypatch.setattr(following, "_PAUSE", 0.01)
    monkeypatch.setattr(following, "_CALM", 0.05)
    return made


def test_once_for_a_burst_and_not_for_images(engine: FakeEngine) -> None:
    coming = stirs(Settings())
    next(coming)
    for body in (IMAGE, START, START, START):
        engine.sent.put(body)
    next(coming)
    assert engine.sent.empty()
    engine.sent.put(START)
    next(coming)
    assert engine.subscriptions == 1
    engine.sent.put(None)


def test_again_after_the_stream_ended_and_the_engine_was_away(engine: FakeEngine) -> None:
    coming = stirs(Settings())
    next(coming)
    engine.faults = [EngineUnreachable("away")]
    engine.sent.put(None)
    next(coming)
    assert (engine.subscriptions, engine.closed, engine.faults) == (2, 1, [])
    engine.sent.put(None)


def test_the_last_table_stays_while_the_engine_is_away(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faults: list[Exception] = []

    def drawn(_: object) -> list[object]:
        if faults:
            raise faults.pop()
        return []

    monkeypatch.setattr(following, "picture_of", drawn)
    tables = follow_picture(Settings())
    next(tables)
    faults.append(EngineUnreachable("no engine at \x1b[31m"))
    engine.sent.put(START)
    next(tables)
    assert "no engine at \\x1b[31m; what stands above is from before" in capsys.readouterr().err
    engine.sent.put(None)


@pytest.mark.parametrize(
    "fault", [EngineUnreachable("no engine at x"), ValueError("a network without an id")]
)
def test_a_picture_that_cannot_be_taken(
    fault: Exception, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(_: object) -> list[object]:
        raise fault

    monkeypatch.setattr(following, "picture_of", drawn)
    with pytest.raises(CommandError, match=str(fault)):
        picture(Settings())
    assert engine.subscriptions == 0
