"""UDP on real sockets of loopback: in batches where the platform has them, one by one elsewhere."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import dns.message
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resolver.serve import mmsg, udp
from resolver.serve.rates import Rates
from tests.house import House, container, joined, network, question
from tests.sockets import answering_udp, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sockets import Listen

DEV = network("dev", "10.1.0.0/24")
ES = container("es", joined(DEV, "10.1.0.2", v6="fd00::2"))
MANY = [container(f"many{n}", joined(DEV, f"10.1.0.{n}", "many")) for n in range(10, 13)]

LISTENERS = [
    pytest.param(
        udp.BatchListener, id="batch", marks=pytest.mark.skipif(not mmsg.available, reason="no recvmmsg")
    ),
    pytest.param(udp.PlainListener, id="plain"),
]
each_listener = pytest.mark.parametrize("listen", LISTENERS)


@contextmanager
def client(host: str, port: int) -> Iterator[socket.socket]:
    """A client that takes replies from the address it asked only."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        sock.setblocking(False)
        sock.connect((host, port))
        yield sock


async def received(sock: socket.socket) -> bytes:
    async with asyncio.timeout(20):
        return await asyncio.get_running_loop().sock_recv(sock, 65_535)


async def nothing_more(sock: socket.socket, port: int, host: str = "127.0.0.1") -> None:
    """Whatever was sent before is answered before this question is."""
    sock.send(question("es", "A", id=0xFFFF).to_wire())
    assert (await received(sock))[:2] == b"\xff\xff"


def addresses(reply: bytes) -> list[str]:
    return [r.to_text() for rrset in dns.message.from_wire(reply).answer for r in rrset]


@each_listener
@pytest.mark.parametrize(
    ("bound_to", "asked_at"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.2"),
        ("0.0.0.0", "127.9.8.7"),
        ("::", "::1"),
    ],
)
async def test_replies_come_from_the_address_asked(listen: Listen, bound_to: str, asked_at: str) -> None:
    """Cold, at hand, and later than the question's batch."""
    house = House(DEV, ES)
    async with answering_udp(house, bound_to, listen) as (listener, port):
        with client(asked_at, port) as sock:
            for number in range(3):
                sock.send(question("es", "A", id=number).to_wire())
                reply = await received(sock)
                assert reply[:2] == number.to_bytes(2, "big")
                assert addresses(reply) == ["10.1.0.2"]
            assert listener.hits == 2
            packet = question("example.org", "A", id=9).to_wire()
            sock.send(packet)
            await until(lambda: bool(house.forwarder.taken))
            house.forwarder.taken[0].client.send(packet)
            assert await received(sock) == packet


@each_listener
@pytest.mark.parametrize("count", [1, mmsg.SLOTS, mmsg.SLOTS + 1, 3 * mmsg.SLOTS])
async def test_a_burst_of_questions_of_all_sorts(listen: Listen, count: int) -> None:
    """Those at hand, cold ones, ones that get their reply later and ones that get none, in one batch."""
    house = House(DEV, ES, *MANY)
    async with answering_udp(house, listen=listen) as (listener, port):
        with client("127.0.0.1", port) as sock:
            expected: Counter[bytes] = Counter()
            for number in range(count):
                packet = question(
                    ("es", "many", f"a{number}.example", "es")[number % 4], "A", id=number
                ).to_wire()
                if number % 4 == 3:
                    packet = packet[:2] + b"\x81" + packet[3:]  # a response: nobody answers those
                else:
                    expected[packet[:2]] += 1
                sock.send(packet)
            later = len(range(2, count, 4))
            await until(lambda: len(house.forwarder.taken) == later)
            for taken in house.forwarder.taken:
                taken.client.send(taken.packet)
            got = [await received(sock) for _ in range(expected.total())]
            assert Counter(reply[:2] for reply in got) == expected
            for reply in got:
                number = int.from_bytes(reply[:2], "big")
                asked = dns.message.from_wire(reply).question[0].name.to_text()
                assert asked == ("es.", "many.", f"a{number}.example.")[number % 4]
                if number % 4 == 1:
                    assert sorted(addresses(reply)) == ["10.1.0.10", "10.1.0.11", "10.1.0.12"]
            await nothing_more(sock, port)
            cold = house.queries.counts["cold"]
            assert listener.hits + cold == count + 1


