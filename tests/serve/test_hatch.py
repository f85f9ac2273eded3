"""Sockets of other namespaces come in: real sockets of loopback through a real socket pair."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any, Final

import dns.message
import dns.rcode
import pytest

from resolver.serve import tcp, udp
from resolver.serve.hatch import Hatch
from resolver.serve.queries import NOBODY
from resolver.serve.rates import Rates
from tests.house import Asker, House, container, joined, network, question
from tests.sockets import bound, read_framed, until
from tests.watch.attach.stack import open_descriptors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEV, PROD = network("dev", "10.1.0.0/24"), network("prod", "10.2.0.0/24")
WEB = container("web", joined(DEV, "10.1.0.2"))
DB = container("db", joined(PROD, "10.2.0.2"))
ENGINE = "127.0.0.11:4/5"
STREAM = socket.SOCK_STREAM

COUNTS: Final = {"udp": 1, "tcp": 1, "spare_udp": 0, "spare_tcp": 0}


class Answering:
    """The parts of the answering process a hatch gives sockets to, and the watching process's end."""

    def __init__(self) -> None:
        self.house = House(DEV, PROD, WEB, DB)
        self.memory, self.queries = self.house.memory, self.house.queries
        self.rates = Rates(lambda: 0.0)
        loop = asyncio.get_running_loop()
        self.failures: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.tcp = tcp.Service(loop, self.queries.ask)
        self.gone: list[str] = []
        self.hatch = Hatch(loop, self)
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        theirs.setblocking(False)
        self.theirs = theirs
        self.hatch.listen(theirs)

    def left(self, identity: str) -> None:
        self.gone.append(identity)

    def send(self, message: dict[str, Any], *sockets: socket.socket) -> None:
        """Ours are closed, as the watching process closes its copies."""
        socket.send_fds(self.ours, [json.dumps(message).encode()], [sock.fileno() for sock in sockets])
        for sock in sockets:
            sock.close()

    async def attach(self, identity: str, engine: str = ENGINE) -> tuple[int, int]:
        """With a UDP and a TCP socket; their ports."""
        sockets = bound("127.0.0.1"), bound("127.0.0.1", STREAM)
        ports = sockets[0].getsockname()[1], sockets[1].getsockname()[1]
        before = self.hatch.attached.get(identity)
        self.send({"attached": identity, "engine": engine, **COUNTS}, *sockets)
        await until(lambda: self.hatch.attached.get(identity) is not before)
        await until(lambda: bool(self.hatch.attached[identity].servers))
        return ports

    async def detach(self, identity: str) -> None:
        self.send({"detached": identity})
        await until(lambda: identity not in self.hatch.attached)

    def wanted(self) -> list[tuple[str, str]]:
        """What was sent for."""
        found: list[tuple[str, str]] = []
        while True:
            try:
                said = json.loads(self.ours.recv(4096))
            except BlockingIOError:
                return found
            found.append((said["wants"], said["kind"]))


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    """At the end nothing is left open."""
    before = open_descriptors()
    answering = Answering()
    yield answering
    answering.hatch.close()
    answering.hatch.close_listeners()
    assert answering.tcp._servers == []
    answering.tcp.close()
    await asyncio.sleep(0)
    for sock in (answering.ours, answering.theirs):
        sock.close()
    await asyncio.sleep(0)
    assert open_descriptors() == before
    assert answering.failures == []


