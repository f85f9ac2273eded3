"""How long a history is, against whom it is held, and where the figures are printed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.engine.conftest import engine_url as engine_url
from tests.history.playing import Course

if TYPE_CHECKING:
    from tests.history.checker import Judgement

SHORT = 60.0
"""Seconds of the history in ``make test``."""
_REPORTS = pytest.StashKey[list[tuple[str, list[str]]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("history", "right under change: a checker over a recorded history")
    group.addoption("--minutes", type=float, default=SHORT / 60, help="drive the engine for so long")
    group.addoption("--history-seed", type=int, default=None, help="of what happens to the engine")
    group.addoption("--against", choices=("resolver", "docker"), default="resolver", help="whom to judge")
    group.addoption("--search-order", choices=("connection", "engine"), default="connection")
    group.addoption("--bound", type=float, default=1000.0, help="milliseconds; further behind is wrong")
    group.addoption("--targets-decide", action="store_true", help="a target that is missed fails, too")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORTS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, lines in config.stash[_REPORTS]:
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def course(pytestconfig: pytest.Config) -> Course:
    """What is to be played, by the command line."""
    given = pytestconfig.getoption("--history-seed")
    return Course(
        pytestconfig.getoption("--minutes") * 60,
        random.randrange(1_000_000) if given is None else given,
        pytestconfig.getoption("--against"),
        pytestconfig.getoption("--search-order"),
    )


@pytest.fixture
def bound(pytestconfig: pytest.Config) -> float:
    """Seconds an answer may be behind."""
    return float(pytestconfig.getoption("--bound")) / 1000


@pytest.fixture
def report(pytestconfig: pytest.Config, course: Course) -> Report:
    """Where the figures go."""
    return Report(pytestconfig.stash[_REPORTS], f"history against {course.against}, seed {course.seed}")


class Report:
    """Printed at the end of the run, also where everything was right."""

    def __init__(self, reports: list[tuple[str, list[str]]], title: str) -> None:
        self._reports, self._title = reports, title

    def __call__(self, judgement: Judgement) -> None:
        self._reports.append((self._title, list(judgement.lines())))
