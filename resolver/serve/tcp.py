"""TCP (RFC 7766): many questions per connection, answered as their answers come, bounded in every direction.

A connection that sends nothing, half a question, or does not read its replies is closed; one timer, running
only while there are connections, looks after all of them.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.serve.udp import Ask

FIRST_BYTE: Final = 5.0
"""Seconds a connection may take for its first question."""
IDLE: Final = 10.0
"""Seconds without a question after which a connection is closed (RFC 7766 section 6.2.3)."""
SWEEP: Final = 1.0
"""Seconds between two looks for connections that are overdue."""
MOST: Final = 2048
"""Connections at once; beyond, the one idle longest makes room. Where few descriptors are allowed it is half
of those: forwarding needs some too."""
MOST_PER_CLIENT: Final = 256
MOST_WAITING: Final = 256
"""Questions of one connection whose answers are not there yet; beyond, reading pauses."""
MOST_IN_A_ROW: Final = 32
"""Questions of one connection answered before others get their turn."""
MOST_QUESTION: Final = 16_384
"""Octets of one question; a length beyond it is no question's, and is not waited for."""
MOST_UNREAD: Final = 1 << 18
"""Octets of replies a client may leave unread before its connection is dropped."""


class Service:
    """All connections of all TCP listeners."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ask: Ask) -> None:
        self._loop, self.ask = loop, ask
        self.connections: dict[Connection, None] = {}
        """In the order they were last heard, longest ago first."""
        self.per_client: dict[bytes, int] = {}
        self.queries = 0
        self.asked: dict[bytes, int] = {}
        """The same for each attached container, by its key."""
        self.most = min(MOST, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
        self._servers: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, sock: socket.socket, asker: bytes = b"") -> asyncio.Server:
        """Accept connections on a bound, listening socket; ``asker``: all of them are this container's."""
        server = await self._loop.create_server(lambda: Connection(self, asker), sock=sock)
        self._servers.append(server)
        return server

    def unlisten(self, server: asyncio.Server) -> None:
        """Accept no more there; its socket is closed."""
        server.close()
        self._servers.remove(server)

    def forget(self, asker: bytes) -> None:
        """A container is not attached any more: its connections end."""
        for connection in [c for c in self.connections if c.address == asker]:
            connection.drop()
        self.asked.pop(asker, None)

    def admit(self, connection: Connection) -> bool:
        """Count a connection in; False when its client has too many already."""
        if self.per_client.get(connection.address, 0) >= MOST_PER_CLIENT:
            return False
        if len(self.connections) >= self.most:
            next(iter(self.connections)).drop()
        self.per_client[connection.address] = self.per_client.get(connection.address, 0) + 1
        self.connections[connection] = None
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP, self._sweep)
        return True

    def heard(self, connection: Connection) -> None:
        """Move a connection to the end of those that may be closed."""
        if connection in self.connections:
            del self.connections[connection]
            self.connections[connection] = None

    def leave(self, connection: Connection) -> None:
        """Count a connection out."""
        if connection not in self.connections:
            return
        del self.connections[connection]
        left = self.per_client[connection.address] - 1
        if left:
            self.per_client[connection.address] = left
        else:
            del self.per_client[connection.address]

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in [c for c in self.connections if c.overdue(now)]:
            connection.drop()
        self._timer = self._loop.call_later(SWEEP, self._sweep) if self.connections else None

    def stop_accepting(self) -> None:
        """No new connections; those there are may finish.

        The servers are closed later: a closed one resets what it accepted in this turn of the loop.
        """
        for server in self._servers:
            for sock in server.sockets:
                self._loop.remove_reader(sock.fileno())

    def finish(self) -> None:
        """What has been sent until now is the last that is answered; then a connection ends."""
        for connection in list(self.connections):
            connection.finish()

    def close(self) -> None:
        """End every connection."""
        for server in self._servers:
            server.close()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.connections):
            connection.drop()


