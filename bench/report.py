"""What came of it: one table of medians and ratios with the targets beside them, as Markdown."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import loads
from bench.measure import Idle, median, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.attached import Beside
    from bench.churn import Compared
    from bench.contest import Cell, Field, Results
    from bench.trials import Fresh, Pictured

OURS: Final = "resolver"

LEAST: Final[dict[tuple[str, str], float]] = {
    ("a", "Docker"): 2.5,
    ("a", "aardvark-dns"): 1.5,
    ("a", "dnsmasq"): 1.1,
    ("a", "C echo"): 0.75,
    ("b", "Docker"): 2.2,
    ("b", "aardvark-dns"): 1.5,
    ("b", "dnsmasq"): 1.1,
    ("b", "C echo"): 0.65,
    ("c", "Docker"): 2.2,
    ("c", "dnsmasq"): 1.0,
    ("d", "Docker"): 6.0,
    ("d", "dnsmasq, cache"): 1.0,
    ("d", "unbound"): 1.0,
}
"""Load and peer → how many times its queries per second ours must be."""


@dataclass(slots=True)
class Findings:
    """Everything that was measured."""

    results: Results
    containers: int
    quick: bool = False
    rounds: int = 0
    seconds: int = 0
    minutes: float = 0.0
    start: list[float] = field(default_factory=list)
    fresh: Fresh | None = None
    idle: Idle | None = None
    size: tuple[int, int] = (0, 0)
    """Octets at rest: all processes of ours, and of those the one that answers."""
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The same by endpoints in the table."""
    pictured: Pictured | None = None
    churn: list[Compared] = field(default_factory=list)
    attached: Beside | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One figure with its target."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        return self.what, self.measured, self.target, {None: "", True: "met", False: "**missed**"}[self.met]