async def asked(port: int, name: str) -> list[str]:
    """The addresses a question over UDP brings; the rcode where there are none."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        client.send(question(name).to_wire())
        async with asyncio.timeout(20):
            return told(await loop.sock_recv(client, 4096))


def told(reply: bytes) -> list[str]:
    message = dns.message.from_wire(reply)
    return [r.to_text() for rrset in message.answer for r in rrset] or [dns.rcode.to_text(message.rcode())]


async def over_tcp(port: int, name: str) -> list[str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    packet = question(name).to_wire()
    writer.write(len(packet).to_bytes(2, "big") + packet)
    try:
        return told(await read_framed(reader))
    finally:
        writer.close()
        await writer.wait_closed()


async def test_the_socket_says_who_asks(answering: Answering) -> None:
    """All come from the same address, and see what is theirs."""
    web, db = await answering.attach(WEB.id), await answering.attach(DB.id)
    for _ in range(2):
        assert await asked(web[0], "web") == ["10.1.0.2"]
        assert await asked(db[0], "db") == ["10.2.0.2"]
        assert await over_tcp(web[1], "web") == ["10.1.0.2"]
        assert await over_tcp(db[1], "db") == ["10.2.0.2"]
    asker = Asker(udp.asker_of(DB.id))
    assert answering.queries.ask(question("web").to_wire(), asker) is None, "another network's: forwarded"


async def test_questions_are_counted_for_each_container(answering: Answering) -> None:
    web, db = await answering.attach(WEB.id), await answering.attach(DB.id)
    for _ in range(3):
        await asked(web[0], "web")
    await over_tcp(web[1], "web")
    await over_tcp(db[1], "db")
    assert answering.hatch.status() == {WEB.id: 4, DB.id: 1}
    await answering.detach(WEB.id)
    assert answering.hatch.status() == {DB.id: 1}
    await answering.attach(WEB.id)
    assert answering.hatch.status() == {WEB.id: 0, DB.id: 1}


async def test_attached_twice_replaces(answering: Answering) -> None:
    """Word of the second comes before, and without, word of the end of the first."""
    first = await answering.attach(WEB.id)
    descriptors = open_descriptors()
    second = await answering.attach(WEB.id)
    assert open_descriptors() == descriptors
    assert len(answering.hatch.attached) == 1
    assert answering.gone == [WEB.id], "servers in the namespace that was are not asked any more"
    assert await asked(second[0], "web") == ["10.1.0.2"]
    assert await over_tcp(second[1], "web") == ["10.1.0.2"]
    assert refused(first)


def refused(ports: tuple[int, int]) -> bool:
    """Whether nobody has these ports any more."""
    for port, kind in zip(ports, (socket.SOCK_DGRAM, STREAM), strict=True):
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
    return True


async def test_a_connection_goes_on_when_its_container_is_attached_to_anew(answering: Answering) -> None:
    _, port = await answering.attach(WEB.id)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: bool(answering.tcp.connections))
    await answering.attach(WEB.id)
    packet = question("web").to_wire()
    writer.write(len(packet).to_bytes(2, "big") + packet)
    assert told(await read_framed(reader)) == ["10.1.0.2"]
    await answering.detach(WEB.id)
    assert await reader.read() == b"", "and ends with it"
    assert not answering.tcp.connections
    writer.close()


async def test_detached_closes_everything(answering: Answering) -> None:
    before = open_descriptors()
    ports = await answering.attach(WEB.id)
    assert await asked(ports[0], "web") == ["10.1.0.2"]
    answering.send({"spare": WEB.id, "spare_udp": 1, "spare_tcp": 0}, bound("127.0.0.1"))
    await answering.detach(WEB.id)
    assert open_descriptors() == before
    assert refused(ports)
    assert udp.asker_of(WEB.id) not in answering.memory.clients
    assert answering.gone == [WEB.id]
    answering.send({"detached": WEB.id})
    answering.send({"detached": "nobody"})
    await answering.attach(DB.id)
    assert answering.gone == [WEB.id]


async def test_detached_before_it_was_set_up(answering: Answering) -> None:
    """No port stays open behind our back."""
    before = open_descriptors()
    for _ in range(3):
        sockets = [bound("127.0.0.1"), *(bound("127.0.0.1", STREAM) for _ in range(3))]
        answering.send({"attached": WEB.id, "engine": "", **COUNTS, "tcp": 3}, *sockets)
        answering.send({"detached": WEB.id})
    await until(lambda: len(answering.gone) == 3 and not answering.hatch._tasks)
    assert open_descriptors() == before
    assert answering.tcp._servers == []


async def test_a_question_under_way_when_its_container_is_detached(answering: Answering) -> None:
    """Its reply comes too late, and goes to nobody else: the number of the socket may be another's by now."""
    port, _ = await answering.attach(WEB.id)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.sendto(question("example.org").to_wire(), ("127.0.0.1", port))
        await until(lambda: bool(answering.house.forwarder.taken))
        (taken,) = answering.house.forwarder.taken
        await answering.detach(WEB.id)
        other, _ = await answering.attach(DB.id)
        taken.client.send(bytes(12))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as neighbour:
            neighbour.setblocking(False)
            neighbour.sendto(question("example.org").to_wire(), ("127.0.0.1", other))
            await until(lambda: len(answering.house.forwarder.taken) == 2)
            answering.house.forwarder.taken[1].client.send(bytes(12))
            await asyncio.get_running_loop().sock_recv(neighbour, 512)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(512)
        reply = answering.queries.ask(taken.packet, Asker(taken.client.address))
    assert reply is not None
    assert told(reply) == ["REFUSED"], "nor is one that waited asked in anybody's name"


