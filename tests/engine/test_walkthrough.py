"""The walkthrough, each question a test: asked by a real client in a real container.

One stage for all of them, played in order. A question that is chosen alone is asked after everything before
it was set up.
"""

import itertools
from collections.abc import Iterator

import pytest
from _pytest.mark import ParameterSet

from lab.stage import Stage
from lab.walkthrough import CHAPTERS, Ask, Step

_STEPS = [step for chapter in CHAPTERS for step in chapter.steps]


class _Play:
    """How far the walkthrough has been played."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._left: Iterator[tuple[int, Step]] = iter(enumerate(_STEPS))

    def set_up_before(self, place: int) -> None:
        for _, step in itertools.takewhile(lambda entry: entry[0] != place, self._left):
            if not isinstance(step, Ask):
                self.stage.do(step)


@pytest.fixture(scope="module")
def play(engine_url: str) -> Iterator[_Play]:
    with Stage(engine_url) as stage:
        yield _Play(stage)


def _questions() -> list[ParameterSet]:
    cases = []
    for place, step in enumerate(_STEPS):
        if isinstance(step, Ask):
            extra = (
                [step.type] * (step.type != "A")
                + ["tcp"] * step.tcp
                + [step.through] * (step.through == "gateway")
            )
            words = "-".join([step.asker, "asks", step.name, *extra])
            cases.append(pytest.param(place, step, id=f"{place:03}-{words}"))
    return cases


@pytest.mark.parametrize(("place", "question"), _questions())
def test_walkthrough(play: _Play, place: int, question: Ask) -> None:
    play.set_up_before(place)
    played = play.stage.ask(question)
    assert played.right, (
        f"{question.asker}$ {played.command} → {played.answer}, expected {played.expected}\n"
        f"{play.stage.log[-1500:]}"
    )