def machine(field_: Field) -> list[str]:
    """What it ran on, and versions."""
    cpu = re.search(r"model name\s+: (.+)", Path("/proc/cpuinfo").read_text())
    cores = len(re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    versions = [
        f"{peer.name} {peer.version}" for peer in field_.all() if _is_peer(peer.name) and peer.version
    ]
    dnsperf = subprocess.run(["dnsperf", "-h"], capture_output=True, text=True, check=False)
    found = re.search(r"Version (\S+)", dnsperf.stdout + dnsperf.stderr)
    return [
        (
            f"{cores} × {cpu.group(1) if cpu else platform.machine()}, shared by all that runs; "
            f"Linux {platform.release().split('-')[0]}; Python {platform.python_version()}"
        ),
        f"{', '.join(versions)}, dnsperf {found.group(1) if found else '?'}",
    ]


def throughput(found: Findings) -> str:
    """Medians, spread, processor time, and the ratio of ours to each peer."""
    rows = []
    for cell, runs in sorted(found.results.runs.items(), key=lambda item: _order(item[0], found.results)):
        letter, clients, peer = cell
        if letter in "gp" or not runs:
            continue
        rates, own = [run.rate for run in runs], found.results.rate((letter, clients, OURS))
        ratio = own / rate if (rate := median(rates)) and peer != OURS and letter != "f" else 0.0
        least = LEAST.get((letter, peer))
        rows.append(
            (
                letter,
                str(clients),
                peer,
                f"{rate:,.0f}",
                f"{min(rates):,.0f}–{max(rates):,.0f}",
                f"{found.results.cpu(cell) * 1e6:.1f}" if found.results.cpu(cell) else "",
                f"{ratio:.2f}" if ratio else "",
                f"≥ {least:g}" if least and ratio else "",
                ("met" if ratio >= least else "**missed**") if least and ratio else "",
                _faults(found.results, cell),
            )
        )
    head = (
        "load",
        "sockets",
        "server",
        "queries/s",
        "range",
        "CPU µs/query",
        "ours ÷ it",
        "target",
        "",
        "faults",
    )
    return table(head, rows)


def others(found: Findings) -> str:
    """Everything that is no ratio of queries per second to a peer."""
    lines = [*_latency(found), *_tables(found), *_start(found), *_size(found), *_churn(found)]
    lines += _attached(found.attached) if found.attached else []
    return table(("what", "measured", "target", ""), [line.cells() for line in lines])


def legend() -> str:
    """What each letter stands for."""
    named = (loads.A, loads.B, loads.C, loads.D, loads.E, loads.F, loads.G, loads.H)
    return "; ".join(f"{load.letter}: {load.title}" for load in named)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are as wide as they must be: it is read in a terminal too."""
    everything = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    numeric = [all(_is_number(row[i]) for row in everything[1:]) for i in range(len(head))]
    rule = tuple("-" * (w - 1) + ":" if n else "-" * w for w, n in zip(widths, numeric, strict=True))

    def spell(row: Sequence[str]) -> str:
        cells = zip(row, widths, numeric, strict=True)
        return "| " + " | ".join(f"{c:>{w}}" if n else f"{c:<{w}}" for c, w, n in cells) + " |"

    return "\n".join([spell(everything[0]), "| " + " | ".join(rule) + " |", *map(spell, everything[1:])])


def _latency(found: Findings) -> Iterator[Line]:
    results = found.results
    for letter, clients in (("g", 1), ("p", 20)):
        docker = results.latency((letter, clients, "Docker"), 0.5)
        for cell in (cell for cell in results.runs if cell[0] == letter):
            middle, high = results.latency(cell, 0.5), results.latency(cell, 0.99)
            title = loads.G.title if letter == "g" else loads.P.title
            judged = letter == "g" and cell[2] == OURS
            yield Line(
                f"{letter}, {title}, {cell[2]}: median, p99",
                f"{_us(middle)}, {_us(high)}",
                f"median ≤ Docker's {_us(docker)}" if judged else "",
                middle <= docker if judged else None,
            )


def _tables(found: Findings) -> Iterator[Line]:
    names = {n: f"resolver, {n:,} endpoints" for n in found.sizes}
    for clients in (1, 20):
        rates = {n: found.results.rate(("f", clients, name)) for n, name in names.items()}
        if rates.get(100) and rates.get(10_000):
            ratio = rates[10_000] / rates[100]
            told = f"f, {clients} sockets: 10,000 endpoints ÷ 100 endpoints, queries/s"
            yield Line(told, f"{ratio:.2f}", "≥ 0.9", ratio >= 0.9)
    if {100, 10_000} <= set(found.sizes):
        both, answering = ((found.sizes[10_000][i] - found.sizes[100][i]) / 9_900 / 1024 for i in range(2))
        yield Line(
            "f, memory per endpoint: answering process", f"{answering:.2f} KB", "≤ 2.5 KB", answering <= 2.5
        )
        yield Line("f, memory per endpoint: both processes", f"{both:.2f} KB")
    if found.pictured:
        longest, again = found.pictured.longest, found.pictured.again
        yield Line(
            "f, longest wait while the first picture of 10,000 is applied",
            _ms(longest),
            "≤ 20 ms",
            longest <= 0.02,
        )
        yield Line("f, longest wait while the same picture comes again", _ms(again), "≤ 20 ms", again <= 0.02)
        yield Line("f, the first picture of 10,000 is in after", _ms(found.pictured.seconds))


def _start(found: Findings) -> Iterator[Line]:
    if found.start:
        middle = median(found.start)
        told = (
            f"exec to first answer with {found.containers} containers, {len(found.start)} runs: median (max)"
        )
        yield Line(told, f"{middle:.2f} s ({max(found.start):.2f})", "≤ 1.0 s", middle <= 1.0)
    if found.fresh and found.fresh.waits:
        high = percentile(found.fresh.waits, 0.99)
        count = len(found.fresh.waits) + found.fresh.wrong
        yield Line(
            f"container started to name answered, {count} runs: median, p99",
            f"{_ms(median(found.fresh.waits))}, {_ms(high)}",
            "p99 ≤ 20 ms",
            high <= 0.02,
        )
        yield Line("…, wrong first answers", str(found.fresh.wrong), "0", found.fresh.wrong == 0)


def _size(found: Findings) -> Iterator[Line]:
    both, answering = found.size
    if both:
        told = f"memory (PSS) at rest, {found.containers} containers: both processes (the answering one)"
        yield Line(told, f"{_mb(both)} ({_mb(answering)})", "≤ 60 MB", both <= 60 << 20)
    for endpoints, (every, one) in found.sizes.items():
        yield Line(
            f"memory (PSS), {endpoints:,} endpoints: both (the answering one)", f"{_mb(every)} ({_mb(one)})"
        )
    if found.idle:
        idle = found.idle
        yield Line(
            f"CPU at rest over {idle.seconds:.0f} s",
            f"{idle.cpu / idle.seconds:.2%}, {idle.wake_ups / idle.seconds:.1f} wake-ups/s",
            "not measurable",
            idle.cpu <= 0.02,
        )


def _churn(found: Findings) -> Iterator[Line]:
    for one in found.churn:
        per_second = median(one.churning.restarts)
        judged = one.peer.startswith(OURS)
        told = f"e, {one.peer}, {per_second:.1f} restarts/s"
        told += " told by hand" if "door" in one.peer else " by the engine"
        quiet, churning = one.quiet, one.churning
        ratio = churning.rate / quiet.rate if quiet.rate else 0.0
        slower = churning.p99 / quiet.p99 if quiet.p99 else 0.0
        yield Line(
            f"{told}: queries/s ÷ quiet",
            f"{ratio:.2f} ({churning.rate:,.0f} ÷ {quiet.rate:,.0f})",
            "≥ 0.75" if judged else "",
            ratio >= 0.75 if judged else None,
        )
        yield Line(f"{told}: CPU per query, and quiet", f"{_us(churning.cpu)}, {_us(quiet.cpu)}")
        yield Line(
            f"{told}: p99 ÷ quiet p99, {loads.PACE:,} queries/s",
            f"{slower:.1f} ({_ms(churning.p99)} ÷ {_ms(quiet.p99)})",
            "≤ 5" if judged else "",
            slower <= 5 if judged else None,
        )
        sent = sum(run.sent for run in [*churning.runs, *churning.paced])
        faults = f"{churning.lost} of {sent:,}, {churning.wrong}"
        right = churning.lost == churning.wrong == 0
        yield Line(f"{told}: lost, wrong", faults, "0, 0" if judged else "", right if judged else None)


def _attached(found: Beside) -> Iterator[Line]:
    for clients in sorted(found.ours):
        ours, docker = (median(run.rate for run in runs[clients]) for runs in (found.ours, found.docker))
        ratio = ours / docker if docker else 0.0
        told = f"h, {loads.H.title}, {clients} socket{'s' * (clients > 1)}: ours ÷ Docker"
        yield Line(told, f"{ratio:.2f} ({ours:,.0f} ÷ {docker:,.0f})", "≥ 2", ratio >= 2)
    faults = sum(run.lost + run.wrong for runs in found.ours.values() for run in runs)
    yield Line("h: lost or wrong while attached", str(faults), "0", faults == 0)
    if found.containers and found.idle:
        who, each = f"h, {found.containers} attached containers", found.octets / found.containers / 1024
        shown, met = (f"{each:.1f} KB", each <= 60) if each > 0 else ("not measurable in this run", None)
        yield Line(f"{who}: memory (PSS) each, both processes", shown, "≤ 60 KB", met)
        middle, high = median(found.took), percentile(found.took, 0.99)
        took = f"{_ms(middle)}, {_ms(high)}"
        yield Line(f"{who}: attached within, median, p99", took, "p99 ≤ 20 ms", high <= 0.02)
        share = found.idle.cpu / found.idle.seconds
        yield Line(f"{who}: CPU at rest", f"{share:.2%}", "≤ 1 %", share <= 0.01)


def _order(cell: Cell, results: Results) -> tuple[str, int, bool, float]:
    return cell[0], cell[1], cell[2] != OURS, -results.rate(cell)


def _faults(results: Results, cell: Cell) -> str:
    lost, wrong = results.lost(cell), results.wrong(cell)
    return ", ".join([f"{lost} lost"] * bool(lost) + [f"{wrong} wrong"] * bool(wrong))


def _is_peer(name: str) -> bool:
    return name in (OURS, "Docker", "dnsmasq", "aardvark-dns", "unbound")


def _is_number(text: str) -> bool:
    return not text or bool(re.fullmatch(r"[\d,.–]+", text))


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _mb(octets: int) -> str:
    return f"{octets / (1 << 20):.1f} MB"
