"""The loads that are compared by queries per second: all in turn, in rounds, so that noise falls on all."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench import loads, peers
from bench.measure import MeasureError, Pressure, Run, dnsperf, median
from bench.ours import FromFile, Ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.loads import Load
    from bench.peers import Peer
    from bench.stage import Stage

Cell = tuple[str, int, str]
"""Letter of the load, client sockets, name of the peer."""


@dataclass(frozen=True, slots=True)
class Event:
    """One load and who takes part."""

    load: Load
    questions: Callable[[Peer], Path]
    """Asked anew before each run."""
    peers: Sequence[Peer]
    pressures: Sequence[Pressure]
    warm: bool = False
    """Whether each question is put once before a server's first run, unmeasured."""


@dataclass(slots=True)
class Results:
    """All runs of all cells."""

    runs: dict[Cell, list[Run]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)

    def rate(self, cell: Cell) -> float:
        """Median of queries per second."""
        return median(run.rate for run in self.runs.get(cell, ()))

    def cpu(self, cell: Cell) -> float:
        """Median of processor seconds per query."""
        return median(run.cpu_per_query for run in self.runs.get(cell, ()))

    def latency(self, cell: Cell, share: float) -> float:
        """Median over the runs of a percentile of the latency."""
        return median(run.percentile(share) for run in self.runs.get(cell, ()) if run.latencies)

    def lost(self, cell: Cell) -> int:
        """Queries lost in all runs."""
        return sum(run.lost for run in self.runs.get(cell, ()))

    def wrong(self, cell: Cell) -> int:
        """Replies with a wrong rcode in all runs."""
        return sum(run.wrong for run in self.runs.get(cell, ()))


class Field:
    """Everybody who takes part, started."""

    def __init__(self, place: Stage) -> None:
        self.place = place
        self.ours = Ours(place)
        self.docker, self.echo = peers.DockersOwn(place), peers.Echo(place)
        self.dnsmasq, self.caching = peers.Dnsmasq(place), peers.CachingDnsmasq(place)
        self.aardvark, self.unbound = peers.Aardvark(place), peers.Unbound(place)
        self.plain = peers.plain(place)
        self.tables = [FromFile(place, n, f"127.0.1.{i}") for i, n in enumerate((100, 1_000, 10_000), 1)]

    def all(self) -> Iterator[Peer]:
        """In the order in which they start."""
        yield from (self.docker, self.echo, self.dnsmasq, self.caching, self.aardvark, self.unbound)
        yield from (*self.plain, *self.tables, self.ours)

    def events(self, seconds: int) -> list[Event]:
        """Loads a, b, c, d, f and g, and one at a steady pace for the latencies."""
        place, both = self.place, (Pressure(1, seconds=seconds), Pressure(20, seconds=seconds))
        one, many = loads.one_name(place), loads.many_names(place)
        popular = loads.popular_names(place)
        tables = {table.name: loads.table_names(place, table.endpoints) for table in self.tables}
        local = [self.ours, self.docker, self.aardvark, self.dnsmasq]
        single = [Pressure(1, 1, seconds, each=True)]
        paced = [Pressure(20, seconds=seconds, rate=loads.PACE, each=True)]
        return [
            Event(loads.A, lambda _: one, [*local, self.echo, *self.plain], both),
            Event(loads.B, lambda _: many, [*local, self.echo], both, warm=True),
            Event(
                loads.C,
                lambda _: loads.new_names(place, seconds),
                [self.ours, self.docker, self.aardvark, self.dnsmasq, self.unbound],
                both,
            ),
            Event(
                loads.D,
                lambda _: popular,
                [self.ours, self.docker, self.caching, self.unbound],
                both,
                warm=True,
            ),
            Event(loads.F, lambda peer: tables[peer.name], self.tables, both, warm=True),
            Event(loads.G, lambda _: one, [*local, self.echo], single),
            Event(loads.P, lambda _: many, local, paced),
        ]


def hold(events: Sequence[Event], rounds: int, inside: Sequence[str], say: Callable[[str], None]) -> Results:
    """Run all events so many times, in turn."""
    results = Results()
    for event in events:
        if event.warm:
            say(f"warming up: {event.load.letter}")
            for peer in event.peers:
                dnsperf(inside, peer.address, event.questions(peer), Pressure(seconds=20, times=1))
    for number in range(1, rounds + 1):
        for event in events:
            say(f"round {number} of {rounds}: {event.load.letter}, {event.load.title}")
            for pressure in event.pressures:
                for peer in event.peers:
                    cell = event.load.letter, pressure.clients, peer.name
                    try:
                        run = dnsperf(inside, peer.address, event.questions(peer), pressure, peer.pids)
                        results.runs[cell].append(run)
                    except MeasureError as error:
                        results.failures.append(f"{cell}: {error}")
    return results
