"""Processes die, or begin where nothing can be written."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.served import Served
from tests.faults.running import (
    ADDRESS,
    HOST,
    Beside,
    Running,
    ask_tcp,
    ask_udp,
    framed,
    free_port,
    question,
    read_framed,
    running,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        yield started


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_the_answering_process_is_killed_under_load(resolver: Running) -> None:
    """Nobody has to do anything: what is asked meanwhile waits in the sockets, and all of it is answered."""
    child = resolver.served.child
    clients = [Beside(resolver.at, patience=10.0) for _ in range(4)]
    with ExitStack() as stack:
        for client in clients:
            stack.enter_context(client)
        time.sleep(0.3)
        os.kill(child, signal.SIGKILL)
        time.sleep(1.0)
    slowest = max(took for client in clients for took in client.took)
    print(f"the slowest answer around the kill took {slowest:.2f} s")  # noqa: T201
    assert [len(client.took) for client in clients] == [client.asked for client in clients]
    assert resolver.served.child != child
    assert ask_tcp(resolver.at, question()).endswith(ADDRESS)


def test_killed_again_and_again(resolver: Running) -> None:
    """A process that dies young is started with a pause, but it is started."""
    for _ in range(3):
        os.kill(resolver.served.child, signal.SIGKILL)
        assert ask_udp(resolver.at, question(), 10.0).endswith(ADDRESS)


def test_the_watching_process_is_killed(resolver: Running) -> None:
    """Everything ends: no answers from a table that nobody follows any more, and the ports are free."""
    child = resolver.served.child
    os.kill(resolver.served.pid, signal.SIGKILL)
    assert gone(child)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(resolver.at)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(resolver.at)


def test_told_to_end_under_load(resolver: Running) -> None:
    """Every question sent before SIGTERM is answered, those still in the socket too."""
    count = 1_000
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.connect(resolver.at)
        os.kill(resolver.served.child, signal.SIGSTOP)
        for number in range(count):
            sock.send(question(ident=number))
        resolver.served.tell(signal.SIGTERM)
        time.sleep(0.1)
        os.kill(resolver.served.child, signal.SIGCONT)
        assert resolver.served.await_end() == 0
        sock.setblocking(False)
        replies = set()
        with suppress(BlockingIOError):
            while True:
                replies.add(sock.recv(512)[:2])
    assert len(replies) == count


def test_told_to_end_under_load_over_tcp(resolver: Running) -> None:
    """The same for connections: one that was open, one that nobody has accepted yet; then they are closed."""
    count = 1_000
    asked = b"".join(framed(question(ident=number)) for number in range(count))
    with socket.create_connection(resolver.at, timeout=10.0) as old:
        old.sendall(framed(question()))
        assert read_framed(old).endswith(ADDRESS)
        os.kill(resolver.served.child, signal.SIGSTOP)
        with socket.create_connection(resolver.at, timeout=10.0) as new:
            for sock in (old, new):
                sock.sendall(asked)
            resolver.served.tell(signal.SIGTERM)
            time.sleep(0.1)
            os.kill(resolver.served.child, signal.SIGCONT)
            assert [len(idents(sock)) for sock in (old, new)] == [count, count]
    assert resolver.served.await_end() == 0


def idents(sock: socket.socket) -> set[bytes]:
    """Of all the replies that come before the connection is closed."""
    replies, received = set(), b""
    while more := sock.recv(65_535):
        received += more
        while len(received) >= 2 and len(received) >= (end := 2 + int.from_bytes(received[:2], "big")):
            replies.add(received[2:4])
            received = received[end:]
    return replies


# Where nothing can be written


SHELL = {
    "standard error is full": 'exec "$@" 2>/dev/full >/dev/full',
    "standard error is closed": 'exec "$@" 2>&- >&-',
    "nobody reads what it says": 'exec "$@" > >(true) 2>&1',
}
MOUNTS = {
    "a read-only root": "mount -o remount,ro,bind /",
    "nothing can be written to /tmp": "mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp",
}


def starts(folder: Path, port: int, prefix: tuple[str, ...]) -> None:
    flags = (f"--listen={HOST}:{port}", f"--changes={table(folder)}", "--upstream=127.0.0.1:9")
    with Served(*flags, prefix=prefix).started() as served:
        deadline = time.monotonic() + 20
        while not ask_udp((HOST, port), question(), 0.5).endswith(ADDRESS):
            assert time.monotonic() < deadline, served.log
            assert served.status is None, served.log
        assert ask_tcp((HOST, port), question()).endswith(ADDRESS)
        os.kill(next(_answering(port)), signal.SIGKILL)
        assert ask_udp((HOST, port), question(), 10.0).endswith(ADDRESS), "started again, and told so nowhere"


def _answering(port: int) -> Iterator[int]:
    """The process that answers at this port; ``Served`` knows the shell in front of it only."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"resolver.serve" in words and _parent_listens(int(folder.name), port):
                yield int(folder.name)


def _parent_listens(pid: int, port: int) -> bool:
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return f"--listen={HOST}:{port}".encode() in Path(f"/proc/{parent}/cmdline").read_bytes()


@pytest.mark.parametrize("shell", SHELL.values(), ids=SHELL)
def test_where_nobody_listens_to_what_it_says(tmp_path: Path, shell: str) -> None:
    port = free_port()
    starts(tmp_path, port, ("bash", "-c", shell, "bash"))


@root
@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS)
def test_where_nothing_can_be_written(tmp_path_factory: pytest.TempPathFactory, mount: str) -> None:
    folder = Path("/dev/shm") / f"resolver-faults-{os.getpid()}"
    folder.mkdir()
    try:
        prefix = ("unshare", "--mount", "--propagation=private", "sh", "-c", f'{mount}; exec "$@"', "sh")
        starts(folder, free_port(), prefix)
    finally:
        (folder / "changes").unlink(missing_ok=True)
        folder.rmdir()
