"""Asking upstream servers that behave well and badly, over UDP on real sockets."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resolver.serve import mmsg
from resolver.serve.upstream import udp
from resolver.serve.upstream.flight import Limits
from resolver.serve.upstream.server import FAILURES_TO_DOWN, addresses_of
from resolver.serve.upstream.upstreams import CUT_OFF, DEADLINE, Upstreams
from tests.serve.fake_upstream import (
    Asker,
    Behaviour,
    Clock,
    FakeServer,
    answer,
    query,
    question,
    says,
    settle,
    silent,
    until,
    well,
)


@pytest_asyncio.fixture
async def asker() -> AsyncIterator[Asker]:
    clock = Clock()
    upstreams = Upstreams(asyncio.get_running_loop(), now=clock)
    yield Asker(upstreams, clock)
    upstreams.close()
    assert not upstreams.open


if TYPE_CHECKING:
    from resolver.serve.upstream.routes import Policy

Serve = Callable[..., FakeServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[FakeServer] = []

    def start(behaviour: Behaviour = well, host: str = "127.0.0.1") -> FakeServer:
        servers.append(FakeServer(behaviour, host))
        return servers[-1]

    yield start
    for server in servers:
        server.sock.close()


def closed_port() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def policy(asker: Asker, name: Policy) -> Iterator[None]:
    asker.upstreams.routes.policy = name
    yield


# A good server


async def test_query_goes_out_unchanged_but_for_its_id(asker: Asker, serve: Serve) -> None:
    server = serve()
    packet = query("A.exAmple", ident=0x0102, flags=0x0130) + b"\0\0\x29\x02\0\0\0\x80\0\0\0"
    packet = packet[:11] + b"\1" + packet[12:]
    got: list[object] = []
    asker.upstreams.ask(packet, question("A.exAmple"), (server.spec,), "c", got.append)
    await until(lambda: server.asked)
    assert server.asked[0][0][2:] == packet[2:]


async def test_reply_is_passed_on_as_it_is(asker: Asker, serve: Serve) -> None:
    server = serve()
    shape = await asker.ask(server)
    assert shape is not None
    assert shape.packet == answer(server.asked[0][0])
    assert asker.counters["replied"] == 1


async def test_ids_and_ports_vary(asker: Asker, serve: Serve) -> None:
    server = serve()
    for number in range(60):
        await asker.ask(server, packet=query(f"n{number}.example"))
    assert len({packet[:2] for packet, _ in server.asked}) > 50
    assert len({port for _, (_, port) in server.asked}) == 4


async def test_a_socket_is_retired_after_its_uses_and_after_its_time(
    asker: Asker, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp, "MOST_USES", 3)
    server = serve()
    for number in range(60):
        await asker.ask(server, packet=query(f"n{number}.example"))
    assert len({port for _, (_, port) in server.asked}) > 15, "20, but for those the kernel chose twice"
    before = set(asker.upstreams.open)
    assert len(before) <= 4
    asker.clock.now += udp.LONGEST_USE
    for number in range(60):
        await asker.ask(server, packet=query(f"m{number}.example"))
    assert not before & asker.upstreams.open


async def test_letter_case_may_change_on_the_way(asker: Asker, serve: Serve) -> None:
    server = serve(lambda packet: [answer(packet[:12] + packet[12:-4].upper() + packet[-4:])])
    assert await asker.ask(server) is not None


@pytest.mark.parametrize("rcode", [1, 3, 4, 9])
async def test_other_rcodes_are_final(asker: Asker, serve: Serve, rcode: int) -> None:
    first, second = serve(says(rcode)), serve()
    shape = await asker.ask(first, second)
    assert shape is not None
    assert shape.rcode == rcode
    assert not second.asked


async def test_large_replies_over_udp(asker: Asker, serve: Serve) -> None:
    def large(packet: bytes) -> list[bytes]:
        one = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + b"\xc0\0\2\1"
        return [packet[:2] + struct.pack("!5H", 0x8180, 1, 4000, 0, 0) + packet[12:] + one * 4000]

    shape = await asker.ask(serve(large))
    assert shape is not None
    assert len(shape.packet) > 60_000


async def test_ipv6(asker: Asker, serve: Serve) -> None:
    server = serve(host="::1")
    assert await asker.ask(server) is not None


async def test_long_questions_leave_too(asker: Asker, serve: Serve) -> None:
    padding = b"\0\x0c" + (3000).to_bytes(2, "big") + bytes(3000)
    opt = b"\0\0\x29\x04\xd0\0\0\0\0" + len(padding).to_bytes(2, "big") + padding
    server = serve(lambda packet: [answer(packet[: 12 + len(question())])])
    got: list[object] = []
    packet = query()[:11] + b"\1" + question() + opt
    asker.upstreams.ask(packet, question(), (server.spec,), "c", got.append)
    await until(lambda: got)
    assert server.asked[0][0][2:] == packet[2:]


async def test_without_batched_calls(asker: Asker, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmsg, "available", False)
    server, closed = serve(), closed_port()
    got = [asker.start(closed, server, packet=query(f"n{number}.example")) for number in range(100)]
    await until(lambda: all(got))
    assert all(replies[0] is not None for replies in got)


# Servers that cannot help


@pytest.mark.parametrize(
    "behaviour",
    [
        says(2),
        says(5),
        lambda packet: [packet[:2] + b"garbage"],
        lambda packet: [packet],
        lambda packet: [packet[:2] + b"\x81\x82" + bytes(8)],
        lambda packet: [answer(packet)[:-3]],
        lambda packet: [answer(packet)[:-16] + b"\xc0\x1b" + answer(packet)[-14:]],
    ],
    ids=["servfail", "refused", "garbage", "echo", "header only", "cut off", "pointer to itself"],
)
async def test_next_server_at_once(asker: Asker, serve: Serve, behaviour: Behaviour) -> None:
    first, second = serve(behaviour), serve()
    assert await asker.ask(first, second) is not None
    assert len(first.asked) == len(second.asked) == 1


@pytest.mark.parametrize("rcode", [2, 5])
async def test_none_when_all_are_unwilling(asker: Asker, serve: Serve, rcode: int) -> None:
    servers = [serve(says(rcode)) for _ in range(3)]
    assert await asker.ask(*servers) is None
    assert [len(server.asked) for server in servers] == [1, 1, 1]
    assert asker.counters["unwilling"] == 3


async def test_closed_port_is_passed_over_at_once(asker: Asker, serve: Serve) -> None:
    server = serve()
    assert await asker.ask(closed_port(), server) is not None
    assert asker.counters["unreachable"] == 1


async def test_none_at_once_when_all_ports_are_closed(asker: Asker) -> None:
    assert await asker.ask(closed_port(), closed_port()) is None


async def test_a_socket_whose_address_is_gone_is_replaced(asker: Asker, serve: Serve) -> None:
    """A container that leaves a network, a laptop that gets another lease: the server is not to blame."""
    server = serve(silent)
    got = asker.start(server)
    await until(lambda: server.asked)
    [old] = asker.upstreams.open
    assert isinstance(old, udp.UdpExchange)
    server.behaviour = well
    asker.upstreams.unreachable(old, errno.ENETUNREACH)
    await until(lambda: got)
    assert got[0] is not None
    assert old.fileno() < 0
    [(_, first), (_, second)] = server.asked
    assert first != second


async def test_no_way_to_the_server_is_tried_once_more_and_then_held_against_it(
    asker: Asker, serve: Serve
) -> None:
    server = serve(silent)
    got = asker.start(server)
    for number in (1, 2):
        await until(lambda number=number: len(server.asked) == number)  # type: ignore[misc]
        [exchange] = asker.upstreams.open
        assert isinstance(exchange, udp.UdpExchange)
        asker.upstreams.unreachable(exchange, errno.ENETUNREACH)
    await until(lambda: got)
    assert got == [None]
    assert len(server.asked) == 2


class Inside:
    """Sockets of a container's namespace, ours here, that have no way to any server while its networks are
    being changed."""

    def __init__(self) -> None:
        self.cut_off = True
        self.tried = 0

    def __call__(self, container: str, kind: socket.SocketKind) -> socket.socket:
        self.tried += 1
        if self.cut_off:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)


@pytest.mark.parametrize("cut_off", [0.1, CUT_OFF - 0.2])
async def test_a_containers_server_is_waited_for_while_its_networks_change(
    asker: Asker, serve: Serve, cut_off: float
) -> None:
    inside = asker.upstreams.routes.inside = Inside()
    server = serve()
    got = asker.start(f"{server.spec}@web")
    await asker.let(cut_off)
    assert not got
    assert not server.asked
    inside.cut_off = False
    await asker.let(0.2)
    await until(lambda: got)
    assert got[0] is not None
    assert len(server.asked) == 1


async def test_a_containers_server_without_a_way_to_it_is_given_up(asker: Asker, serve: Serve) -> None:
    """And one of our own network is not waited for at all."""
    inside = asker.upstreams.routes.inside = Inside()
    got = asker.start(f"{serve().spec}@web")
    await asker.let(CUT_OFF - 0.1)
    assert not got
    assert 5 <= inside.tried <= 11
    await asker.let(0.3)
    assert got == [None]
    assert asker.start("255.255.255.255:53") == [None]


async def test_many_questions_survive_a_port_that_closes(asker: Asker, serve: Serve) -> None:
    """ICMP errors meet several questions on the same socket, some of them while sending."""
    server, closed = serve(), closed_port()
    got = [asker.start(closed, server, packet=query(f"n{number}.example")) for number in range(150)]
    await until(lambda: all(got))
    assert all(replies[0] is not None and len(replies) == 1 for replies in got)


@pytest.mark.parametrize(
    "spec", ["255.255.255.255:53", "nonsense", "192.0.2.1:99999", "[fe80::1%nowhere]:53"]
)
async def test_what_cannot_be_sent_to_is_passed_over(asker: Asker, serve: Serve, spec: str) -> None:
    assert await asker.ask(spec, serve()) is not None
    assert await asker.ask(spec, packet=query("b.example")) is None


async def test_no_servers_at_all(asker: Asker) -> None:
    assert await asker.ask() is None


# Servers that are silent


async def test_next_server_when_patience_is_over(asker: Asker, serve: Serve) -> None:
    first, second = serve(silent), serve()
    got = asker.start(first, second)
    await asker.let(0.3)
    assert not got
    await asker.let(0.3)
    assert got[0] is not None
    assert asker.counters["hedged"] == 1


async def test_three_servers_each_get_a_fair_try(asker: Asker, serve: Serve) -> None:
    servers = [serve(silent), serve(silent), serve()]
    got = asker.start(*servers)
    await asker.let(DEADLINE - 1.5)
    assert got[0] is not None


async def test_none_when_the_time_is_over(asker: Asker, serve: Serve) -> None:
    server = serve(silent)
    got = asker.start(server)
    await asker.let(DEADLINE - 0.1)
    assert not got
    await asker.let(0.2)
    assert got == [None]
    assert len(server.asked) > 2, "a lost datagram is sent again"
    assert asker.upstreams.status()["waiting"] == 0


async def test_a_silent_server_comes_last_until_it_answers_a_probe(asker: Asker, serve: Serve) -> None:
    first, second = serve(silent), serve()
    for number in range(FAILURES_TO_DOWN):
        asker.start(first, second, packet=query(f"n{number}.example"))
        await asker.let(0.5)
    asked = len(first.asked)
    assert await asker.ask(first, second, packet=query("b.example")) is not None
    assert len(first.asked) == asked
    first.behaviour = well
    await asker.let(1.5)
    await asker.ask(first, second, packet=query("c.example"))
    await until(lambda: len(first.asked) == asked + 1)
    assert asker.counters["probes"] == 1
    await settle()
    asked = len(second.asked)
    await asker.ask(first, second, packet=query("d.example"))
    assert len(second.asked) == asked


async def test_probes_become_rarer(asker: Asker, serve: Serve) -> None:
    first, second = closed_port(), serve()
    for number in range(300):
        await asker.ask(first, second, packet=query(f"n{number}.example"))
        asker.clock.now += 0.2
    assert 4 <= asker.counters["probes"] <= 7


async def test_slow_about_one_name_only_is_not_down(asker: Asker, serve: Serve) -> None:
    server, other = serve(lambda packet: [] if b"slow" in packet else well(packet)), serve()
    for number in range(2 * FAILURES_TO_DOWN):
        asker.start(server, other, packet=query(f"slow{number}.example"))
        await asker.let(0.1)
        await asker.ask(server, other, packet=query(f"n{number}.example"))
        await asker.let(0.5)
    status = asker.upstreams.routes.status()[server.spec]
    assert isinstance(status, dict)
    assert status["state"] == "up"


# Replies that are not taken


async def test_wrong_id_and_wrong_question_are_ignored_until_the_right_one_comes(
    asker: Asker, serve: Serve
) -> None:
    def doubtful(packet: bytes) -> list[bytes]:
        other_id = bytes((packet[0] ^ 1,)) + packet[1:]
        other_name = packet[:12] + question("b.example")
        other_type = packet[:12] + question("a.example", 28)
        forged = [answer(p, address=b"\6\6\6\6") for p in (other_id, other_name, other_type)]
        return [b"", b"x", *forged, answer(packet)]

    shape = await asker.ask(serve(doubtful))
    assert shape is not None
    assert shape.packet.endswith(b"\xc0\0\2\1")
    assert (asker.counters["mismatched"], asker.counters["stray"]) == (2, 3)


async def test_only_the_server_asked_is_heard(asker: Asker, serve: Serve) -> None:
    server = serve(silent)
    got = asker.start(server)
    await until(lambda: server.asked)
    packet, sender = server.asked[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.sendto(answer(packet, address=b"\6\6\6\6"), sender)
    await settle()
    assert not got
    server.sock.sendto(answer(packet), sender)
    await until(lambda: got)
    assert got[0] is not None
    assert got[0].packet == answer(packet)


async def test_a_second_reply_is_dropped(asker: Asker, serve: Serve) -> None:
    got = asker.start(serve(lambda packet: [answer(packet)] * 2))
    await until(lambda: asker.counters["stray"])
    assert len(got) == 1


async def test_a_reply_after_the_deadline_is_dropped(asker: Asker, serve: Serve) -> None:
    server = serve(silent)
    got = asker.start(server)
    await asker.let(DEADLINE + 0.2)
    for packet, sender in server.asked:
        server.sock.sendto(answer(packet), sender)
    await until(lambda: asker.counters["stray"] == len(server.asked))
    assert got == [None]


async def test_an_overtaken_reply_tells_how_fast_its_server_is(asker: Asker, serve: Serve) -> None:
    first, second = serve(silent), serve()
    got = asker.start(first, second)
    await asker.let(0.6)
    assert len(got) == 1
    packet, sender = first.asked[0]
    first.sock.sendto(answer(packet), sender)
    await until(lambda: asker.counters["late"])
    status = asker.upstreams.routes.status()[first.spec]
    assert isinstance(status, dict)
    assert status["rtt_ms"] >= 600
    assert len(got) == 1


# Identical questions, limits


async def test_identical_questions_are_asked_once(asker: Asker, serve: Serve) -> None:
    server = serve(silent)
    got = [
        asker.start(server, packet=query(name, ident=number))
        for number, name in enumerate(["a.example", "A.example", "a.eXample", "a.example"])
    ]
    await until(lambda: server.asked)
    server.sock.sendto(answer(server.asked[0][0]), server.asked[0][1])
    await until(lambda: all(got))
    assert len(server.asked) == 1
    assert asker.counters["joined"] == 3
    assert len({replies[0] for replies in got}) == 1


async def test_questions_that_differ_are_not_joined(asker: Asker, serve: Serve) -> None:
    server, other = serve(silent), serve(silent)
    for packet in (query(), query(flags=0), query(flags=0x0110), query("b.example")):
        asker.start(server, packet=packet)
    asker.start(server, other, packet=query())
    assert asker.counters["joined"] == 0


async def test_limits_are_told_at_once_and_lifted(serve: Serve) -> None:
    clock = Clock()
    upstreams = Upstreams(asyncio.get_running_loop(), limits=Limits(total=5, per_client=3), now=clock)
    asker, server = Asker(upstreams, clock), serve(silent)

    def taken(client: str) -> int:
        count = 0
        while upstreams.ask(
            query(f"{client}{count}.example"),
            question(f"{client}{count}.example"),
            (server.spec,),
            client,
            print,
        ):
            count += 1
        return count

    assert [taken("a"), taken("b"), taken("c")] == [3, 2, 0]
    assert asker.counters["refused_limit"] == 3
    await asker.let(DEADLINE + 0.2)
    assert [taken("a"), taken("b"), taken("c")] == [3, 2, 0]
    upstreams.close()


async def test_thousands_in_flight_each_get_one_reply(asker: Asker, serve: Serve) -> None:
    asker.upstreams.limits = Limits(total=10_000, per_client=10_000)
    held: list[tuple[bytes, tuple[str, int]]] = []
    server = serve(silent)
    server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    server.asked = held
    got = []
    for number in range(6_000):
        got.append(asker.start(server, packet=query(f"n{number}.example")))
        if number % 50 == 0:
            await settle()
    await until(lambda: len(held) == len(got))
    for number, (packet, sender) in enumerate(reversed(held)):
        server.sock.sendto(answer(packet), sender)
        if number % 50 == 0:
            await settle()
    await until(lambda: all(got))
    assert all(len(replies) == 1 and replies[0] is not None for replies in got)


# Policies


async def test_ordered_asks_the_first_even_when_another_is_faster(asker: Asker, serve: Serve) -> None:
    first, second = serve(), serve()
    for number in range(20):
        await asker.ask(first, second, packet=query(f"n{number}.example"))
    assert not second.asked


async def test_sequential_leaves_each_server_its_share(asker: Asker, serve: Serve) -> None:
    with policy(asker, "sequential"):
        first, second = serve(silent), serve()
        got = asker.start(first, second)
        await asker.let(2.0)
        assert len(first.asked) == 2, "sent again, in case it was lost"
        assert not second.asked
        await asker.let(0.5)
        assert len(got) == 1


async def test_fastest_goes_to_the_fastest_and_measures_the_others(asker: Asker, serve: Serve) -> None:
    with policy(asker, "fastest"):
        first, second = serve(silent), serve()
        got = asker.start(first, second)
        await until(lambda: first.asked)
        asker.clock.now += 0.3
        first.sock.sendto(answer(first.asked[0][0]), first.asked[0][1])
        await until(lambda: got)
        first.behaviour = well
        asker.clock.now += 20
        await asker.ask(first, second, packet=query("b.example"))
        await until(lambda: second.asked)
        asker.clock.now += 2
        await asker.ask(first, second, packet=query("c.example"))
        first.asked.clear()
        await asker.ask(first, second, packet=query("d.example"))
        assert not first.asked


# Life of the whole


async def test_nothing_runs_when_nothing_waits(asker: Asker, serve: Serve) -> None:
    await asker.ask(serve())
    await asker.let(1.0)
    assert asker.upstreams.wheel._timer is None
    assert not asker.upstreams.wheel._slots


async def test_close_tells_everyone_and_leaves_no_socket(asker: Asker, serve: Serve) -> None:
    server = serve(silent)
    got = [asker.start(server, packet=query(f"n{number}.example")) for number in range(50)]
    asker.upstreams.close()
    assert got == [[None]] * 50
    assert not asker.upstreams.open
    assert not asker.upstreams.ask(query(), question(), (server.spec,), "c", print)


async def test_forget_finishes_what_is_under_way_and_closes_its_sockets(asker: Asker, serve: Serve) -> None:
    server = serve(silent)
    got = asker.start(server)
    await until(lambda: server.asked)
    asker.upstreams.forget()
    assert asker.upstreams.routes.status() == {}
    server.sock.sendto(answer(server.asked[0][0]), server.asked[0][1])
    await until(lambda: got)
    assert got[0] is not None
    await settle()
    assert not asker.upstreams.open


async def test_what_is_sent_again_after_forget_leaves_no_socket(asker: Asker, serve: Serve) -> None:
    server = serve(silent)
    got = asker.start(server)
    await until(lambda: server.asked)
    asker.upstreams.forget()
    server.behaviour = well
    await asker.let(1.0)
    assert got[0] is not None
    await asker.let(2.0)
    assert not asker.upstreams.open


async def test_lists_of_servers_are_bounded(asker: Asker, serve: Serve) -> None:
    server = serve()
    asker.upstreams.routes.most = 256
    for number in range(600):
        await asker.ask(server, f"127.1.{number // 256}.{number % 256}:9", packet=query(f"n{number}.example"))
    assert len(asker.upstreams.routes._routes) <= 256
    assert len(asker.upstreams.open) <= 8


async def test_a_failing_callback_harms_nobody_else(
    asker: Asker, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(silent)

    def fails(shape: object) -> None:
        raise RuntimeError("by intent")

    asker.upstreams.ask(query(), question(), (server.spec,), "c", fails)
    got = asker.start(server)
    await until(lambda: server.asked)
    server.sock.sendto(answer(server.asked[0][0]), server.asked[0][1])
    await until(lambda: got)
    assert "not taken" in caplog.text


@pytest.mark.parametrize("what", ["order", "put", "patience"])
async def test_a_fault_of_ours_leaves_nothing_in_flight(
    asker: Asker, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Each would take away one of the places that a client has, for ever."""
    upstreams, server = asker.upstreams, serve()

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        where = {"order": upstreams.routes, "put": upstreams._batch, "patience": upstreams}[what]
        patch.setattr(where, {"patience": "_patience"}.get(what, what), broken)
        if what == "order":
            with pytest.raises(RuntimeError):
                asker.start(server)
        else:
            assert await asker.ask(server) is None
            assert "could not be asked" in caplog.text
    assert (upstreams._waiting, upstreams._clients, upstreams.in_flight) == (0, {}, 0)
    assert await asker.ask(server)


