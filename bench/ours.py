"""The resolver itself, as it is measured: following the engine, from a file of changes, and fed by hand."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.peers import Peer
from bench.question import await_answer, socket_in
from bench.stage import POOL, UPSTREAM, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PROGRAM: Final = str(Path(sys.executable).with_name("resolver"))


class Ours(Peer):
    """``resolver serve`` in the asking container's namespace, following the engine: the real thing."""

    name, address = "resolver", "127.0.0.2"

    @property
    def version(self) -> str:
        said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False, timeout=10)
        return said.stdout.strip().rpartition(" ")[2]

    @property
    def pids(self) -> list[int]:
        """The parent, which follows the engine, and the child, which answers."""
        if self._process is None:
            return []
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def source(self) -> Sequence[str]:
        """Where the names come from."""
        return ["--engine", self.place.url, "--as", self.place.asker]

    def command(self) -> Sequence[str]:
        return [PROGRAM, "serve", *self.source(), "--listen", self.address, "--upstream", UPSTREAM]


class FromFile(Ours):
    """The same with a file of changes for an engine: any number of endpoints."""

    def __init__(self, place: Stage, endpoints: int, address: str) -> None:
        super().__init__(place)
        self.endpoints, self.name, self.address = endpoints, f"resolver, {endpoints:,} endpoints", address

    def source(self) -> Sequence[str]:
        path = self.folder / "changes"
        path.write_text("".join(f"{line}\n" for line in picture(self.endpoints)))
        return ["--changes", str(path)]


class ByHand(Peer):
    """The answering process alone, its door in our hands."""

    name, address = "resolver, door", "127.0.0.5"

    def __init__(self, place: Stage) -> None:
        super().__init__(place)
        self._door: socket.socket | None = None

    def launch(self) -> None:
        """Start it with nothing in its table."""
        door, theirs = socket.socketpair()
        listener, status = socket_in(self.place.pid), socket.socket(socket.AF_UNIX)
        with theirs, listener, status:
            listener.bind((self.address, 53))
            status.bind(f"\0resolver-bench-{os.getpid()}-{time.monotonic_ns()}")
            status.listen()
            fds = {"door": theirs.fileno(), "status": status.fileno()}
            start = {**fds, "udp": [listener.fileno()], "tcp": []}
            with self.log.open("wb") as said:
                self._process = subprocess.Popen(
                    [*self.place.inside, sys.executable, "-m", "resolver.serve", json.dumps(start)],
                    pass_fds=[*fds.values(), listener.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
        self._door = door

    def start(self) -> None:
        """Start it and wait until it answers for what needs no picture."""
        self.launch()
        self.tell([policy()])
        await_answer(self.place.pid, self.address, "localhost")

    def tell(self, lines: Iterable[str]) -> None:
        """Put lines through the door; waits while it is full."""
        assert self._door is not None
        self._door.sendall("".join(f"{line}\n" for line in lines).encode())

    def stop(self) -> None:
        if self._door is not None:
            with suppress(OSError):
                self._door.close()
            self._door = None
        super().stop()


def policy() -> str:
    """The line with our settings."""
    return _line("settings", upstreams=[f"{UPSTREAM}:53"])


def picture(endpoints: int, names: int = 1000) -> list[str]:
    """A full picture: so many containers on one network, at least ``names`` names among them.

    They are called ``n0``, … as the real containers of other loads; eight hold the alias ``pool``.
    """
    subnets = ["10.64.0.0/16", "fd00:be:f::/64"]
    lines = [_line("sync", at="begin"), _line("network", id="n1", name="bench", subnets=subnets)]
    lines += [container(number, endpoints, names) for number in range(endpoints)]
    return [*lines, _line("sync", at="end")]


def container(number: int, endpoints: int, names: int = 1000) -> str:
    """The line of one container of ``picture``."""
    carried = [f"n{n}" for n in range(number, max(names, endpoints), endpoints)]
    carried += ["pool"] * (number < POOL) + [f"{number:012x}"]
    octets = f"{number // 250}.{number % 250 + 2}"
    endpoint = {
        "network": "n1",
        "names": carried,
        "ipv4": f"10.64.{octets}",
        "ipv6": f"fd00:be:f::{number + 2:x}",
    }
    return _line("container", id=f"{number:064x}", name=carried[0], endpoints=[endpoint])


def pending(number: int) -> str:
    """The line that says this container is being started."""
    return _line("pending", container=f"{number:064x}", networks=["n1"])


def gone(number: int) -> str:
    """The line that says it is no more."""
    return _line("gone", container=f"{number:064x}")


def _line(change: str, **said: Any) -> str:
    return json.dumps({"change": change, **said}, separators=(",", ":"))
