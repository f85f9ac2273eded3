"""The 165 vectors of the reference on the engine's resolver (its section 8), against ours.

Each row has its vector's number. What is expected is what the engine does (column *Current*), unless the row
names one of the ``DIFFERENCES``: then it is what we chose instead, and the sentence there says what that is.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.reversename
import pytest

from resolver.names.changes import Change, Gone
from resolver.names.keys import reverse_name
from resolver.names.model import Endpoint, Sandbox
from resolver.serve import tcp
from resolver.serve.upstream import upstreams
from resolver.serve.upstream.flight import Limits
from tests.house import UPSTREAMS, House, container, identity, joined, network, question, stopped
from tests.scripted import (
    answers,
    closed_port,
    fails,
    header_only,
    junk,
    silent,
    to_another_question,
    with_wrong_id,
)
from tests.sockets import Server, over_tcp, over_udp, through, with_upstreams
from tests.topologies import (
    BR1,
    BR2,
    C1,
    C2,
    L1,
    PREFIXES,
    SPEC_A,
    SPEC_B,
    SPEC_INT,
    SPEC_V6,
    V6,
    duplicate,
    m1,
    on,
    on_bridge,
    t1,
    t2,
    t2_by_connection,
    t3,
    t4,
    t5,
)

DIFFERENCES: Final = {
    "case": "The network part, link aliases, arpa suffixes and nibbles ignore case like every other name.",
    "other-types": "Any other type of a name that exists is NODATA here, and is not asked in the world.",
    "class": "Another class than IN is REFUSED.",
    "notify": "NOTIFY is NOTIMP.",
    "edns": "A question with OPT is answered with OPT; an unknown EDNS version is BADVERS.",
    "two-opts": "Two OPT records are FORMERR (RFC 6891 section 6.1.1).",
    "never-silent": "A header that counts one question, without it, is FORMERR.",
    "no-class": "A question without its class is FORMERR.",
    "udp-4096": "Questions of up to 4,096 octets are read over UDP.",
    "compression": "The owner is always a compression pointer.",
    "rotation": "Several addresses are rotated: each is first equally often.",
    "localhost": "localhost, names below it and loopback addresses are answered here (RFC 6761).",
    "search-order": "The network connected first is searched first, unless told to do as the engine.",
    "chosen-ptr": "A container whose name the engine made up is pointed to by the alias a person chose.",
    "packable-ptr": "PTR gives the first name that a reply can carry.",
    "rename-quirk": "A rename gives a container no names on the default bridge.",
    "default-bridge-served": "A container that is only on the default bridge is served like others.",
    "ndots": "Options of a stub resolver change nothing here: single labels are forwarded like other names.",
    "tcp-limits": "TCP: 5 s for the first question, 10 s idle, any number of questions.",
    "failure-ra": "RA is set in every reply of ours, failures too.",
    "patience": "The next server is asked long before 4 s are over, and all together take less than 5 s.",
    "truncation": "An oversized reply is cut at a record, with TC; question and OPT stay.",
    "fetched-by-tcp": "A truncated reply is fetched over TCP here; clients' TCP is not the upstreams'.",
    "question-checked": "A reply to another question is not taken.",
    "fresh-id": "Questions leave under a random ID from a random port.",
    "all-servers": "All upstream servers are tried, not three.",
    "own-address": "--dns servers that are ourselves or loopback count as none.",
    "limit": "What is over the limit is REFUSED at once; the limit is the client's own.",
    "swarm": "Swarm services are out of scope of this version; their tasks are containers with names.",
}

UNSTATED: Final[dict[int, str]] = {}
"""Vectors that no row can state, and why."""

Check = Callable[[House], None] | Callable[[House], Awaitable[None]]
MADE_HERE = "qr rd ra"
V6_ARPA = reverse_name(bytes.fromhex("fd000201000600000000000000000002"))


@dataclass(frozen=True)
class Row:
    """One question or more of one vector."""

    number: int
    house: Callable[[], House]
    check: Check
    difference: str = ""


def finds(
    name: str, *addresses: str, kind: str = "A", asker: str = "spec-c2", exactly: bool = False
) -> Callable[[House], None]:
    """NOERROR with these addresses, as every local answer looks (``Seen.records`` checks the rest)."""

    def check(house: House) -> None:
        seen = house.ask(name, kind, asker)
        assert seen.rcode == 0
        assert seen.flags == MADE_HERE
        assert sorted(seen.records) == sorted(addresses)
        assert [rrset.ttl for rrset in seen.message.answer] == [600]
        assert seen.message.opt is None
        assert not seen.taken
        if exactly:
            assert len(seen.raw or b"") == len(seen.query.to_wire()) + 16 * len(addresses)

    return check


def forwards(*names: str, kinds: str = "A", asker: str = "spec-c2") -> Callable[[House], None]:
    """Handed to the forwarder as it came, for the default upstreams."""

    def check(house: House) -> None:
        for name in names:
            for kind in kinds.split():
                seen = house.ask(name, kind, asker)
                assert seen.forwarded, (name, kind, seen)
                assert seen.taken[0].servers == UPSTREAMS

    return check


def forwards_name(*labels: bytes) -> Callable[[House], None]:
    """Like ``forwards``, for names that text cannot spell."""

    def check(house: House) -> None:
        assert house.ask(dns.name.Name((*labels, b""))).forwarded

    return check


def empty(*names: str, kinds: str = "AAAA", asker: str = "spec-c2") -> Callable[[House], None]:
    """NODATA, and nobody else is asked."""

    def check(house: House) -> None:
        for name in names:
            for kind in kinds.split():
                seen = house.ask(name, kind, asker)
                assert (seen.rcode, seen.records, seen.taken) == (0, [], []), (name, kind)
                assert seen.message.question[0].name.labels == seen.query.question[0].name.labels

    return check


def points(name: str, target: str, asker: str = "spec-c2") -> Callable[[House], None]:
    """One PTR record; ``name`` is an address or a whole reverse name."""
    reverse = name if name.lower().endswith("arpa") else str(dns.reversename.from_address(name))

    def check(house: House) -> None:
        seen = house.ask(reverse, "PTR", asker)
        assert (seen.rcode, seen.records, seen.flags) == (0, [target], MADE_HERE)
        assert seen.message.answer[0].ttl == 600

    return check


def unknown_address(*addresses: str, asker: str = "spec-c2") -> Callable[[House], None]:
    """PTR questions about these are forwarded."""
    return forwards(*(str(dns.reversename.from_address(a)) for a in addresses), kinds="PTR", asker=asker)


def replies(packet: bytes, expected: bytes | None) -> Callable[[House], None]:
    """These octets in, those out, or silence."""

    def check(house: House) -> None:
        reply, client = house.send(packet, "spec-c2")
        assert reply == expected
        assert not client.replies
        assert not house.forwarder.taken

    return check


def with_flags(flags: str, expected: str) -> Callable[[House], None]:
    """A question with these header flags, and those of its reply."""

    def check(house: House) -> None:
        seen = house.ask("spec-c1", "A", flags=dns.flags.from_text(flags))
        assert seen.records == ["10.201.1.2"]
        assert seen.flags == expected

    return check


def says(
    rcode: str, name: str, kind: str = "A", asker: str = "spec-c2", **said: object
) -> Callable[[House], None]:
    """A reply of ours without records."""

    def check(house: House) -> None:
        seen = house.ask(name, kind, asker, **said)
        assert dns.rcode.to_text(seen.message.rcode()) == rcode
        assert not seen.message.answer
        assert not seen.taken

    return check


def after(*changes: Change, then: Callable[[House], None]) -> Callable[[House], None]:
    """The changes, then the check."""

    def check(house: House) -> None:
        house.apply(*changes)
        then(house)

    return check


def header(flags: int, *counts: int) -> bytes:
    """Twelve octets."""
    return struct.pack("!6H", 0x1234, flags, *counts)


QUESTION_C1 = question("spec-c1", "A", id=0x1234).to_wire()
BODY_C1 = QUESTION_C1[12:]
OPT = b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"
RECORD = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x7f\x00\x00\x01"


def _in_one_network() -> Iterator[Row]:
    """8.2: forward lookups in one network."""
    short = identity("spec-c1")[:12]
    yield Row(1, t1, finds("spec-c1", "10.201.1.2"))
    yield Row(1, t1, finds("spec-c1", "10.201.1.2", exactly=True), "compression")
    yield Row(2, t1, finds("spec-c2", "10.201.1.3"))
    yield Row(3, t1, finds("SpEc-C1", "10.201.1.2"))
    yield Row(4, t1, finds("spec-c1.", "10.201.1.2"))
    yield Row(5, t1, finds(short, "10.201.1.2"))
    yield Row(6, t1, forwards(short[:6]))
    yield Row(7, t1, finds("spec-h1.example.com", "10.201.1.2"))
    yield Row(8, t1, forwards("spec-h1"))
    yield Row(9, t1, finds("spec-h1.example.com.spec-a", "10.201.1.2"))
    yield Row(10, t1, finds("web", "10.201.1.2", "10.201.1.3"))
    yield Row(11, t1, finds("WEB", "10.201.1.2", "10.201.1.3"))
    yield Row(12, t1, finds("api.v1", "10.201.1.2"))
    yield Row(12, t1, finds("API.V1.spec-a", "10.201.1.2"))
    yield Row(13, t1, finds("spec-c1.spec-a", "10.201.1.2"))
    yield Row(14, t1, finds("spec-c1.SPEC-A", "10.201.1.2"), "case")
    yield Row(15, t1, after(SPEC_B, then=forwards("spec-c1.spec-b")))
    yield Row(16, t1, finds("NAUTO", "10.201.1.4"))
    yield Row(17, t1, finds("NAUTO.spec-a", "10.201.1.4"))
    yield Row(18, t1, finds("anon1", "10.201.1.4"))
    yield Row(18, t1, finds(identity("NAUTO2")[:12], "10.201.1.5"))
    yield Row(19, t1, finds("spec-c3.dot", "10.201.1.6"))
    yield Row(19, t1, finds("spec-c3.dot.spec-a", "10.201.1.6"))
    yield Row(20, t1, forwards("spec-c3"))
    yield Row(21, t1, forwards("trail", "trail."))
    yield Row(22, t1, finds("under_score", "10.201.1.6"))
    yield Row(23, t1, forwards("foo.web", "web.foo.spec-a"))
    yield Row(24, t1, forwards("spec-a", "."))
    yield Row(24, t1, finds("localhost", "127.0.0.1"), "localhost")
    yield Row(25, t1, forwards("spec-c1.spec-a.spec-a", f"spec-c1.{SPEC_A.id}"))
    br = network("br.net1", "10.201.30.0/24")
    dotted = container("c1.net1", joined(br, "10.201.30.2"))
    yield Row(26, lambda: House(br, dotted), forwards("c1.net1.br.net1.google.com", asker="c1.net1"))
    yield Row(26, lambda: House(br, dotted), finds("c1.net1.br.net1", "10.201.30.2", asker="c1.net1"))
    second = container("second", joined(SPEC_A, "10.201.1.13", "spec-c1"))
    yield Row(27, t1, after(second, then=finds("spec-c1", "10.201.1.2", "10.201.1.13")))
    yield Row(27, t1, after(second, Gone("container", second.id), then=finds("spec-c1", "10.201.1.2")))
    aliases = ("example.com", "*.wild.test", "1.2.3.4", "bücher")
    odd = container("odd", joined(SPEC_A, "10.201.1.14", *aliases))
    yield Row(28, t1, after(odd, then=finds("example.com", "10.201.1.14")))
    yield Row(29, t1, after(odd, then=forwards("www.example.com")))
    yield Row(29, t1, after(odd, then=empty("example.com", kinds="TXT")), "other-types")
    yield Row(30, t1, after(odd, then=forwards("x.wild.test")))
    yield Row(30, t1, after(odd, then=finds("*.wild.test", "10.201.1.14")))
    yield Row(31, t1, after(odd, then=finds("1.2.3.4", "10.201.1.14")))
    yield Row(32, t1, after(odd, then=forwards_name("bücher".encode())))
    yield Row(32, t1, after(odd, then=forwards("xn--bcher-kva")))
    host = container("host", joined(SPEC_A, "10.201.1.15"), hostname="hh")
    yield Row(33, t1, after(host, then=finds("hh", "10.201.1.15")))
    yield Row(33, t1, after(host, then=forwards("hh.d.test")))
    yield Row(34, t1, _each_first_equally_often, "rotation")


def _each_first_equally_often(house: House) -> None:
    addresses = [f"10.201.1.{n}" for n in (21, 22, 23)]
    house.apply(*(container(f"rr{a}", joined(SPEC_A, a, "rr")) for a in addresses))
    rrset = {}
    firsts: Counter[str] = Counter()
    for number in range(60):
        query = question("rr", "A", id=number)
        body = query.to_wire()[2:]
        kept = house.memory.clients.get(house.address_of("spec-c2"), {}).get(body)
        if kept is None:
            reply, _ = house.send(query.to_wire(), "spec-c2")
        else:
            assert not isinstance(kept, bytes)
            reply = query.to_wire()[:2] + kept.next()
        assert reply is not None
        records = [rdata.to_text() for rdata in dns.message.from_wire(reply).answer[0]]
        assert sorted(records) == addresses
        firsts[records[0]] += 1
        rrset[number] = records
    assert firsts == dict.fromkeys(addresses, 20)


def _types_flags_transport() -> Iterator[Row]:
    """8.3: other types, flags, transport."""
    yield Row(35, t1, empty("spec-c1"))
    yield Row(36, t1, empty("web.spec-a"))
    yield Row(37, t1, empty("spec-c1", kinds="MX"))
    yield Row(38, t1, forwards("nonexist", kinds="MX"))
    yield Row(39, t1, empty("spec-c1", kinds="TXT NS SOA CNAME HTTPS TYPE65280"), "other-types")
    yield Row(40, t1, empty("spec-c1", kinds="ANY"), "other-types")
    yield Row(41, t1, empty("spec-c1", kinds="SRV"), "other-types")
    yield Row(41, t1, forwards("_http._tcp.spec-c1", kinds="SRV"))
    yield Row(42, t1, says("REFUSED", "spec-c1", rdclass="CH"), "class")
    yield Row(43, t1, says("REFUSED", "version.bind", "TXT", rdclass="CH"), "class")
    yield Row(44, t1, with_flags("", "qr ra"))
    yield Row(45, t1, with_flags("RD CD", "qr rd ra cd"))
    yield Row(46, t1, with_flags("RD AD", MADE_HERE))
    yield Row(46, t1, with_flags("RD AA", MADE_HERE))
    yield Row(46, t1, _z_is_cleared)
    yield Row(47, t1, _with_dnssec_ok_and_cookie, "edns")
    yield Row(47, t1, says("BADVERS", "spec-c1", use_edns=1), "edns")
    yield Row(48, t1, _over_tcp_as_over_udp)
    yield Row(49, t1, _pipelined)
    yield Row(50, t1, replies(header(0x2000, 1, 0, 0, 0) + BODY_C1, header(0xA004, 0, 0, 0, 0)), "notify")
    for opcode in (2, 5, 1):
        bits = opcode << 11
        bare = header(bits | 0x8104, 0, 0, 0, 0)
        yield Row(51, t1, replies(header(bits | 0x0100, 1, 0, 0, 0) + BODY_C1, bare))
    yield Row(52, t1, replies(header(0x8100, 1, 0, 0, 0) + BODY_C1, None))
    formerr = header(0x8101, 0, 0, 0, 0)
    yield Row(53, t1, replies(header(0x0100, 0, 0, 0, 0), formerr))
    yield Row(53, t1, replies(header(0x0100, 2, 0, 0, 0) + BODY_C1 * 2, formerr))
    yield Row(54, t1, replies(header(0x0100, 1, 0, 0, 0), formerr), "never-silent")
    yield Row(54, t1, replies(QUESTION_C1[:-2], formerr), "no-class")
    yield Row(55, t1, replies(QUESTION_C1[:11], None))
    yield Row(55, t1, replies(b"\x9a\x3c\xff\x00garbage, and more of it", None))
    yield Row(56, t1, replies(header(0x0100, 1, 2, 0, 0) + BODY_C1 + RECORD * 2, formerr))
    yield Row(56, t1, replies(header(0x0100, 1, 0, 2, 0) + BODY_C1 + RECORD * 2, formerr))
    yield Row(56, t1, replies(header(0x0100, 1, 0, 0, 3) + BODY_C1 + RECORD * 3, formerr))
    yield Row(57, t1, _long_question_over_udp, "udp-4096")
    yield Row(58, t1, _two_opts, "two-opts")
    yield Row(59, t1, _seven_long_names(190))
    yield Row(60, t1, _seven_long_names(201, payload=1232), "compression")
    yield Row(60, t1, _seven_long_names(190, tcp=True), "compression")
    yield Row(61, t1, _seven_long_names(201, payload=100), "edns")
    yield Row(62, t1, _waits_at_least_as_long, "tcp-limits")
    yield Row(63, t1, _two_hundred_on_one_connection, "tcp-limits")


def _z_is_cleared(house: House) -> None:
    packet = question("spec-c1", "A", id=7, flags=dns.flags.RD).to_wire()
    reply, _ = house.send(packet[:3] + b"\x40" + packet[4:], "spec-c2")
    assert reply is not None
    assert reply[2:4] == b"\x81\x80"


def _with_dnssec_ok_and_cookie(house: House) -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    seen = house.ask("spec-c1", "A", want_dnssec=True, options=[cookie])
    message = seen.message
    assert [r.to_text() for r in message.answer[0]] == ["10.201.1.2"]
    assert message.edns == 0
    assert message.ednsflags & dns.flags.DO
    assert message.payload == 1232


def _over_tcp_as_over_udp(house: House) -> None:
    packet = question("spec-c1", "A").to_wire()
    assert house.send(packet, "spec-c2", tcp=True)[0] == house.send(packet, "spec-c2")[0]


async def _pipelined(house: House) -> None:
    queries = [question("spec-c1", "A"), question("spec-c2", "A")]
    got = await over_tcp(house, b"".join(_framed(q.to_wire()) for q in queries), count=2)
    for query, reply in zip(queries, got, strict=True):
        assert query.is_response(dns.message.from_wire(reply))


async def _two_hundred_on_one_connection(house: House) -> None:
    queries = [question("spec-c1", "A", id=number) for number in range(200)]
    got = await over_tcp(house, b"".join(_framed(q.to_wire()) for q in queries), count=200)
    assert [int.from_bytes(reply[:2], "big") for reply in got] == list(range(200))


def _framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


def _waits_at_least_as_long(house: House) -> None:
    assert tcp.FIRST_BYTE >= 2
    assert tcp.IDLE >= 8


async def _long_question_over_udp(house: House) -> None:
    query = question(
        "spec-c1", "A", options=[dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(600))]
    )
    packet = query.to_wire()
    assert len(packet) >= 640
    for reply in (await over_udp(house, packet), (await over_tcp(house, _framed(packet), count=1))[0]):
        message = dns.message.from_wire(reply)
        assert query.is_response(message)
        assert [r.to_text() for r in message.answer[0]] == ["10.201.1.2"]


def _two_opts(house: House) -> None:
    reply, _ = house.send(header(0x0100, 1, 0, 0, 2) + BODY_C1 + OPT * 2, "spec-c2")
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.rcode() == dns.rcode.FORMERR
    assert len(message.question) == 1


def _seven_long_names(size: int, *, payload: int = 0, tcp: bool = False) -> Callable[[House], None]:
    """Seven containers share an alias of 60 characters; the size of the reply."""

    def check(house: House) -> None:
        alias = "a" * 60
        house.apply(*(container(f"s{n}", joined(SPEC_A, f"10.201.1.{n}", alias)) for n in range(60, 67)))
        query = question(alias, "A", payload=payload) if payload else question(alias, "A")
        reply, _ = house.send(query.to_wire(), "spec-c2", tcp=tcp)
        assert reply is not None
        message = dns.message.from_wire(reply)
        assert len(message.answer[0]) == 7
        assert len(reply) == size
        assert not message.flags & dns.flags.TC

    return check


def _pointers() -> Iterator[Row]:
    """8.4: PTR."""
    yield Row(64, t1, points("10.201.1.2", "spec-c1.spec-a."))
    yield Row(65, t1, points("10.201.1.4", "anon1.spec-a."), "chosen-ptr")
    yield Row(66, t1, points("10.201.1.5", "NAUTO2.spec-a."))
    yield Row(67, t1, points("10.201.1.6", "spec-c3.dot.spec-a."))
    yield Row(68, t1, unknown_address("10.201.1.1", "10.201.1.99"))
    yield Row(68, t1, points("127.0.0.11", "localhost."), "localhost")
    yield Row(69, t1, after(SPEC_B, duplicate(SPEC_B), then=unknown_address("10.201.2.2")))
    yield Row(70, t1, points("2.1.201.10.IN-ADDR.ARPA", "spec-c1.spec-a."), "case")
    yield Row(71, t1, forwards("foo.bar", "in-addr.arpa", kinds="PTR"))
    yield Row(71, t1, empty("spec-c1", kinds="PTR"), "other-types")
    part = ("02.1.201.10.in-addr.arpa", "x.2.1.201.10.in-addr.arpa", "1.201.10.in-addr.arpa")
    yield Row(72, t1, forwards(*part, kinds="PTR"))
    yield Row(73, t1, empty("2.1.201.10.in-addr.arpa", kinds="A"), "other-types")
    yield Row(74, t2, points(V6_ARPA, "spec-dup-v6.spec-v6.", "spec-m1"))
    yield Row(75, t2, points(V6_ARPA.upper(), "spec-dup-v6.spec-v6.", "spec-m1"), "case")
    long = container("l" * 64, joined(SPEC_A, "10.201.1.64"))
    named_short = f"{long.endpoints[0].names[1]}.spec-a."
    yield Row(76, t1, after(long, then=points("10.201.1.64", named_short)), "packable-ptr")
    unnamed = replace(long, endpoints=(replace(long.endpoints[0], names=("l" * 64,)),))
    nothing = says("SERVFAIL", "64.1.201.10.in-addr.arpa", "PTR")
    yield Row(76, t1, after(unnamed, then=nothing), "failure-ra")
    for where in ("spec-z", "spec-int"):
        yield Row(77, t2, points(f"{PREFIXES[where]}.50", f"spec-m1.{where}.", "spec-m1"))
    yield Row(78, t2, points("10.201.11.2", "spec-dup-Up.spec-Up.", "spec-m1"))
    yield Row(78, t2, points("10.201.10.2", "spec-dup-x.y.spec-x.y.", "spec-m1"))


def _dup(where: str, asker: str = "spec-m1", name: str = "dup") -> Callable[[House], None]:
    return finds(name, f"{PREFIXES[where]}.{7 if where == 'spec-a' else 2}", asker=asker)


def _several_networks() -> Iterator[Row]:
    """8.5: several networks, in the engine's order and in ours."""
    connected = ("spec-z", "spec-b", "spec-a", "spec-int", "spec-Up", "spec-v6")
    firsts = (
        (79, 2, "spec-b"),
        (80, 3, "spec-a"),
        (81, 4, "spec-a"),
        (82, 5, "spec-Up"),
        (83, 6, "spec-v6"),
    )
    for number, count, first in firsts:
        yield Row(number, t2, after(m1(*connected[:count]), then=_dup(first)))
        yield Row(
            number, t2_by_connection, after(m1(*connected[:count]), then=_dup("spec-z")), "search-order"
        )
    six = m1(*connected)
    yield Row(83, t2, after(six, then=finds("dup", f"{V6}2", kind="AAAA", asker="spec-m1")))
    yield Row(83, t2_by_connection, after(six, then=empty("dup", asker="spec-m1")), "search-order")
    for house in (t2, t2_by_connection):
        for where in ("spec-x.y", "spec-b", "spec-int"):
            yield Row(84, house, _dup(where, name=f"dup.{where}"))
        yield Row(85, house, forwards("dup.y", asker="spec-m1"))
        yield Row(86, house, _dup("spec-z", name="only-z"))
        yield Row(86, house, _dup("spec-int", name="only-int"))
    m2 = container("spec-m2", *on(51, "spec-int", "spec-z"))
    yield Row(87, t2, after(m2, then=_dup("spec-z", "spec-m2")))
    yield Row(87, t2_by_connection, after(m2, then=_dup("spec-int", "spec-m2")), "search-order")
    yield Row(88, t2, after(m2, then=empty("dup", asker="spec-m2")))
    yield Row(89, t2, after(m1(*connected, spec_z=1), then=_dup("spec-z")))
    yield Row(90, t2, finds("spec-m1", "10.201.6.50", asker="spec-m1"))
    yield Row(90, t2, finds("spec-m1.spec-z", "10.201.26.50", asker="spec-m1"))
    yield Row(91, t2, finds("mee", "10.201.26.50", asker="spec-m1"))
    yield Row(91, t2, forwards("mee.spec-a", asker="spec-m1"))
    yield Row(92, t2, finds("spec-m1", "10.201.1.50", asker="spec-dup-a"))
    yield Row(92, t2, forwards("mee", "spec-m1.spec-z", asker="spec-dup-a"))
    literal = container("spec-dup-b.spec-b", joined(SPEC_A, "10.201.1.77"))
    name = "spec-dup-b.spec-b"
    yield Row(93, t2, after(literal, then=finds(name, "10.201.1.77", asker="spec-m1")))
    gone = Gone("container", literal.id)
    yield Row(93, t2, after(literal, gone, then=finds(name, "10.201.2.2", asker="spec-m1")))
    two, three = m1("spec-Up", "spec-a"), m1("spec-Up", "spec-a", "spec-v6")
    yield Row(94, t2, after(two, then=forwards("only-v6", kinds="AAAA", asker="spec-m1")))
    yield Row(94, t2, after(two, then=empty("dup", asker="spec-m1")))
    yield Row(95, t2, after(three, then=empty("only-a", asker="spec-m1")))
    yield Row(95, t2, after(three, then=finds("dup", f"{V6}2", kind="AAAA", asker="spec-m1")))
    yield Row(96, t2, after(six, m1(*connected[:4]), then=_dup("spec-a")))
    yield Row(96, t2_by_connection, after(six, m1(*connected[1:]), then=_dup("spec-b")), "search-order")
    only4 = container("only4", joined(SPEC_V6, "10.201.6.44"))
    only6 = container("only6", Endpoint(SPEC_V6.id, (), b"", b"\xfd" + bytes(15)))
    yield Row(97, t2, after(only4, then=empty("only4", asker="spec-dup-v6")))
    yield Row(98, t2, after(only6, then=empty("only6", kinds="A", asker="spec-dup-v6")))