@each_listener
async def test_each_address_is_first_equally_often(listen: Listen) -> None:
    house = House(DEV, *MANY)
    async with answering_udp(house, listen=listen) as (_, port):
        with client("127.0.0.1", port) as sock:
            firsts: Counter[str] = Counter()
            for number in range(30):
                sock.send(question("many", "A", id=number).to_wire())
                firsts[addresses(await received(sock))[0]] += 1
            assert set(firsts.values()) == {10}


def padded(size: int) -> tuple[dns.message.Message, bytes]:
    """A question, and its packet filled up to this size with an EDNS option (RFC 7830)."""
    query = question("es", "A", id=1)
    packet = query.to_wire()
    room = size - len(packet) - 11 - 4
    opt = b"\x00" + struct.pack("!HHIH", 41, 1232, 0, room + 4) + struct.pack("!HH", 12, room) + bytes(room)
    return query, packet[:11] + b"\x01" + packet[12:] + opt


@each_listener
@pytest.mark.parametrize("size", [512, 513, 1232, 4095, 4096])
async def test_long_questions(listen: Listen, size: int) -> None:
    query, packet = padded(size)
    async with answering_udp(House(DEV, ES), listen=listen) as (_, port):
        with client("127.0.0.1", port) as sock:
            sock.send(packet)
            reply = await received(sock)
            assert query.is_response(dns.message.from_wire(reply))
            assert addresses(reply) == ["10.1.0.2"]


@each_listener
async def test_questions_that_are_too_long_are_format_errors(listen: Listen) -> None:
    _, packet = padded(4097)
    async with answering_udp(House(DEV, ES), listen=listen) as (_, port):
        with client("127.0.0.1", port) as sock:
            sock.send(packet)
            assert dns.message.from_wire(await received(sock)).rcode() == 1


@each_listener
async def test_short_packets_and_responses_are_met_with_silence(listen: Listen) -> None:
    house = House(DEV, ES)
    packet = question("es", "A", id=1).to_wire()
    async with answering_udp(house, listen=listen) as (_, port):
        with client("127.0.0.1", port) as sock:
            for size in range(12):
                sock.send(packet[:size])
            sock.send(packet[:2] + b"\x81" + packet[3:])
            await nothing_more(sock, port)
            assert house.queries.counts["cold"] == 2


@each_listener
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(packets=st.lists(st.binary(max_size=80), max_size=70))
def test_any_datagrams(listen: Listen, packets: list[bytes]) -> None:
    """Whatever comes, what comes after it is answered, and every reply is for somebody who asked."""

    async def story() -> None:
        async with answering_udp(House(DEV, ES), listen=listen) as (_, port):
            with client("127.0.0.1", port) as sock:
                for packet in packets:
                    sock.send(packet)
                last = question("es", "A", id=7).to_wire()
                sock.send(last)
                while (reply := await received(sock))[12:16] != b"\x02es\x00":
                    assert reply[:2] in {packet[:2] for packet in packets if len(packet) >= 12}
                assert addresses(reply) == ["10.1.0.2"]

    asyncio.run(story())


@each_listener
async def test_a_client_that_went_away_costs_others_nothing(listen: Listen) -> None:
    """Replies to it are refused by the kernel (ICMP), and the error is told to our socket's next call."""
    house = House(DEV, ES)
    async with answering_udp(house, listen=listen) as (_, port):
        with client("127.0.0.1", port) as sock:
            for number in range(5):
                with client("127.0.0.1", port) as gone:
                    gone.send(question("es", "A", id=number).to_wire())
            for number in range(5):
                sock.send(question("es", "A", id=number).to_wire())
                assert addresses(await received(sock)) == ["10.1.0.2"]


