"""A DNS upstream that does as it is told and remembers what it was asked.

Two shapes of one server: ``serving`` for asyncio, ``Upstream`` for a thread of its own.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast

import asyncio_dgram
from asyncio_dgram.aio import DatagramServer
from dnslib import QTYPE, RCODE, RR, DNSRecord

_START_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it came: the packet's octets, where it came from, over UDP or TCP."""

    packet: bytes
    client: tuple[str, int]
    tcp: bool

    @property
    def name(self) -> str:
        """The name asked for, without the final dot, in the case it came in."""
        return str(DNSRecord.parse(self.packet).q.qname).rstrip(".")

    @property
    def type(self) -> str:
        """The type asked for, such as ``AAAA``."""
        return str(QTYPE[DNSRecord.parse(self.packet).q.qtype])


#: Decides on a reply's octets; None is silence. Runs on the server's loop and must not block.
Behaviour = Callable[[Asked], bytes | None]


def zone(records: str) -> Behaviour:
    """Answers from records in zone file form; other names are NXDOMAIN, other types of these NODATA."""
    known = RR.fromZone(records)

    def answer(asked: Asked) -> bytes:
        query = DNSRecord.parse(asked.packet)
        reply = query.reply()
        named = [record for record in known if record.rname == query.q.qname]
        reply.add_answer(*[r for r in named if query.q.qtype in (r.rtype, QTYPE.ANY)])
        if not named:
            reply.header.rcode = RCODE.NXDOMAIN
        return bytes(reply.pack())

    return answer


def failing(rcode: str) -> Behaviour:
    """Always that rcode, such as ``SERVFAIL``."""

    def answer(asked: Asked) -> bytes:
        reply = DNSRecord.parse(asked.packet).reply()
        reply.header.rcode = getattr(RCODE, rcode)
        return bytes(reply.pack())

    return answer


def silent(_: Asked) -> None:
    """Never a reply."""


@dataclass(slots=True)
class Server:
    """A server that runs: where it listens, what it was asked, and what it does, which may be exchanged."""

    address: str
    port: int
    behaviour: Behaviour
    asked: list[Asked] = field(default_factory=list)

    def decide(self, packet: bytes, client: tuple[str, int], *, tcp: bool) -> bytes | None:
        """Remember the question and reply to it."""
        question = Asked(packet, client, tcp)
        self.asked.append(question)
        return self.behaviour(question)

    async def answer_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one TCP connection until its end; a question without reply ends it."""
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                packet = await reader.readexactly(size)
                reply = self.decide(packet, writer.get_extra_info("peername")[:2], tcp=True)
                if reply is None:
                    break
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer_datagrams(self, stream: DatagramServer) -> None:
        """Serve UDP until cancelled."""
        while True:
            packet, sender = await stream.recv()
            # Its type covers every family of sockets; ours has a host and a port.
            client = cast("tuple[str, int]", sender)
            reply = self.decide(packet, client, tcp=False)
            if reply is not None:
                await stream.send(reply, client)


@contextlib.asynccontextmanager
async def serving(behaviour: Behaviour, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Server]:
    """A server on the running loop, UDP and TCP on one port (a free one for 0). OSError if it is taken."""
    server = Server(address, port, behaviour)
    # TCP first: a port just given out for it is hardly ever taken for UDP.
    listener = await asyncio.start_server(server.answer_stream, address, port)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        stream = await asyncio_dgram.bind((address, server.port))
    except OSError:
        listener.close()
        raise
    datagrams = asyncio.create_task(server.answer_datagrams(stream))
    try:
        yield server
    finally:
        listener.close()
        datagrams.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await datagrams
        stream.close()


class Upstream:
    """A server on a thread and a loop of its own; a context manager, ``server`` is valid inside."""

    server: Server

    def __init__(self, behaviour: Behaviour, address: str = "127.0.0.1", port: int = 0) -> None:
        self._serve = (behaviour, address, port)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started: threading.Event = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(_START_SECONDS)
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def address(self) -> str:
        """Where to ask, as ``ADDRESS:PORT``."""
        return f"{self.server.address}:{self.server.port}"

    def wait_for(self, name: str, seconds: float = 5.0) -> Asked | None:
        """The first question for that name, waited for; None when it does not come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = next((asked for asked in list(self.server.asked) if asked.name == name), None)
            if found is not None:
                return found
            time.sleep(0.01)
        return None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except OSError as failure:
            self._failure = failure
        finally:
            self._started.set()
            self._loop.run_until_complete(_end_connections(self._loop))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _main(self) -> None:
        async with serving(*self._serve) as self.server:
            self._started.set()
            await self._stop.wait()


async def _end_connections(loop: asyncio.AbstractEventLoop) -> None:
    """A client may keep its connection open for as long as it likes; Docker's resolver does."""
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