def _links() -> Iterator[Row]:
    """8.6: links."""
    asker = "spec-l1"
    yield Row(99, t3, finds("lnk", "10.201.1.2", asker=asker))
    yield Row(99, t3, finds("lnk.spec-a", "10.201.1.2", asker=asker))
    yield Row(100, t3, finds("LNK", "10.201.1.2", asker=asker), "case")
    yield Row(100, t3, finds("lnk2", "10.201.1.2", asker=asker), "case")
    yield Row(101, t3, finds("Lnk2", "10.201.1.2", asker=asker))
    yield Row(102, t3, finds("spec-dup-a", "10.201.1.3", asker=asker))
    yield Row(103, t3, finds("SPEC-DUP-A", "10.201.1.3", asker=asker), "case")
    yield Row(104, t3, forwards("lnk"))
    yield Row(105, t3, empty("lnk", kinds="AAAA MX", asker=asker))
    yield Row(106, t3, forwards("db", asker=asker))
    late = replace(L1, endpoints=(replace(L1.endpoints[0], links=(("late", "latecomer"),)),))
    comer = container("latecomer", joined(SPEC_A, "10.201.1.88"))
    yield Row(107, t3, after(late, then=forwards("late", asker=asker)))
    yield Row(107, t3, after(late, comer, then=finds("late", "10.201.1.88", asker=asker)))


