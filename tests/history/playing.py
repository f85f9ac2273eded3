"""One history on a real engine: drivers, clients, our resolver or Docker's own, and the record of it all."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from lab.served import Served
from lab.topology import Lab
from lab.upstream import Upstream, failing
from tests.history.asking import Plan, Seat, asking
from tests.history.driving import CONTAINERS, Driver, Ground
from tests.history.record import HOST, History, SearchOrder
from tests.oracle.namespaces import namespace_of, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Against = Literal["resolver", "docker"]

DRIVERS: Final = 4
_SETTLE: Final = 1.0
"""Seconds between the first containers and the first question."""


@dataclass(frozen=True, slots=True)
class Course:
    """What is to be played."""

    seconds: float
    seed: int
    against: Against = "resolver"
    order: SearchOrder = "connection"
    rate: float = 400.0
    """Questions a second."""


def play(url: str, course: Course) -> History:
    """Play it, and take everything away again."""
    with ExitStack() as stack:
        ground = Ground(stack.enter_context(Lab(url)), f"h{os.getpid():x}")
        host = namespace_of(ground.lab.pid(ground.lab.container(network_mode="host")))
        # The engine's resolver asks the upstream from inside the containers: it must be where they reach it.
        upstream = Upstream(failing("NXDOMAIN"), ground.gateway(ground.networks[0]), 53)
        within(host, upstream.__enter__)  # its thread begins in the namespace, and its sockets with it
        stack.push(upstream.__exit__)
        drivers = [Driver(ground, stack.enter_context(Lab(url)), n, course.seed) for n in range(DRIVERS + 1)]
        port = within(host, _free_port)
        seats = tuple(_seats(ground, drivers[-1], host, port, upstream.address))
        served: Served | None = None
        if course.against == "docker":
            seats = tuple(Seat(s.asker, s.namespace, (("", ("127.0.0.11", 53)),)) for s in seats[1:])
        else:
            served = stack.enter_context(_serving(url, course, host, port, upstream.address))
        with ThreadPoolExecutor(DRIVERS + 1) as pool:
            list(pool.map(lambda driver: driver.make(CONTAINERS), drivers[:-1]))
            time.sleep(_SETTLE)
            names = tuple(n for number in range(DRIVERS + 1) for n in ground.names(number))
            names += ground.aliases * 2
            plan = Plan(seats, names, _every_network(ground), ground.addresses(), course.seed, course.rate)
            with asking(plan) as answers:
                began, before = time.monotonic(), next(ground.calls)
                list(pool.map(lambda driver: driver.run(began + course.seconds), drivers))
                seconds, calls = time.monotonic() - began, next(ground.calls) - before - 1
        order: SearchOrder = "engine" if course.against == "docker" else course.order
        return History(
            tuple(ground.changes),
            answers.asked,
            order,
            calls,
            seconds,
            tuple(ground.surprises),
            tuple(_errors(served.log)) if served else (),
        )


def _seats(ground: Ground, driver: Driver, host: Path, port: int, dns: str) -> list[Seat]:
    """The host, and one container at home on each permanent network."""
    gateways = {network: ground.gateway(network) for network in ground.networks}
    seats = [Seat(HOST, str(host), (("", ("127.0.0.1", port)),))]
    for home in ground.networks:
        name = f"{home}-asker"
        container = driver.seat(name, home, dns.partition(":")[0])
        others = [network for network in ground.networks if network != home]
        servers = [("", (gateways[home], port)), *((n, (gateways[n], port)) for n in others)]
        seats.append(Seat(name, str(namespace_of(ground.lab.pid(container.id))), tuple(servers)))
    return seats


def _every_network(ground: Ground) -> tuple[str, ...]:
    return (*ground.networks, *(ground.extra(number) for number in range(DRIVERS + 1)))


def _serving(url: str, course: Course, host: Path, port: int, upstream: str) -> Served:
    return Served(
        *("--listen", f"0.0.0.0:{port}", "--engine", url, "--upstream", upstream),
        *(("--search-order", "engine") if course.order == "engine" else ()),
        prefix=["nsenter", f"--net={host}"],
    )


def _errors(log: str) -> Iterator[str]:
    """Its lines of level error or worse, and traces that were not written as a line."""
    for line in log.splitlines():
        if line.split()[1:2] in (["error"], ["critical"]) or line.startswith("Traceback"):
            yield line


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("0.0.0.0", 0))
        port: int = probe.getsockname()[1]
        return port
