"""What is at hand is what would be decided now: the same octets up to the ID and the addresses' turn."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.names.answer import Reply, answer
from resolver.names.changes import Change, Sync
from resolver.names.keys import key_of, reverse_name
from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy
from resolver.names.view import view_of_client
from resolver.serve import queries
from resolver.wire.query import UDP_SIZE, read_query, write_addresses, write_pointer, write_reply
from tests import worlds
from tests.house import Asker, House

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.serve.memory import Kept

OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"

Question = tuple[bytes, bytes]
"""A client's packed address, and a packet."""


@pytest.fixture(autouse=True, scope="module")
def _ours_is_loopback() -> Iterator[None]:
    """Whatever addresses the machine has that the tests run on; and nobody is new."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "NEW", 0.0)
        patch.setattr(queries, "_is_ours", lambda address: address in worlds.LOOPBACKS)
        yield


@st.composite
def questions(draw: st.DrawFn) -> Question:
    key, qtype, opt = draw(worlds.keys), draw(st.sampled_from((1, 1, 28, 12, 16))), draw(st.booleans())
    packet = struct.pack("!6H", draw(st.integers(0, 0xFFFF)), 0x0100, 1, 0, 0, opt) + key + b"\x00"
    return draw(worlds.addresses), packet + struct.pack("!HH", qtype, 1) + (OPT if opt else b"")


def pure(house: House, address: bytes, packet: bytes) -> tuple[Reply | None, bytes]:
    """The verdict of the moment and a reply made from it, with nothing remembered."""
    table, query = house.table, read_query(packet)
    view = view_of_client(table, address, ours=address in worlds.LOOPBACKS)
    verdict = answer(query.key, query.qtype, view, table, final=True)
    limit = UDP_SIZE if query.edns else 512
    if not isinstance(verdict, Reply):
        return None, b""
    if verdict.addresses:
        return verdict, query.id + write_addresses(query, verdict.addresses, table.policy.ttl, limit).next()
    if verdict.pointer:
        return verdict, write_pointer(query, verdict.pointer, table.policy.ttl, limit)
    return verdict, write_reply(query, verdict.rcode)


def same_but_for_the_turn(one: bytes, other: bytes, addresses: int) -> bool:
    if addresses < 2:
        return one == other
    first, second = dns.message.from_wire(one), dns.message.from_wire(other)
    return (len(one), first.flags, first.id, first.question, first.edns) == (
        len(other),
        second.flags,
        second.id,
        second.question,
        second.edns,
    ) and {(r.name, r.ttl, frozenset(r)) for r in first.answer} == {
        (r.name, r.ttl, frozenset(r)) for r in second.answer
    }


def next_of(kept: Kept) -> bytes:
    return kept if isinstance(kept, bytes) else kept.next()


def check_what_is_at_hand(house: House) -> None:
    for address, replies in house.memory.clients.items():
        assert address in house.queries._views
        for body, kept in replies.items():
            packet = b"\x12\x34" + body
            verdict, expected = pure(house, address, packet)
            assert verdict is not None, body
            assert verdict.rcode == 0
            count = len(verdict.addresses)
            for _ in range(max(1, count)):
                assert same_but_for_the_turn(packet[:2] + next_of(kept), expected, count), body


def check_views(house: House) -> None:
    for address, view in house.queries._views.items():
        assert view == view_of_client(house.table, address, ours=address in worlds.LOOPBACKS), address


@settings(max_examples=60)
@given(
    st.lists(worlds.networks, max_size=3), st.lists(worlds.changes | questions() | questions(), max_size=30)
)
def test_what_is_at_hand_is_what_would_be_decided(
    networks: list[Change], steps: list[Change | Question]
) -> None:
    house = House(*networks, Sync("end"))
    for step in steps:
        if not isinstance(step, tuple):
            house.apply(step)
        else:
            address, packet = step
            reply = house.queries.ask(packet, Asker(address, packet[2:]))
            verdict, expected = pure(house, address, packet)
            if reply is not None:
                assert verdict is not None
                assert same_but_for_the_turn(reply, expected, len(verdict.addresses))
        check_views(house)
        check_what_is_at_hand(house)


NEAR = ("n1", "n2")
FEW = ("es", "web", "es.x", "in.house.test")

close_endpoints = st.builds(
    Endpoint,
    network=st.sampled_from(NEAR),
    names=worlds.some(FEW, 2),
    ipv4=st.sampled_from((b"", *worlds.ADDRESSES_4[:3])),
    ipv6=st.sampled_from((b"", b"", b"", *worlds.ADDRESSES_6[:1])),
    links=st.lists(st.tuples(st.sampled_from(FEW), st.sampled_from(FEW[:2])), max_size=2).map(tuple),
)
close_sandboxes = [
    st.builds(
        Sandbox,
        id=st.just(identity),
        name=st.just("any"),
        endpoints=st.lists(close_endpoints, min_size=1, max_size=2, unique_by=lambda e: e.network).map(tuple),
        joins=st.sampled_from(("", "", "", "c1", "c2")),
        on_host=st.sampled_from((False, False, False, True)),
    )
    for identity in ("c1", "c2", "c3")
]
close_networks = [st.builds(Network, st.just(n), st.sampled_from(("dev", "x", "y"))) for n in NEAR]
close_policies = st.builds(
    Policy,
    domain=st.sampled_from(("", worlds.DOMAIN)),
    own=st.sampled_from(("", "c1")),
    strangers=st.sampled_from(("refuse", "all-networks")),
)
close_addresses = (*worlds.ADDRESSES_4[:3], worlds.ADDRESSES_6[0], *worlds.STRANGERS[:1], worlds.LOOPBACKS[0])
close_keys = [
    key
    for name in (*FEW, worlds.DOMAIN)
    for tail in ("", ".dev", ".x", ".y", ".house.test", ".x.house.test")
    if (key := key_of(name + tail))
] + [key for address in close_addresses if (key := key_of(reverse_name(address)))]
close_packets = [
    struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + key + struct.pack("!BHH", 0, qtype, 1)
    for key in close_keys
    for qtype in ((12,) if key.endswith(b"\x04arpa") else (1, 28))
]


@settings(max_examples=150)
@given(
    close_policies,
    st.tuples(*close_networks),
    st.tuples(*close_sandboxes),
    st.lists(st.one_of(*close_sandboxes, worlds.gone), min_size=2, max_size=4),
)
def test_a_change_forgets_all_that_it_touches(
    policy: Policy, networks: tuple[Network, ...], sandboxes: tuple[Sandbox, ...], steps: list[Change]
) -> None:
    """Where everybody has everything at hand: a small world, in which nearly every change is about someone
    asked for, or someone asking, or who those stand for by a link or a shared network stack."""
    house = House(*networks, *sandboxes, Sync("end"), policy=policy)
    for step in steps:
        for address in close_addresses:
            for packet in close_packets:
                house.queries.ask(packet, Asker(address, packet[2:]))
        house.apply(step)
        check_views(house)
        check_what_is_at_hand(house)


@settings(max_examples=40)
@given(worlds.tables(settled=True), worlds.addresses)
def test_asked_again_the_answer_is_the_same(table: object, address: bytes) -> None:
    """Every question of a world, cold and then at hand."""
    house = House()
    house.queries._table = house.table = table  # type: ignore[assignment]
    for number, key in enumerate(worlds.KEYS):
        qtype = (1, 28, 12, 16)[number % 4]
        packet = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + key + struct.pack("!BHH", 0, qtype, 1)
        before = len(house.forwarder.taken)
        reply = house.queries.ask(packet, Asker(address, packet[2:]))
        verdict, expected = pure(house, address, packet)
        assert (reply is None) == (verdict is None) == (len(house.forwarder.taken) > before)
        if reply is None or verdict is None:
            continue
        assert same_but_for_the_turn(reply, expected, len(verdict.addresses))
        kept = house.memory.clients.get(address, {}).get(packet[2:])
        assert (kept is None) == bool(verdict.rcode)
        if kept is not None:
            again = packet[:2] + next_of(kept)
            assert same_but_for_the_turn(again, expected, len(verdict.addresses))
