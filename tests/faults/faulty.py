"""Upstream servers that misbehave, each in its own way, on real sockets and in threads of their own."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self

from tests.faults.running import framed

LATE: Final = 5.5
"""Seconds: our client has given up by then."""

Send = Callable[[bytes], object]
OverUdp = Callable[[bytes, Send, tuple[str, int]], None]
"""A query, what sends back to who asked, and who that is."""
OverTcp = Callable[[bytes, socket.socket], None]

ADDRESS: Final = bytes((192, 0, 2, 80))


def answer(packet: bytes, flags: int = 0x8180, rdata: bytes = ADDRESS, count: int = 1) -> bytes:
    """The right reply, unless told otherwise."""
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, len(rdata)) + rdata
    return packet[:2] + struct.pack("!5H", flags, 1, count, 0, 0) + packet[12:] + record * count


def looping(packet: bytes) -> bytes:
    """The owner of its record is a pointer to itself."""
    at = len(packet)
    owner = struct.pack("!H", 0xC000 | at)
    return answer(packet)[:at] + owner + answer(packet)[at + 2 :]


def from_elsewhere(packet: bytes, _: Send, client: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.99", 0))
        other.sendto(answer(packet), client)


def late(packet: bytes, send: Send, _: tuple[str, int]) -> None:
    threading.Timer(LATE, lambda: send(answer(packet))).start()


def each(*replies: Callable[[bytes], bytes]) -> OverUdp:
    """Sends what these make of the query."""

    def over_udp(packet: bytes, send: Send, _: tuple[str, int]) -> None:
        for reply in replies:
            send(reply(packet))

    return over_udp


def nothing(*_: object) -> None:
    """Silence."""


def stay(_: bytes, connection: socket.socket) -> None:
    with suppress(OSError):
        connection.recv(1)  # until the other side ends it


def cut(packet: bytes, connection: socket.socket) -> None:
    connection.sendall(framed(answer(packet))[:9])


def crawl(packet: bytes, connection: socket.socket) -> None:
    for octet in framed(answer(packet)):
        connection.sendall(bytes((octet,)))
        time.sleep(0)


def endless(_: bytes, connection: socket.socket) -> None:
    """Frames nobody asked for, as many as are taken."""
    with suppress(OSError):
        while True:
            connection.sendall(framed(os.urandom(60_000)))


truncated = each(lambda packet: answer(packet, 0x8380, count=0)[: len(packet)])
big = each(lambda packet: answer(packet, count=4000))


@dataclass
class Faulty:
    """One server, UDP and TCP on one port; the kernel's choice unless told."""

    over_udp: OverUdp = nothing
    over_tcp: OverTcp = stay
    at: tuple[str, int] = ("127.0.0.1", 0)
    asked: int = 0

    def __enter__(self) -> Self:
        self._tcp = socket.create_server(self.at)
        self.at = self._tcp.getsockname()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(self.at)
        targets = (self._datagrams, self._connections)
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._udp.sendto(b"", self.at)  # its thread waits for a datagram, and holds the socket
        self._tcp.shutdown(socket.SHUT_RDWR)
        for thread, sock in zip(self._threads, (self._udp, self._tcp), strict=True):
            thread.join(10)
            sock.close()

    @property
    def address(self) -> str:
        return f"{self.at[0]}:{self.at[1]}"

    def _datagrams(self) -> None:
        with suppress(OSError):
            while True:
                packet, client = self._udp.recvfrom(65_535)
                if not packet:
                    return  # shut down
                self.asked += 1
                self.over_udp(packet, lambda reply, to=client: self._reply(reply, to), client)  # type: ignore[misc]

    def _reply(self, reply: bytes, to: tuple[str, int]) -> None:
        with suppress(OSError):
            self._udp.sendto(reply, to)

    def _connections(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(30)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb")
            while packet := stream.read(int.from_bytes(stream.read(2), "big")):
                self.over_tcp(packet, connection)
                if self.over_tcp is cut:
                    return


@contextmanager
def closed_port() -> Iterator[str]:
    """Where nobody listens: the kernel says so by ICMP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    yield f"127.0.0.1:{port}"
