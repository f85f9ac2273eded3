"""What is measured and how: a run of dnsperf, processor time and memory of processes."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
PATIENCE: Final = 2
"""Seconds after which dnsperf calls a query lost."""

_NUMBER = {
    "sent": re.compile(r"Queries sent:\s+(\d+)"),
    "completed": re.compile(r"Queries completed:\s+(\d+)"),
    "lost": re.compile(r"Queries lost:\s+(\d+)"),
    "rate": re.compile(r"Queries per second:\s+([\d.]+)"),
    "latency": re.compile(r"Average Latency \(s\):\s+([\d.]+)"),
    "longest": re.compile(r"max ([\d.]+)"),
}
_RCODES = re.compile(r"Response codes:\s+(.+)")
_ONE = re.compile(rb"^> ([A-Z]+) \S+ \S+ ([\d.]+)", re.MULTILINE)


class MeasureError(RuntimeError):
    """A measurement that came to nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of dnsperf said, and what the server spent on it."""

    rate: float
    """Queries completed per second."""
    sent: int
    completed: int
    lost: int
    rcodes: dict[str, int]
    latency: float
    """Mean, in seconds."""
    longest: float
    cpu: float
    """Seconds of processor time the server's processes used."""
    latencies: tuple[float, ...] = field(default=(), repr=False)
    """Sorted; only where each query was told."""

    @property
    def cpu_per_query(self) -> float:
        """Seconds."""
        return self.cpu / self.completed if self.completed else 0.0

    @property
    def wrong(self) -> int:
        """Replies with another rcode than NOERROR: no load asks for a name that is not there."""
        return sum(count for rcode, count in self.rcodes.items() if rcode != "NOERROR")

    def percentile(self, share: float) -> float:
        """The latency that this share of the queries did not exceed."""
        if not self.latencies:
            raise MeasureError("the latencies of this run were not told one by one")
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


@dataclass(frozen=True, slots=True)
class Pressure:
    """How hard dnsperf pushes."""

    clients: int = 1
    in_flight: int = 100
    seconds: int = 2
    rate: int = 0
    """Queries per second at most; 0 for as many as there are answers."""
    times: int = 0
    """How often the file is run through; 0 for until the time is over."""
    each: bool = False
    """Tell the latency of each query, which slows dnsperf itself: not for throughput."""


def dnsperf(
    inside: Sequence[str], address: str, questions: Path, pressure: Pressure, pids: Iterable[int] = ()
) -> Run:
    """Put questions to a server from the place ``inside`` leads to. Raises MeasureError."""
    command = [*inside, "dnsperf", "-s", address, "-p", "53", "-d", str(questions)]
    command += ["-l", str(pressure.seconds), "-t", str(PATIENCE)]
    command += ["-c", str(pressure.clients), "-q", str(pressure.in_flight)]
    command += ["-Q", str(pressure.rate)] if pressure.rate else []
    command += ["-n", str(pressure.times)] if pressure.times else []
    command += ["-v"] if pressure.each else []
    watched = list(pids)
    with tempfile.TemporaryFile() as said:
        before = cpu_seconds(watched)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=pressure.seconds + PATIENCE + 30,
            check=False,
        )
        spent = cpu_seconds(watched) - before
        said.seek(0)
        text = said.read()
    if done.returncode:
        raise MeasureError(f"dnsperf against {address}: {text.decode(errors='replace')[-500:]}")
    return _read(text, spent)


def _read(said: bytes, cpu: float) -> Run:
    text = said[-4096:].decode(errors="replace")
    found = {name: pattern.search(text) for name, pattern in _NUMBER.items()}
    numbers = {name: float(match.group(1)) if match else 0.0 for name, match in found.items()}
    rcodes = _RCODES.search(text)
    counted = re.findall(r"(\w+) (\d+)", rcodes.group(1)) if rcodes else []
    return Run(
        rate=numbers["rate"],
        sent=int(numbers["sent"]),
        completed=int(numbers["completed"]),
        lost=int(numbers["lost"]),
        rcodes={name: int(count) for name, count in counted},
        latency=numbers["latency"],
        longest=numbers["longest"],
        cpu=cpu,
        latencies=tuple(sorted(float(m.group(2)) for m in _ONE.finditer(said))),
    )


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of these processes so far, user and system, with all their threads."""
    total = 0
    for pid in pids:
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(after_name[11]) + int(after_name[12])
    return total * TICK


def wake_ups(pids: Iterable[int]) -> int:
    """How often the threads of these processes have gone to sleep by themselves so far."""
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(), re.MULTILINE)
            total += int(found.group(1)) if found else 0
    return total


def memory(pids: Iterable[int]) -> int:
    """Octets of memory (PSS: shared pages are counted in shares) of these processes."""
    total = 0
    for pid in pids:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found.group(1)) << 10 if found else 0
    return total


@dataclass(frozen=True, slots=True)
class Idle:
    """What processes do while nobody asks."""

    seconds: float
    cpu: float
    wake_ups: int


def idle(pids: Sequence[int], seconds: float) -> Idle:
    """Watch processes that have nothing to do."""
    cpu, woken, begun = cpu_seconds(pids), wake_ups(pids), time.monotonic()
    time.sleep(seconds)
    return Idle(time.monotonic() - begun, cpu_seconds(pids) - cpu, wake_ups(pids) - woken)


def median(values: Iterable[float]) -> float:
    """The middle one; 0.0 of none."""
    found = list(values)
    return statistics.median(found) if found else 0.0


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    found = sorted(values)
    return found[min(len(found) - 1, int(len(found) * share))] if found else 0.0
