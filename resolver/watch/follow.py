"""Follows one engine for as long as we live: a session while it is there, pauses while it is not.

The safe order within a session: take the engine's time, subscribe with it as ``since``, look at everything,
and let the events since then say what to look at again. Nothing is lost between the steps, and whatever is
seen twice does no harm. While the engine is away the last lines go on being true for whoever answers; nothing
is taken back until a new picture says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from resolver.names.changes import Change
from resolver.names.changes import Engine as EngineLine
from resolver.watch.engine import Engine, EngineError
from resolver.watch.events import Event, Running
from resolver.watch.picture import Picture
from resolver.watch.session import Session
from resolver.watch.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resolver.watch.book import Book
    from resolver.watch.containers import Json
    from resolver.watch.find import Place

THREADS: Final = 8
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 5.0
RECENT: Final = 1024
"""Events remembered: more than an engine keeps (Docker 256), and than happen within a second."""

log = logging.getLogger(__name__)


class Follower:
    """Tells ``tell`` every change of the world, and ``pictured`` whenever a full picture has been told."""

    def __init__(
        self,
        places: Callable[[], Sequence[Place]],
        book: Book,
        tell: Callable[[Iterable[Change]], None],
        pictured: Callable[[], None],
        seen: Callable[[Json], None] | None = None,
    ) -> None:
        """``places`` says where to look for the engine, anew for each attempt. ``seen`` gets each container
        as the engine shows it."""
        self.book, self.tell = book, tell
        self.picture = Picture()
        self.running = Running()
        self.recent: deque[Event] = deque(maxlen=RECENT)
        """The newest events heard, newest last."""
        self.workers = Workers(THREADS)
        self._places, self._pictured, self.seen = places, pictured, seen
        self._loop = asyncio.get_running_loop()
        self._failures, self._why = 0, ""
        self._stale_from: float | None = None
        """The loop's time when the book was last known to be true; None while it is followed."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                began = self._loop.time()
                why, cut = await self._one_session()
                self._failures += 1
                if cut and self._failures == 1 and self._loop.time() - began > FIRST_PAUSE:
                    continue  # a proxy that cuts long streams: most often the engine is there
                self._lost(why)
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 1.3 ** (self._failures - 1)))
        finally:
            self.workers.close()

    def reached(self, engine: Engine) -> None:
        """A session has its picture."""
        if self._failures or not self.book.pictured:
            away = 0.0 if self._stale_from is None else round(self._loop.time() - self._stale_from, 1)
            log.info("engine reached", extra={"url": engine.url, "api": engine.api, "away": away})
        self._failures, self._stale_from, self._why = 0, None, ""
        self._pictured()

    async def _one_session(self) -> tuple[str, bool]:
        """Why it ended, and whether only its stream did."""
        confirmed = self._loop.time()
        try:
            engine = await self.workers.submit(lambda: Engine.reach(self._places()))
            session = Session(self, engine)
            try:
                return await session.run(), True
            finally:
                session.close()
                confirmed = session.confirmed
        except EngineError as error:
            return str(error), False
        finally:
            if self._stale_from is None:
                self._stale_from = confirmed

    def _lost(self, why: str) -> None:
        if why == self._why:
            return
        self._why = why
        url = self.book.engine.url if self.book.engine else self._places()[0].url
        log.warning("no engine: %s; what was known last goes on being answered", why)
        # Durations by the monotonic clock, whatever is done to the other one.
        since = time.time() - (self._loop.time() - (self._stale_from or self._loop.time()))
        self.tell([EngineLine("lost", url, why, round(since, 3))])
