"""The answering process gets no more memory: it goes on, or is started again with the whole table."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from tests.faults import faulty
from tests.faults.faulty import Faulty, answer, each
from tests.faults.running import (
    ADDRESS,
    Beside,
    Running,
    ask_tcp,
    ask_udp,
    flooding,
    proc_field,
    question,
    running,
)
from tests.faults.test_clients import connected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEFT = 3 << 20
"""Octets it may take beyond what it has when it is ready."""


def size(pid: int) -> int:
    return int(proc_field(pid, "VmSize").split()[0]) << 10


def test_no_memory_left(tmp_path: Path) -> None:
    """Names asked once fill the cache, connections and half questions their buffers."""
    with running(tmp_path) as resolver:
        most = size(resolver.served.child) + LEFT
    with (
        Faulty(each(lambda packet: answer(packet, count=25))) as upstream,
        running(
            tmp_path, f"--upstream={upstream.address}", "--cache-size=1G", prefix=("prlimit", f"--as={most}")
        ) as resolver,
    ):
        child = resolver.served.child
        with (
            Beside(resolver.at, patience=5.0) as beside,
            flooding(resolver.at, "names", 25.0) as flood,
            ExitStack() as stack,
        ):
            for _ in range(200):
                stack.enter_context(connected(resolver.at, "127.77.9.1", b"\x3f\xff" + bytes(16_000)))
            while not ran_out(resolver.served.log) and flood.poll() is None:
                time.sleep(0.1)
            time.sleep(1)
            flood.terminate()
        assert ran_out(resolver.served.log)
        assert len(beside.took) > beside.asked // 2
        for ask in (ask_udp, ask_tcp):
            for name, right in (("es.dev", ADDRESS), ("after.example", faulty.ADDRESS)):
                comes_to_be(partial(ask, resolver.at, question(name), 1.0), right, resolver)
        told_of = f"{len(beside.took)} of {beside.asked} asked beside were answered"
        print(f"the same process: {resolver.served.child == child}; {told_of}")  # noqa: T201


def ran_out(log: str) -> bool:
    return any(word in log for word in ("MemoryError", "no memory is left", "is started again"))


def comes_to_be(ask: Callable[[], bytes], right: bytes, resolver: Running) -> None:
    """What is left of the flood may still be under way."""
    deadline = time.monotonic() + 15
    while True:
        with suppress(OSError):
            if right in ask():
                return
        assert time.monotonic() < deadline, resolver.served.log
        time.sleep(0.1)
