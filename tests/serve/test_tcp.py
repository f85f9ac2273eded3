"""TCP: pipelined, out of order, in pieces; and closed in time when a client does not do its part."""

from __future__ import annotations

import asyncio
import itertools
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import dns.message
import pytest

from resolver.serve import tcp
from tests.house import House, container, joined, network, question
from tests.sockets import answering_tcp, bound, read_framed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resolver.serve.udp import Ask, Client

DEV = network("dev", "10.1.0.0/24")
ES = container("es", joined(DEV, "10.1.0.2"))


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


def asked(number: int, name: str = "es") -> bytes:
    return framed(question(name, "A", id=number).to_wire())


def ids(replies: list[bytes]) -> list[int]:
    return [int.from_bytes(reply[:2], "big") for reply in replies]


class Later:
    """Answers when told to."""

    def __init__(self) -> None:
        self.questions: list[tuple[bytes, Client]] = []
        self.came = asyncio.Event()

    def ask(self, packet: bytes, client: Client) -> bytes | None:
        self.questions.append((packet, client))
        self.came.set()
        return None

    async def has(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.questions) < count:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def serving(ask: Ask) -> AsyncIterator[tuple[tcp.Service, int]]:
    sock = bound("127.0.0.1", socket.SOCK_STREAM)
    port = sock.getsockname()[1]
    service = tcp.Service(asyncio.get_running_loop(), ask)
    await service.listen(sock)
    try:
        yield service, port
    finally:
        service.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(
    port: int, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def is_closed(reader: asyncio.StreamReader) -> bytes:
    """What still came before the connection was closed."""
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_one_question(host: str) -> None:
    async with (
        answering_tcp(House(DEV, ES), host) as (service, port),
        connected(port, host) as (reader, writer),
    ):
        writer.write(asked(7))
        message = dns.message.from_wire(await read_framed(reader))
        assert [r.to_text() for r in message.answer[0]] == ["10.1.0.2"]
        assert service.queries == 1


@pytest.mark.parametrize("count", [2, 3 * tcp.MOST_IN_A_ROW + 1])
async def test_pipelined_questions_are_all_answered(count: int) -> None:
    async with answering_tcp(House(DEV, ES)) as (_, port), connected(port) as (reader, writer):
        writer.write(b"".join(asked(number) for number in range(count)))
        assert ids([await read_framed(reader) for _ in range(count)]) == list(range(count))


async def test_one_octet_at_a_time() -> None:
    async with answering_tcp(House(DEV, ES)) as (_, port), connected(port) as (reader, writer):
        for octet in asked(1) + asked(2):
            writer.write(bytes((octet,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert ids([await read_framed(reader) for _ in range(2)]) == [1, 2]


async def test_answers_leave_as_they_come() -> None:
    """RFC 7766 section 7: a slow question does not hold up those behind it."""
    later = Later()
    async with serving(later.ask) as (_, port), connected(port) as (reader, writer):
        writer.write(b"".join(asked(number) for number in range(3)))
        await later.has(3)
        for packet, client in reversed(later.questions):
            client.send(packet)
            client.send(b"once only")
        assert ids([await read_framed(reader) for _ in range(3)]) == [2, 1, 0]


async def test_a_client_that_has_asked_all_gets_its_answers() -> None:
    """Half-closed: what is under way is answered, then the connection is closed."""
    later = Later()
    async with serving(later.ask) as (service, port), connected(port) as (reader, writer):
        writer.write(asked(1) + asked(2))
        writer.write_eof()
        await later.has(2)
        for packet, client in later.questions:
            client.send(packet)
        assert ids([await read_framed(reader) for _ in range(2)]) == [1, 2]
        assert await is_closed(reader) == b""
        await asyncio.sleep(0)
        assert not service.connections


async def test_when_we_end_what_was_sent_is_answered_and_then_it_is_closed() -> None:
    """Read already or not; who is silent, or in the middle of a question, is waited for no longer."""
    later = Later()
    async with serving(later.ask) as (service, port), connected(port) as (reader, writer):
        writer.write(asked(1))
        await later.has(1)
        async with connected(port) as (idle, half):
            half.write(asked(3)[:9])
            async with asyncio.timeout(20):
                while len(service.connections) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            writer.write(asked(2))
            service.finish()
            assert await is_closed(idle) == b""
        await later.has(2)
        for packet, client in later.questions:
            client.send(packet)
        assert ids([await read_framed(reader) for _ in range(2)]) == [1, 2]
        assert await is_closed(reader) == b""
        await asyncio.sleep(0)
        assert not service.connections


async def test_what_is_no_question_gets_no_reply_and_holds_nothing_up() -> None:
    async with answering_tcp(House(DEV, ES)) as (_, port), connected(port) as (reader, writer):
        response = bytearray(question("es", "A").to_wire())
        response[2] |= 0x80
        writer.write(framed(b"") + framed(b"short") + framed(bytes(response)) + asked(5))
        assert ids([await read_framed(reader)]) == [5]
        writer.write_eof()
        assert await is_closed(reader) == b""


async def test_a_length_no_question_has() -> None:
    async with answering_tcp(House(DEV, ES)) as (service, port), connected(port) as (reader, writer):
        writer.write(b"\xff\xff" + bytes(10))
        await is_closed(reader)
        assert not service.connections


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "FIRST_BYTE", 0.0)
    monkeypatch.setattr(tcp, "IDLE", 0.0)
    monkeypatch.setattr(tcp, "SWEEP", 0.02)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("octets", [b"", asked(1)[:1], asked(1)[:-1], asked(1) + asked(2)[:5], asked(1)])
async def test_silence_and_half_questions_are_waited_for_no_longer(octets: bytes) -> None:
    async with answering_tcp(House(DEV, ES)) as (service, port), connected(port) as (reader, writer):
        writer.write(octets)
        if len(octets) >= len(asked(1)):
            assert ids([await read_framed(reader)]) == [1]
        await is_closed(reader)
        assert not service.connections
        assert not service.per_client


@pytest.mark.usefixtures("_quick")
async def test_a_connection_is_not_closed_over_a_slow_answer() -> None:
    later = Later()
    async with serving(later.ask) as (service, port), connected(port) as (reader, writer):
        writer.write(asked(1))
        await later.has(1)
        (connection,) = service.connections
        service._sweep()
        assert connection in service.connections
        packet, client = later.questions[0]
        client.send(packet)
        assert ids([await read_framed(reader)]) == [1]
        await is_closed(reader)


async def test_replies_that_are_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is neither read nor sent stays bounded: the connection is dropped."""
    monkeypatch.setattr(tcp, "MOST_UNREAD", 10_000)
    later = Later()
    async with serving(later.ask) as (service, port):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        with client:
            await loop.sock_connect(client, ("127.0.0.1", port))
            for number in range(2000):
                with_room = later.came
                with_room.clear()
                try:
                    await loop.sock_sendall(client, asked(number))
                except ConnectionError:
                    break
                if not service.connections and number:
                    break
                await later.has(number + 1)
                later.questions[-1][1].send(bytes(60_000))
            assert not service.connections


async def test_questions_of_one_connection_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MOST_WAITING", 4)
    later = Later()
    async with serving(later.ask) as (_, port), connected(port) as (reader, writer):
        writer.write(b"".join(asked(number) for number in range(20)))
        got: list[bytes] = []
        answered = 0
        while answered < 20:
            await later.has(min(20, answered + 1))
            assert len(later.questions) - answered <= 4
            packet, client = later.questions[answered]
            client.send(packet)
            answered += 1
            got.append(await read_framed(reader))
        assert ids(got) == list(range(20))


async def test_one_connection_leaves_the_others_their_turn() -> None:
    """A quarter of a megabyte of questions comes in one piece."""
    turns: list[int] = []
    house = House(DEV, ES)
    loop = asyncio.get_running_loop()
    async with answering_tcp(house) as (service, port), connected(port) as (reader, writer):
        many = 10 * tcp.MOST_IN_A_ROW

        def turn() -> None:
            turns.append(house.queries.counts["cold"])
            if turns[-1] < many:
                loop.call_soon(turn)

        loop.call_soon(turn)
        writer.write(b"".join(asked(number) for number in range(many)))
        for _ in range(many):
            await read_framed(reader)
        assert max(b - a for a, b in itertools.pairwise(turns)) <= tcp.MOST_IN_A_ROW
        assert service.queries == many


async def test_too_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one silent longest makes room."""
    monkeypatch.setattr(tcp, "MOST", 3)
    async with answering_tcp(House(DEV, ES)) as (service, port):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for number in (1, 2, 0):
            opened[number][1].write(asked(number))
            await read_framed(opened[number][0])
        opened.append(await asyncio.open_connection("127.0.0.1", port))
        await is_closed(opened[1][0])
        assert len(service.connections) == 3
        assert service.per_client == {b"\x7f\x00\x00\x01": 3}
        for number in (0, 2, 3):
            opened[number][1].write(asked(number))
            assert ids([await read_framed(opened[number][0])]) == [number]
        for _, writer in opened:
            writer.close()


async def test_too_many_connections_of_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MOST_PER_CLIENT", 2)
    async with answering_tcp(House(DEV, ES)) as (service, port):
        opened = []
        for number in range(2):
            opened.append(await asyncio.open_connection("127.0.0.1", port))
            opened[-1][1].write(asked(number))
            await read_framed(opened[-1][0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await is_closed(reader) == b""
        writer.close()
        opened.pop()[1].close()
        async with asyncio.timeout(20):
            while len(service.connections) > 1:  # noqa: ASYNC110 — nobody tells when a connection is gone
                await asyncio.sleep(0.001)
        async with connected(port) as (reader, writer):
            writer.write(asked(9))
            assert ids([await read_framed(reader)]) == [9]
        opened.pop()[1].close()


async def test_the_end_closes_every_connection() -> None:
    async with answering_tcp(House(DEV, ES)) as (service, port), connected(port) as (reader, _):
        async with asyncio.timeout(20):
            while not service.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        service.close()
        await is_closed(reader)
        assert not service.connections
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
