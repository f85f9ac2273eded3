"""Three plain ways to write the server, to keep the measurement that justifies the hand-written path.

``python bench/plain_servers.py stock|dgram|dnslib ADDRESS PORT``: asyncio's own datagram protocol, an
asyncio-dgram stream, and a drained socket whose questions go through dnslib. The first two only look a packed
reply up, so that what is measured is the way to the socket.
"""

import asyncio
import socket
import sys
from typing import cast

import dnslib

ANSWER = "10.9.0.3"


def reply_to(packet: bytes) -> bytes:
    """Parse and pack with dnslib: one A record for whatever is asked."""
    question = dnslib.DNSRecord.parse(packet)
    reply = question.reply()
    reply.add_answer(dnslib.RR(question.q.qname, dnslib.QTYPE.A, rdata=dnslib.A(ANSWER), ttl=600))
    return bytes(reply.pack())


class Memory(dict[bytes, bytes]):
    """Packed replies by the octets of the question after its ID."""

    def __missing__(self, body: bytes) -> bytes:
        reply = self[body] = reply_to(b"\0\0" + body)[2:]
        return reply


class Stock(asyncio.DatagramProtocol):
    """One datagram per turn of the loop."""

    def __init__(self) -> None:
        self._memory = Memory()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data[:2] + self._memory[data[2:]], addr)


async def stock(address: str, port: int) -> None:
    """asyncio's own datagram protocol."""
    await asyncio.get_running_loop().create_datagram_endpoint(Stock, local_addr=(address, port))
    await asyncio.Event().wait()


async def dgram(address: str, port: int) -> None:
    """A stream of asyncio-dgram."""
    import asyncio_dgram  # noqa: PLC0415 — only this way needs the package

    memory = Memory()
    stream = await asyncio_dgram.bind((address, port))
    while True:
        data, sender = await stream.recv()
        await stream.send(data[:2] + memory[data[2:]], sender)


async def parsed(address: str, port: int) -> None:
    """A drained socket, and dnslib for each question."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((address, port))

    def drain() -> None:
        for _ in range(64):
            try:
                data, sender = sock.recvfrom(4096)
            except BlockingIOError:
                return
            sock.sendto(reply_to(data), sender)

    asyncio.get_running_loop().add_reader(sock.fileno(), drain)
    await asyncio.Event().wait()


WAYS = {"stock": stock, "dgram": dgram, "dnslib": parsed}

if __name__ == "__main__":
    asyncio.run(WAYS[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
