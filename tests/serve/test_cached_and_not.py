"""Forwarding with a cache and without one, side by side: the same replies, but for how old they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.cache import Cache
from resolver.names.changes import Sync
from resolver.names.table import Table
from resolver.serve.forward import Forwarder
from resolver.serve.memory import Memory
from resolver.serve.queries import Queries
from resolver.wire.reply import read_reply
from tests import house

if TYPE_CHECKING:
    from collections.abc import Hashable

    from resolver.serve.upstream.flight import Done
    from resolver.serve.upstream.upstreams import Upstreams

NAMES = ("a.example.", "far.off.example.")
TTLS = (0, 1, 2, 3, 7, 30)
SIZES = (512, 1232)


@dataclass(frozen=True)
class Held:
    """What the upstream says of a name."""

    kind: str
    """``addresses``, ``alias``, ``nodata``, ``nxdomain``, ``bare`` (NXDOMAIN without SOA) or ``fails``."""
    ttls: tuple[int, int]
    least: int
    """SOA's last field (RFC 2308 section 4)."""
    count: int

    @property
    def life(self) -> int:
        """Seconds for which a reply may be used again."""
        if self.kind in ("bare", "fails"):
            return 0
        if self.kind == "addresses":
            return self.ttls[0]
        return min(self.ttls) if self.kind == "alias" else min(self.ttls[0], self.least)


@dataclass(frozen=True)
class Question:
    """A question of a client, and how long after the one before it comes."""

    name: str
    kind: str
    wait: float
    client: bytes
    upper: bool
    edns: int
    """0: without; else the UDP size."""
    do: bool
    cd: bool

    def packet(self, ident: int) -> bytes:
        name = self.name.upper() if self.upper else self.name
        query = dns.message.make_query(name, self.kind, id=ident)
        if self.edns:
            query.use_edns(0, dns.flags.DO if self.do else 0, self.edns)
        query.flags |= dns.flags.CD if self.cd else 0
        return query.to_wire()


held = st.builds(
    Held,
    st.sampled_from(("addresses", "addresses", "alias", "nodata", "nxdomain", "bare", "fails")),
    st.tuples(st.sampled_from(TTLS), st.sampled_from(TTLS)),
    st.sampled_from(TTLS),
    st.sampled_from((1, 1, 2, 2, 2, 40)),
)
zones = st.fixed_dictionaries(dict.fromkeys(NAMES, held))
questions = st.builds(
    Question,
    st.sampled_from(NAMES),
    st.sampled_from(("A", "A", "A", "AAAA")),
    st.sampled_from((0.0, 0.0, 0.3, 0.9, 1.0, 1.7, 5.0)),
    st.sampled_from((b"\x0a\x01\x00\x09", b"\x0a\x01\x00\x0a")),
    st.booleans(),
    st.sampled_from((0, 0, *SIZES)),
    st.sampled_from((False, False, True)),
    st.sampled_from((False, False, False, True)),
)


Asked = tuple[str, int, int, int]


def what_is_asked(query: dns.message.Message) -> Asked:
    """Questions that one reply serves: name but for its case, type, CD and DO."""
    asked = query.question[0]
    return asked.name.to_text().lower(), asked.rdtype, query.flags & dns.flags.CD, query.ednsflags


