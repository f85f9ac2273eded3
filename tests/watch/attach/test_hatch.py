"""Our end of the hatch, against a real socket pair."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from typing import TYPE_CHECKING, Any

import pytest

from resolver.watch.attach import hatch
from resolver.watch.attach.hatch import Hatch
from tests.sockets import until
from tests.watch.attach.stack import open_descriptors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Held:
    """A hatch, and what it was told."""

    def __init__(self) -> None:
        self.opened: list[Hatch] = []
        self.wanted: list[tuple[str, str]] = []
        self.hatch = Hatch(self.opened.append, lambda _, identity, kind: self.wanted.append((identity, kind)))
        self.before = open_descriptors()
        self.theirs = self.open()

    def open(self) -> socket.socket:
        self.theirs = self.hatch.open()
        self.theirs.setblocking(False)
        return self.theirs

    def readable(self) -> bool:
        """Whether a packet waits."""
        return bool(select.select([self.theirs], [], [], 0)[0])

    def take(self) -> tuple[dict[str, Any], list[socket.socket]]:
        """The next packet."""
        octets, descriptors, _, _ = socket.recv_fds(self.theirs, 4096, 32)
        if not octets:
            raise BlockingIOError
        return json.loads(octets), [socket.socket(fileno=fd) for fd in descriptors]


@pytest.fixture
def ours() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
async def held(ours: socket.socket) -> AsyncIterator[Held]:
    """Closed at the end, with as many descriptors as before; nothing fails unseen."""
    del ours  # it is open before descriptors are counted
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    held = Held()
    yield held
    held.hatch.close()
    held.theirs.close()
    assert open_descriptors() == held.before
    assert failures == []


async def test_packets_arrive_in_order_with_their_sockets(held: Held, ours: socket.socket) -> None:
    before = open_descriptors()
    held.hatch.send({"detached": "a"})
    held.hatch.send({"attached": "b"}, [ours, ours])
    held.hatch.send({"detached": "c"})
    assert held.take() == ({"detached": "a"}, [])
    said, sockets = held.take()
    assert said == {"attached": "b"}
    assert [s.getsockname() for s in sockets] == [ours.getsockname()] * 2
    assert open_descriptors() == before + 2, "ours are still ours, and no copy is left"
    for sock in sockets:
        sock.close()
    assert held.take() == ({"detached": "c"}, [])


async def test_a_peer_that_does_not_read_is_waited_for(held: Held, ours: socket.socket) -> None:
    """Nothing blocks, nothing is lost, and our sockets may be closed in between."""
    count = 0
    while not held.hatch._backlog:
        held.hatch.send({"attached": str(count), "long": "x" * 2000}, [ours] if count % 50 == 0 else [])
        count += 1
        assert count < 10_000
    for _ in range(5):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as brief:
            held.hatch.send({"attached": str(count)}, [brief])
        count += 1
    for number in range(count):
        await until(held.readable)
        said, sockets = held.take()
        assert said["attached"] == str(number)
        assert all(sock.fileno() >= 0 for sock in sockets)
        for sock in sockets:
            sock.close()
    await until(lambda: not held.hatch._writing)
    assert not held.hatch._backlog
    held.hatch.send({"detached": "z"})
    assert held.take() == ({"detached": "z"}, [])


async def test_too_many_descriptors_under_way_are_waited_for(
    held: Held, ours: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel counts those nobody has received yet (ETOOMANYREFS)."""
    refusals, really = [109, 109], socket.send_fds

    def refuses(*arguments: Any) -> int:
        if refusals:
            raise OSError(refusals.pop(), "Too many references")
        return really(*arguments)

    monkeypatch.setattr(socket, "send_fds", refuses)
    held.hatch.send({"attached": "a"}, [ours])
    with pytest.raises(BlockingIOError):
        held.take()
    arrived: list[dict[str, Any]] = []

    def here() -> bool:
        try:
            said, sockets = held.take()
        except BlockingIOError:
            return False
        for sock in sockets:
            sock.close()
        arrived.append(said)
        return True

    await until(here)
    assert arrived == [{"attached": "a"}]


async def test_what_was_for_a_process_that_died_is_dropped(held: Held, ours: socket.socket) -> None:
    while not held.hatch._backlog:
        held.hatch.send({"attached": "long", "x": "x" * 2000}, [ours])
    held.theirs.close()
    await until(lambda: held.hatch._sock is None)
    assert not held.hatch._backlog
    assert open_descriptors() == held.before
    held.hatch.send({"detached": "a"}, [ours])
    assert open_descriptors() == held.before
    held.open()
    held.hatch.send({"detached": "b"})
    assert held.take() == ({"detached": "b"}, [])


async def test_a_peer_that_is_dead_when_something_is_sent(held: Held, ours: socket.socket) -> None:
    held.theirs.close()
    held.hatch.send({"attached": "a"}, [ours])
    assert open_descriptors() == held.before
    held.hatch.close()


async def test_a_new_process_is_to_be_told_everything(held: Held) -> None:
    await until(lambda: bool(held.opened))
    old = held.theirs
    held.open()
    assert len(held.opened) == 1, "not before it is started"
    await until(lambda: len(held.opened) == 2)
    assert old.recv(1) == b"", "the old one is told that this is the end"
    old.close()
    held.hatch.send({"detached": "a"})
    assert held.take() == ({"detached": "a"}, [])


@pytest.mark.parametrize(
    "octets",
    [b"{", b"\xff", b"[]", b'"x"', b"7", b"null", b"{}", b'{"wants": "a"}', b'{"kind": "udp"}', b"[" * 4000],
)
async def test_what_the_process_should_not_say_is_passed_over(held: Held, octets: bytes) -> None:
    held.theirs.send(octets)
    held.theirs.send(b'{"wants": "ab", "kind": "udp"}')
    await until(lambda: bool(held.wanted))
    assert held.wanted == [("ab", "udp")]


async def test_a_process_that_only_asks_and_does_not_read_gets_no_more(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hatch, "MOST_WAITING", 3)
    while len(held.hatch._backlog) < 3:
        held.hatch.send({"attached": "long", "x": "x" * 2000})
    for _ in range(5):
        held.theirs.send(b'{"wants": "ab", "kind": "udp"}')
    for _ in range(20):
        await asyncio.sleep(0)
    assert held.wanted == []
    await until(lambda: bool(held.take()) and not held.hatch._backlog)
    held.theirs.send(b'{"wants": "cd", "kind": "tcp"}')
    await until(lambda: bool(held.wanted))
    assert held.wanted == [("cd", "tcp")]