async def test_a_fault_of_ours_when_time_is_over(
    asker: Asker, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others whose time is over at the same moment get their answers as well."""
    upstreams, server = asker.upstreams, serve(silent)

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    waiting = [asker.start(server, packet=query(f"{n}.example")) for n in range(3)]
    monkeypatch.setattr(upstreams, "_next", broken)
    await asker.let(2.0)
    assert waiting == [[None]] * 3
    assert len(caplog.records) == 3
    assert (upstreams._waiting, upstreams._clients, upstreams.in_flight) == (0, {}, 0)


async def test_asking_again_from_the_callback(asker: Asker, serve: Serve) -> None:
    server = serve()
    got: list[object] = []

    def again(shape: object) -> None:
        asker.upstreams.ask(query(), question(), (server.spec,), "c", got.append)

    asker.upstreams.ask(query(), question(), (server.spec,), "c", again)
    await until(lambda: got)
    assert len(server.asked) == 2


async def test_without_descriptors_sockets_in_use_serve_on(
    asker: Asker, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    for number in range(40):
        await asker.ask(server, packet=query(f"n{number}.example"))

    def none_left(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", none_left)
    asker.clock.now += udp.LONGEST_USE
    assert await asker.ask(server, packet=query("b.example")) is not None
    assert await asker.ask("127.0.0.1:9", packet=query("c.example")) is None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("192.0.2.1:53", (("192.0.2.1", 53), ("192.0.2.1", 53))),
        ("127.0.0.11:41234/39000", (("127.0.0.11", 41234), ("127.0.0.11", 39000))),
        ("[fd00::1]:53", (("fd00::1", 53, 0, 0), ("fd00::1", 53, 0, 0))),
        ("[fe80::1%1]:53", (("fe80::1", 53, 0, 1), ("fe80::1", 53, 0, 1))),
    ],
)
def test_addresses(spec: str, expected: object) -> None:
    assert addresses_of(spec)[1:] == expected


@pytest.mark.parametrize(
    "spec",
    ["", "192.0.2.1", ":53", "example.com:53", "192.0.2.1:x", "192.0.2.1:99999", "192.0.2.1:0", "[::1]"],
)
def test_no_addresses(spec: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        addresses_of(spec)


@given(
    st.lists(
        st.sampled_from(
            ["well", "silent", "servfail", "garbage", "twice", "wrong id", "wrong question", "tc"]
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 12),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_servers_do_each_question_gets_one_answer(kinds: list[str], count: int) -> None:
    behaviours: dict[str, Behaviour] = {
        "well": well,
        "silent": silent,
        "servfail": says(2),
        "garbage": lambda packet: [packet[:2] + b"\x80" * 40],
        "twice": lambda packet: [answer(packet), answer(packet)],
        "wrong id": lambda packet: [b"\0\0" + answer(packet)[2:]],
        "wrong question": lambda packet: [answer(packet[:12] + question("z.example"))],
        "tc": lambda packet: [answer(packet, flags=0x8380)],
    }

    async def play() -> None:
        clock = Clock()
        asker = Asker(Upstreams(asyncio.get_running_loop(), now=clock), clock)
        servers = [FakeServer(behaviours[kind]) for kind in kinds]
        got = [asker.start(*servers, packet=query(f"n{number}.example")) for number in range(count)]
        await asker.let(DEADLINE + 1.5)
        assert all(len(replies) == 1 for replies in got)
        assert all(replies[0] is None or replies[0].rcode == 0 for replies in got)
        if {"well", "twice"} & set(kinds[:2]):
            assert all(replies[0] is not None for replies in got)
        assert asker.upstreams.status()["waiting"] == 0
        assert not asker.upstreams._flights
        asker.upstreams.close()
        for server in servers:
            await server.close()

    asyncio.run(play())