class Zone:
    """In the place of all upstream servers: answers at once, always the same, and notes when it was asked."""

    def __init__(self, names: dict[str, Held], clock: house.Clock) -> None:
        self.names, self.clock = names, clock
        self.asked: dict[Asked, list[float]] = {}

    def ask(
        self, query: bytes, question: bytes, servers: tuple[str, ...], client: Hashable, done: Done
    ) -> bool:
        read = dns.message.from_wire(query)
        self.asked.setdefault(what_is_asked(read), []).append(self.clock.now)
        reply = self.reply(read)
        done(None if reply is None else read_reply(reply, question))
        return True

    def reply(self, query: dns.message.Message) -> bytes | None:
        asked = query.question[0]
        what = self.names[asked.name.to_text().lower()]
        if what.kind == "fails":
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        reply.flags |= dns.flags.AA
        if query.edns >= 0:
            reply.use_edns(0, query.ednsflags, 1232)
        at, family = asked.name, "A" if asked.rdtype == 1 else "AAAA"
        where = "192.0.2.{}" if family == "A" else "2001:db8::{}"
        if what.kind == "alias":
            reply.answer.append(dns.rrset.from_text(at, what.ttls[1], "IN", "CNAME", "c.name.example."))
            at = dns.name.from_text("c.name.example.")
        if what.kind in ("addresses", "alias"):
            places = [where.format(n + 1) for n in range(what.count)]
            reply.answer.append(dns.rrset.from_text(at, what.ttls[0], "IN", family, *places))
        elif what.kind != "bare":
            soa = f"ns.example. who.example. 1 2 3 4 {what.least}"
            reply.authority.append(dns.rrset.from_text("example.", what.ttls[0], "IN", "SOA", soa))
        if what.kind in ("nxdomain", "bare"):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire(max_size=65_535, want_shuffle=False)


class Side:
    """One resolver with nothing in its table."""

    def __init__(self, names: dict[str, Held], clock: house.Clock, room: int) -> None:
        table, self.memory = Table(), Memory()
        self.zone = Zone(names, clock)
        forwarder = Forwarder(clock.loop, cast("Upstreams", self.zone), Cache(room), self.memory)
        self.queries = Queries(clock.loop, table, self.memory, forwarder)
        for change in (house.POLICY, house.network("dev", "10.1.0.0/24"), Sync("end")):
            self.queries.changed(table.apply(change))
        for n in (9, 10):
            here = house.container(f"asker{n}", house.joined(house.network("dev"), f"10.1.0.{n}"))
            self.queries.changed(table.apply(here))

    def ask(self, client: bytes, packet: bytes) -> dns.message.Message:
        """What is at hand, as ``serve.udp`` looks it up; else by the cold path."""
        kept = self.memory.clients.get(client, {}).get(packet[2:])
        at_hand = kept if kept is None or isinstance(kept, bytes) else kept.next()
        if at_hand:
            return dns.message.from_wire(packet[:2] + at_hand)
        asker = house.Asker(client, packet[2:])
        reply = self.queries.ask(packet, asker)
        return dns.message.from_wire(asker.replies[0] if reply is None else reply)


def records(message: dns.message.Message, age: int = 0) -> list[tuple[object, ...]]:
    """Every section in its order, each TTL less by ``age``."""
    return [
        (number, rrset.name, rrset.rdtype, rrset.ttl - age, list(rrset))
        for number, section in enumerate((message.answer, message.authority, message.additional))
        for rrset in section
    ]


@settings(max_examples=80)
@given(zones, st.lists(questions, min_size=1, max_size=20))
def test_a_cached_reply_is_the_upstreams_but_for_its_age(
    names: dict[str, Held], steps: list[Question]
) -> None:
    clock = house.Clock()
    cached, plain = Side(names, clock, 1 << 20), Side(names, clock, 0)
    for ident, step in enumerate(steps, 1):
        clock.pass_by(step.wait)
        packet = step.packet(ident)
        said, expected = cached.ask(step.client, packet), plain.ask(step.client, packet)
        assert said.id == expected.id == ident
        assert said.question[0].name.labels == expected.question[0].name.labels  # letter by letter
        assert said.flags | dns.flags.AA == expected.flags | dns.flags.AA
        assert (said.edns, said.ednsflags) == (expected.edns, expected.ednsflags)
        asked = cached.zone.asked[what_is_asked(dns.message.from_wire(packet))]
        ages = [int(clock.now - when) for when in asked]
        life = names[step.name].life
        assert any(records(said) == records(expected, age) for age in ages if age < max(1, life)), said
