"""Reading and changing what an upstream sent."""

from __future__ import annotations

import struct
from itertools import pairwise

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resolver.wire import reply
from resolver.wire.reply import (
    Malformed,
    ReplyShape,
    aged,
    comparable,
    dressed,
    fitted,
    read_reply,
    skip_name,
    without_opt,
)

QUESTION = b"\3www\7example\3com\0\0\1\0\1"
POINTER = b"\xc0\x0c"


def header(answers: int = 0, authorities: int = 0, additionals: int = 0, flags: int = 0x8180) -> bytes:
    return struct.pack("!6H", 0x1234, flags, 1, answers, authorities, additionals)


def record(rdata: bytes, rtype: int = 1, ttl: int = 300, owner: bytes = POINTER, rclass: int = 1) -> bytes:
    return owner + struct.pack("!HHIH", rtype, rclass, ttl, len(rdata)) + rdata


def opt(options: bytes = b"", rcode: int = 0, size: int = 1232) -> bytes:
    return record(options, 41, rcode << 24, b"\0", size)


ADDRESS = record(b"\xc0\0\2\1")
SOA = record(POINTER + POINTER + struct.pack("!5I", 1, 2, 3, 4, 60), 6, 900, b"\xc0\x10")


def must_read(packet: bytes, question: bytes = b"") -> ReplyShape:
    shape = read_reply(packet, question)
    assert shape is not None
    return shape


# What is read


@pytest.mark.parametrize("expected", [b"", QUESTION, QUESTION.upper()])
def test_one_address(expected: bytes) -> None:
    packet = header(1) + QUESTION + ADDRESS
    shape = must_read(packet, expected)
    assert shape == ReplyShape(packet, 12 + len(QUESTION), 0, (12 + len(QUESTION) + 6,), 300, False, 0)
    assert (shape.question, shape.udp_size, shape.truncated, shape.flags) == (QUESTION, 512, False, 0x8180)


def test_opt_gives_size_and_upper_rcode_bits_and_its_ttl_is_none() -> None:
    shape = must_read(header(1, additionals=1) + QUESTION + ADDRESS + opt(rcode=1))
    assert (shape.rcode, shape.udp_size, len(shape.ttls), shape.lifetime) == (16, 1232, 1, 0)


def test_least_ttl_over_all_sections_counts() -> None:
    records = ADDRESS + record(b"\1a" + POINTER, 2, 20) + record(b"\1\2\3\4", ttl=30)
    assert must_read(header(1, 1, 1) + QUESTION + records).lifetime == 20


@pytest.mark.parametrize(
    ("flags", "answers", "rest", "negative", "lifetime"),
    [
        (0x8183, 0, SOA, True, 60),
        (0x8180, 0, SOA, True, 60),
        (0x8183, 0, b"", True, 0),
        (0x8180, 0, b"", True, 0),
        (0x8180, 1, record(b"\1x" + POINTER, 5, 50) + SOA, True, 50),
        (0x8182, 0, SOA, False, 0),
        (0x8185, 0, b"", False, 0),
        (0x8380, 1, ADDRESS, False, 0),
        (0x8180, 1, record(b"\1\2\3\4", ttl=0), False, 0),
        (0x8180, 1, record(b"\1\2\3\4", ttl=1 << 31), False, 0),
    ],
    ids=[
        "nxdomain",
        "nodata",
        "nxdomain without SOA",
        "nodata without SOA",
        "alias to nodata",
        "servfail",
        "refused",
        "truncated",
        "ttl 0",
        "ttl with its top bit",
    ],
)
def test_lifetime_by_rfc_2308(flags: int, answers: int, rest: bytes, negative: bool, lifetime: int) -> None:
    authorities = int(rest.endswith(SOA) and bool(rest))
    shape = must_read(header(answers, authorities, flags=flags) + QUESTION + rest)
    assert (shape.negative, shape.lifetime) == (negative, lifetime)


def test_what_follows_the_last_record_is_cut_off() -> None:
    packet = header(1) + QUESTION + ADDRESS
    assert must_read(packet + b"more").packet == packet


