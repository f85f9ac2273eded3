"""Clients misbehave: floods, connections held open; others are answered all the same."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from lab.upstream import Upstream, zone
from tests.faults.running import (
    ADDRESS,
    MEMORY_BOUND,
    Beside,
    Running,
    ask_tcp,
    ask_udp,
    flooding,
    framed,
    question,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOOD_SECONDS = 1.0
CLOSED_SECONDS = 9.0
"""By then a connection that asks nothing is closed: 5 s, a second for the timer, more for a busy machine."""


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests of this module: it has to survive them all. Its upstream takes every question and
    says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        upstream = f"--upstream=127.0.0.1:{silent.getsockname()[1]}"
        with running(tmp_path_factory.mktemp("clients"), upstream) as started:
            yield started
            assert "Traceback" not in started.served.log


@pytest.fixture(autouse=True)
def _well_afterwards(resolver: Running) -> Iterator[None]:
    child = resolver.served.child
    yield
    assert ask_udp(resolver.at, question()).endswith(ADDRESS)
    assert ask_tcp(resolver.at, question()).endswith(ADDRESS)
    assert resolver.served.child == child, "it died and was started again"
    peak = resolver.peak_memory()
    print(f"peak memory {peak >> 20} MiB")  # noqa: T201
    assert peak < MEMORY_BOUND


# Floods


@pytest.mark.parametrize("kind", ["same", "names", "tails", "sources", "garbage"])
def test_a_flood(resolver: Running, kind: str) -> None:
    """What one process can send; whoever asks a question each 10 ms meanwhile gets the answers."""
    with flooding(resolver.at, kind, FLOOD_SECONDS) as flood, Beside(resolver.at) as beside:
        sent = int(flood.communicate()[0])
    beside.judge(f"flood of {kind}, {sent / FLOOD_SECONDS:.0f}/s")


# Connections


def connected(at: tuple[str, int], source: str, sends: bytes = b"") -> socket.socket:
    sock = socket.socket()
    sock.settimeout(10)
    sock.bind((source, 0))
    sock.connect(at)
    if sends:
        sock.sendall(sends)
    return sock


def is_closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(65_535) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_connections_that_ask_nothing(resolver: Running) -> None:
    """2,000 idle, 100 that sent half a length, 100 a length without a body: all closed in time, and a client
    beside them is answered, over TCP too."""
    kinds = [(2_000, b""), (100, b"\0"), (100, framed(question())[:2]), (100, framed(question())[:20])]
    with ExitStack() as stack, Beside(resolver.at) as beside:
        held = []
        for number, sends in enumerate(sends for count, sends in kinds for _ in range(count)):
            sock = connected(resolver.at, f"127.77.0.{1 + number % 100}", sends)
            held.append(stack.enter_context(sock))
        for _ in range(5):
            assert ask_tcp(resolver.at, question()).endswith(ADDRESS)
        deadline = time.monotonic() + CLOSED_SECONDS
        while held := [sock for sock in held if not is_closed(sock)]:
            assert time.monotonic() < deadline, f"{len(held)} connections are still open"
            time.sleep(0.2)
    beside.judge("2,300 connections that ask nothing")


def test_more_connections_of_one_client_than_it_may_have(resolver: Running) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connected(resolver.at, "127.77.1.1")) for _ in range(400)]
        deadline = time.monotonic() + 4
        while sum(map(is_closed, held)) < 400 - 256:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert ask_tcp(resolver.at, question()).endswith(ADDRESS)


def test_a_length_that_no_question_has(resolver: Running) -> None:
    with connected(resolver.at, "127.77.2.1", b"\xff\xff") as sock, suppress(ConnectionResetError):
        assert sock.recv(10) == b""


def test_connections_reset_in_the_middle(resolver: Running) -> None:
    """After half a question, and with the replies to whole ones under way."""
    number = 0
    with Beside(resolver.at) as beside:
        while number < 400 or beside.asked < 30:
            number += 1
            sends = framed(question("many"))[: 7 if number % 2 else None] * 20
            with connected(resolver.at, "127.77.3.1", sends) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    beside.judge(f"{number} connections reset")


def test_replies_that_are_never_read(resolver: Running) -> None:
    """Its connection is ended, and what it left unread takes no memory for long."""
    burst = framed(question("many")) * 100
    with ExitStack() as stack, Beside(resolver.at) as beside:
        held = [stack.enter_context(connected(resolver.at, "127.77.4.1")) for _ in range(8)]
        deadline = time.monotonic() + 15
        for sock in held:
            sock.setblocking(False)
        while held:
            assert time.monotonic() < deadline, f"{len(held)} connections are still open"
            held = [sock for sock in held if not ended_by_asking(sock, burst)]
            time.sleep(0.01)
    beside.judge("8 connections that read nothing")


def ended_by_asking(sock: socket.socket, burst: bytes) -> bool:
    """Ask on, as far as it is taken; whether the other side ended it."""
    try:
        sock.send(burst)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


# Descriptors


def test_descriptors_run_out(tmp_path: Path) -> None:
    """Datagrams are answered meanwhile and other names forwarded; once there is room, TCP is too."""
    limit = ("prlimit", "--nofile=64:64")
    with (
        Upstream(zone("www.example.com. 60 IN A 192.0.2.80")) as upstream,
        running(tmp_path, f"--upstream={upstream.address}", prefix=limit) as short,
    ):
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(connected(short.at, "127.77.5.1"))
            time.sleep(0.5)
            assert ask_udp(short.at, question()).endswith(ADDRESS)
            assert ask_udp(short.at, question("www.example.com")).endswith(bytes((192, 0, 2, 80)))
        assert ask_tcp(short.at, question()).endswith(ADDRESS)
