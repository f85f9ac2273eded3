"""Questions to one upstream server over TCP: one connection, kept for a while, pipelined (RFC 7766)."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from resolver.serve.upstream.flight import Flight
    from resolver.serve.upstream.server import Server
    from resolver.serve.upstream.upstreams import Upstreams

IDLE = 10.0
"""Seconds a connection without questions is kept; a few are advised (RFC 7766 section 6.2.3)."""

_CHUNK = 65_536
_SMALLEST = 12


class TcpExchange:
    """One connection and the questions that wait for a reply on it, by ID."""

    __slots__ = (
        "_in",
        "_loop",
        "_out",
        "_owner",
        "_sock",
        "_writing",
        "pending",
        "replies",
        "server",
        "used",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Upstreams, server: Server, now: float) -> None:
        """Raises OSError: no descriptor left, no route."""
        self._loop = loop
        self._owner = owner
        self.server = server
        self.pending: dict[bytes, Flight] = {}
        self.replies = 0
        self.used = now
        self._in = bytearray()
        self._out = bytearray()
        self._sock = server.socket(socket.SOCK_STREAM)
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            failed = self._sock.connect_ex(server.tcp_address)
            if failed not in (0, errno.EINPROGRESS):
                raise OSError(failed, "connect")
            loop.add_writer(self._sock.fileno(), self._writable)
        except OSError:
            self._sock.close()
            raise
        self._writing = True
        loop.add_reader(self._sock.fileno(), self._readable)
        owner.open.add(self)
        owner.wheel.put(self, now + IDLE, TcpExchange._rest)

    @property
    def closed(self) -> bool:
        """Whether no more can be asked here."""
        return self._sock.fileno() < 0

    def send(self, packet: bytes) -> None:
        """Queue one message; what the kernel does not take at once follows when it can."""
        self._out += len(packet).to_bytes(2, "big") + packet
        if not self._writing:
            self._writable()

    def drop(self, ident: bytes) -> None:
        """Nobody waits for this reply any more."""
        self.pending.pop(ident, None)

    def close(self) -> None:
        """Close the connection; twice does no harm. Who still waits must be settled by the owner."""
        if not self.closed:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            self._owner.open.discard(self)

    def _lost(self) -> None:
        self.close()
        waiting = list(self.pending.values())
        self.pending.clear()
        self._owner.disconnected(self, waiting)

    def _writable(self) -> None:
        try:
            del self._out[: self._sock.send(self._out)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            # Not before this turn ends: who called may be about to note the question as pending here.
            self._loop.call_soon(self._lost)
            self._loop.remove_writer(self._sock.fileno())
            return
        if bool(self._out) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._sock.fileno(), self._writable)
            else:
                self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            chunk = self._sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._lost()
            return
        self._in += chunk
        self.used = now = self._owner.now()
        while len(self._in) >= 2:
            size = self._in[0] << 8 | self._in[1]
            if size < _SMALLEST:
                self._lost()  # no DNS message is that short: whatever speaks there, it is not in step
                return
            if len(self._in) < size + 2:
                return
            packet = bytes(self._in[2 : size + 2])
            del self._in[: size + 2]
            self.replies += 1
            flight = self.pending.get(packet[:2])
            if flight is None:
                self._owner.counters["stray"] += 1
            else:
                self._owner.answered(self, flight, packet, now)

    def _rest(self, now: float) -> None:
        """The idle time-out: checked when it may have come, not moved with every question."""
        if self.closed:
            return
        if not self.pending and now - self.used >= IDLE:
            self.close()
        else:
            self._owner.wheel.put(self, max(now, self.used) + IDLE, TcpExchange._rest)
