"""The door as the answering process sees it: lines in pieces, garbage, and its end."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from resolver.names.changes import Change, Gone, Sync, write
from resolver.names.model import Network
from resolver.serve import door
from resolver.serve.door import Door

if TYPE_CHECKING:
    from collections.abc import Iterator


class Room:
    """Behind the door."""

    def __init__(self, sock: socket.socket) -> None:
        self.came: list[Change] = []
        self.closed = asyncio.Event()
        self.door = Door(asyncio.get_running_loop(), sock, self.came.append, self.closed.set)


@contextmanager
def opened() -> Iterator[tuple[socket.socket, Room]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        room = Room(ours)
        yield theirs, room
        room.door.close()


async def said(theirs: socket.socket, octets: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(theirs, octets)


async def ended(theirs: socket.socket, room: Room) -> None:
    theirs.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(20):
        await room.closed.wait()


LINES: list[Change] = [Network(f"n{i}", f"nét{i}") for i in range(20)]
TEXT = b"".join(write(change).encode() + b"\n" for change in LINES)


@pytest.mark.parametrize("size", [1, 7, 64, len(TEXT)])
async def test_lines_in_pieces_of_any_size(size: int) -> None:
    with opened() as (theirs, room):
        for at in range(0, len(TEXT), size):
            await said(theirs, TEXT[at : at + size])
            await asyncio.sleep(0)
        await ended(theirs, room)
        assert room.came == LINES


async def test_garbage_is_skipped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    good = write(LINES[0]).encode() + b"\n"
    garbage = (
        b"\n",
        b"  \n",
        b"{}\n",
        b"\xff\xfe\n",
        b"[" * 5000 + b"\n",
        b'{"change":"container","id":1}\n',
    )
    with opened() as (theirs, room), caplog.at_level(logging.ERROR):
        for line in garbage:
            await said(theirs, line + good)
        await ended(theirs, room)
        assert room.came == [LINES[0]] * len(garbage)
    assert len(caplog.records) == 4
    assert all(len(record.__dict__["line"]) <= 200 for record in caplog.records)


async def test_half_a_line_at_the_end_is_no_line() -> None:
    with opened() as (theirs, room):
        await said(theirs, TEXT + b'{"change":"gone","container":"c"}'[:-1])
        await ended(theirs, room)
        assert room.came == LINES


async def test_a_line_longer_than_one_read() -> None:
    long = Network("n", "x" * (3 * door.CHUNK))
    with opened() as (theirs, room):
        await said(theirs, write(long).encode() + b"\n" + write(Sync("end")).encode() + b"\n")
        await ended(theirs, room)
        assert room.came == [long, Sync("end")]


async def test_others_get_their_turn_while_a_full_picture_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PATIENCE", -1.0)  # one line, then the others
    loop = asyncio.get_running_loop()
    turns: list[int] = []
    with opened() as (theirs, room):

        def turn() -> None:
            turns.append(len(room.came))
            if len(room.came) < len(LINES):
                loop.call_soon(turn)

        await said(theirs, TEXT)
        loop.call_soon(turn)
        await ended(theirs, room)
        assert room.came == LINES
        assert set(turns) >= set(range(1, len(LINES)))


async def test_the_order_is_kept_across_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is read until what was read is applied."""
    monkeypatch.setattr(door, "PATIENCE", -1.0)
    changes = [Gone("container", str(number)) for number in range(300)]
    text = b"".join(write(change).encode() + b"\n" for change in changes)
    with opened() as (theirs, room):
        for at in range(0, len(text), 1000):
            await said(theirs, text[at : at + 1000])
            await asyncio.sleep(0)
        await ended(theirs, room)
        assert room.came == changes


async def test_the_other_side_dies() -> None:
    with opened() as (theirs, room):
        theirs.close()
        async with asyncio.timeout(20):
            await room.closed.wait()
        assert room.came == []
