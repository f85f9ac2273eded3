"""Right under change: a real engine driven at random while clients ask, every answer judged afterwards.

A longer one is ``make soak MINUTES=…``; with ``AGAINST=docker`` Docker's own resolver is asked, whose
answers are counted but not failed. How late the true answers were, and how often the engine was called, is
told beside the targets: a busy machine decides these, so they fail nothing but with ``STRICT=1``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.history.checker import judge
from tests.history.playing import Course, play

if TYPE_CHECKING:
    from tests.history.conftest import Report

_SHOWN: Final = 8
_LEAST: Final = 20.0
"""Answers a second of history that must have been judged, or the run says nothing."""
_DROPPED: Final = 3
"""Datagrams that may be lost on their way; in a long run one of ``_OF`` answers."""
_OF: Final = 50_000
_SLOWEST: Final = 2.0
"""Calls of the engine a second, likewise."""


@pytest.mark.engine
@pytest.mark.timeout(0)
def test_every_answer_was_true(
    engine_url: str, course: Course, bound: float, report: Report, pytestconfig: pytest.Config
) -> None:
    history = play(engine_url, course)
    judgement = judge(history, bound)
    report(judgement)
    assert judgement.answers > _LEAST * course.seconds
    assert judgement.pace > _SLOWEST
    assert len(history.surprises) < history.calls / 100, history.surprises[:_SHOWN]
    assert not history.faults
    if course.against == "resolver":
        assert judgement.dropped <= max(_DROPPED, judgement.answers / _OF)
    if judgement.wrong and course.against == "resolver":
        told = "\n".join(map(str, judgement.wrong[:_SHOWN]))
        pytest.fail(f"{len(judgement.wrong)} wrong answers, seed {course.seed}\n{told}", pytrace=False)
    if pytestconfig.getoption("--targets-decide"):
        missed = [str(target) for target in judgement.targets() if not target.met]
        assert not missed