@each_listener
async def test_two_sockets_are_answered_side_by_side(listen: Listen) -> None:
    """Sockets of a kind share the room for their batches."""
    house = House(DEV, ES)
    async with (
        answering_udp(house, listen=listen) as (_, one),
        answering_udp(house, listen=listen) as (_, two),
    ):
        with client("127.0.0.1", one) as first, client("127.0.0.1", two) as second:
            for number in range(100):
                for sock in (first, second):
                    sock.send(question("es", "A", id=number).to_wire())
            for sock in (first, second):
                got = {(await received(sock))[:2] for _ in range(100)}
                assert got == {number.to_bytes(2, "big") for number in range(100)}


@each_listener
async def test_packets_wait_in_the_socket_for_the_next_listener(listen: Listen) -> None:
    """The answering process may be started again: what came meanwhile is answered then."""
    house = House(DEV, ES)
    loop = asyncio.get_running_loop()
    async with answering_udp(house, listen=listen) as (listener, port):
        listener.close()
        with client("127.0.0.1", port) as sock:
            sock.send(question("es", "A", id=3).to_wire())
            again = listen(loop, listener._sock, house.memory, house.queries.ask, Rates(loop.time))  # type: ignore[attr-defined]
            assert addresses(await received(sock)) == ["10.1.0.2"]
            again.close()


@each_listener
async def test_replies_given_before_the_end_still_leave(listen: Listen) -> None:
    house = House(DEV, ES)
    async with answering_udp(house, listen=listen) as (listener, port):
        with client("127.0.0.1", port) as sock:
            packets = [question(f"a{n}.example", "A", id=n).to_wire() for n in range(80)]
            for packet in packets:
                sock.send(packet)
            await until(lambda: len(house.forwarder.taken) == len(packets))
            for taken in house.forwarder.taken:
                taken.client.send(taken.packet)
            listener.close()
            assert {await received(sock) for _ in packets} == set(packets)


@each_listener
async def test_what_is_asked_with_the_same_words_but_another_id(listen: Listen) -> None:
    """Only the ID may differ for a reply to be at hand; flags and spelling are part of the words."""
    house = House(DEV, ES)
    async with answering_udp(house, listen=listen) as (listener, port):
        with client("127.0.0.1", port) as sock:
            words = [
                question("es", "A"),
                question("ES", "A"),
                question("es", "A", flags=0),
                question("es", "AAAA"),
            ]
            for query in words * 2:
                query.id = (query.id + 1) & 0xFFFF
                sock.send(query.to_wire())
                reply = dns.message.from_wire(await received(sock))
                assert query.is_response(reply)
                assert reply.question[0].name.labels == query.question[0].name.labels
            assert listener.hits == len(words)


@pytest.mark.parametrize("wait", [True, False])
def test_a_full_socket_is_waited_for_once(wait: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is root in a container can make its loopback device as slow as he likes."""
    waits: list[int] = []
    monkeypatch.setattr(mmsg, "_wait_writable", waits.append)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        outbox = mmsg.Outbox()
        for number in range(mmsg.SLOTS):
            outbox.add(b"%d" % number)
        assert outbox.flush(near.fileno(), wait=wait) == errno.EAGAIN
        assert waits == [near.fileno()] * wait
        far.setblocking(False)
        taken = 0
        with suppress(BlockingIOError):
            while far.recv(100) == b"%d" % taken:
                taken += 1
        assert 0 < taken < mmsg.SLOTS
        outbox.add(b"next")
        assert outbox.flush(near.fileno()) == 0
        assert far.recv(100) == b"next"


def test_where_addresses_lie() -> None:
    """The sender's address in what recvmmsg fills in, for both families."""
    for family, (first, last) in mmsg.ADDRESS.items():
        assert last - first == (4 if family == socket.AF_INET else 16)
        assert last <= mmsg.NAME_SIZE[family]
    assert struct.calcsize("=HH4s8s") == mmsg.NAME_SIZE[socket.AF_INET]
    assert struct.calcsize("=HHI16sI") == mmsg.NAME_SIZE[socket.AF_INET6]
