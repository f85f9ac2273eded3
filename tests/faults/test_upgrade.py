"""A new version is started beside the one that runs, on the same addresses: no question is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from lab.served import Served
from lab.upstream import Asked, Upstream, zone
from tests.faults.running import (
    ADDRESS,
    HOST,
    Running,
    ask_tcp,
    ask_udp,
    framed,
    free_port,
    question,
    read_framed,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORLD = bytes((192, 0, 2, 80))


@dataclass
class Load:
    """Clients that ask on and on, over UDP and TCP, names of ours and names of upstream."""

    at: tuple[str, int]
    asked: int = 0
    wrong: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @contextmanager
    def going(self) -> Iterator[None]:
        self._threads = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(4)]
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Ask no more, and wait for the last replies."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        ask = ask_tcp if number == 3 else ask_udp
        count = 0
        while not self._stop.is_set():
            count += 1
            inside = number != 2
            packet = question("es.dev" if inside else f"n{count}.example", ident=count & 0xFFFF)
            reply = ask(self.at, packet, 10.0)
            self.asked += 1
            if reply[:2] != packet[:2] or not reply.endswith(ADDRESS if inside else WORLD):
                self.wrong.append(f"{ask.__name__} {count}: {reply.hex()}")


def slow(asked: Asked) -> bytes | None:
    """A server far away: what was asked before the new one came is answered after that."""
    time.sleep(0.02)
    return zone(f"{asked.name}. 60 IN A 192.0.2.80")(asked)


@contextmanager
def started(port: int, *flags: str) -> Iterator[Served]:
    with Served(f"--listen={HOST}:{port}", *flags).started() as served:
        yield served


@pytest.mark.parametrize("workers", [1, 2])
def test_no_question_is_lost(tmp_path: Path, workers: int) -> None:
    """Twice in a row, for who was handed the sockets hands them on."""
    port = free_port()
    with Upstream(slow) as upstream:
        flags = (f"--upstream={upstream.address}", f"--changes={table(tmp_path)}", f"--workers={workers}")
        load = Load((HOST, port))
        with started(port, *flags, "--replace") as first:
            first.await_ready()
            with load.going(), started(port, *flags, "--replace") as second:
                assert first.await_end(15) == 0
                with started(port, *flags, "--replace") as third:
                    assert second.await_end(15) == 0
                    before = load.asked
                    while load.asked < before + 100:
                        time.sleep(0.01)
                    third.await_ready()
                    load.end()
        for served in (first, second, third):
            assert "Traceback" not in served.log
    print(f"{load.asked} questions while two new versions took over, {len(load.wrong)} lost or wrong")  # noqa: T201
    assert load.wrong == []


def test_what_was_asked_before_is_answered_by_who_was_asked(tmp_path: Path) -> None:
    """A connection too: what it asks until it ends."""
    port, answer = free_port(), threading.Event()

    def held(asked: Asked) -> bytes | None:
        answer.wait(10)
        return zone(f"{asked.name}. 60 IN A 192.0.2.80")(asked)

    with Upstream(held) as upstream:
        flags = (f"--upstream={upstream.address}", f"--changes={table(tmp_path)}", "--replace")
        with started(port, *flags) as first, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            first.await_ready()
            sock.settimeout(10)
            sock.connect((HOST, port))
            sock.send(question("www.example"))
            with socket.create_connection((HOST, port), timeout=10) as connection:
                connection.sendall(framed(question()))
                assert read_framed(connection).endswith(ADDRESS)
                with started(port, *flags) as second:
                    second.await_log("took over")
                    first.await_log("another one has taken over")
                    connection.sendall(framed(question(ident=2)))
                    assert read_framed(connection).endswith(ADDRESS)
                    answer.set()
                    assert sock.recv(512).endswith(WORLD)
                    connection.close()
                    assert first.await_end(15) == 0
                    assert ask_udp((HOST, port), question()).endswith(ADDRESS)


@pytest.fixture
def running_one(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    flags = ("--upstream=127.0.0.1:9", f"--changes={table(tmp_path)}")
    with Served(f"--listen={HOST}:{port}", *flags) as served:
        yield Running(served, port)


def test_one_that_never_gets_its_picture_changes_nothing(running_one: Running, tmp_path: Path) -> None:
    with started(running_one.port, f"--engine=unix://{tmp_path}/none.sock", "--replace") as second:
        second.await_log("no engine")
        assert ask_udp(running_one.at, question()).endswith(ADDRESS)
        second.tell(signal.SIGKILL)
        second.await_end()
    running_one.served.await_log("nothing has changed")
    assert ask_udp(running_one.at, question()).endswith(ADDRESS)
    assert ask_tcp(running_one.at, question()).endswith(ADDRESS)


@pytest.mark.parametrize("flags", [("--listen=127.0.0.1:1",), ("--workers=2",)])
def test_other_settings_are_told(running_one: Running, tmp_path: Path, flags: tuple[str, ...]) -> None:
    with started(running_one.port, f"--changes={table(tmp_path)}", "--replace", *flags) as second:
        assert second.await_end(15) == 1
        assert f"--listen {HOST}:{running_one.port} --workers 1" in second.log
    assert ask_udp(running_one.at, question()).endswith(ADDRESS)


def test_without_being_asked_nothing_is_replaced(running_one: Running, tmp_path: Path) -> None:
    with started(running_one.port, f"--changes={table(tmp_path)}") as second:
        assert second.await_end(15) == 1
        assert "already in use" in second.log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_strangers_get_no_sockets(running_one: Running) -> None:
    """Nor does a stranger who was at the name first give any."""
    code = (
        "import socket, sys, time\n"
        "sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "name = '\\0resolver/' + sys.argv[1] + '/handover'\n"
        "if len(sys.argv) > 2:\n"
        "    sock.bind(name); sock.listen(); print(1, flush=True); time.sleep(60)\n"
        "sock.connect(name); sock.settimeout(5)\n"
        "print(sock.recv(100), flush=True)\n"
    )
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", code)
    done = subprocess.run(
        [*nobody, f"{HOST}:{running_one.port}"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "b''\n", done.stderr
    port = free_port()
    with subprocess.Popen([*nobody, f"{HOST}:{port}", "1"], stdout=subprocess.PIPE) as squatter:
        assert squatter.stdout is not None
        squatter.stdout.readline()
        try:
            with started(port, "--replace", "--changes=/dev/null") as served:
                assert served.await_end(15) == 1
                assert "another user's" in served.log
        finally:
            squatter.kill()
