"""The questions of each load, and who is held against whom under it."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from bench.stage import NAMES, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED: Final = 1
OUTSIDE_NAMES: Final = 1000
DRAWS: Final = 50_000
"""Questions in a file drawn by Zipf's law; dnsperf begins again at its end."""
MOST_NEW: Final = 60_000
"""Names never seen before that one second of load may need."""

PACE: Final = 5000
"""Queries a second at which latencies are compared: what all can carry."""

_runs = itertools.count()


@dataclass(frozen=True, slots=True)
class Load:
    """One row of the table."""

    letter: str
    title: str


A = Load("a", "one name")
B = Load("b", "1,000 names × A bare, A with network, AAAA, PTR, 8-address alias")
C = Load("c", "forwarded, every name new")
D = Load("d", "forwarded, 1,000 names by Zipf's law, warm")
E = Load("e", "b and d mixed, while containers come and go")
F = Load("f", "b, by endpoints in the table")
G = Load("g", "one query in flight")
H = Load("h", "b at the container's own 127.0.0.11, attached and not in turn")
P = Load("p", f"b at {PACE:,} queries/s")


def one_name(place: Stage) -> Path:
    """Load a, and g."""
    return _write(place, "one-name", ["n0 A"])


def many_names(place: Stage) -> Path:
    """Load b."""
    lines = list(_of_names(place.network))
    for n in range(NAMES):
        one = place.containers[n % len(place.containers)]
        address = one.ipv4 if n % 2 else one.ipv6
        lines.append(f"{ip_address(address).reverse_pointer} PTR")
    return _write(place, "many-names", _shuffled(lines))


def table_names(place: Stage, endpoints: int) -> Path:
    """Load b for the made-up containers of a file of changes."""
    lines = list(_of_names("bench"))
    for n in range(NAMES):
        number = n % endpoints
        lines.append(f"{number % 250 + 2}.{number // 250}.64.10.in-addr.arpa PTR")
    return _write(place, f"table-names-{endpoints}", _shuffled(lines))


def new_names(place: Stage, seconds: int) -> Path:
    """Load c: another file each time, so that no cache has seen any of it."""
    run = next(_runs)
    return _write(place, "new-names", [f"x{run}-{n}.example.com A" for n in range(MOST_NEW * seconds)])


def popular_names(place: Stage) -> Path:
    """Load d."""
    return _write(place, "popular-names", _zipf())


def mixed(place: Stage, local: Path) -> Path:
    """Load e: half of the questions from ``local``, half from load d."""
    ours = itertools.cycle(local.read_text().splitlines())
    return _write(place, "mixed", [line for outside in _zipf() for line in (next(ours), outside)])


def _of_names(network: str) -> Iterator[str]:
    for n in range(NAMES):
        yield f"n{n} A"
        yield f"n{n}.{network} A"
        yield f"n{n} AAAA"
        yield "pool A"


def _zipf() -> list[str]:
    draw = random.Random(SEED)
    weights = [1 / rank for rank in range(1, OUTSIDE_NAMES + 1)]
    return [f"w{n}.example.com A" for n in draw.choices(range(OUTSIDE_NAMES), weights=weights, k=DRAWS)]


def _shuffled(lines: list[str]) -> list[str]:
    random.Random(SEED).shuffle(lines)
    return lines


def _write(place: Stage, name: str, lines: list[str]) -> Path:
    path = place.folder / f"{name}.questions"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
