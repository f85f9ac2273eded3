"""What is not throughput: start, how soon a new container has a name, and how a full picture is taken in."""

from __future__ import annotations

import itertools
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import ours
from bench.measure import MeasureError
from bench.ours import ByHand, Ours
from bench.question import addresses, ask, await_answer, socket_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage


@dataclass(slots=True)
class Watchful:
    """What somebody saw who went on asking names with known answers."""

    waits: list[float]
    wrong: int = 0
    lost: int = 0


def start_up(place: Stage, times: int) -> list[float]:
    """Seconds from exec to the first answer for a container's name, which needs the first picture."""
    found = []
    for _ in range(times):
        server = Ours(place)
        begun = time.monotonic()
        try:
            server.launch()
            await_answer(place.pid, server.address, server.knows)
            found.append(time.monotonic() - begun)
        finally:
            server.stop()
    return found


@dataclass(frozen=True, slots=True)
class Fresh:
    """How new containers came to their names."""

    waits: list[float]
    """Seconds from the engine's «started» to the right answer; only the right ones."""
    wrong: int
    """First answers that were another one than the container's address."""


def fresh_names(place: Stage, address: str, runs: int) -> Fresh:
    """Start containers one by one, and ask for each as soon as the engine says that it runs: just before
    ``docker run -d`` returns."""
    waits, wrong = [], 0
    with socket_in(place.pid) as sock:
        sock.connect((address, 53))
        for n in range(runs):
            name = f"fresh{os.getpid()}x{n}"
            container = place.create(name)
            place.api.start(container)
            begun = time.monotonic()
            reply = ask(sock, address, name, 2.0)
            wait = time.monotonic() - begun
            if reply and addresses(reply) == {place.look(container, []).ipv4}:
                waits.append(wait)
            else:
                wrong += 1
            place.api.remove_container(container, force=True)
    return Fresh(waits, wrong)


@contextmanager
def watchful(place: Stage, address: str, expected: dict[str, set[str]], pause: float) -> Iterator[Watchful]:
    """Keep asking in the background for names whose answers are known, one at a time."""
    seen, over = Watchful([]), threading.Event()

    def watch() -> None:
        with socket_in(place.pid) as sock:
            sock.connect((address, 53))
            for name in itertools.cycle(expected):
                if over.wait(pause):
                    return
                begun = time.monotonic()
                reply = ask(sock, address, name, 2.0)
                seen.waits.append(time.monotonic() - begun)
                seen.lost += not reply
                seen.wrong += bool(reply) and addresses(reply) != expected[name]

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Pictured:
    """How a full picture was taken in."""

    seconds: float
    """Until it answered from it."""
    longest: float
    """The longest wait of a question asked meanwhile that needs no picture."""
    again: float
    """The longest wait while the same picture came once more, as after a lost engine."""


def first_picture(place: Stage, endpoints: int) -> Pictured:
    """Put a full picture through the door of a new answering process while it is being asked."""
    server, lines = ByHand(place), ours.picture(endpoints)
    last = f"{endpoints - 1:012x}"
    try:
        server.start()
        with watchful(place, server.address, {"localhost": {"127.0.0.1"}}, 0.0005) as first:
            time.sleep(0.2)
            begun = time.monotonic()
            server.tell(lines)
            await_answer(place.pid, server.address, last)
            seconds = time.monotonic() - begun
        with watchful(place, server.address, {"localhost": {"127.0.0.1"}}, 0.0005) as again:
            server.tell(lines)
            time.sleep(seconds + 0.2)
    finally:
        server.stop()
    if first.lost or first.wrong or again.lost or again.wrong:
        raise MeasureError(f"while a picture was applied: {first} {again}"[:200])
    return Pictured(seconds, max(first.waits), max(again.waits))