def _life_cycle() -> Iterator[Row]:
    """8.7: life cycle, as the changes that tell of it."""
    known = finds("spec-c1", "10.201.1.2")
    unknown = forwards("spec-c1", "web.other", "spec-c1.spec-a")
    created = stopped(container("fresh", joined(SPEC_A, "10.201.1.90")), "created")
    yield Row(108, t1, after(created, then=forwards("fresh")))
    running = replace(
        created, state="running", endpoints=container("fresh", joined(SPEC_A, "10.201.1.90")).endpoints
    )
    yield Row(109, t1, after(created, running, then=finds("fresh", "10.201.1.90")))
    yield Row(109, t1, after(replace(C1, state="paused"), then=known))
    aliased = joined(SPEC_A, "10.201.1.2", "web", "Api.V1")
    renamed = replace(container("renamed", aliased), id=C1.id)
    yield Row(110, t1, after(renamed, then=forwards("spec-c1")))
    yield Row(110, t1, after(renamed, then=finds("renamed", "10.201.1.2")))
    yield Row(110, t1, after(renamed, then=finds("api.v1", "10.201.1.2")))
    yield Row(110, t1, after(renamed, then=points("10.201.1.2", "renamed.spec-a.")))
    yield Row(111, t1, after(replace(C1, endpoints=()), then=unknown))
    yield Row(111, t1, after(replace(C1, endpoints=()), then=unknown_address("10.201.1.2")))
    again = container("spec-c1", joined(SPEC_A, "10.201.1.12"))
    yield Row(112, t1, after(replace(C1, endpoints=()), again, then=finds("spec-c1", "10.201.1.12")))
    yield Row(112, t1, after(replace(C1, endpoints=()), again, then=forwards("api.v1")))
    yield Row(113, t1, after(stopped(C1), then=unknown))
    yield Row(113, t1, after(Gone("container", C1.id), then=unknown))
    yield Row(113, t1, after(stopped(C1), then=finds("web", "10.201.1.3")))
    yield Row(114, t1, after(stopped(C1, "restarting"), then=unknown))
    yield Row(114, t1, after(stopped(C1, "restarting"), C1, then=known))
    yield Row(115, t1, after(stopped(C1), C1, then=known))
    yield Row(115, t1, after(stopped(C1), C1, then=finds("api.v1", "10.201.1.2")))


