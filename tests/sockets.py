"""The answering process on real sockets of loopback: listeners, clients and upstream servers of a test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from resolver.cache import Cache
from resolver.serve import tcp, udp
from resolver.serve.forward import Forwarder
from resolver.serve.memory import Memory
from resolver.serve.rates import Rates
from resolver.serve.rebinding import Rebinding
from resolver.serve.upstream.flight import Limits
from resolver.serve.upstream.upstreams import Upstreams
from tests.scripted import Behaviour, Scripted, upstream

if TYPE_CHECKING:
    from tests.house import House

Server = Behaviour | tuple[Behaviour, Behaviour] | str


@asynccontextmanager
async def with_upstreams(
    house: House, *servers: Server, limits: Limits | None = None
) -> AsyncIterator[list[Scripted]]:
    """Forward for real, to servers given as a behaviour, a pair (UDP, TCP) of them, or an address."""
    async with AsyncExitStack() as stack:
        scripted, addresses = [], []
        for server in servers:
            if isinstance(server, str):
                addresses.append(server)
                continue
            pair = server if isinstance(server, tuple) else (server, server)
            scripted.append(await stack.enter_async_context(upstream(*pair)))
            addresses.append(scripted[-1].address)
        loop = asyncio.get_running_loop()
        upstreams = Upstreams(loop, limits=limits or Limits())
        rebinding = Rebinding(house.table, loop.time)
        house.queries._forwarder = Forwarder(loop, upstreams, Cache(), house.memory, rebinding)
        house.apply(replace(house.table.policy, upstreams=tuple(addresses)))
        try:
            yield scripted
        finally:
            upstreams.close()


async def through(house: House, packet: bytes, asker: str = "spec-c2", *, tcp: bool = False) -> bytes:
    """The reply to a packet, now or later; there is one and no other."""
    reply, client = house.send(packet, asker, tcp=tcp)
    if reply is None:
        async with asyncio.timeout(20):
            await client.replied.wait()
    (only,) = [reply] if reply is not None else client.replies
    return only


def bound(host: str, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
    """A non-blocking socket on a free port of this address, set up as the answering process gets them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if host in ("0.0.0.0", "::"):
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
    sock.setblocking(False)
    return sock


IP_PKTINFO = 8
Listen = Callable[[asyncio.AbstractEventLoop, socket.socket, Memory, udp.Ask, Rates], udp.Listener]


@asynccontextmanager
async def answering_udp(
    house: House, host: str = "127.0.0.1", listen: Listen = udp.listen, rate: int = 0
) -> AsyncIterator[tuple[udp.Listener, int]]:
    """A UDP listener of this house, and its port."""
    sock = bound(host)
    loop = asyncio.get_running_loop()
    rates = Rates(lambda: 0.0)
    rates.limit = rate
    listener = listen(loop, sock, house.memory, house.queries.ask, rates)
    try:
        yield listener, sock.getsockname()[1]
    finally:
        listener.close()
        sock.close()


@asynccontextmanager
async def answering_tcp(house: House, host: str = "127.0.0.1") -> AsyncIterator[tuple[tcp.Service, int]]:
    """A TCP listener of this house, and its port."""
    sock = bound(host, socket.SOCK_STREAM)
    port = sock.getsockname()[1]
    service = tcp.Service(asyncio.get_running_loop(), house.queries.ask)
    await service.listen(sock)
    try:
        yield service, port
    finally:
        service.close()
        await asyncio.sleep(0)


async def over_udp(house: House, packet: bytes) -> bytes:
    """The reply to one datagram from loopback."""
    loop = asyncio.get_running_loop()
    async with answering_udp(house) as (_, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", port))
            await loop.sock_sendall(client, packet)
            async with asyncio.timeout(20):
                return await loop.sock_recv(client, 65_535)


async def over_tcp(house: House, stream: bytes, count: int) -> list[bytes]:
    """The first replies to a stream of framed questions."""
    async with answering_tcp(house) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(stream)
        try:
            return [await read_framed(reader) for _ in range(count)]
        finally:
            writer.close()
            await writer.wait_closed()


async def until(true: Callable[[], bool]) -> None:
    """Give everything else its turn until this is true."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 — nobody sets an event for what tests look at
            await asyncio.sleep(0)


async def read_framed(reader: asyncio.StreamReader) -> bytes:
    """One message of a TCP stream."""
    async with asyncio.timeout(20):
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)
