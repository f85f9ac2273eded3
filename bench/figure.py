"""The figure: queries per second of everybody under each load, as SVG written by hand."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from bench import loads
from bench.report import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contest import Results
    from bench.loads import Load

WIDTH: Final = 860
BAR: Final = 14
LEFT: Final = 210
"""Where bars begin."""
ROOM: Final = 150
"""For the figures at their ends."""
COLOURS: Final = {True: ("#1f6feb", "#7fb0f5"), False: ("#8a939d", "#c3c8ce")}
"""Ours or not → one client socket, twenty."""


def draw(results: Results, heading: Sequence[str]) -> str:
    """One group of bars per load, each server with one and with twenty client sockets, ours first."""
    parts: list[str] = []
    y = 28 + 16 * len(heading)
    for number, line in enumerate(heading):
        weight = ' font-weight="bold"' if not number else ' fill="#57606a"'
        parts.append(f'<text x="12" y="{24 + 16 * number}"{weight}>{escape(line)}</text>')
    for load in (loads.A, loads.B, loads.C, loads.D, loads.F):
        y = _group(parts, results, load, y + 26)
    y = _key(parts, y + 24)
    style = "font-family: system-ui, sans-serif; font-size: 12px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 16}" '
        f'viewBox="0 0 {WIDTH} {y + 16}" style="{style}">\n'
        '<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _group(parts: list[str], results: Results, load: Load, y: int) -> int:
    """One load; returns where it ends."""
    names = {cell[2] for cell in results.runs if cell[0] == load.letter}
    rates = {name: [results.rate((load.letter, clients, name)) for clients in (1, 20)] for name in names}
    most = max((max(pair) for pair in rates.values()), default=0) or 1
    parts.append(f'<text x="12" y="{y}" font-weight="bold">{escape(f"{load.letter}: {load.title}")}</text>')
    y += 8
    for name in sorted(names, key=lambda name: (name != OURS, -max(rates[name]))):
        parts.append(f'<text x="{LEFT - 8}" y="{y + BAR + 4}" text-anchor="end">{escape(name)}</text>')
        for rate, colour in zip(rates[name], COLOURS[name.startswith(OURS)], strict=True):
            width = round((WIDTH - LEFT - ROOM) * rate / most)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width}" height="{BAR - 1}" fill="{colour}"/>')
            parts.append(f'<text x="{LEFT + width + 5}" y="{y + BAR - 3}">{rate:,.0f}</text>')
            y += BAR
        y += 5
    return y


def _key(parts: list[str], y: int) -> int:
    for x, colour, text in ((12, 0, "one client socket"), (160, 1, "20 client sockets")):
        for step, ours in enumerate((True, False)):
            fill = COLOURS[ours][colour]
            parts.append(f'<rect x="{x + step * 13}" y="{y - 10}" width="12" height="12" fill="{fill}"/>')
        parts.append(f'<text x="{x + 32}" y="{y}">{text}</text>')
    parts.append(f'<text x="320" y="{y}">queries per second, medians; blue: the resolver</text>')
    return y