def _default_bridge_and_hosts() -> Iterator[Row]:
    """8.8: default bridge, options, hosts."""
    short = identity("spec-br2")[:12]
    asker = "spec-br1"
    yield Row(116, t4, forwards("spec-br2", "spec-br2h", short, "spec-br2.bridge", asker=asker))
    yield Row(116, t4, unknown_address("172.17.0.3", asker=asker))
    names = ("spec-br2r", short, "spec-br2h")
    renamed = Sandbox(BR2.id, "spec-br2r", (replace(BR2.endpoints[0], names=names),))
    gone = forwards("spec-br2r", "spec-br2r.bridge", asker=asker)
    yield Row(117, t4, after(renamed, then=gone), "rename-quirk")
    yield Row(117, t4, after(renamed, then=unknown_address("172.17.0.3", asker=asker)), "rename-quirk")
    yield Row(118, t4, after(renamed, then=forwards("spec-br2h", asker=asker)), "rename-quirk")
    yield Row(119, t4, finds("spec-br1", "10.201.1.9", asker=asker))
    yield Row(119, t4, forwards("spec-br1.bridge", asker=asker))
    left = replace(BR1, endpoints=(on_bridge("172.17.0.2"),))
    yield Row(120, t4, after(left, then=forwards("example.org", "spec-br1", asker=asker)))
    yield Row(121, t4, forwards("example.org", "spec-br1", asker="spec-br2"), "default-bridge-served")
    yield Row(122, t5, forwards("unknown", kinds="A AAAA", asker="spec-o1"), "ndots")
    yield Row(123, t5, forwards("unknown", kinds="TXT", asker="spec-o1"))
    yield Row(123, t5, forwards("un.known", asker="spec-o1"))
    yield Row(124, t5, forwards("unknown", asker="spec-o1"), "ndots")
    yield Row(125, t5, forwards("extra", asker="spec-o1"), "ndots")
    yield Row(126, t5, forwards("host.docker.internal"))
    yield Row(127, t5, forwards("unknown"))


