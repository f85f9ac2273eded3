import asyncio
import threading
import time

import pytest

from resolver.watch.workers import Workers


async def test_results_and_failures() -> None:
    workers = Workers(2)
    assert await workers.submit(pow, 2, 3) == 8
    with pytest.raises(ZeroDivisionError):
        await workers.submit(divmod, 1, 0)
    workers.close()


async def test_as_many_threads_as_are_needed_and_no_more() -> None:
    workers, gate = Workers(3), threading.Event()
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    for _ in range(5):
        await workers.submit(int)
    assert len(set(threading.enumerate()) - before) == 1
    waiting = [workers.submit(gate.wait, 5) for _ in range(6)]
    assert len(set(threading.enumerate()) - before) <= 3
    gate.set()
    assert all(await asyncio.gather(*waiting))
    workers.close()


async def test_a_call_that_hangs_holds_up_nobody() -> None:
    workers, gate = Workers(2), threading.Event()
    hanging = workers.submit(gate.wait, 5)
    began = time.monotonic()
    assert await workers.submit(int) == 0
    assert time.monotonic() - began < 1
    hanging.cancel()
    gate.set()
    workers.close()