def test_truncated_in_the_middle_of_a_record_keeps_the_question_only() -> None:
    shape = must_read(header(2, flags=0x8380) + QUESTION + ADDRESS + ADDRESS[:7])
    assert shape.packet == header(flags=0x8380) + QUESTION
    assert shape.truncated


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        header()[:11],
        header(),
        header() + QUESTION[:-1],
        header(flags=0x0100) + QUESTION,
        header(flags=0xA180) + QUESTION,
        struct.pack("!6H", 1, 0x8182, 0, 0, 0, 0),
        struct.pack("!6H", 1, 0x8180, 2, 0, 0, 0) + QUESTION * 2,
        header() + b"\xc0\x0c\0\1\0\1",
        header() + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
        header() + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        header(1) + QUESTION,
        header(1) + QUESTION + ADDRESS[:-1],
        header(1) + QUESTION + record(b"\1\2\3"),
        header(1) + QUESTION + record(b"\1\2\3\4", 28),
        header(1) + QUESTION + record(b"\1\2\3\4", owner=b"\xc0\x0b"),
        header(1) + QUESTION + record(b"\1\2\3\4", owner=b"\xc0\x21"),
        header(1) + QUESTION + record(b"\1\2\3\4", owner=b"\1a\xc0\x21"),
        header(1) + QUESTION + record(b"\1\2\3\4", owner=b"\xff\xff"),
        header(1) + QUESTION + record(b"\xc0\x2d", 5),
        header(1) + QUESTION + record(b"\1a\xc0\x2d", 5),
        header(1) + QUESTION + record(POINTER + b"x", 5),
        header(1) + QUESTION + opt(),
        header(additionals=2) + QUESTION + opt() + opt(),
        header(additionals=1) + QUESTION + record(b"", 41, 0),
        header(65535, 65535, 65535) + QUESTION + ADDRESS * 3,
    ],
)
def test_malformed(packet: bytes) -> None:
    assert read_reply(packet) is None
    assert read_reply(packet, QUESTION) is None


def test_long_pointer_chains_cost_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """dnslib needs 52 ms for 2.2 KB of this; counted here are the labels looked at, not the time."""
    first = 12 + len(QUESTION) + 12
    chain = POINTER + b"".join(struct.pack("!H", 0xC000 | first + 2 * i) for i in range(450))
    packet = header(2001) + QUESTION + record(chain, 10)
    start = len(packet) - 2
    packet += record(b"\1\2\3\4", owner=struct.pack("!H", 0xC000 | start)) * 2000
    looked: list[int] = []
    true = reply._remember

    def counting(packet: bytes, walked: list[int], rest: int, known: dict[int, int]) -> None:
        looked.extend(walked)
        true(packet, walked, rest, known)

    monkeypatch.setattr(reply, "_remember", counting)
    assert read_reply(packet) is not None
    assert len(looked) == len(set(looked)) == 451 + 3


FIRST = 12 + len(QUESTION)
"""Where the first record begins; its TTL is six octets behind."""


def pointing(to: int) -> bytes:
    return struct.pack("!H", 0xC000 | to)


@pytest.mark.parametrize(
    ("ttl", "to", "kept"),
    [
        (0x01610000, FIRST + 6, False),  # a label of one letter and the root, all in the TTL
        (0x00000100, FIRST + 9, False),  # the root alone: a second later it is 0xFF
        (0x00000002, FIRST + 9, False),  # a label that begins in the TTL and ends behind it
        (0x01000000, FIRST + 5, False),  # the class 1 as a length: its letter is the TTL's first octet
        (0x00000E10, FIRST + 4, True),  # the class's first octet: the root, before the TTL
        (0x00000E10, FIRST + 12, True),  # RDATA: nothing there changes
    ],
)
def test_a_name_that_would_change_with_a_ttl_is_not_kept(ttl: int, to: int, kept: bool) -> None:
    packet = header(2) + QUESTION + record(b"\0\0\2\1", ttl=ttl) + record(b"\1\2\3\4", owner=pointing(to))
    shape = must_read(packet)
    assert bool(shape.lifetime) is kept
    assert shape.packet == packet

    def named(packet: bytes) -> dns.name.Name | None:
        try:
            return dns.message.from_wire(packet, one_rr_per_rrset=True).answer[1].name
        except dns.exception.DNSException:
            return None

    assert (named(aged(packet, shape.ttls, 1)) == named(packet)) is kept


def test_the_same_in_rdata_and_through_another_pointer() -> None:
    """CNAME's target leads to a pointer that leads into the TTL."""
    first = record(b"\0\0\2\1", ttl=0x01610000)
    second = record(pointing(FIRST + 6), 5)
    third = record(pointing(FIRST + len(first) + 12), 5)
    assert must_read(header(3) + QUESTION + first + second + third).lifetime == 0
    assert must_read(
        header(2) + QUESTION + first + third.replace(pointing(FIRST + len(first) + 12), POINTER)
    ).lifetime