U1, U2, U3 = answers("192.0.2.101"), answers("192.0.2.102"), answers("192.0.2.103")
TC = answers(flags="TC")
SIXTY = answers(*(f"192.0.2.{n}" for n in range(1, 61)))


def upstreams_say(*servers: Server, then: str, udp: str = "") -> Callable[[House], Awaitable[None]]:
    """A question that is not ours, these servers, and the client gets: ``NOERROR 192.0.2.102``."""

    async def check(house: House) -> None:
        async with with_upstreams(house, *servers):
            query = question("ok.example", "A")
            message = dns.message.from_wire(await through(house, query.to_wire()))
            assert query.is_response(message)
            rcode, *addresses = then.split()
            assert dns.rcode.to_text(message.rcode()) == rcode
            assert [r.to_text() for rrset in message.answer for r in rrset] == addresses
            if udp:
                assert dns.flags.to_text(message.flags).lower() == udp

    return check


def _forwarding() -> Iterator[Row]:
    """8.9: forwarding, against servers on loopback."""
    second = "NOERROR 192.0.2.102"
    servfail, refused = fails("SERVFAIL"), fails("REFUSED")
    yield Row(128, t1, upstreams_say(servfail, U2, U3, then=second))
    yield Row(129, t1, upstreams_say(refused, U2, U3, then=second))
    nxdomain = fails("NXDOMAIN", soa=True)
    yield Row(130, t1, upstreams_say(nxdomain, U2, U3, then="NXDOMAIN", udp=MADE_HERE))
    authoritative = fails("NXDOMAIN", soa=True, authoritative=True)
    yield Row(131, t1, upstreams_say(authoritative, U2, U3, then="NXDOMAIN", udp="qr aa rd ra"))
    yield Row(132, t1, upstreams_say(fails("FORMERR"), U2, U3, then="FORMERR"))
    yield Row(132, t1, upstreams_say(fails("NOTIMP"), U2, U3, then="NOTIMP"))
    yield Row(133, t1, upstreams_say(answers(), U2, U3, then="NOERROR"))
    yield Row(
        134, t1, upstreams_say(servfail, servfail, servfail, then="SERVFAIL", udp=MADE_HERE), "failure-ra"
    )
    yield Row(135, t1, upstreams_say(servfail, refused, refused, then="SERVFAIL"))
    yield Row(136, t1, upstreams_say(silent, U2, U3, then=second), "patience")
    yield Row(137, t1, _all_silent, "patience")
    yield Row(138, t1, upstreams_say(nxdomain, silent, silent, then="NXDOMAIN"))
    yield Row(139, t1, _truncated_is_fetched_over_tcp, "fetched-by-tcp")
    yield Row(140, t1, _oversized(512), "truncation")
    yield Row(141, t1, _oversized(512, payload=512), "truncation")
    yield Row(142, t1, upstreams_say(with_wrong_id(silent), U2, U3, then=second), "patience")
    yield Row(143, t1, upstreams_say(with_wrong_id(U1), U2, U3, then="NOERROR 192.0.2.101"))
    yield Row(144, t1, upstreams_say(to_another_question, U2, U3, then=second), "question-checked")
    yield Row(145, t1, upstreams_say(junk, U2, U3, then=second))
    yield Row(145, t1, upstreams_say(header_only, U2, U3, then=second))
    yield Row(146, t1, upstreams_say(closed_port(), U2, U3, then=second))
    yield Row(147, t1, upstreams_say("255.255.255.255:53", U2, U3, then=second), "patience")
    yield Row(148, t1, _what_the_upstream_receives, "fresh-id")
    yield Row(149, t1, _spelling_is_kept)
    yield Row(150, t1, _tcp_client_of_a_udp_upstream, "fetched-by-tcp")
    five = (servfail, servfail, servfail, servfail, answers("192.0.2.105"))
    yield Row(151, t1, upstreams_say(*five, then="NOERROR 192.0.2.105"), "all-servers")
    own = replace(C2, dns=("127.0.0.11",))
    yield Row(152, t1, after(own, then=forwards("example.org")), "own-address")
    inside = replace(duplicate(SPEC_INT), id="inside", name="inside")
    for dns_servers in ((), ("192.0.2.9",)):
        outside = replace(inside, dns=dns_servers)
        yield Row(153, t2, after(outside, then=says("SERVFAIL", "example.org", asker="inside")), "failure-ra")
    yield Row(154, t2, after(replace(inside, dns=("10.201.9.200",)), then=_asked_on_its_own_network))
    both = replace(inside, endpoints=(*inside.endpoints, joined(SPEC_B, "10.201.2.99", place=1)))
    yield Row(155, t2, after(inside, both, then=forwards("example.org", asker="inside")))
    closed = says("SERVFAIL", "example.org", asker="inside")
    yield Row(155, t2, after(inside, both, inside, then=closed))
    yield Row(156, t1, upstreams_say(then="SERVFAIL"))
    yield Row(157, t1, _over_the_limit, "limit")


