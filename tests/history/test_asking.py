"""What asks: a question without reply is asked once more, and silence is told from what was lost."""

from __future__ import annotations

import socket
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.history.asking import _AGAIN, Seat, _Udp
from tests.history.playing import _errors
from tests.history.record import NEVER, Asked
from tests.oracle.message import Question

if TYPE_CHECKING:
    from collections.abc import Iterator

ES = Question("es")


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        yield sock


@pytest.fixture
def noted() -> list[Asked]:
    return []


@pytest.fixture
def line(server: socket.socket, noted: list[Asked]) -> Iterator[_Udp]:
    """That has asked, and has asked once more by now."""
    line = _Udp(Seat("asker", "", (("", server.getsockname()),)), noted.append)
    line.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.socket.setblocking(False)
    line.send(Random(0), ES)
    line.ask_again(time.monotonic())
    assert len(line.waiting) == 1
    for _ in range(3):
        line.ask_again(time.monotonic() + _AGAIN + 1)
    assert len(line.waiting) == 2
    yield line
    line.give_up()


def test_lost_is_what_was_answered_when_asked_once_more(
    line: _Udp, server: socket.socket, noted: list[Asked]
) -> None:
    first, second = server.recvfrom(512), server.recvfrom(512)
    assert first[0][:2] != second[0][:2]
    assert first[0][2:] == second[0][2:]
    server.sendto(*second)
    line.receive()
    line.give_up()
    assert [(one.replied == NEVER, one.repeated) for one in noted] == [(False, False), (True, True)]


def test_silence_is_what_was_not_answered_either_time(line: _Udp, noted: list[Asked]) -> None:
    line.give_up()
    assert [(one.replied == NEVER, one.repeated) for one in noted] == [(True, False)]


def test_a_late_reply_is_a_reply(line: _Udp, server: socket.socket, noted: list[Asked]) -> None:
    server.sendto(*server.recvfrom(512))
    line.receive()
    line.give_up()
    assert [(one.replied == NEVER, one.repeated) for one in noted] == [(False, False)]


def test_errors_of_the_log() -> None:
    log = "t info error\nt error a name=b\nt critical c exception=Traceback\nTraceback (most\n\n"
    assert [*_errors(log)] == log.splitlines()[1:4]
