"""Questions to one upstream server over UDP.

A spoofed reply must guess the port and the ID (RFC 5452): ports are the kernel's choice, IDs come from
``os.urandom``, and each socket is used for a bounded number of questions and seconds. Sockets are
connected, so the kernel lets only the server's own datagrams in and tells of ICMP errors.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from resolver.serve import mmsg

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from resolver.serve.upstream.flight import Flight
    from resolver.serve.upstream.server import Server
    from resolver.serve.upstream.upstreams import Upstreams

MOST_USES = 512
LONGEST_USE = 20.0
"""Seconds."""
BURST = 64
"""Datagrams read before others get their turn."""
RECEIVE_BUFFER = 1 << 20

_RANDOM_BLOCK = 4096
_LARGEST = 65_535
_inbox = mmsg.Inbox() if mmsg.available else None
"""One for all sockets: they are drained one after the other."""


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
        owner, pending = self._owner, self.pending
        now = owner.now()
        try:
            packets = _inbox.receive(self._sock.fileno()) if _inbox else self._receive()
        except (BlockingIOError, InterruptedError):
            packets = []
        except OSError as error:
            packets = []
            if self._sock.fileno() >= 0:
                owner.unreachable(self, error.errno or 0)
        for packet in packets:
            flight = pending.get(packet[:2])
            if flight is None:
                owner.counters["stray"] += 1
            else:
                owner.answered(self, flight, packet, now)
        if self.retired and not pending:
            self.close()

    def _receive(self) -> list[bytes]:
        """One by one, where there is no recvmmsg. An error is told now or by the next read, as there."""
        packets = [self._sock.recv(_LARGEST)]
        with suppress(BlockingIOError, InterruptedError):
            while len(packets) < BURST:
                packets.append(self._sock.recv(_LARGEST))
        return packets

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