async def _all_silent(house: House) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert upstreams.DEADLINE < 5
        patch.setattr(upstreams, "DEADLINE", 0.2)
        await upstreams_say(silent, silent, silent, then="SERVFAIL")(house)


async def _truncated_is_fetched_over_tcp(house: House) -> None:
    async with with_upstreams(house, (TC, U1), U2) as servers:
        message = dns.message.from_wire(await through(house, question("ok.example", "A").to_wire()))
        assert [how for how, _, _ in servers[0].asked] == ["udp", "tcp"]
        assert not servers[1].asked
        assert [r.to_text() for r in message.answer[0]] == ["192.0.2.101"]
        assert not message.flags & dns.flags.TC


def _oversized(limit: int, payload: int = 0) -> Callable[[House], Awaitable[None]]:
    async def check(house: House) -> None:
        async with with_upstreams(house, SIXTY):
            query = question("ok.example", "A", payload=payload) if payload else question("ok.example", "A")
            reply = await through(house, query.to_wire())
            message = dns.message.from_wire(reply)
            assert query.is_response(message)
            assert len(reply) <= limit
            assert message.flags & dns.flags.TC
            assert len(message.answer[0]) in range(20, 60)
            assert (message.edns == 0) == bool(payload)
            whole = dns.message.from_wire(await through(house, query.to_wire(), tcp=True))
            assert len(whole.answer[0]) == 60
            assert not whole.flags & dns.flags.TC

    return check


