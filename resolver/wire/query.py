"""Questions: bytes → Query, and replies made here → bytes. Hand-written, strict, linear, and on the cold path
only.

The ladder, each rung before anything further is read: shorter than 12 octets or a response → silence; another
opcode than QUERY → NOTIMP; counts that no question has, or a question that cannot be read → FORMERR; another
EDNS version → BADVERS; another class than IN → REFUSED. What may be answered with an rcode is never answered
with silence.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from resolver.names.keys import MAX_KEY

HEADER: Final = struct.Struct("!6H")
QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
OPCODE: Final = 0x7800
FORMERR, NOTIMP, REFUSED, BADVERS = 1, 4, 5, 16
IN: Final = 1
OPT: Final = 41
CLIENT_SUBNET: Final = 8
TYPE_A, TYPE_PTR, TYPE_AAAA = 1, 12, 28

UDP_SIZE: Final = 1232
"""What we say we can receive, and the most we send over UDP (the size that fits every path: DNS flag day
2020)."""
MIN_UDP_SIZE: Final = 512
TCP_SIZE: Final = 65_535
DO: Final = 0x8000
"""The DNSSEC OK bit in the second half of OPT's TTL (RFC 3225)."""

_RECORD: Final = struct.Struct("!HHIH")
_OWNER: Final = b"\xc0\x0c"
"""A compression pointer to the question's name, which always begins at octet 12."""


class Refused(Exception):
    """A packet that is answered without looking anything up, or not at all."""

    def __init__(self, reply: bytes | None) -> None:
        super().__init__("not a question to be looked up")
        self.reply = reply
        """The reply to send; None for silence."""


@dataclass(slots=True)
class Query:
    """One question, read."""

    id: bytes
    """Two octets."""
    flags: int
    key: bytes
    """The name's key (``names.keys``)."""
    qtype: int
    question: bytes
    """The question section as it was asked: name in its own spelling, type, class."""
    udp_size: int = MIN_UDP_SIZE
    """The largest reply its sender takes over UDP."""
    edns: bool = False
    dnssec_ok: bool = False
    options: bool = False
    """It carries EDNS options: such questions seldom repeat byte for byte."""
    subnet: bool = False
    """It names a client subnet (RFC 7871): the reply is for that subnet only."""


def read_query(packet: bytes) -> Query:
    """Read a packet.

    Raises Refused with the reply to send, or with None for silence.
    """
    if len(packet) < 12:
        raise Refused(None)
    _, flags, questions, answers, authorities, additional = HEADER.unpack_from(packet)
    if flags & QR:
        raise Refused(None)
    if flags & OPCODE:
        raise Refused(_bare(packet, flags, NOTIMP))
    if questions != 1 or answers > 1 or authorities > 1 or additional > 2:
        raise Refused(_bare(packet, flags, FORMERR))
    end = _name_end(packet)
    if not end or end + 4 > len(packet):
        raise Refused(_bare(packet, flags, FORMERR))
    qtype, qclass = struct.unpack_from("!HH", packet, end)
    query = Query(packet[:2], flags, packet[12 : end - 1].lower(), qtype, packet[12 : end + 4])
    records = answers + authorities + additional
    version = _read_edns(packet, end + 4, records, query) if records else 0
    if version is None:
        raise Refused(write_reply(query, FORMERR))
    if version > 0:
        raise Refused(write_reply(query, BADVERS))
    if qclass != IN:
        raise Refused(write_reply(query, REFUSED))
    return query


def _bare(packet: bytes, flags: int, rcode: int) -> bytes:
    """Header only: the question could not be read, or was not looked at."""
    return HEADER.pack(packet[0] << 8 | packet[1], QR | flags & (OPCODE | RD | CD) | rcode, 0, 0, 0, 0)


def _name_end(packet: bytes) -> int:
    """Where the question's name ends; 0 where it cannot be read. Compression has nothing to point at here."""
    at, size = 12, len(packet)
    while at < size:
        length = packet[at]
        if length == 0:
            return at + 1 if at - 12 <= MAX_KEY else 0
        if length > 63:
            return 0
        at += length + 1
    return 0


