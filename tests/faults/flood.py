"""``python -m tests.faults.flood KIND HOST PORT SECONDS``: datagrams as fast as one process can send them.

Says when it begins, and how many were sent. Its kinds: ``same``, one client with one question; ``names``, one
client, each name a new one; ``tails``, one question with 4,000 octets behind it, others each time;
``sources``, 20,000 addresses of 127.0.0.0/8, as if spoofed; ``garbage``, octets that are no question.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tests.faults.running import question

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT: Final = "127.0.0.66"
SOURCES: Final = 20_000


def sending(kind: str, at: tuple[str, int]) -> Callable[[int], object]:
    """What sends the datagram of that number."""
    if kind == "sources":
        return lambda number: _from_elsewhere(at, number % SOURCES)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((CLIENT, 0))
    sock.connect(at)
    if kind == "same":
        packet = question()
        return lambda _: sock.send(packet)
    if kind == "names":
        start, end = question("a")[:12], question("a.example")[14:]
        return lambda number: sock.send(b"%b\x0c%012x%b" % (start, number * 2_654_435_761 % 2**48, end))
    if kind == "tails":
        return lambda _: sock.send(question() + os.urandom(4_000))
    return lambda number: sock.send(os.urandom(number % 90))


def _from_elsewhere(at: tuple[str, int], number: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((f"127.66.{number >> 8}.{number & 0xFF}", 0))
        sock.sendto(question("es"), at)


def main(kind: str, host: str, port: str, seconds: str) -> None:
    """Send until the time is over."""
    os.nice(10)  # all that is left of a machine that has other things to do
    send = sending(kind, (host, int(port)))
    print("begin", flush=True)  # noqa: T201
    sent, until = 0, time.monotonic() + float(seconds)
    while time.monotonic() < until:
        for number in range(sent, sent + 64):
            with suppress(OSError):  # the other side may be away for a moment; a flood does not care
                send(number)
        sent += 64
    print(sent)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
