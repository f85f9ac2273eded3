"""Load e: the same questions with and without containers that come and go, in turn."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from docker.errors import APIError

from bench import loads, ours
from bench.measure import Pressure, Run, dnsperf, median
from bench.ours import ByHand
from bench.stage import POOL, Stage
from bench.trials import Watchful, watchful

if TYPE_CHECKING:
    from pathlib import Path

    from bench.peers import Peer

RATE: Final = 20
"""Containers a second that the target speaks of."""
RESTARTING: Final = 8
KNOWN: Final = 50
"""Names whose answers are compared all the while."""

Churn = Callable[[], AbstractContextManager[Callable[[], float]]]
"""Containers come and go inside; a call there tells how many a second so far."""


@dataclass(slots=True)
class Weather:
    """What was measured in one weather, quiet or not."""

    runs: list[Run] = field(default_factory=list)
    paced: list[Run] = field(default_factory=list)
    seen: list[Watchful] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Queries a second."""
        return median(run.rate for run in self.runs)

    @property
    def cpu(self) -> float:
        """Processor seconds per query."""
        return median(run.cpu_per_query for run in self.runs)

    @property
    def p99(self) -> float:
        """Seconds, at loads.PACE."""
        return median(run.percentile(0.99) for run in self.paced)

    @property
    def lost(self) -> int:
        """Questions without an answer."""
        return sum(run.lost for run in [*self.runs, *self.paced]) + sum(seen.lost for seen in self.seen)

    @property
    def wrong(self) -> int:
        """Answers that were not right."""
        return sum(run.wrong for run in [*self.runs, *self.paced]) + sum(seen.wrong for seen in self.seen)


@dataclass(slots=True)
class Compared:
    """One server in both weathers."""

    peer: str
    quiet: Weather = field(default_factory=Weather)
    churning: Weather = field(default_factory=Weather)


def compare(
    peer: Peer, questions: Path, known: dict[str, set[str]], churn: Churn, rounds: int, seconds: int
) -> Compared:
    """In turn: quiet, churn, quiet, churn. All is asked once before, so that the first is not cold."""
    found = Compared(peer.name)
    dnsperf(peer.place.inside, peer.address, questions, Pressure(seconds=20, times=1))
    for _ in range(rounds):
        _measure(peer, questions, known, seconds, found.quiet)
        with churn() as rate:
            _measure(peer, questions, known, seconds, found.churning)
            found.churning.restarts.append(rate())
    return found


def _measure(peer: Peer, questions: Path, known: dict[str, set[str]], seconds: int, into: Weather) -> None:
    place = peer.place
    with watchful(place, peer.address, known, 0.005) as seen:
        into.runs.append(
            dnsperf(place.inside, peer.address, questions, Pressure(20, seconds=seconds), peer.pids)
        )
        paced = Pressure(20, seconds=seconds, rate=loads.PACE, each=True)
        into.paced.append(dnsperf(place.inside, peer.address, questions, paced))
    into.seen.append(seen)


def with_the_engine(peer: Peer, rounds: int, seconds: int) -> Compared:
    """Real containers restart. The engine's own work for that counts against whoever is measured."""
    place = peer.place
    questions = loads.mixed(place, loads.many_names(place))
    known = {f"n{n}": place.addresses(f"n{n}") for n in range(KNOWN)}
    return compare(peer, questions, known, lambda: restarting(place), rounds, seconds)


def by_hand(place: Stage, endpoints: int, rounds: int, seconds: int) -> Compared:
    """The door tells of restarts: what the engine itself costs is left out."""
    server = ByHand(place)
    try:
        server.start()
        server.tell(ours.picture(endpoints))
        questions = loads.mixed(place, loads.table_names(place, endpoints))
        known = {f"n{n}": {f"10.64.{n // 250}.{n % 250 + 2}"} for n in range(KNOWN)}
        return compare(server, questions, known, lambda: told(server, endpoints), rounds, seconds)
    finally:
        server.stop()


@contextmanager
def restarting(place: Stage) -> Iterator[Callable[[], float]]:
    """Containers of the engine restart, up to RATE a second, or as many as it can."""
    made = [place.create(f"churn{os.getpid()}x{n}") for n in range(RESTARTING)]
    over, done = threading.Event(), list[float]()
    try:
        with ThreadPoolExecutor(4) as several:
            list(several.map(place.api.start, made))
        threads = [threading.Thread(target=_restart, args=(place, made[n::4], over, done)) for n in range(4)]
        begun = time.monotonic()
        with _running(threads, over):
            yield lambda: len(done) / (time.monotonic() - begun)
    finally:
        with ThreadPoolExecutor(4) as several:
            list(several.map(lambda one: place.api.remove_container(one, force=True), made))


def _restart(place: Stage, containers: list[str], over: threading.Event, done: list[float]) -> None:
    for container in itertools.cycle(containers):
        begun = time.monotonic()
        with suppress(APIError):
            place.api.restart(container, timeout=0)
            done.append(begun)
        if over.wait(max(0.0, 4 / RATE - (time.monotonic() - begun))):
            return


@contextmanager
def told(server: ByHand, endpoints: int) -> Iterator[Callable[[], float]]:
    """RATE containers a second restart as the answering process sees it; those asked for are left alone."""
    over, done = threading.Event(), list[int]()

    def tell() -> None:
        for number in itertools.cycle(range(max(POOL, KNOWN), endpoints)):
            if over.wait(1 / RATE):
                return
            server.tell([ours.gone(number), ours.pending(number)])
            server.tell([ours.container(number, endpoints)])
            done.append(number)

    begun = time.monotonic()
    with _running([threading.Thread(target=tell)], over):
        yield lambda: len(done) / (time.monotonic() - begun)


@contextmanager
def _running(threads: list[threading.Thread], over: threading.Event) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
