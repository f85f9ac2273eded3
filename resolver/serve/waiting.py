"""Questions that cannot be decided yet, because a container that might answer them is just being started.

They are looked at again whenever the table changes, and decided for good when they have waited long enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MOST: Final = 4096
"""Questions that wait at once; beyond, they are decided at once."""

Asked = TypeVar("Asked")


class Waiting(Generic[Asked]):
    """Questions and their deadlines. ``decide(question, final)`` says whether it is decided."""

    def __init__(self, loop: asyncio.AbstractEventLoop, decide: Callable[[Asked, bool], bool]) -> None:
        self._loop, self._decide = loop, decide
        self._questions: list[tuple[float, Asked]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._questions)

    def add(self, question: Asked, deadline: float) -> bool:
        """Let it wait until ``deadline`` (loop time); False when too many wait already."""
        if len(self._questions) >= MOST:
            return False
        self._questions.append((deadline, question))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._overdue)
        elif deadline < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._overdue)
        return True

    def look_again(self) -> None:
        """The table changed."""
        if self._questions:
            self._decide_each(final_before=0.0)

    def end(self) -> None:
        """Decide everything now: we are stopping."""
        self._decide_each(final_before=float("inf"))

    def _overdue(self) -> None:
        self._timer = None
        self._decide_each(final_before=self._loop.time() + 0.001)

    def _decide_each(self, final_before: float) -> None:
        questions, self._questions = self._questions, []
        left = [(when, asked) for when, asked in questions if not self._decide(asked, when <= final_before)]
        self._questions = left + self._questions
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._questions:
            self._timer = self._loop.call_at(min(when for when, _ in self._questions), self._overdue)