@pytest.mark.parametrize(
    ("preference", "kept"),
    [
        (0, True),  # the root, before OPT
        (2, False),  # a label of the pointer itself; OPT's owner is the root
        (3, False),  # a label that ends in OPT
    ],
)
def test_a_name_that_would_change_without_opt_is_not_kept(preference: int, kept: bool) -> None:
    """MX's name leads back to its preference."""
    there = FIRST + len(ADDRESS) + 12
    exchange = record(bytes([0, preference]) + pointing(there + 1), 15)
    packet = header(2, additionals=1) + QUESTION + ADDRESS + exchange + opt()
    shape = must_read(packet)
    assert shape.packet == packet
    assert bool(shape.lifetime) is kept
    bare = without_opt(shape)
    assert bare is not None
    assert (read_reply(bare.packet) is not None) is kept


def test_a_name_that_runs_on_behind_the_last_record_is_malformed() -> None:
    """What follows the records is not passed on."""
    exchange = record(b"\0\2" + pointing(FIRST + 13), 15)
    assert read_reply(header(1) + QUESTION + exchange + opt()) is None
    assert must_read(header(1) + QUESTION + ADDRESS + opt()).packet == header(1) + QUESTION + ADDRESS


# Against a second library


names = st.lists(st.binary(min_size=1, max_size=12), min_size=0, max_size=4).map(
    lambda labels: dns.name.Name([*labels, b""])
)
ttls = st.integers(0, 2**31 - 1)


@st.composite
def messages(draw: st.DrawFn) -> dns.message.QueryMessage:
    """Replies as a server with compression writes them."""
    name = draw(names)
    query = dns.message.make_query(
        name,
        draw(st.sampled_from(["A", "AAAA", "MX", "TXT", "SOA", "HTTPS", "ANY"])),
        use_edns=draw(st.booleans()),
    )
    message = dns.message.make_response(query, recursion_available=True)
    message.set_rcode(dns.rcode.Rcode(draw(st.sampled_from([0, 0, 0, 2, 3, 5]))))
    assert isinstance(message, dns.message.QueryMessage)
    for section in (message.answer, message.authority, message.additional):
        for _ in range(draw(st.integers(0, 3))):
            owner = draw(st.one_of(st.just(name), names))
            target = draw(st.one_of(st.just(name), names)).to_text()
            rdata = draw(
                st.sampled_from(
                    [
                        ("A", "192.0.2.1"),
                        ("AAAA", "2001:db8::1"),
                        ("CNAME", target),
                        ("NS", target),
                        ("MX", f"10 {target}"),
                        ("SRV", f"1 2 3 {target}"),
                        ("TXT", '"some text"'),
                        ("SOA", f"{target} {target} 1 2 3 4 {draw(st.integers(0, 9999))}"),
                    ]
                )
            )
            section.append(dns.rrset.from_text(owner, draw(ttls), "IN", *rdata))
    return message


@given(messages())
def test_reads_what_a_second_library_writes(message: dns.message.QueryMessage) -> None:
    packet = message.to_wire(max_size=65_535)
    shape = must_read(packet)
    assert shape.rcode == message.rcode()
    assert bool(shape.opt) == (message.edns >= 0)
    found = [struct.unpack_from("!I", packet, at)[0] for at in shape.ttls]
    records = [rrset for section in message.sections[1:] for rrset in section]
    assert found == [rrset.ttl for rrset in records for _ in rrset]
    assert must_read(packet, shape.question) == shape


@given(messages(), st.integers(0, 2**32), st.integers(0, 2**31 - 1))
def test_aged_counts_every_ttl_down(message: dns.message.QueryMessage, seconds: int, most: int) -> None:
    packet = message.to_wire(max_size=65_535)
    older = dns.message.from_wire(aged(packet, must_read(packet).ttls, seconds, most))
    for before, after in zip(dns.message.from_wire(packet).sections[1:], older.sections[1:], strict=True):
        assert [min(most, max(0, rrset.ttl - seconds)) for rrset in before] == [rrset.ttl for rrset in after]


@given(messages(), st.integers(512, 4096), st.integers(0, 40))
def test_fitted_stays_within_the_limit_and_says_so(
    message: dns.message.QueryMessage, limit: int, copies: int
) -> None:
    for number in range(copies):
        message.answer.append(
            dns.rrset.from_text(f"n{number}.long.example.", 1, "IN", "TXT", f'"{"x" * 60}"')
        )
    packet = message.to_wire(max_size=65_535)
    cut = fitted(packet, limit)
    assert len(cut) <= limit
    if len(packet) <= limit:
        assert cut == packet
        return
    read = dns.message.from_wire(cut, ignore_trailing=False)
    assert read.flags & dns.flags.TC
    assert read.question == dns.message.from_wire(packet).question
    assert (read.edns, read.payload) == (message.edns, dns.message.from_wire(packet).payload)


