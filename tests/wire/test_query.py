"""Questions read and replies written, held against another DNS library."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.names.keys import MAX_KEY
from resolver.wire.query import (
    BADVERS,
    FORMERR,
    NOTIMP,
    OPCODE,
    QR,
    REFUSED,
    TCP_SIZE,
    UDP_SIZE,
    Query,
    Refused,
    RRset,
    read_query,
    skip_name,
    udp_limit,
    write_addresses,
    write_pointer,
    write_reply,
)

labels = st.lists(st.binary(min_size=1, max_size=63), max_size=4).map(
    lambda parts: dns.name.Name((*parts, b"")) if sum(map(len, parts)) + len(parts) < 255 else dns.name.root
)
sizes = st.sampled_from((0, 100, 512, 600, 1232, 4096, 65_535))
flags = st.sampled_from((0, 0x0100, 0x0110, 0x0130, 0x0730, 0x0140))
DNSSEC_OK = 0x8000


@st.composite
def messages(draw: st.DrawFn) -> dns.message.QueryMessage:
    """Queries as another library makes them."""
    size = draw(sizes)
    return dns.message.make_query(
        draw(labels),
        draw(st.sampled_from(("A", "AAAA", "PTR", "TXT", "ANY", "TYPE65280"))),
        use_edns=0 if size else None,
        payload=size or None,
        want_dnssec=bool(size) and draw(st.booleans()),
        flags=draw(flags),
        id=draw(st.integers(0, 0xFFFF)),
        options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")]
        if size and draw(st.booleans())
        else None,
    )


def read(message: dns.message.Message) -> Query:
    return read_query(message.to_wire())


def refusal(packet: bytes) -> bytes | None:
    with pytest.raises(Refused) as refused:
        read_query(packet)
    return refused.value.reply


def holds_for(query: dns.message.Message, reply: bytes) -> dns.message.Message:
    """What is so in every reply of ours to a question that could be read; the reply, read strictly."""
    message = dns.message.from_wire(reply)
    assert query.is_response(message)
    assert message.question[0].name.labels == query.question[0].name.labels
    kept = dns.flags.RD | dns.flags.CD
    made = dns.flags.QR | dns.flags.RA
    assert int(message.flags) & ~(dns.flags.TC | 0xF) == made | int(query.flags) & kept
    assert message.opcode() == 0
    assert not message.authority
    assert (message.edns == 0) == (query.edns >= 0)
    if query.edns >= 0:
        assert message.payload == UDP_SIZE
        assert message.ednsflags & DNSSEC_OK == query.ednsflags & DNSSEC_OK
        assert not message.options
    return message


# Reading


@given(messages())
def test_what_others_write_is_read(message: dns.message.QueryMessage) -> None:
    query = read(message)
    question = message.question[0]
    name = question.name.to_wire()
    assert name is not None
    assert query.id == message.id.to_bytes(2, "big")
    assert query.key + b"\x00" == name.lower()
    assert query.qtype == question.rdtype
    assert query.question == name + struct.pack("!HH", question.rdtype, question.rdclass)
    assert query.edns == (message.edns >= 0)
    assert query.udp_size == max(512, message.payload)
    assert query.dnssec_ok == bool(message.ednsflags & DNSSEC_OK)
    assert query.options == bool(message.options)


@given(st.binary(max_size=600))
def test_any_octets_are_a_query_or_refused(packet: bytes) -> None:
    try:
        query = read_query(packet)
    except Refused as refused:
        reply = refused.reply
    else:
        assert len(query.key) <= MAX_KEY
        reply = write_reply(query, 0)
    if reply is None:
        assert len(packet) < 12 or packet[2] & 0x80
        return
    assert len(reply) <= 512
    assert reply[:2] == packet[:2]
    assert reply[2] & 0x80
    dns.message.from_wire(reply)


@settings(max_examples=300)
@given(messages(), st.data())
def test_damaged_queries_are_a_query_or_refused(
    message: dns.message.QueryMessage, data: st.DataObject
) -> None:
    packet = bytearray(message.to_wire())
    for _ in range(data.draw(st.integers(1, 3))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    packet = packet[: data.draw(st.integers(0, len(packet)))]
    try:
        reply = write_reply(read_query(bytes(packet)), 0)
    except Refused as refused:
        if refused.reply is None:
            return
        reply = refused.reply
    again = dns.message.from_wire(reply)
    assert again.id == int.from_bytes(packet[:2], "big")
    assert int(again.opcode()) == (packet[2] & 0x78) >> 3


class Counting(bytes):
    """Octets that count how often they are looked at one by one."""

    looks: int

    def __getitem__(self, index: Any) -> Any:
        self.looks = getattr(self, "looks", 0) + 1
        return super().__getitem__(index)


@pytest.mark.parametrize("size", [4096, 16_384, 65_535])
def test_reading_takes_linear_time(size: int) -> None:
    """The worst are many short labels, in the question or in front of a record."""
    for head in (b"", b"\x00\x00\x01\x00\x01"):
        counts = struct.pack("!6H", 1, 0x0100, 1, 0, 0, 1)
        packet = Counting((counts + head + b"\x01a" * size)[:size])
        with pytest.raises(Refused):
            read_query(packet)
        assert packet.looks <= size


def header(flags: int, *counts: int) -> bytes:
    return struct.pack("!6H", 0x1234, flags, *counts)


BODY = b"\x02es\x00\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"
RECORD = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x7f\x00\x00\x01"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x00",
        header(0, 1, 0, 0, 0)[:11],
        header(QR, 1, 0, 0, 0) + BODY,
        header(QR | OPCODE, 1, 0, 0, 0),
    ],
)
def test_what_is_no_question_is_met_with_silence(packet: bytes) -> None:
    assert refusal(packet) is None


@pytest.mark.parametrize("opcode", range(1, 16))
def test_other_opcodes_are_not_implemented(opcode: int) -> None:
    reply = refusal(header(opcode << 11 | 0x0110, 1, 0, 0, 0) + BODY)
    assert reply == header(QR | opcode << 11 | 0x0110 | NOTIMP, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "packet",
    [
        header(0, 0, 0, 0, 0),
        header(0, 2, 0, 0, 0) + BODY * 2,
        header(0, 1, 2, 0, 0) + BODY + RECORD * 2,
        header(0, 1, 0, 2, 0) + BODY + RECORD * 2,
        header(0, 1, 0, 0, 3) + BODY + RECORD * 3,
        header(0, 1, 0, 0, 0),
        header(0, 1, 0, 0, 0) + BODY[:-1],
        header(0, 1, 0, 0, 0) + BODY[:-2],
        header(0, 1, 0, 0, 0) + b"\x40" + b"a" * 64 + b"\x00\x00\x01\x00\x01",
        header(0, 1, 0, 0, 0) + b"\xc0\x0c\x00\x01\x00\x01",
        header(0, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 4 + b"\x00\x00\x01\x00\x01",
        header(0, 1, 0, 0, 0) + b"\x05ab",
    ],
)
def test_a_question_that_cannot_be_read(packet: bytes) -> None:
    assert refusal(packet) == header(QR | FORMERR, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "records",
    [
        (1, OPT[:-1]),
        (1, b""),
        (2, OPT * 2),
        (1, b"\x01a" + OPT),
        (1, OPT[:-2] + b"\x00\x05abc"),
        (1, b"\x80" + OPT[1:]),
    ],
)
def test_records_that_cannot_be_read_leave_the_question(records: tuple[int, bytes]) -> None:
    count, octets = records
    reply = refusal(header(0, 1, 0, 0, count) + BODY + octets)
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.rcode() == FORMERR
    assert message.question[0].name == dns.name.from_text("es")


def test_another_edns_version() -> None:
    message = dns.message.make_query("es", "A", use_edns=1)
    reply = refusal(message.to_wire())
    assert reply is not None
    again = dns.message.from_wire(reply)
    assert (again.rcode(), again.edns) == (BADVERS, 0)


@pytest.mark.parametrize("rdclass", [0, 3, 4, 254, 255])
def test_another_class(rdclass: int) -> None:
    reply = refusal(header(0x0100, 1, 0, 0, 0) + BODY[:-2] + rdclass.to_bytes(2, "big"))
    assert reply is not None
    assert reply == header(0x8180 | REFUSED, 1, 0, 0, 0) + BODY[:-2] + rdclass.to_bytes(2, "big")


@pytest.mark.parametrize("records", [(1, 0, 0, RECORD), (0, 1, 0, RECORD), (0, 0, 2, RECORD + OPT)])
def test_records_a_question_may_carry(records: tuple[int, int, int, bytes]) -> None:
    *counts, octets = records
    query = read_query(header(0, 1, *counts) + BODY + octets)
    assert query.key == b"\x02es"


def test_what_follows_the_message_is_ignored() -> None:
    assert read_query(header(0, 1, 0, 0, 0) + BODY + b"and more").question == BODY


@pytest.mark.parametrize(
    ("octets", "end"),
    [
        (b"\x00", 1),
        (b"\x01a\x00", 3),
        (b"\x01a\xc0\x0c", 4),
        (b"\xc0\x0c", 2),
        (b"\x40", 0),
        (b"\x01", 0),
        (b"", 0),
    ],
)
def test_names_in_later_sections(octets: bytes, end: int) -> None:
    assert skip_name(octets, 0) == end


def test_a_pointer_cut_in_half_ends_past_the_packet() -> None:
    assert skip_name(b"\xc0", 0) == 2


# Writing


@given(messages(), st.sampled_from((0, 1, 2, 3, 5)), st.booleans())
def test_replies_without_records(message: dns.message.QueryMessage, rcode: int, truncated: bool) -> None:
    reply = write_reply(read(message), rcode, truncated=truncated)
    again = holds_for(message, reply)
    assert again.rcode() == rcode
    assert bool(again.flags & dns.flags.TC) == truncated
    assert not again.answer
    assert len(reply) <= 512


@st.composite
def address_sets(draw: st.DrawFn) -> tuple[bytes, ...]:
    width = draw(st.sampled_from((4, 16)))
    count = draw(st.integers(1, 120) | st.integers(1, 5))
    return tuple(bytes(width - 2) + number.to_bytes(2, "big") for number in range(count))


@given(messages(), address_sets(), st.integers(0, 0x7FFFFFFF), st.integers(512, 4096) | st.just(TCP_SIZE))
def test_replies_with_addresses(
    message: dns.message.QueryMessage, addresses: tuple[bytes, ...], ttl: int, limit: int
) -> None:
    query = read(message)
    rrset = write_addresses(query, addresses, ttl, limit)
    for _ in range(3):
        reply = query.id + rrset.next()
        assert len(reply) <= limit
        again = holds_for(message, reply)
        records = [octets for found in again.answer for octets in map(_packed, found)]
        assert len(records) == len(set(records))
        assert set(records) <= set(addresses)
        cut = len(records) < len(addresses)
        assert bool(again.flags & dns.flags.TC) == cut
        if cut:
            width = len(addresses[0]) + 12
            assert len(reply) + width > limit
        for found in again.answer:
            assert found.ttl == ttl
            assert found.rdtype == (dns.rdatatype.A if len(addresses[0]) == 4 else dns.rdatatype.AAAA)
            assert found.name.labels == message.question[0].name.labels


def _packed(rdata: object) -> bytes:
    octets = rdata.to_wire()  # type: ignore[attr-defined]
    assert isinstance(octets, bytes)
    return octets


@given(address_sets(), st.sampled_from((512, 1232, TCP_SIZE)), st.integers(1, 3))
def test_each_address_is_first_equally_often(addresses: tuple[bytes, ...], limit: int, rounds: int) -> None:
    query = read(dns.message.make_query("es", "A"))
    rrset = write_addresses(query, addresses, 600, limit)
    start = 12 + len(query.question) + 12 - 2
    width = len(addresses[0])
    firsts: Counter[bytes] = Counter()
    for _ in range(rounds * len(addresses)):
        firsts[rrset.next()[start : start + width]] += 1
    assert firsts == dict.fromkeys(addresses, rounds)


def test_rotation_keeps_the_order() -> None:
    rrset = RRset(b"head", b"tail", b"abcabc", 1, 3, 3)
    assert [rrset.next() for _ in range(4)] == [
        b"headabctail",
        b"headbcatail",
        b"headcabtail",
        b"headabctail",
    ]


def test_no_room_for_any_record() -> None:
    message = dns.message.make_query(dns.name.Name((*[b"a" * 63] * 3, b"b" * 61, b"")), "AAAA")
    query = read(message)
    reply = query.id + write_addresses(query, (bytes(16),), 600, 290).next()
    again = holds_for(message, reply)
    assert again.flags & dns.flags.TC
    assert not again.answer


targets = st.lists(st.from_regex(r"[a-zA-Z0-9_*-]{1,63}", fullmatch=True), min_size=1, max_size=3).map(
    ".".join
)


@given(messages(), targets, st.sampled_from((100, 512, 1232, TCP_SIZE)))
def test_replies_with_a_pointer(message: dns.message.QueryMessage, target: str, limit: int) -> None:
    query = read(message)
    reply = write_pointer(query, target, 600, limit)
    again = holds_for(message, reply)
    if again.flags & dns.flags.TC:
        assert not again.answer
        assert len(query.question) + len(target) + 12 + 12 + 11 > limit - 16
        return
    assert len(reply) <= limit
    (found,) = again.answer
    (rdata,) = found
    assert found.ttl == 600
    assert found.rdtype == dns.rdatatype.PTR
    assert rdata.to_text() == dns.name.from_text(target).to_text()


@pytest.mark.parametrize(
    ("said", "limit"), [(0, 512), (100, 512), (512, 512), (1000, 1000), (1232, 1232), (4096, 1232)]
)
def test_the_most_that_is_sent_over_udp(said: int, limit: int) -> None:
    message = dns.message.make_query("es", "A", payload=said) if said else dns.message.make_query("es", "A")
    assert udp_limit(read(message)) == limit