async def _what_the_upstream_receives(house: House) -> None:
    async with with_upstreams(house, U1) as servers:
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
        sent = []
        for number in range(8):
            query = question(f"OK{number}.Example", "A", id=number, want_dnssec=True, options=[cookie])
            query.flags |= dns.flags.AD | dns.flags.CD
            sent.append(query.to_wire())
            await through(house, sent[-1])
        received = [packet for _, packet, _ in servers[0].asked]
        assert [packet[2:] for packet in received] == [packet[2:] for packet in sent]
        assert [packet[:2] for packet in received] != [packet[:2] for packet in sent]
        assert len({sender for _, _, sender in servers[0].asked}) > 1


async def _spelling_is_kept(house: House) -> None:
    async with with_upstreams(house, U1) as servers:
        query = question("OK.x", "A")
        message = dns.message.from_wire(await through(house, query.to_wire()))
        assert servers[0].asked[0][1][12:] == query.to_wire()[12:]
        assert message.question[0].name.labels == (b"OK", b"x", b"")


async def _tcp_client_of_a_udp_upstream(house: House) -> None:
    async with with_upstreams(house, U1) as servers:
        await through(house, question("ok.example", "A").to_wire(), tcp=True)
        assert [how for how, _, _ in servers[0].asked] == ["udp"]


