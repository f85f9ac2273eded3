"""What the engine is asked, recorded between it and us: what is needed only, and nothing that changes it."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from lab import packages
from lab.served import Served
from tests.engine.asking import dig

if TYPE_CHECKING:
    from types import TracebackType

    from lab.topology import Lab

AT: Final = "127.0.0.77:5377"
NEEDED: Final = re.compile(
    r"GET (/v[\d.]+)?/(_ping|version|events|containers/json|containers/[^/]+/json|networks(/[^/]+)?)(\?.*)? "
)
REFUSAL: Final = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Proxy:
    """A socket in front of the engine's that lets through what is needed and refuses all else."""

    engine: str
    place: Path
    passed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    callers: set[int] = field(default_factory=set)
    """Ids of the processes that connected."""
    _listener: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX))

    def __enter__(self) -> Self:
        self._listener.bind(str(self.place))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                said = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                self.callers.add(struct.unpack("3i", said)[0])
                threading.Thread(target=self._one, args=(caller,), daemon=True).start()

    def _one(self, caller: socket.socket) -> None:
        """One request of a connection; then it is closed, and the other side makes a new one."""
        with caller, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                more = caller.recv(65_536)
                if not more:
                    return
                head += more
            line = head.partition(b"\r\n")[0].decode()
            allowed = NEEDED.match(line)
            (self.passed if allowed else self.refused).append(line)
            if not allowed:
                caller.sendall(REFUSAL)
                return
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(self.engine)
                first, *fields = head.split(b"\r\n")
                kept = [each for each in fields if not each.lower().startswith(b"connection:")]
                engine.sendall(b"\r\n".join([first, b"Connection: close", *kept]))
                while octets := engine.recv(65_536):
                    caller.sendall(octets)


def test_the_engine_gets_only_what_we_need(lab: Lab, tmp_path: Path) -> None:
    """Through a whole life: networks and containers come, are connected, renamed, and go. It is the watching
    process that asks, never the answering one."""
    lab.network("least-one")
    lab.network("least-two")
    lab.container("least-es", network="least-one")
    with (
        Proxy(lab.url.removeprefix("unix://"), tmp_path / "engine.sock") as proxy,
        Served(f"--listen={AT}", f"--engine=unix://{proxy.place}") as served,
    ):
        assert dig(AT, "least-es.least-one").rcode == "NOERROR"
        lab.connect("least-two", "least-es")
        lab.container("least-web", network="least-two")
        assert dig(AT, "least-web.least-two").rcode == "NOERROR"
        lab.rename("least-web", "least-www")
        assert dig(AT, "least-es.least-two").rcode == "NOERROR"
        lab.remove("least-www")
        assert proxy.callers == {served.pid}
    assert proxy.refused == []
    assert any("/events" in line for line in proxy.passed)
    assert all(line.startswith("GET ") for line in proxy.passed)


def test_the_answering_process_has_no_connection_to_the_engine(lab: Lab) -> None:
    """While the watching process beside it has one, which is how we know that we would see it."""
    packages.ensure({"ss": "iproute2"})
    place = lab.url.removeprefix("unix://")
    with Served(f"--listen={AT}", f"--engine={lab.url}", "--attach=none") as served:
        watching, answering = _descriptors(served.pid), _descriptors(served.child)
        connected = _connected(place)
    assert {f"socket:[{inode}]" for inode in connected} & watching
    assert not {f"socket:[{inode}]" for inode in connected} & answering
    assert not any(place in each for each in answering)


def _descriptors(pid: int) -> set[str]:
    links = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.add(str(each.readlink()))
    return links


def _connected(place: str) -> set[str]:
    """Inodes of the sockets at the other ends of those the engine accepted."""
    listed = subprocess.run(["ss", "-xH"], capture_output=True, text=True, check=True).stdout
    return {peer for *_, path, _, _, peer in map(str.split, listed.splitlines()) if path == place}
