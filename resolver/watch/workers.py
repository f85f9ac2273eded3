"""A few threads for the calls that block.

The standard executor waits for its threads when the program ends; a call to an engine that hangs would hold
up our own end for as long as its time-out. These threads are left behind instead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Workers:
    """Runs functions in threads, oldest first. Threads are started as they are needed."""

    def __init__(self, most: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._most, self._threads, self._busy = most, 0, 0

    def submit(self, function: Callable[..., _Result], *arguments: Any) -> asyncio.Future[_Result]:
        """Its result, or its exception, some time later."""
        future: asyncio.Future[_Result] = self._loop.create_future()
        self._busy += 1
        future.add_done_callback(self._one_less)
        self._jobs.put((lambda: function(*arguments), future))
        if self._busy > self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._work, name="resolver-engine", daemon=True).start()
        return future

    def close(self) -> None:
        """Let idle threads end; those in a call end when it does."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _one_less(self, _: asyncio.Future[Any]) -> None:
        self._busy -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, future = job
            if future.cancelled():
                continue
            try:
                result, failure = call(), None
            except Exception as error:  # noqa: BLE001 - it is raised again where the result is awaited
                result, failure = None, error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_settle, future, result, failure)


def _settle(future: asyncio.Future[Any], result: object, failure: Exception | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)