def _asked_on_its_own_network(house: House) -> None:
    seen = house.ask("example.org", asker="inside")
    assert seen.forwarded
    assert seen.taken[0].servers == ("10.201.9.200:53",)


async def _over_the_limit(house: House) -> None:
    async with with_upstreams(house, silent, limits=Limits(total=1, per_client=1)):
        first, waiting = house.send(question("one.example", "A").to_wire(), "spec-c2")
        assert first is None
        seen = house.ask("two.example", "A")
        assert dns.rcode.to_text(seen.message.rcode()) == "REFUSED"
    assert len(waiting.replies) == 1


def _swarm() -> Iterator[Row]:
    """8.10: what can be said of a swarm in changes: its tasks are containers with the service's network."""
    overlay = network("spec-ov", "10.201.40.0/24", driver="overlay", scope="swarm")
    names = ("spec-svc.1.aaaa", "spec-svc.2.bbbb")
    tasks = [container(n, joined(overlay, f"10.201.40.{i}")) for i, n in enumerate(names, 3)]
    robin = [
        container(f"spec-rr.{i}.cccc", joined(overlay, f"10.201.40.{i + 9}"), hostname="rrhost")
        for i in (1, 2)
    ]
    plain = container("plain", joined(overlay, "10.201.40.9"))

    def house() -> House:
        return House(overlay, *tasks, *robin, plain)

    def row(number: int, check: Callable[[House], None]) -> Row:
        return Row(number, house, check, "swarm")

    yield row(158, forwards("spec-svc", "SPEC-SVC", "spec-svc.spec-ov", "svcalias", asker="plain"))
    yield row(159, forwards("tasks.spec-svc", "tasks.svcalias", "tasks.spec-svc.spec-ov", asker="plain"))
    yield row(160, forwards("spec-rr", "tasks.spec-rr", asker="plain"))
    yield row(160, finds("rrhost", "10.201.40.10", "10.201.40.11", asker="plain"))
    yield row(161, finds("spec-svc.1.aaaa", "10.201.40.3", asker="plain"))
    yield row(161, forwards("spec-svc.1", asker="plain"))
    yield row(162, forwards("spec-svc", kinds="AAAA MX", asker="plain"))
    yield row(162, forwards("_http._tcp.spec-svc", kinds="SRV", asker="plain"))
    yield row(163, points("10.201.40.3", "spec-svc.1.aaaa.spec-ov.", "plain"))
    yield row(163, unknown_address("10.201.40.2", asker="plain"))
    yield row(164, finds("spec-svc.2.bbbb", "10.201.40.4", asker="plain"))
    yield row(165, forwards("tasks.plain", asker="plain"))


ROWS: Final = [
    *_in_one_network(),
    *_types_flags_transport(),
    *_pointers(),
    *_several_networks(),
    *_links(),
    *_life_cycle(),
    *_default_bridge_and_hosts(),
    *_forwarding(),
    *_swarm(),
]


def _ids() -> Iterator[str]:
    """``59``, or ``60.1`` and ``60.2`` where a vector has several rows; then the difference, if any."""
    several, seen = Counter(row.number for row in ROWS), Counter[int]()
    for row in ROWS:
        seen[row.number] += 1
        number = f"{row.number}.{seen[row.number]}" if several[row.number] > 1 else str(row.number)
        yield f"{number}-{row.difference}" if row.difference else number


@pytest.mark.parametrize("row", ROWS, ids=_ids())
async def test_vector(row: Row) -> None:
    checked = row.check(row.house())
    if checked is not None:
        await checked


def test_every_vector_is_stated_or_listed() -> None:
    stated = {row.number for row in ROWS}
    assert stated | set(UNSTATED) == set(range(1, 166))
    assert not stated & set(UNSTATED)


def test_differences_are_named_and_used() -> None:
    assert {row.difference for row in ROWS} - {""} == set(DIFFERENCES)
