"""What the engine has now, and when to look again: for commands that run without a resolver."""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from resolver.show.terminal import CommandError
from resolver.watch.engine import Engine, EngineError, EventStream
from resolver.watch.events import read_event
from resolver.watch.find import places
from resolver.watch.picture import picture as picture_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resolver.names.changes import Change
    from resolver.settings import Settings

_CALM, _LATEST = 0.15, 1.0
"""Seconds without an event after which to look; and at the latest, when events do not stop coming."""

_PAUSE = 1.0
"""Seconds between two tries to reach a lost engine."""


def picture(settings: Settings) -> Iterable[Change]:
    """Everything the engine has now.

    Raises CommandError that says what to do when there is no engine.
    """
    try:
        return picture_of(_reach(settings))
    except EngineError as error:
        raise CommandError(str(error)) from None
    except ValueError as error:
        raise CommandError(f"the engine tells of {error}, which cannot be") from None


def _reach(settings: Settings) -> Engine:
    return Engine.reach(places(settings.engine, os.environ, Path.home()))


def stirs(settings: Settings) -> Iterator[None]:
    """Comes back once at the beginning of each subscription, and after each burst of events. Never ends."""
    while True:
        try:
            engine = _reach(settings)
            events = engine.events(since=f"{engine.now()}.000000000")
        except EngineError:
            time.sleep(_PAUSE)
            continue
        try:
            yield
            yield from _bursts(events)
        finally:
            events.close()
        time.sleep(_PAUSE)


def _bursts(events: EventStream) -> Iterator[None]:
    heard: queue.SimpleQueue[bool] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(events, heard), daemon=True).start()
    while heard.get():
        end = time.monotonic() + _LATEST
        try:
            while (left := end - time.monotonic()) > 0:
                if not heard.get(timeout=min(_CALM, left)):
                    return
        except queue.Empty:
            pass
        yield


def _listen(events: EventStream, heard: queue.SimpleQueue[bool]) -> None:
    """Put True for each event that may concern names, False when the stream has ended."""
    try:
        for body in events:
            if body is None or read_event(body):
                heard.put(True)
    except EngineError:
        pass
    finally:
        heard.put(False)