async def test_connections_of_one_container_do_not_count_for_another(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them come from 127.0.0.1."""
    monkeypatch.setattr(tcp, "MOST_PER_CLIENT", 1)
    (_, web), (_, db) = await answering.attach(WEB.id), await answering.attach(DB.id)
    reader, writer = await asyncio.open_connection("127.0.0.1", web)
    await until(lambda: bool(answering.tcp.connections))
    assert await over_tcp(db, "db") == ["10.2.0.2"]
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await over_tcp(web, "web")
    writer.close()
    await reader.read()


async def test_the_engine_is_elsewhere_now(answering: Answering) -> None:
    """Sockets and replies under way are the same."""
    port, _ = await answering.attach(WEB.id)
    before = answering.hatch.attached[WEB.id]
    for identity in (DB.id, WEB.id):
        answering.send({"moved": identity, "engine": "127.0.0.11:6/7"})
    await until(lambda: answering.queries.view(udp.asker_of(WEB.id)).engine == f"127.0.0.11:6/7@{WEB.id}")
    assert answering.hatch.attached[WEB.id] is before
    assert answering.queries.view(udp.asker_of(DB.id)) is NOBODY, "it is not attached"
    assert await asked(port, "web") == ["10.1.0.2"]


async def test_spare_sockets_are_taken_and_more_sent_for(answering: Answering) -> None:
    await answering.attach(WEB.id)
    spare = bound("127.0.0.1"), bound("127.0.0.1", STREAM)
    names = [sock.getsockname() for sock in spare]
    answering.send({"spare": WEB.id, "spare_udp": 1, "spare_tcp": 1}, *spare)
    one = answering.hatch.attached[WEB.id]
    await until(lambda: bool(one.spare["tcp"]))
    for kind, word, name in zip((socket.SOCK_DGRAM, STREAM), ("udp", "tcp"), names, strict=True):
        with answering.hatch.take(WEB.id, kind) as sock:
            assert (sock.type, sock.getsockname(), sock.getblocking()) == (kind, name, False)
        assert answering.wanted() == [(WEB.id, word)]
        with pytest.raises(OSError, match="no socket of its namespace"):
            answering.hatch.take(WEB.id, kind)
        assert answering.wanted() == [(WEB.id, word)], "the next one may be luckier"
    with pytest.raises(OSError, match="not attached"):
        answering.hatch.take(DB.id, STREAM)


async def test_a_spare_socket_for_nobody_is_closed(answering: Answering) -> None:
    before = open_descriptors()
    answering.send(
        {"spare": DB.id, "spare_udp": 1, "spare_tcp": 1}, bound("127.0.0.1"), bound("127.0.0.1", STREAM)
    )
    await answering.attach(WEB.id)
    await answering.detach(WEB.id)
    assert open_descriptors() == before


async def test_when_the_watching_process_is_gone_those_attached_are_answered_on(answering: Answering) -> None:
    """Until their elements run out."""
    port, _ = await answering.attach(WEB.id)
    answering.ours.close()
    await asyncio.sleep(0.01)
    assert await asked(port, "web") == ["10.1.0.2"]
    with pytest.raises(OSError, match="no socket of its namespace"):
        answering.hatch.take(WEB.id, STREAM)
