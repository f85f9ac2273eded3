"""The seconds that docs/reliability.md promises, from the numbers that decide them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resolver.watch import audit, engine, session

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def promised(words: str) -> float:
    """The number in the only row with these words."""
    (number,) = re.findall(rf"{words} within (\d+) s", DOCUMENT.read_text())
    return float(number)


@pytest.mark.parametrize(
    ("words", "longest"),
    [
        ("noticed", session.AUDIT + audit.UNDER_WAY),
        ("stale is told", session.AUDIT + engine.TIMEOUT),
    ],
    ids=["a stream that is open and dead", "an engine that hangs"],
)
def test_noticed_in_time(words: str, longest: float) -> None:
    """Just before it happened the engine was compared with; the next comparison finds it."""
    assert longest <= promised(words)