def skip_name(packet: bytes, at: int) -> int:
    """Where a name in a later section ends; past the packet's end, or 0, where it cannot be read.

    A pointer ends it (RFC 1035 section 4.1.4) and is not followed, so the work is linear.
    """
    size = len(packet)
    while at < size:
        length = packet[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2
        if length > 63:
            return 0
        at += length + 1
    return 0


def _read_edns(packet: bytes, at: int, records: int, query: Query) -> int | None:
    """Take OPT into the query; its version, 0 without one, None where the records cannot be read.

    More than one OPT, or one with a name, is a format error (RFC 6891 section 6.1.1).
    """
    version, size = 0, len(packet)
    for _ in range(records):
        owner = at
        at = skip_name(packet, at)
        if not at or at + 10 > size:
            return None
        kind, klass, ttl, length = _RECORD.unpack_from(packet, at)
        at += 10 + length
        if at > size:
            return None
        if kind == OPT:
            if query.edns or packet[owner]:
                return None
            query.edns = True
            query.udp_size = max(klass, MIN_UDP_SIZE)
            query.dnssec_ok = bool(ttl & DO)
            query.options = length > 0
            query.subnet = _has_option(packet, at - length, at, CLIENT_SUBNET)
            version = ttl >> 16 & 0xFF
    return version


def _has_option(packet: bytes, at: int, end: int, wanted: int) -> bool:
    """Whether OPT's RDATA holds an option of this code."""
    while at + 4 <= end:
        if packet[at] << 8 | packet[at + 1] == wanted:
            return True
        at += 4 + (packet[at + 2] << 8 | packet[at + 3])
    return False


def write_reply(query: Query, rcode: int, *, truncated: bool = False) -> bytes:
    """A reply without records: an rcode, NODATA, or (``truncated``) word to come again over TCP."""
    return b"".join((_header(query, rcode, 0, truncated=truncated), query.question, opt_record(query, rcode)))


@dataclass(slots=True)
class RRset:
    """The records of one reply, to be sent each first in turn: ``head + records[turn…] + tail``."""

    head: bytes
    """Everything before the records, without the ID."""
    tail: bytes
    """OPT, or nothing."""
    records: bytes
    """All records twice over, so that every rotation is one slice."""
    width: int
    """Octets of one record."""
    sent: int
    """Octets of records in one reply: fewer than there are where the reply is cut."""
    period: int
    """Octets of all records once."""
    turn: int = 0

    @property
    def octets(self) -> int:
        """How many it holds."""
        return len(self.head) + len(self.records) + len(self.tail)

    def next(self) -> bytes:
        """The reply without its ID, the next record first."""
        turn = self.turn
        self.turn = (turn + self.width) % self.period
        return self.head + self.records[turn : turn + self.sent] + self.tail


def write_addresses(query: Query, addresses: tuple[bytes, ...], ttl: int, limit: int) -> RRset:
    """The reply that carries these addresses, all of one family, within ``limit`` octets.

    Records that do not fit are left out from the end and TC is set (RFC 2181 section 9); question and OPT
    stay.
    """
    kind = TYPE_A if len(addresses[0]) == 4 else TYPE_AAAA
    fixed = _OWNER + _RECORD.pack(kind, IN, ttl, len(addresses[0]))
    records = b"".join(fixed + address for address in addresses)
    tail = opt_record(query)
    width = len(fixed) + len(addresses[0])
    room = (limit - 12 - len(query.question) - len(tail)) // width
    count = max(0, min(len(addresses), room))
    head = _header(query, 0, count, truncated=count < len(addresses)) + query.question
    return RRset(head[2:], tail, records * 2, width, count * width, len(records))


def write_pointer(query: Query, target: str, ttl: int, limit: int) -> bytes:
    """The reply that carries one PTR record; ``target`` is a name ``names.keys.key_of`` accepts, its case is
    kept."""
    labels = (label.encode("ascii") for label in target.split("."))
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\x00"
    record = _OWNER + _RECORD.pack(TYPE_PTR, IN, ttl, len(name)) + name
    tail = opt_record(query)
    if 12 + len(query.question) + len(record) + len(tail) > limit:
        return write_reply(query, 0, truncated=True)
    return b"".join((_header(query, 0, 1), query.question, record, tail))


def udp_limit(query: Query) -> int:
    """The largest reply to send over UDP."""
    return min(query.udp_size, UDP_SIZE)


def _header(query: Query, rcode: int, answers: int, *, truncated: bool = False) -> bytes:
    flags = QR | RA | query.flags & (RD | CD) | (TC if truncated else 0) | rcode & 0xF
    return query.id + HEADER.pack(0, flags, 1, answers, 0, 1 if query.edns else 0)[2:]


def opt_record(query: Query, rcode: int = 0) -> bytes:
    """OPT where the question had one (RFC 6891 section 7), DO echoed (RFC 3225 section 3)."""
    if not query.edns:
        return b""
    ttl = rcode >> 4 << 24 | (DO if query.dnssec_ok else 0)
    return b"\x00" + _RECORD.pack(OPT, UDP_SIZE, ttl, 0)
