"""Deadlines of thousands of things behind one timer, which runs only while there is something to wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

TICK = 0.05
"""Seconds by which a deadline may be late: none of ours is finer than a few tenths."""

_PER_SECOND = 1 / TICK

Slot = dict[Any, "Callable[[Any, float], None]"]
"""What is due in the same tick. What is no longer waited for is deleted from its slot, in constant time."""


class Wheel:
    """Slots by tick; items are put in with what to call when their time has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        self._loop = loop
        self._now = now
        self._slots: dict[int, Slot] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0

    def put(self, item: object, due: float, expired: Callable[[Any, float], None]) -> Slot:
        """Call ``expired(item, now)`` soon after ``due``, unless the item is deleted from the slot."""
        tick = int(due * _PER_SECOND) + 1
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
            if self._timer is None or tick < self._timer_tick:
                self._arm(tick)
        slot[item] = expired
        return slot

    def turn(self) -> None:
        """Call all whose time has come. The timer does this; a test with its own clock may."""
        now = self._now()
        current = int(now * _PER_SECOND)
        for tick in sorted(tick for tick in self._slots if tick <= current):
            slot = self._slots.pop(tick)
            while slot:
                item, expired = slot.popitem()
                expired(item, now)
        if self._slots:
            self._arm(min(self._slots))
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Nothing is called any more."""
        self._slots.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        self._timer = self._loop.call_later(max(0.0, tick * TICK - self._now()), self.turn)
