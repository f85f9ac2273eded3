"""Load h: the resolver attached to a container, against Docker's own at the same address; and what two
hundred attached containers cost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bench import loads, measure
from bench.measure import MeasureError, Pressure, Run, dnsperf, median
from bench.ours import PROGRAM, Ours
from resolver.settings import Listen
from resolver.watch.control import control_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.stage import Stage

ADDRESS: Final = "127.0.0.11"
"""Where a container asks, whoever answers."""
_LISTEN: Final = Listen("127.0.0.62", 53)
_SETTLED: Final = 2.0
"""Seconds until sockets given in advance have arrived, and nothing is under way."""
_LEVEL: Final = 128 << 10
"""Octets by which memory may differ between two looks, when it is at rest."""
_LOOKS: Final = 15


@dataclass(slots=True)
class Beside:
    """What was measured."""

    ours: dict[int, list[Run]] = field(default_factory=dict)
    """Runs by client sockets."""
    docker: dict[int, list[Run]] = field(default_factory=dict)
    containers: int = 0
    took: list[float] = field(default_factory=list)
    """Seconds until each container was attached, one after the other."""
    octets: int = 0
    """Memory (PSS) of both processes that all of them took together."""
    idle: measure.Idle | None = None

    def ratio(self, clients: int) -> float:
        """Queries a second, ours to Docker's."""
        docker = median(run.rate for run in self.docker[clients])
        return median(run.rate for run in self.ours[clients]) / docker if docker else 0.0


class Attaching(Ours):
    """On the host, attaching to whom it is told."""

    name, address = "resolver, attached", ADDRESS

    def launch(self) -> None:
        """Not in the namespace of the stage: it enters that itself."""
        command = [PROGRAM, "serve", "--attach=none", f"--listen={_LISTEN}", f"--engine={self.place.url}"]
        with self.log.open("wb") as said:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        deadline = time.monotonic() + 20
        while "attached" not in _said({"command": "attached"}):
            if time.monotonic() > deadline:
                raise MeasureError(f"the attaching resolver did not start: {self.log.read_text()[-500:]}")
            time.sleep(0.05)

    def start(self) -> None:
        """Start it, attached to the asking container."""
        self.launch()
        self.attach(self.place.asker)

    def attach(self, container: str, *, wanted: bool = True) -> float:
        """Attach to a container, or let it go; the seconds that took. Raises MeasureError."""
        begun = time.monotonic()
        said = _said({"command": "attach" if wanted else "detach", "container": container})
        if "error" in said:
            raise MeasureError(str(said["error"]))
        return time.monotonic() - begun


def compare(place: Stage, rounds: int, seconds: int, containers: int) -> Beside:
    """Load b at the container's own nameserver, in turn attached and not; then all the containers."""
    found, server = Beside(), Attaching(place)
    questions = loads.many_names(place)
    try:
        server.launch()
        time.sleep(_SETTLED)
        for _ in range(rounds):
            for clients in (1, 20):
                pressure = Pressure(clients=clients, seconds=seconds)
                server.attach(place.asker)
                ours = dnsperf(place.inside, ADDRESS, questions, pressure, server.pids)
                server.attach(place.asker, wanted=False)
                docker = dnsperf(place.inside, ADDRESS, questions, pressure)
                found.ours.setdefault(clients, []).append(ours)
                found.docker.setdefault(clients, []).append(docker)
        if containers:
            _many(found, server, containers)
    finally:
        server.stop()
    return found


def _many(found: Beside, server: Attaching, count: int) -> None:
    """Attach to that many, one after the other."""
    place = server.place
    with ThreadPoolExecutor(4) as several:
        made = list(several.map(lambda n: place.create(f"many{os.getpid()}x{n}"), range(count)))
        list(several.map(place.api.start, made))
        try:
            before = _memory_at_rest(server.pids)
            found.took = [server.attach(container) for container in made]
            found.containers, found.octets = count, _memory_at_rest(server.pids) - before
            found.idle = measure.idle(server.pids, 10)
        finally:
            list(several.map(lambda c: place.api.remove_container(c, force=True), made))


def _memory_at_rest(pids: Sequence[int]) -> int:
    """Once it changes no more: after a load the processes give some back for a while."""
    before = measure.memory(pids)
    for _ in range(_LOOKS):
        time.sleep(_SETTLED)
        now = measure.memory(pids)
        if abs(now - before) < _LEVEL:
            return now
        before = now
    return before


def _said(request: dict[str, str]) -> dict[str, Any]:
    """What the resolver replies; empty while it does not."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(20)
            wire.connect(control_name(_LISTEN))
            wire.sendall(json.dumps(request).encode() + b"\n")
            reply = b"".join(iter(lambda: wire.recv(65536), b""))
    except OSError:
        return {}
    said: dict[str, Any] = json.loads(reply)
    return said
