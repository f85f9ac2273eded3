"""``--client-rate``: who asks too much is told so; others notice nothing."""

from __future__ import annotations

import socket

import dns.message
import dns.rcode
import pytest

from resolver.serve import mmsg, rates, udp
from resolver.serve.rates import Rates, refusal
from tests.house import Asker, House, container, joined, network, question
from tests.sockets import answering_udp, until

DEV = network("dev", "10.1.0.0/24")
ES = container("es", joined(DEV, "10.1.0.2"))
ONE, OTHER = b"\x0a\1\0\1", b"\x0a\1\0\2"


class Seconds:
    """A clock that stands still."""

    now = 100.5

    def __call__(self) -> float:
        return self.now


def test_counted_per_client_and_second() -> None:
    clock = Seconds()
    counted = Rates(clock)
    counted.limit = 3
    assert [counted.over(ONE) for _ in range(5)] == [False, False, False, True, True]
    assert not counted.over(OTHER)
    clock.now += 1
    assert not counted.over(ONE)
    assert counted.refused == 2


def test_forged_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST", 10)
    counted = Rates(Seconds())
    counted.limit = 1
    for number in range(100):
        counted.over(number.to_bytes(4, "big"))
    assert len(counted._asked) <= 10


def test_the_way_in_is_closed_to_who_asked_too_much() -> None:
    house = House(DEV, ES)
    counted = Rates(Seconds())
    ask = counted.before(house.queries.ask)
    packet = question("es", id=7).to_wire()
    asker = Asker(house.address_of("es"), tcp=True)
    for limit, rcode in ((0, 0), (1, 0), (1, 5)):
        counted.limit = limit
        reply = ask(packet, asker)
        assert reply is not None
        assert dns.message.from_wire(reply).rcode() == rcode


@pytest.mark.parametrize(("packet", "reply"), [(b"", None), (b"\0" * 12, 1), (b"\0\0\x80" + b"\0" * 9, None)])
def test_what_is_no_question_is_answered_as_ever(packet: bytes, reply: int | None) -> None:
    said = refusal(packet)
    assert (said[3] & 15 if said else None) == reply


@pytest.mark.parametrize("listen", [udp.BatchListener, udp.PlainListener])
async def test_over_udp(listen: type[udp.BatchListener] | type[udp.PlainListener]) -> None:
    """The first are answered, each other one is refused, and another client is none of this."""
    if listen is udp.BatchListener and not mmsg.available:
        pytest.skip("no recvmmsg")
    house = House(DEV, ES)
    replies: dict[str, list[int]] = {"127.0.0.66": [], "127.0.0.67": []}
    async with answering_udp(house, listen=listen, rate=20) as (_, port):
        for host, asked in (("127.0.0.66", 200), ("127.0.0.67", 10)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((host, 0))
                sock.setblocking(False)
                for number in range(asked):
                    sock.sendto(question("es", "A", id=number).to_wire(), ("127.0.0.1", port))

                def all_in(sock: socket.socket = sock, host: str = host, asked: int = asked) -> bool:
                    try:
                        while True:
                            message = dns.message.from_wire(sock.recv(512))
                            assert message.question
                            replies[host].append(message.rcode())
                    except BlockingIOError:
                        return len(replies[host]) == asked

                await until(all_in)
    assert sorted(replies["127.0.0.66"]) == [0] * 20 + [dns.rcode.REFUSED] * 180
    assert replies["127.0.0.67"] == [0] * 10
