"""What the bench says of its figures: a target is not met by a figure that says nothing."""

from __future__ import annotations

import pytest

from bench.attached import Beside
from bench.measure import Idle
from bench.report import Line, _attached


def told(took: list[float], octets: int) -> dict[str, Line]:
    """The lines of so many attached containers, by what they are about."""
    found = Beside(containers=len(took), took=took, octets=octets, idle=Idle(10, 0.01, 5))
    return {line.what.partition(": ")[2]: line for line in _attached(found)}


@pytest.mark.parametrize(("slow", "met"), [(1, True), (3, False)])
def test_attaching_is_judged_by_the_slow_ones(slow: int, met: bool) -> None:
    line = told([0.016] * (200 - slow) + [0.04] * slow, 200 << 10)["attached within, median, p99"]
    assert line.met is met


@pytest.mark.parametrize(
    ("octets", "shown", "met"),
    [
        (200 * 19 << 10, "19.0 KB", True),
        (200 * 61 << 10, "61.0 KB", False),
        (0, "not measurable in this run", None),
        (-200 * 15 << 10, "not measurable in this run", None),
    ],
)
def test_memory_that_was_given_back_says_nothing(octets: int, shown: str, met: bool | None) -> None:
    line = told([0.01] * 200, octets)["memory (PSS) each, both processes"]
    assert (line.measured, line.met) == (shown, met)