def test_fitted_keeps_what_fits() -> None:
    packet = header(60, additionals=1) + QUESTION + ADDRESS * 60 + opt()
    shape = must_read(fitted(packet, 512))
    assert len(shape.ttls) == (512 - 12 - len(QUESTION) - 11) // len(ADDRESS)
    assert shape.opt
    assert fitted(packet, 44 + 11) == header(flags=0x8380, additionals=1) + QUESTION + opt()


def test_fitted_drops_the_options_of_an_opt_that_is_itself_too_long() -> None:
    packet = header(1, additionals=1) + QUESTION + ADDRESS + opt(b"\0\x0c\1\xf4" + bytes(500))
    assert fitted(packet, 512) == header(1, additionals=1, flags=0x8380) + QUESTION + ADDRESS + opt()


@given(messages())
def test_without_opt_and_dressed_again_is_the_same(message: dns.message.QueryMessage) -> None:
    packet = message.to_wire(max_size=65_535)
    shape = must_read(packet)
    bare = without_opt(shape)
    assert bare is not None
    assert dns.message.from_wire(bare.packet).edns == -1
    assert must_read(bare.packet).ttls == bare.ttls
    assert (
        dressed(bare.packet, packet[:2], shape.question, packet[shape.opt :] if shape.opt else b"") == packet
    )


def test_without_opt_leaves_records_behind_it_alone() -> None:
    assert without_opt(must_read(header(additionals=2) + QUESTION + opt() + ADDRESS)) is None


def test_dressed_spells_the_question_as_it_was_asked() -> None:
    asked = b"\3wWw\7eXample\3COM\0\0\1\0\1"
    assert dressed(header(1) + QUESTION + ADDRESS, b"ab", asked) == b"ab" + header(1)[2:] + asked + ADDRESS
    assert comparable(asked) == QUESTION


def test_type_and_class_have_no_letter_case() -> None:
    """Type 65 (HTTPS) is the octet of an "A"."""
    assert comparable(b"\1A\0\0\x41\0\1") == b"\1a\0\0\x41\0\1"


# Any bytes


@given(st.binary(max_size=600), st.binary(max_size=30))
def test_any_bytes_are_read_or_refused(packet: bytes, question: bytes) -> None:
    read_reply(packet, question)


@given(messages(), st.data())
@settings(max_examples=300)
def test_damaged_replies_are_read_alike_or_refused(
    message: dns.message.QueryMessage, data: st.DataObject
) -> None:
    """Where both this reader and a second library accept, they agree; and what is accepted can be changed."""
    packet = bytearray(message.to_wire(max_size=65_535))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(2, len(packet) - 1))] = data.draw(st.integers(0, 255))
    shape = read_reply(bytes(packet))
    if shape is None:
        return
    older = aged(shape.packet, shape.ttls, 1)
    assert len(older) == len(shape.packet)
    assert len(fitted(shape.packet, 512)) <= max(512, shape.question_end + 11)
    try:
        second = dns.message.from_wire(shape.packet, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError, NotImplementedError):
        return
    if not shape.truncated and not second.had_tsig:
        assert shape.rcode == second.rcode()
        assert len(shape.ttls) == sum(len(section) for section in second.sections[1:])


@given(st.binary(max_size=300), st.integers(0, 300))
@example(b"\x3f" * 300, 0)
@example(b"\xc0", 0)
def test_skip_name_moves_on_or_refuses(packet: bytes, offset: int) -> None:
    try:
        end = skip_name(packet, offset)
    except Malformed:
        return
    assert offset < end <= min(len(packet), offset + 256)


@given(names, names)
def test_skip_name_skips_names(first: dns.name.Name, second: dns.name.Name) -> None:
    packet = first.to_wire() + second.to_wire()  # type: ignore[operator]
    ends = [0, len(first.to_wire() or b""), len(packet)]
    for start, end in pairwise(ends):
        assert skip_name(packet, start) == end


def test_one_record_of_the_root_without_data() -> None:
    """The shortest record there is; found by fuzzing."""
    packet = b"\0\1\x81\0\0\1\0\1\0\0\0\0" + b"\1a\0\0\1\0\1" + b"\0\0\x0a\0\1\0\0\0\0\0\0"
    shape = read_reply(packet)
    assert shape is not None
    assert shape.packet == packet
