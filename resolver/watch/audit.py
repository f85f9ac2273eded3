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


async def is_whole(engine: Engine, workers: Workers, recent: Collection[Event]) -> bool:
    """Whether everything the buffer holds was heard. ``recent`` goes on growing while this waits.

    Raises EngineError when the engine does not answer.
    """
    now = await workers.submit(engine.now)
    known = tuple(recent)
    told, complete = await workers.submit(replay, engine, known, now)
    if not told and complete:
        return True
    await asyncio.sleep(UNDER_WAY)
    heard_more = tuple(recent) != known
    return (complete or heard_more) and all(event in recent for event in told)
