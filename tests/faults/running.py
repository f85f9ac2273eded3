"""A resolver with a static table as a real process on loopback, and a good client beside a bad one."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from lab.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

HOST: Final = "127.0.0.98"
CHECKOUT: Final = Path(__file__).resolve().parents[2]
ADDRESS: Final = bytes((10, 255, 98, 2))
MEMORY_BOUND: Final = 128 << 20
"""Octets of resident memory that the answering process stays under, whatever clients do."""


def table(folder: Path) -> Path:
    """A file of changes: on ``dev`` one container called ``es``, and a hundred called ``many``."""
    lines: list[dict[str, object]] = [
        {"change": "network", "id": "n1", "name": "dev", "subnets": ["10.255.98.0/24"]}
    ]
    for host, name in [(2, "es"), *((host, "many") for host in range(100, 200))]:
        endpoint = {"network": "n1", "names": [name], "ipv4": f"10.255.98.{host}"}
        lines.append({"change": "container", "id": f"c{host}", "name": name, "endpoints": [endpoint]})
    path = folder / "changes"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def free_port(host: str = HOST) -> int:
    """One that is free for UDP and TCP at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        tcp.bind((host, 0))
        udp.bind((host, tcp.getsockname()[1]))
        return int(tcp.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Running:
    """A resolver that runs, and where it is asked."""

    served: Served
    port: int

    @property
    def at(self) -> tuple[str, int]:
        return HOST, self.port

    def peak_memory(self) -> int:
        """The most octets that were ever resident in the answering process."""
        return int(proc_field(self.served.child, "VmHWM").split()[0]) << 10


@contextmanager
def running(folder: Path, *flags: str, prefix: tuple[str, ...] = ()) -> Iterator[Running]:
    """Serve the static table; other names go to ``--upstream`` if flags name one, else nowhere at all."""
    port = free_port()
    nowhere = () if any(f.startswith("--upstream") for f in flags) else ("--upstream=127.0.0.1:9",)
    changes = f"--changes={table(folder)}"
    with Served(f"--listen={HOST}:{port}", changes, *nowhere, *flags, prefix=prefix) as served:
        yield Running(served, port)


def proc_field(pid: int, name: str) -> str:
    """A line of ``/proc/PID/status``, such as ``CapEff``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def question(name: str = "es.dev", ident: int = 1, *, flags: int = 0x0100, qtype: int = 1) -> bytes:
    """A packet with one question."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!6H", ident, flags, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, qtype, 1)


def framed(packet: bytes) -> bytes:
    """As it goes over TCP."""
    return len(packet).to_bytes(2, "big") + packet


def ask_udp(at: tuple[str, int], packet: bytes, seconds: float = 5.0) -> bytes:
    """The reply to one datagram; empty when there is none in time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(seconds)
        sock.connect(at)
        sock.send(packet)
        with suppress(TimeoutError, ConnectionRefusedError):
            return sock.recv(65_535)
        return b""


def ask_tcp(at: tuple[str, int], packet: bytes, seconds: float = 5.0) -> bytes:
    """The reply to one question over a connection of its own."""
    with socket.create_connection(at, timeout=seconds) as sock:
        sock.sendall(framed(packet))
        return read_framed(sock)


def read_framed(sock: socket.socket) -> bytes:
    """One message of a stream; empty at its end."""
    received = b""
    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
        more = sock.recv(65_535)
        if not more:
            return b""
        received += more
    return received[2:]


@dataclass(slots=True)
class Beside:
    """A well-behaved client: a question each 10 ms, no second try; as a context it asks while inside."""

    at: tuple[str, int]
    patience: float = 1.0
    asked: int = 0
    took: list[float] = field(default_factory=list)
    """Seconds, of each question that was answered rightly."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            packet = question(ident=self.asked & 0xFFFF)
            self.asked += 1
            began = time.perf_counter()
            if ask_udp(self.at, packet, self.patience).endswith(ADDRESS):
                self.took.append(time.perf_counter() - began)
            time.sleep(0.01)

    def judge(self, told: str) -> None:
        """Nine of ten were answered; how many within 100 ms is reported, for a busy machine decides that."""
        soon = sum(took < 0.1 for took in self.took)
        worst = max(self.took, default=0.0)
        print(  # noqa: T201 — shown with -s or -rP
            f"{told}: {len(self.took)} of {self.asked} answered, {soon} within 100 ms, "
            f"the slowest after {worst * 1000:.0f} ms"
        )
        assert len(self.took) >= 0.9 * self.asked > 0, f"{told}: {len(self.took)} of {self.asked} answered"


@contextmanager
def flooding(at: tuple[str, int], kind: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """``tests/faults/flood.py`` beside us, begun; it ends by itself, and is waited for."""
    command = [sys.executable, "-m", "tests.faults.flood", kind, at[0], str(at[1]), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
