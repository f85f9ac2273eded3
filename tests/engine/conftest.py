"""The engine, and a laboratory on it."""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import NoEngineError, engine
from lab.packages import MissingPackagesError
from lab.private import EngineStartError
from lab.topology import Lab
from tests.engine import left


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs an engine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("engine")


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """The URL of a real engine, private where none answers. Where none can be, the run fails here."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(engine())
        except (NoEngineError, EngineStartError, MissingPackagesError) as reason:
            pytest.exit(str(reason), returncode=pytest.ExitCode.TESTS_FAILED)
        yield url


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(engine_url: str) -> Iterator[None]:
    """After all tests, before the engine is stopped, there is no more on this machine than before them."""
    before = left.Things.now()
    yield
    gc.collect()
    assert left.await_nothing_added(before) == []


@pytest.fixture
def lab(engine_url: str) -> Iterator[Lab]:
    """An empty laboratory; what a test makes in it is removed after the test."""
    with Lab(engine_url) as laboratory:
        yield laboratory