class Connection(asyncio.Protocol):
    """One client's connection; also the ``Client`` of every question that comes over it."""

    tcp = True
    body = b""

    def __init__(self, service: Service, asker: bytes = b"") -> None:
        self._service, self._asker = service, asker
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting = 0
        self._ended = self._paused = self._reading = self._later = False
        self.address = b""
        self._deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if self._asker:  # all attached containers have the same few addresses: each is a client by itself
            self.address = self._asker
        elif peer is not None:
            family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
            self.address = socket.inet_pton(family, peer[0].partition("%")[0])
        self._deadline = asyncio.get_running_loop().time() + FIRST_BYTE
        if peer is None or not self._service.admit(self):
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._read()

    def eof_received(self) -> bool:
        """The client has asked all it will: answer what is under way, then close."""
        self._ended = True
        self._close_when_done()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.leave(self)
        self._transport = None

    def overdue(self, now: float) -> bool:
        """Whether it was silent, or left its replies unread, for too long."""
        return now > self._deadline and not self._waiting

    def finish(self) -> None:
        """Go on as if the client had ended the stream here: what the kernel holds is still read before the
        end."""
        if self._transport is not None:
            with suppress(OSError):  # the client is gone
                self._transport.get_extra_info("socket").shutdown(socket.SHUT_RD)

    def drop(self) -> None:
        """End the connection now."""
        self._service.leave(self)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _read(self) -> None:
        """Answer every whole question in the buffer: two octets of length, then the message (RFC 1035 section
        4.2.2)."""
        if self._reading:
            return  # an answer came at once, from within the loop below
        self._reading = True
        buffer, at, asked = self._buffer, 0, 0
        while len(buffer) - at >= 2 and self._waiting < MOST_WAITING and asked < MOST_IN_A_ROW:
            end = at + 2 + (buffer[at] << 8 | buffer[at + 1])
            if end - at > MOST_QUESTION:
                self.drop()
            if end > len(buffer) or self._transport is None:
                break
            self._one(bytes(buffer[at + 2 : end]))
            at, asked = end, asked + 1
        del buffer[:at]
        self._reading = False
        if asked == MOST_IN_A_ROW and not self._later:
            self._later = True
            asyncio.get_running_loop().call_soon(self._read_on)
        self._pause(self._later or self._waiting >= MOST_WAITING)
        if asked:
            self._service.queries += asked
            if self._asker:
                self._service.asked[self._asker] = self._service.asked.get(self._asker, 0) + asked
            self._deadline = asyncio.get_running_loop().time() + IDLE
            self._service.heard(self)
        self._close_when_done()

    def _read_on(self) -> None:
        self._later = False
        self._read()

    def _one(self, packet: bytes) -> None:
        self._waiting += 1
        answerer = _Answer(self._answered, self.address)
        reply = self._service.ask(packet, answerer)
        if reply is not None:
            answerer.send(reply)
        elif len(packet) < 12 or packet[2] & 0x80:
            self._answered(b"")  # no question: there will be no reply

    def _answered(self, reply: bytes) -> None:
        self._waiting -= 1
        transport = self._transport
        if transport is None:
            return
        if reply:
            transport.write(len(reply).to_bytes(2, "big") + reply)
            if transport.get_write_buffer_size() > MOST_UNREAD:
                self.drop()
                return
        if self._paused and self._waiting < MOST_WAITING // 2:
            self._read()
        self._close_when_done()

    def _pause(self, pause: bool) -> None:
        if self._transport is None or pause == self._paused:
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _close_when_done(self) -> None:
        if self._ended and not self._waiting and self._transport is not None:
            self._transport.close()


class _Answer:
    """The ``Client`` of one question over TCP: its reply is counted once."""

    __slots__ = ("_answered", "address", "body", "tcp")

    def __init__(self, answered: Callable[[bytes], None], address: bytes) -> None:
        self._answered: Callable[[bytes], None] | None = answered
        self.address, self.body, self.tcp = address, b"", True

    def send(self, reply: bytes) -> None:
        if self._answered is not None:
            answered, self._answered = self._answered, None
            answered(reply)
