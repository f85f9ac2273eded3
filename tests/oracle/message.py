"""A question as it is asked, and a reply as far as two resolvers are compared by it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

SILENCE: Final = "silence"
"""The rcode of a reply that never came."""
TTL: Final = 600
"""Docker's, of every record it makes itself."""
_COMPARED_FLAGS: Final = dns.flags.AA | dns.flags.TC | dns.flags.RD | dns.flags.RA | dns.flags.CD


@dataclass(frozen=True, slots=True)
class Question:
    """One question. The name is written with master-file escapes, without final dot; the root is empty."""

    name: str
    qtype: str = "A"
    tcp: bool = False
    qclass: str = "IN"
    edns: int | None = None
    """The EDNS version, None for no OPT."""
    padding: int = 0
    rd: bool = True
    cd: bool = False
    opcode: str = "QUERY"

    def __str__(self) -> str:
        said = [self.name or ".", self.qtype, "TCP" if self.tcp else "UDP"]
        said += [self.qclass] if self.qclass != "IN" else []
        said += [self.opcode] if self.opcode != "QUERY" else []
        said += [f"EDNS{self.edns}"] if self.edns is not None else []
        said += [f"padding={self.padding}"] if self.padding else []
        said += [] if self.rd else ["RD=0"]
        return " ".join(said + (["CD=1"] if self.cd else []))

    def packet(self, identity: int) -> bytes:
        """The question on the wire."""
        return identity.to_bytes(2, "big") + _body(self)

    def query(self) -> dns.message.QueryMessage:
        """The question as dnspython has it."""
        name = dns.name.from_text(f"{self.name}.")
        query = dns.message.make_query(name, self.qtype, self.qclass, flags=dns.flags.RD if self.rd else 0)
        query.flags |= dns.flags.CD if self.cd else 0
        query.set_opcode(dns.opcode.from_text(self.opcode))
        if self.edns is not None:
            options = (
                [dns.edns.GenericOption(dns.edns.OptionType.PADDING, b"\0" * self.padding)]
                if self.padding
                else []
            )
            query.use_edns(self.edns, payload=1232, options=list(options))
        return query


@dataclass(frozen=True, slots=True)
class Reply:
    """What is compared: rcode, flags, the set of records, whether the names were spelt as asked."""

    rcode: str = SILENCE
    records: frozenset[str] = frozenset()
    """Type, TTL where the record was made here, and RDATA. A set: the order is nobody's promise."""
    flags: str = ""
    opt: bool = False
    upstream: bool = False
    """It came from the test upstream, which marks all it says by a record in the authority section."""
    faults: tuple[str, ...] = ()
    """What no reply may have: another spelling, another class, records without reason."""

    def __str__(self) -> str:
        origin = " (from upstream)" if self.upstream else ""
        records = ", ".join(sorted(self.records)) or "no records"
        opt = " OPT" if self.opt else ""
        faults = f" FAULTS: {'; '.join(self.faults)}" if self.faults else ""
        return f"{self.rcode} [{self.flags}]{opt} {records}{origin}{faults}"

    @property
    def local(self) -> bool:
        """Answered from names the resolver knows itself."""
        return self.rcode == "NOERROR" and not self.upstream

    @property
    def truncated(self) -> bool:
        return "TC" in self.flags


FORWARD: Final = Reply("forward", upstream=True)
"""Stands for whatever the upstream says to the question as it was asked."""


def made_here(rcode: str, question: Question, *records: str) -> Reply:
    """A reply a resolver makes itself; records as ``TYPE RDATA``."""
    flags = "".join(f"{flag} " for flag, on in (("RD", question.rd), ("CD", question.cd)) if on)
    spelt = " ".join(sorted(f"{flags}RA".split())) if rcode == "NOERROR" else ""
    with_ttl = (f"{kind} {TTL} {rdata}" for kind, _, rdata in (record.partition(" ") for record in records))
    return Reply(rcode, frozenset(with_ttl), spelt, opt=question.edns is not None)


def with_opt(reply: Reply, question: Question) -> Reply:
    """The same reply, with an OPT where the question had one."""
    return reply if reply.rcode == SILENCE else replace(reply, opt=question.edns is not None)


@cache
def _body(question: Question) -> bytes:
    return question.query().to_wire()[2:]


def read_reply(packet: bytes, question: Question) -> Reply:
    """Read a reply. One that cannot be read is told as a rcode of its own."""
    return _read(packet[2:], question)


@cache
def _read(body: bytes, question: Question) -> Reply:
    """The same questions are asked many times: reading is most of the work."""
    try:
        message = dns.message.from_wire(b"\0\0" + body)
    except dns.exception.DNSException as error:
        return Reply(f"unreadable: {error!r} {body.hex()}")
    rcode = dns.rcode.to_text(message.rcode())
    upstream = bool(message.authority) and rcode != "SERVFAIL"
    rrsets = message.answer
    records = {
        f"{dns.rdatatype.to_text(rrset.rdtype)} {0 if upstream else rrset.ttl} {rdata}"
        for rrset in rrsets
        for rdata in rrset
    }
    counted = rcode in ("NOERROR", "NXDOMAIN")
    flags = dns.flags.to_text(message.flags & _COMPARED_FLAGS) if counted else ""
    return Reply(
        rcode,
        frozenset(records),
        " ".join(sorted(flags.split())),
        message.edns >= 0,
        upstream,
        tuple(_faults(message, question)) if counted else (),
    )


def _faults(message: dns.message.Message, question: Question) -> list[str]:
    asked = dns.name.from_text(f"{question.name}.")
    found = []
    if [q.name.labels for q in message.question] != [asked.labels]:
        found.append(f"question {message.question}")
    found += [f"owner {r.name}" for r in message.answer if r.name.labels != asked.labels]
    found += [f"class {r.rdclass}" for r in message.answer if r.rdclass != dns.rdataclass.IN]
    addresses = [rdata for rrset in message.answer for rdata in rrset]
    if len(addresses) != len(set(addresses)):
        found.append("a record twice")
    return found
