"""Questions to one upstream server over UDP.

A spoofed reply must guess the port and the ID (RFC 5452): ports are the kernel's choice, IDs come from
``os.urandom``, and each socket is used for a bounded number of questions and seconds. Sockets are
connected, so the kernel lets only the server's own datagrams in and tells of ICMP errors.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from resolver.serve.upstream import Upstreams
    from resolver.serve.upstream_flight import Flight
    from resolver.serve.upstream_server import Server

MOST_USES = 512
LONGEST_USE = 20.0
"""Seconds."""
BURST = 64
"""Datagrams read before others get their turn."""
RECEIVE_BUFFER = 1 << 20

_RANDOM_BLOCK = 4096
_buffer = memoryview(bytearray(65_535))
"""Where every reply is read first: one of the largest size is not made anew for each."""


class Idents:
    """Random message IDs, from the kernel's generator, in blocks."""

    __slots__ = ("_at", "_block")

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def next(self) -> bytes:
        """Two octets."""
        at = self._at
        if at >= len(self._block):
            self._block = os.urandom(_RANDOM_BLOCK)
            at = 0
        self._at = at + 2
        return self._block[at : at + 2]


class UdpExchange:
    """One connected socket and the questions that wait for a reply on it, by ID."""

    __slots__ = (
        "_loop",
        "_owner",
        "_sock",
        "broken",
        "pending",
        "retire_at",
        "retired",
        "send",
        "server",
        "uses",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Upstreams, server: Server, now: float) -> None:
        """Raises OSError: no descriptor left, no route."""
        self._loop = loop
        self._owner = owner
        self.server = server
        self.pending: dict[bytes, Flight] = {}
        self.uses = 1 if server.forgotten else MOST_USES
        self.retire_at = now + LONGEST_USE
        self.retired = server.forgotten
        self.broken = False
        self._sock = sock = server.socket(socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            sock.connect(server.udp_address)
            loop.add_reader(sock.fileno(), self.drain)
        except OSError:
            sock.close()
            raise
        self.send: Callable[[bytes], int] = sock.send
        owner.open.add(self)

    def drain(self) -> None:
        """Read what has come, up to a burst."""
        receive, pending, answered = self._sock.recv_into, self.pending, self._owner.answered
        now = self._owner.now()
        for _ in range(BURST):
            try:
                packet = _buffer[: receive(_buffer)].tobytes()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if self._sock.fileno() >= 0:
                    self._owner.unreachable(self, error.errno or 0)
                break
            flight = pending.get(packet[:2])
            if flight is None:
                self._owner.counters["stray"] += 1
            else:
                answered(self, flight, packet, now)
        if self.retired and not pending:
            self.close()

    def fileno(self) -> int:
        """-1 once closed."""
        return self._sock.fileno()

    def retire(self) -> None:
        """No further questions; closed when the last one waiting here is settled."""
        self.retired = True
        if not self.pending:
            self.close()

    def drop(self, ident: bytes) -> None:
        """Nobody waits for this reply any more."""
        self.pending.pop(ident, None)
        if self.retired and not self.pending:
            self.close()

    def close(self) -> None:
        """Close the socket; twice does no harm."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._owner.open.discard(self)
