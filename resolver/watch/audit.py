"""Whether the stream of events is whole, asked of the engine's own buffer.

An engine skips what a reader is too slow for, and tells nobody; and a link that was cut without a word looks
like an engine that has nothing to say. Either would leave a table that nobody knows to be old.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from resolver.watch.picture import replay

if TYPE_CHECKING:
    from collections.abc import Collection

    from resolver.watch.engine import Engine
    from resolver.watch.events import Event
    from resolver.watch.workers import Workers

UNDER_WAY: Final = 1.0
"""Seconds an event may take from the buffer to us."""
ROUNDS: Final = 5
"""How often that is granted again while others go on arriving, as in a burst."""


async def is_whole(engine: Engine, workers: Workers, recent: Collection[Event]) -> bool:
    """Whether everything the buffer holds was heard. ``recent`` goes on growing while this waits.

    Raises EngineError when the engine does not answer.
    """
    now = await workers.submit(engine.now)
    known = tuple(recent)
    told, complete = await workers.submit(replay, engine, known, now)
    if not told and complete:
        return True
    for _ in range(ROUNDS):
        newest = known[-1] if known else None
        await asyncio.sleep(UNDER_WAY)
        known = tuple(recent)
        heard_more = bool(known) and known[-1] != newest
        complete = complete or heard_more
        if complete and all(event in known for event in told):
            return True
        if not heard_more:
            return False
    return False
