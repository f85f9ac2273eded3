"""What the upstream says: an answer told by the name asked, and marked, so that forwarding can be seen.

The first label decides: ``nx…`` NXDOMAIN, ``sf…`` SERVFAIL, ``rf…`` REFUSED, ``em…`` NODATA, else a record.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from lab.upstream import Asked

_RCODES: Final = {"nx": dns.rcode.NXDOMAIN, "sf": dns.rcode.SERVFAIL, "rf": dns.rcode.REFUSED}
_RECORDS: Final = {
    "A": "192.0.2.101",
    "AAAA": "2001:db8::101",
    "PTR": "upstream.example.",
    "TXT": '"forwarded"',
    "MX": "10 mail.example.",
}
_SOA: Final = "upstream.example. nobody.example. 1 3600 600 86400 30"
"""In the authority section, where what a resolver makes itself has nothing."""


def fail(asked: Asked) -> bytes | None:
    """SERVFAIL, whatever the question."""
    return _with_id(asked, _failure(asked.packet[2:]))


def answer(asked: Asked) -> bytes | None:
    """The reply to a packet; None to what is no question."""
    return _with_id(asked, _answer(asked.packet[2:]))


def _with_id(asked: Asked, reply: bytes) -> bytes | None:
    return asked.packet[:2] + reply if reply else None


@cache
def _failure(body: bytes) -> bytes:
    query = _query(body)
    if query is None:
        return b""
    reply = dns.message.make_response(query)
    reply.set_rcode(dns.rcode.SERVFAIL)
    return reply.to_wire()[2:]


@cache
def _answer(body: bytes) -> bytes:
    """Remembered, for the questions of a topology come in bursts which a slow server would lose."""
    query = _query(body)
    if query is None:
        return b""
    question = query.question[0]
    reply = dns.message.make_response(query, recursion_available=True)
    label = question.name.labels[0].decode("latin-1").lower()[:2]
    reply.set_rcode(_RCODES.get(label, dns.rcode.NOERROR))
    kind = dns.rdatatype.to_text(question.rdtype)
    if reply.rcode() == dns.rcode.NOERROR and label != "em" and kind in _RECORDS:
        reply.answer.append(dns.rrset.from_text(question.name, 30, "IN", kind, _RECORDS[kind]))
    reply.authority.append(dns.rrset.from_text("example.", 30, "IN", "SOA", _SOA))
    return reply.to_wire()[2:]


def _query(body: bytes) -> dns.message.Message | None:
    try:
        return dns.message.from_wire(b"\0\0" + body)
    except dns.exception.DNSException:
        return None
