"""The counters door, and the answering process behind it as its parent sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dns.message
import pytest

from resolver.names.changes import Change, Engine, Pending, Sync, write
from resolver.serve.status import Staleness, StatusSocket
from tests.house import POLICY, container, joined, network, question
from tests.sockets import bound, read_framed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DEV = network("dev", "10.1.0.0/24")
ES = container("es", joined(DEV, "10.1.0.2"))
PICTURE: tuple[Change, ...] = (Sync("begin"), POLICY, DEV, ES, Sync("end"))


def listening() -> socket.socket:
    """An abstract unix socket, its name chosen by the kernel."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("")
    sock.listen(8)
    sock.setblocking(False)
    return sock


async def told(name: object) -> dict[str, Any]:
    """One line of JSON, then the end."""
    reader, writer = await asyncio.open_unix_connection(path=name)  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        text = await reader.read()
    writer.close()
    assert text.endswith(b"\n")
    said = json.loads(text)
    assert isinstance(said, dict)
    return said


async def test_whoever_asks_is_told_how_it_is_at_that_moment() -> None:
    counts = {"asked": 0}

    def tell() -> dict[str, Any]:
        counts["asked"] += 1
        return counts

    with listening() as sock:
        status = StatusSocket(asyncio.get_running_loop(), sock, tell)
        assert await told(sock.getsockname()) == {"asked": 1}
        assert await told(sock.getsockname()) == {"asked": 2}
        status.close()


def test_staleness_is_counted_by_a_clock_that_does_not_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, passed = 1_000_000.0, 50.0
    monkeypatch.setattr(time, "time", lambda: wall)
    stale = Staleness(lambda: passed)
    assert stale.told() is None
    stale.heard(Engine("lost", "u", "hangs", wall - 12))
    assert stale.told() == {"since": wall - 12, "seconds": 12.0}
    wall, passed = wall + 86_400, passed + 3
    stale.heard(Engine("lost", "u", "is gone", wall))
    assert stale.told() == {"since": wall - 15, "seconds": 15.0}
    stale.heard(Engine("reached", "u", at=wall))
    assert stale.told() is None
    stale.heard(Engine("lost", "u", "a clock that runs ahead", wall + 99))
    assert stale.told() == {"since": wall, "seconds": 0.0}


async def test_what_is_sent_to_it_is_not_read_and_who_does_not_wait_costs_nothing() -> None:
    with listening() as sock:
        status = StatusSocket(asyncio.get_running_loop(), sock, lambda: {"well": True})
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.connect(sock.getsockname())
                rude.send(b"GET / HTTP/1.0\r\n\r\n" * 100)
        assert await told(sock.getsockname()) == {"well": True}
        status.close()


@dataclass
class Answering:
    """A real answering process, its door and its sockets."""

    process: asyncio.subprocess.Process
    door: socket.socket
    port: int
    tcp_port: int
    status_name: object

    def tell(self, *changes: Change) -> None:
        self.door.sendall(b"".join(write(change).encode() + b"\n" for change in changes))

    async def status(self) -> dict[str, Any]:
        return await told(self.status_name)

    async def is_ready(self) -> None:
        await self.says(lambda status: bool(status["ready"]))

    async def says(self, true: Callable[[dict[str, Any]], bool]) -> None:
        """Ask how it is until this is true."""
        async with asyncio.timeout(20):
            while not true(await self.status()):  # noqa: ASYNC110 — it is another process
                await asyncio.sleep(0.005)

    async def ask(self, packet: bytes) -> bytes:
        with self.asking(packet) as sock:
            return await self.reply(sock)

    def asking(self, packet: bytes) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect(("127.0.0.1", self.port))
        sock.send(packet)
        return sock

    async def reply(self, sock: socket.socket) -> bytes:
        async with asyncio.timeout(20):
            return await asyncio.get_running_loop().sock_recv(sock, 4096)


@asynccontextmanager
async def answering() -> AsyncIterator[Answering]:
    """Started as its parent starts it, but without root to drop."""
    ours, theirs = socket.socketpair()
    datagrams, streams, status = bound("127.0.0.1"), bound("127.0.0.1", socket.SOCK_STREAM), listening()
    handed = (theirs.fileno(), status.fileno(), datagrams.fileno(), streams.fileno())
    start = {"door": handed[0], "status": handed[1], "udp": [handed[2]], "tcp": [handed[3]]}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "resolver.serve", json.dumps(start), pass_fds=handed, env={**os.environ}
    )
    theirs.close()
    with ours, datagrams, streams, status:
        try:
            yield Answering(
                process, ours, datagrams.getsockname()[1], streams.getsockname()[1], status.getsockname()
            )
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def ended(of: Answering) -> int:
    async with asyncio.timeout(20):
        return await of.process.wait()


def addresses(reply: bytes) -> list[str]:
    return [r.to_text() for rrset in dns.message.from_wire(reply).answer for r in rrset]


async def test_from_the_first_picture_to_the_end() -> None:
    async with answering() as it:
        early = it.asking(question("es", "A", id=1).to_wire())
        assert (await it.status())["ready"] is False
        it.tell(*PICTURE)
        await it.is_ready()
        with early:
            assert addresses(await it.reply(early)) == ["10.1.0.2"]
        assert addresses(await it.ask(question("es", "A", id=2).to_wire())) == ["10.1.0.2"]
        assert addresses(await it.ask(question("es", "A", id=3).to_wire())) == ["10.1.0.2"]
        reader, writer = await asyncio.open_connection("127.0.0.1", it.tcp_port)
        packet = question("es", "A", id=4).to_wire()
        writer.write(len(packet).to_bytes(2, "big") + packet)
        assert addresses(await read_framed(reader)) == ["10.1.0.2"]
        status = await it.status()
        assert (status["networks"], status["containers"], status["picture"]) == (1, 1, True)
        assert status["names"] == 2
        assert status["counters"]["queries"] == 4
        assert status["counters"]["at_hand"] in (1, 2)
        assert status["counters"]["tcp_queries"] == 1
        assert status["listening"] == [f"udp 127.0.0.1:{it.port}", f"tcp 127.0.0.1:{it.tcp_port}"]
        it.process.send_signal(signal.SIGTERM)
        assert await ended(it) == 0
        assert await reader.read() == b""
        writer.close()


async def test_when_the_door_closes_it_answers_what_it_has_and_ends() -> None:
    coming = Pending("c", (DEV.id,))
    async with answering() as it:
        it.tell(*PICTURE, replace(POLICY, hold=1000, upstreams=()), coming)
        await it.is_ready()
        with it.asking(question("new", "A", id=5).to_wire()) as held:
            await it.says(lambda status: status["waiting"] == 1)
            it.door.close()
            assert dns.message.from_wire(await it.reply(held)).rcode() == 2
        assert await ended(it) == 0


@pytest.mark.parametrize(
    "line", [b"garbage\n", b'{"change":"settings","ttl":"long"}\n', b'{"change":"teapot"}\n']
)
async def test_a_bad_line_does_not_end_it(line: bytes) -> None:
    async with answering() as it:
        it.door.sendall(line)
        it.tell(*PICTURE)
        await it.is_ready()
        assert addresses(await it.ask(question("es", "A").to_wire())) == ["10.1.0.2"]
