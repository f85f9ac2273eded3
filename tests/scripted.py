"""Upstream servers on loopback that do what a test says, and note what they were asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Behaviour = Callable[[bytes], list[bytes]]
"""A query → the datagrams sent back; the same over TCP."""


class Scripted(asyncio.DatagramProtocol):
    """One upstream server, UDP and TCP on the same port."""

    def __init__(self, over_udp: Behaviour, over_tcp: Behaviour) -> None:
        self.asked: list[tuple[str, bytes, tuple[str, int]]] = []
        """Transport, packet, and who sent it."""
        self._over_udp, self._over_tcp = over_udp, over_tcp
        self.transport: asyncio.DatagramTransport | None = None
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self.transport is not None
        self.asked.append(("udp", data, addr))
        for reply in self._over_udp(data):
            self.transport.sendto(reply, addr)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one TCP connection until its end."""
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                packet = await reader.readexactly(size)
                self.asked.append(("tcp", packet, writer.get_extra_info("peername")))
                for reply in self._over_tcp(packet):
                    writer.write(len(reply).to_bytes(2, "big") + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def upstream(over_udp: Behaviour, over_tcp: Behaviour | None = None) -> AsyncIterator[Scripted]:
    """A server that does this until the end of the block."""
    loop = asyncio.get_running_loop()
    server = Scripted(over_udp, over_tcp or over_udp)
    listening, datagrams = _bound_pair()
    tcp = await asyncio.start_server(server.connected, sock=listening)
    transport, _ = await loop.create_datagram_endpoint(lambda: server, sock=datagrams)
    server.address = f"127.0.0.1:{datagrams.getsockname()[1]}"
    try:
        yield server
    finally:
        transport.close()
        tcp.close()
        await asyncio.sleep(0)


def _bound_pair() -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on one port: the kernel chooses one that is free for both."""
    while True:
        listening = socket.create_server(("127.0.0.1", 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(listening.getsockname())
        except OSError:
            listening.close()
            datagrams.close()
            continue
        datagrams.setblocking(False)
        return listening, datagrams


def closed_port() -> str:
    """An address at which nobody listens."""
    listening, datagrams = _bound_pair()
    with listening, datagrams:
        return f"127.0.0.1:{datagrams.getsockname()[1]}"


def answers(*addresses: str, ttl: int = 30, flags: str = "") -> Behaviour:
    """NOERROR with these addresses."""

    def reply(packet: bytes) -> list[bytes]:
        message = dns.message.make_response(dns.message.from_wire(packet), recursion_available=True)
        if addresses:
            kind = "AAAA" if ":" in addresses[0] else "A"
            message.answer.append(dns.rrset.from_text(message.question[0].name, ttl, "IN", kind, *addresses))
        message.flags |= dns.flags.from_text(flags)
        return [message.to_wire(max_size=65_535)]

    return reply


def fails(rcode: str, *, authoritative: bool = False, soa: bool = False) -> Behaviour:
    """A reply with this rcode."""

    def reply(packet: bytes) -> list[bytes]:
        message = dns.message.make_response(dns.message.from_wire(packet), recursion_available=True)
        message.set_rcode(dns.rcode.from_text(rcode))
        if authoritative:
            message.flags |= dns.flags.AA
        if soa:
            message.authority.append(
                dns.rrset.from_text("example.", 60, "IN", "SOA", "ns.example. host.example. 1 60 60 60 60")
            )
        return [message.to_wire(max_size=65_535)]

    return reply


def silent(packet: bytes) -> list[bytes]:
    """Nothing at all."""
    return []


def with_wrong_id(then: Behaviour) -> Behaviour:
    """A reply under another ID, then what ``then`` says."""

    def reply(packet: bytes) -> list[bytes]:
        other = answers("192.0.2.66")(bytes((packet[0] ^ 0xFF,)) + packet[1:])
        return [*other, *then(packet)]

    return reply


def to_another_question(packet: bytes) -> list[bytes]:
    """The right ID, and somebody else's question and answer."""
    query = dns.message.make_query("other.example", "A", id=int.from_bytes(packet[:2], "big"))
    return answers("192.0.2.66")(query.to_wire())


def junk(packet: bytes) -> list[bytes]:
    """The ID and one octet."""
    return [packet[:2] + b"\x81"]


def header_only(packet: bytes) -> list[bytes]:
    """SERVFAIL without the question."""
    return [packet[:2] + b"\x81\x82" + bytes(8)]
