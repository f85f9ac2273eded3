"""Upstream servers that behave as told, on real sockets, and a clock that a test moves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resolver.serve.upstream.flight import Done
    from resolver.serve.upstream.upstreams import Upstreams
    from resolver.wire.reply import ReplyShape

Behaviour = Callable[[bytes], Iterable[bytes]]
"""A query's packet → the packets sent back."""
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def question(name: str = "a.example", rtype: int = 1) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return labels + b"\0" + struct.pack("!HH", rtype, 1)


def query(name: str = "a.example", ident: int = 1, flags: int = 0x0100) -> bytes:
    return struct.pack("!6H", ident, flags, 1, 0, 0, 0) + question(name)


def answer(packet: bytes, *, rcode: int = 0, flags: int = 0x8180, address: bytes = b"\xc0\0\2\1") -> bytes:
    """The reply to a query without OPT: one address, or none with an rcode."""
    records = b"" if rcode else b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + address
    return packet[:2] + struct.pack("!5H", flags | rcode, 1, int(not rcode), 0, 0) + packet[12:] + records


def well(packet: bytes) -> list[bytes]:
    return [answer(packet)]


def silent(packet: bytes) -> list[bytes]:
    return []


def says(rcode: int) -> Behaviour:
    return lambda packet: [answer(packet, rcode=rcode)]


def truncated(packet: bytes) -> list[bytes]:
    return [answer(packet, flags=0x8380)]


class Clock:
    """Seconds as the test says."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class FakeServer:
    """Listens on UDP at 127.0.0.1 (or ``host``), notes what comes, and answers by its behaviour."""

    def __init__(self, behaviour: Behaviour = well, host: str = "127.0.0.1") -> None:
        self.behaviour = behaviour
        self.asked: list[tuple[bytes, tuple[str, int]]] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((host, 0))
        self.port = self.sock.getsockname()[1]
        self.spec = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.connections = 0
        self._tcp: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        asyncio.get_running_loop().add_reader(self.sock.fileno(), self._readable)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, sender = self.sock.recvfrom(65_535)
                self.asked.append((packet, sender))
                for reply in self.behaviour(packet):
                    self.sock.sendto(reply, sender)

    async def talk(self, conversation: Conversation) -> None:
        """Also listen on TCP, at a port of its own."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            self._writers.append(writer)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await conversation(reader, writer)
            writer.close()

        self._tcp = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.spec += f"/{self._tcp.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock.fileno())
        self.sock.close()
        if self._tcp is not None:
            self._tcp.close()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(2), "big")
    return await reader.readexactly(size)


def frame(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


class Asker:
    """Asks through Upstreams and holds it to its word: one call of done per question."""

    def __init__(self, upstreams: Upstreams, clock: Clock) -> None:
        self.upstreams = upstreams
        self.clock = clock
        self.counters = upstreams.counters

    def start(
        self, *servers: FakeServer | str, packet: bytes | None = None, client: object = "c"
    ) -> list[ReplyShape | None]:
        """Ask; the list is empty until the reply came."""
        packet = packet or query()
        got: list[ReplyShape | None] = []
        done: Done = got.append
        specs = tuple(server if isinstance(server, str) else server.spec for server in servers)
        assert self.upstreams.ask(packet, packet[12:], specs, client, done)
        return got

    async def ask(self, *servers: FakeServer | str, packet: bytes | None = None) -> ReplyShape | None:
        """Ask and wait, with the clock standing still."""
        got = self.start(*servers, packet=packet)
        await until(lambda: got)
        return got[0]

    async def let(self, seconds: float) -> None:
        """Let time pass, in small steps so that what is due meanwhile happens in its order."""
        await settle()
        while seconds > 0:
            self.clock.now += min(0.1, seconds)
            seconds -= 0.1
            self.upstreams.wheel.turn()
            await settle()


async def settle() -> None:
    """Let what was sent over loopback arrive."""
    for _ in range(4):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for real sockets; the bound is for a broken program, no test depends on it."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for is a socket's doing
            await asyncio.sleep(0.001)
