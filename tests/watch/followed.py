"""A follower at work, and what it told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from resolver.names.changes import Change, Engine
from resolver.watch.book import Book
from resolver.watch.find import Place
from resolver.watch.follow import Follower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType


class Followed:
    """Follows from the start; as a context it is ended at the end.

    ``at`` is a socket's path, or a URL.
    """

    def __init__(self, at: Path | str) -> None:
        url = at if isinstance(at, str) else f"unix://{at}"
        self.book, self.told, self.pictures = Book(), list[Change](), 0
        self.follower = Follower(lambda: [Place(url, "--engine")], self.book, self._tell, self._pictured)
        self.task = asyncio.create_task(self.follower.run())

    def _tell(self, changes: Iterable[Change]) -> None:
        self.told += [change for change in changes if self.book.note(change)]

    def _pictured(self) -> None:
        self.book.pictured = True
        self.pictures += 1

    async def until(self, reached: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not reached():
                assert not self.task.done()
                await asyncio.sleep(0.005)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    def states(self) -> list[str]:
        return [change.state for change in self.told if isinstance(change, Engine)]
