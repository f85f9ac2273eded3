"""Truncated replies, fetched over TCP from servers that behave well and badly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from resolver.serve.upstream import tcp
from resolver.serve.upstream.upstreams import TCP_PATIENCE, Upstreams
from tests.serve.fake_upstream import (
    Asker,
    Clock,
    Conversation,
    FakeServer,
    answer,
    frame,
    query,
    question,
    read_frame,
    settle,
    truncated,
    until,
)

WHOLE = b"\xc0\0\2\x63"
"""The address that only a reply over TCP holds."""


@pytest_asyncio.fixture
async def asker() -> AsyncIterator[Asker]:
    clock = Clock()
    upstreams = Upstreams(asyncio.get_running_loop(), now=clock)
    yield Asker(upstreams, clock)
    upstreams.close()
    assert not upstreams.open


Serve = Callable[[Conversation], Awaitable[FakeServer]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[FakeServer] = []

    async def start(conversation: Conversation) -> FakeServer:
        server = FakeServer(truncated)
        servers.append(server)
        await server.talk(conversation)
        return server

    yield start
    for server in servers:
        await server.close()


async def well(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(frame(answer(await read_frame(reader), address=WHOLE)))


async def test_truncated_reply_is_fetched_over_tcp(asker: Asker, serve: Serve) -> None:
    shape = await asker.ask(await serve(well))
    assert shape is not None
    assert shape.packet.endswith(WHOLE)
    assert asker.counters["tcp"] == 1


async def test_questions_are_pipelined_and_answered_out_of_order(asker: Asker, serve: Serve) -> None:
    async def reversing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets = [await read_frame(reader) for _ in range(20)]
        writer.write(b"".join(frame(answer(packet, address=WHOLE)) for packet in reversed(packets)))
        await reader.read()

    server = await serve(reversing)
    got = [asker.start(server, packet=query(f"n{number}.example")) for number in range(20)]
    await until(lambda: all(got))
    assert server.connections == 1
    for number, replies in enumerate(got):
        assert replies[0] is not None
        assert replies[0].question == question(f"n{number}.example")


async def test_connection_is_kept_and_closed_when_idle(asker: Asker, serve: Serve) -> None:
    server = await serve(well)
    for number in range(5):
        await asker.ask(server, packet=query(f"n{number}.example"))
    assert server.connections == 1
    exchanges = len(asker.upstreams.open)
    await asker.let(tcp.IDLE * 2 + 1)
    assert len(asker.upstreams.open) == exchanges - 1
    assert asker.upstreams.wheel._timer is None
    await asker.ask(server, packet=query("b.example"))
    assert server.connections == 2


async def test_one_byte_at_a_time(asker: Asker, serve: Serve) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for octet in frame(answer(await read_frame(reader), address=WHOLE)):
            writer.write(bytes((octet,)))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    shape = await asker.ask(await serve(slow))
    assert shape is not None
    assert shape.packet.endswith(WHOLE)


async def test_a_large_reply(asker: Asker, serve: Serve) -> None:
    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = answer(await read_frame(reader), address=WHOLE)
        writer.write(frame(packet[:6] + (4000).to_bytes(2, "big") + packet[8:] + packet[-16:] * 3999))
        await reader.read()

    shape = await asker.ask(await serve(large))
    assert shape is not None
    assert len(shape.ttls) == 4000


# When TCP fails, the truncated reply is passed on


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


async def cuts_a_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(answer(await read_frame(reader)))[:20])


async def sends_a_short_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\0\3abc")
    await reader.read()


async def servfail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(answer(await read_frame(reader), rcode=2)))
    await reader.read()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    packet = await read_frame(reader)
    writer.write(frame(packet[:2] + b"\x81\x80" + b"\xff" * 30))
    await reader.read()


@pytest.mark.parametrize("conversation", [closes, cuts_a_frame, sends_a_short_frame, servfail, garbage])
async def test_truncated_reply_is_passed_on_at_once(
    asker: Asker, serve: Serve, conversation: Conversation
) -> None:
    shape = await asker.ask(await serve(conversation))
    assert shape is not None
    assert shape.truncated


async def test_no_tcp_at_all(asker: Asker) -> None:
    server = FakeServer(truncated)
    shape = await asker.ask(server)
    await server.close()
    assert shape is not None
    assert shape.truncated


async def test_accepted_and_silent(asker: Asker, serve: Serve) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await serve(silent)
    got = asker.start(server)
    await until(lambda: server.connections)
    await asker.let(TCP_PATIENCE - 0.1)
    assert not got
    await asker.let(0.2)
    assert got[0] is not None
    assert got[0].truncated
    asker.start(server, packet=query("b.example"))
    await until(lambda: server.connections == 2)


async def test_wrong_id_and_wrong_question_are_ignored(asker: Asker, serve: Serve) -> None:
    async def doubtful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await read_frame(reader)
        writer.write(frame(answer(bytes((packet[0] ^ 1,)) + packet[1:])))
        writer.write(frame(answer(packet[:12] + query("z.example")[12:])))
        writer.write(frame(answer(packet, address=WHOLE)))
        await reader.read()

    shape = await asker.ask(await serve(doubtful))
    assert shape is not None
    assert shape.packet.endswith(WHOLE)
    assert (asker.counters["stray"], asker.counters["mismatched"]) == (1, 1)


async def test_a_server_may_close_after_some_replies(asker: Asker, serve: Serve) -> None:
    """Docker's resolver does so after 128 questions; who was not answered yet asks once more (RFC 7766)."""

    async def three(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            writer.write(frame(answer(await read_frame(reader), address=WHOLE)))

    server = await serve(three)
    got = [asker.start(server, packet=query(f"n{number}.example")) for number in range(5)]
    await until(lambda: all(got))
    assert all(replies[0] is not None and not replies[0].truncated for replies in got)
    assert server.connections == 2


async def test_close_while_connecting_and_waiting(asker: Asker, serve: Serve) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await serve(silent)
    got = asker.start(server)
    await until(lambda: asker.counters["tcp"])
    asker.upstreams.close()
    await settle()
    assert len(got) == 1
