"""The engine, our resolver and the upstream that all topologies share; the seeds; the summary."""

from __future__ import annotations

import math
import os
import random
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from lab.engine import engine
from lab.served import Served
from lab.topology import Lab
from lab.upstream import Upstream
from tests.oracle.asking import Seat
from tests.oracle.namespaces import namespace_of, within
from tests.oracle.tally import Tally
from tests.oracle.upstream import answer, fail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUESTIONS: Final = 1000
"""Asked in ``make test``."""
PER_TOPOLOGY: Final = 250
"""At least so many are asked in each topology."""
CI_SEED: Final = 699_238
"""In CI the topologies are always the same; ``make oracle`` makes others each time."""
_TALLY = pytest.StashKey[Tally]()


@dataclass(frozen=True, slots=True)
class Ground:
    """What every topology stands on."""

    url: str
    version: int
    """The engine's, major."""
    host: Path
    """The network namespace the engine's bridges are in."""
    token: str
    failing: str
    """An upstream that says SERVFAIL to everything, so that the next one is asked."""
    upstream: str
    port: int
    """Where our resolver listens, on every address of the host."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("oracle", "questions to us and to Docker's own resolver")
    group.addoption("--questions", type=int, default=QUESTIONS, help="ask at least so many")
    group.addoption("--seed", type=int, default=None, help="of the first topology; the others follow")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        given = metafunc.config.getoption("--seed")
        usual = CI_SEED if os.environ.get("CI") else random.randrange(1_000_000)
        first = usual if given is None else given
        count = math.ceil(metafunc.config.getoption("--questions") / PER_TOPOLOGY)
        metafunc.parametrize("seed", range(first, first + count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash[_TALLY]
    if tally.topologies:
        terminalreporter.section("oracle")
        for line in tally.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """Counts of the whole run."""
    return pytestconfig.stash[_TALLY]


@pytest.fixture(scope="session")
def ground(tally: Tally) -> Iterator[Ground]:
    """An engine, the upstream, and our resolver on its host."""
    with ExitStack() as stack:
        url = stack.enter_context(engine())
        lab = stack.enter_context(Lab(url))
        tally.engine = int(lab.api.version()["Version"].partition(".")[0])
        # A container on the host's network stack shows where the engine has its bridges: perhaps not here.
        host = namespace_of(lab.pid(lab.container(network_mode="host")))
        last = 2 + os.getpid() % 120 * 2
        addresses = f"198.51.100.{last}", f"198.51.100.{last + 1}"
        for address in addresses:
            stack.enter_context(_address(host, address))
        for address, behaviour in zip(addresses, (fail, answer), strict=True):
            upstream = Upstream(behaviour, address, 53)
            within(host, upstream.__enter__)  # its thread begins in the namespace, and its sockets with it
            stack.push(upstream.__exit__)
        port = within(host, _free_port)
        ground = Ground(url, tally.engine, host, f"o{os.getpid():x}", *addresses, port)
        stack.enter_context(serving(ground, host, f"0.0.0.0:{port}"))
        yield ground


@pytest.fixture
def lab(ground: Ground) -> Iterator[Lab]:
    """What one test makes on the engine; removed after it."""
    with Lab(ground.url) as lab:
        yield lab


@contextmanager
def serving(ground: Ground, namespace: Path, listen: str, *flags: str) -> Iterator[Served]:
    """Our resolver, by the engine's search order, in a network namespace."""
    served = Served(
        *("--listen", listen, "--engine", ground.url, "--upstream", ground.upstream),
        *("--search-order", "engine", *flags),
        prefix=["nsenter", f"--net={namespace}"],
    )
    with served._log, served:
        yield served


def upstream_seat(ground: Ground) -> Seat:
    """The upstream, asked without anybody between."""
    return Seat(ground.host, (ground.upstream, 53))


@contextmanager
def _address(namespace: Path, address: str) -> Iterator[None]:
    """An address more on the loopback interface, which containers reach through their gateway."""
    command = ["nsenter", f"--net={namespace}", "ip", "address"]
    subprocess.run([*command, "replace", f"{address}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run([*command, "del", f"{address}/32", "dev", "lo"], check=False)


def free_port(ground: Ground) -> int:
    """A port of the host that nobody listens at."""
    return within(ground.host, _free_port)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("0.0.0.0", 0))
        port: int = probe.getsockname()[1]
        return port
