"""What an upstream sent, read strictly and in linear time, and changed in place.

A reply is passed on as it came: never taken apart and packed again, because no packer knows every record
type. What may be changed are the header, the letter case of the question, the TTLs, and whole records cut
off the end. For that the offsets suffice, and those are all that ``read_reply`` finds.

Names are checked although they are not decoded: a reply whose compression pointers loop, point forward or
lead into the header would be trouble for whoever gets it. No label of the packet is looked at more than
twice, however many pointers lead to it, so the work is bounded by the packet's length. A pointer may lead
into a record's fixed fields or RDATA; a name that takes octets of a TTL, or of OPT, would change with it, so
such a reply is passed on and never kept.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct, error
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEADER_SIZE = 12
TYPE_SOA = 6
TYPE_OPT = 41
TYPE_ANY = 255

RCODE_NOERROR = 0
RCODE_SERVFAIL = 2
RCODE_NXDOMAIN = 3
RCODE_REFUSED = 5

FLAG_QR = 0x8000
FLAG_TC = 0x0200

_OPCODE = 0x7800
_QUESTION_NAME = 0xC000 | HEADER_SIZE
_OPT_OWNER = b"\0\0\x29"
_ORDINARY = (RCODE_NOERROR, RCODE_NXDOMAIN)
_LONGEST_NAME = 255
_LONGEST_TTL = 0x7FFFFFFF
_NO_TTL = -1

_header = Struct("!6H").unpack_from
_counts = Struct("!3H").unpack_from
_put_counts = Struct("!3H").pack
_record = Struct("!HHIH").unpack_from
_first_record = Struct("!HHHIH").unpack_from
_long = Struct("!I").unpack_from
_put_long = Struct("!I").pack_into
_checked = {
    1: (4, 0, 0),
    2: (0, 1, 0),
    5: (0, 1, 0),
    6: (0, 2, 20),
    12: (0, 1, 0),
    15: (2, 1, 0),
    28: (16, 0, 0),
    33: (6, 1, 0),
    39: (0, 1, 0),
}
"""A, NS, CNAME, SOA, PTR, MX, AAAA, SRV, DNAME: RDATA is so many octets, so many names, so many octets."""


class Malformed(ValueError):
    """The packet is not what RFC 1035 section 4.1 describes."""


class ReplyShape(NamedTuple):
    """A well-formed reply, and where in it things are."""

    packet: bytes
    """As it came, without what may have followed the last record."""
    question_end: int
    rcode: int
    """With the upper bits of OPT (RFC 6891 section 6.1.3)."""
    ttls: tuple[int, ...]
    """Offset of every record's TTL, OPT excepted (there the field means something else)."""
    lifetime: int
    """Seconds it may be kept, 0: not at all. The least TTL; of a negative reply also SOA's (RFC 2308)."""
    negative: bool
    """NXDOMAIN or NODATA."""
    opt: int
    """Offset of the OPT record, 0 for none."""
    inside: bool = False
    """Whether it comes from a server that was asked from inside an attached container."""

    @property
    def flags(self) -> int:
        """The second word of the header."""
        return int.from_bytes(self.packet[2:4], "big")

    @property
    def truncated(self) -> bool:
        """Whether the upstream left something out (TC)."""
        return bool(self.packet[2] & 0x02)

    @property
    def question(self) -> bytes:
        """Name, type and class as the upstream spelt them."""
        return self.packet[HEADER_SIZE : self.question_end]

    @property
    def opt_is_last(self) -> bool:
        """Whether no record stands behind OPT; also true without OPT."""
        if not self.opt:
            return True
        size = self.packet[self.opt + 9] << 8 | self.packet[self.opt + 10]
        return self.opt + 11 + size == len(self.packet)

    @property
    def udp_size(self) -> int:
        """The UDP size its OPT offers, 512 without OPT."""
        return int.from_bytes(self.packet[self.opt + 3 : self.opt + 5], "big") if self.opt else 512


def comparable(question: bytes) -> bytes:
    """A raw question with its name in lower case: equal for equal questions (RFC 4343)."""
    return question[:-4].lower() + question[-4:]


def skip_name(packet: bytes, offset: int) -> int:
    """Offset just behind the name at ``offset``; a compression pointer ends a name and is not followed.

    Raises Malformed for an unknown label type, a name longer than 255 octets, or one that the packet cuts
    off.
    """
    furthest = min(offset + _LONGEST_NAME, len(packet))
    while offset < furthest:
        length = packet[offset]
        if length == 0:
            return offset + 1
        if length >= 0xC0:
            if offset + 2 > len(packet):
                break
            return offset + 2
        if length > 63:
            raise Malformed("label type")
        offset += length + 1
    raise Malformed("name too long or cut off")


def read_reply(packet: bytes, question: bytes = b"") -> ReplyShape | None:
    """The shape of a reply; None when it is malformed, no reply, or has not exactly one question.

    ``question``: raw question that is expected: where it is found letter by letter it need not be read again.
    """
    try:
        _, flags, questions, answers, authorities, additionals = _header(packet)
        if questions != 1 or flags & (FLAG_QR | _OPCODE) != FLAG_QR:
            return None
        if question and packet.startswith(question, HEADER_SIZE):
            end = HEADER_SIZE + len(question)
        else:
            end = _question_end(packet)
        if answers == 1 and not authorities and additionals < 2 and not flags & (FLAG_TC | 0xF):
            shape = _read_lone_address(packet, end, additionals)
            if shape:
                return shape
        return _read_records(packet, flags, end, answers, answers + authorities, additionals)
    except (Malformed, error, IndexError):
        return _cut_short(packet)


def _read_lone_address(packet: bytes, end: int, additionals: int) -> ReplyShape | None:
    """The commonest reply in one look: one address of the name itself, then perhaps OPT. None: any other."""
    if len(packet) < end + 12:
        return None  # a record of the root without data is shorter
    owner, rtype, rclass, ttl, size = _first_record(packet, end)
    stop = end + 12 + size
    if owner != _QUESTION_NAME or rclass != 1 or size != (4 if rtype == 1 else 16 if rtype == 28 else -1):
        return None
    opt = stop if additionals else 0
    if opt:
        if packet[opt : opt + 3] != _OPT_OWNER or packet[opt + 5]:
            return None
        stop += 11 + (packet[opt + 9] << 8 | packet[opt + 10])
    if stop != len(packet) or ttl > _LONGEST_TTL or packet[end - 3] != rtype or packet[end - 4]:
        return None
    return tuple.__new__(ReplyShape, (packet, end, 0, (end + 6,), ttl, False, opt, False))


def _question_end(packet: bytes) -> int:
    """The question's name cannot be compressed: nothing stands before it."""
    offset = HEADER_SIZE
    while length := packet[offset]:
        if length > 63:
            raise Malformed("label type")
        offset += length + 1
    if offset - HEADER_SIZE >= _LONGEST_NAME or offset + 5 > len(packet):
        raise Malformed("question")
    return offset + 5


def _read_records(
    packet: bytes, flags: int, end: int, answers: int, main: int, additionals: int
) -> ReplyShape:
    """Walk the records behind the question. ``main``: how many stand in the answer and authority sections."""
    qtype = packet[end - 4] << 8 | packet[end - 3]
    offset, opt, extended = end, 0, 0
    least, soa_least, answered = _LONGEST_TTL, _NO_TTL, False
    ttls: list[int] = []
    known: dict[int, int] = {}
    for number in range(main + additionals):
        owner = offset
        offset = _check_name(packet, offset, known)
        rtype, rclass, ttl, size = _record(packet, offset)
        rdata = offset + 10
        offset = rdata + size
        if rtype == TYPE_OPT:
            if opt or number < main or rdata - owner != 11:
                raise Malformed("OPT where none may be")
            opt, extended = owner, ttl >> 24 << 4
            continue
        if rclass == 1 and rtype in _checked:
            _check_rdata(packet, rtype, rdata, offset, known)
        ttls.append(rdata - 6)
        least = min(least, ttl if ttl <= _LONGEST_TTL else 0)  # RFC 2181 section 8
        if number < answers:
            answered = answered or qtype in (rtype, TYPE_ANY)
        elif rtype == TYPE_SOA and number < main:
            soa_least = _long(packet, offset - 4)[0]
    if offset > len(packet):
        raise Malformed("record cut off")
    if offset < len(packet):  # without what follows, for a name may run on into that
        return _read_records(packet[:offset], flags, end, answers, main, additionals)
    rcode = flags & 0xF | extended
    negative = rcode == RCODE_NXDOMAIN or (rcode == RCODE_NOERROR and not answered)
    lasting = ttls and rcode in _ORDINARY and not flags & FLAG_TC
    if known and lasting and _would_change(packet, known, ttls, opt):
        lasting = False
    lifetime = max(0, min(least, soa_least) if negative else least) if lasting else 0
    return ReplyShape(packet[:offset], end, rcode, tuple(ttls), lifetime, negative, opt)


def _check_name(packet: bytes, offset: int, known: dict[int, int]) -> int:
    """Offset behind the name at ``offset``, which is checked through all its pointers.

    Each pointer must lead before where its part of the name began, so the walk comes to an end. ``known``
    remembers every label reached by way of a pointer and how many octets the name has from there: none is
    reached so twice.
    """
    if packet[offset] == 0xC0 and packet[offset + 1] == HEADER_SIZE:  # the question's name
        return offset + 2
    end, length, bound = 0, 1, offset
    walked: list[int] = []
    while step := packet[offset]:
        if end:
            if offset in known:
                break
            walked.append(offset)
        if step < 64:
            length += step + 1
            if length > _LONGEST_NAME:
                raise Malformed("name too long")
            offset += step + 1
            continue
        target = (step & 0x3F) << 8 | packet[offset + 1]
        if step < 0xC0 or not HEADER_SIZE <= target < bound:
            raise Malformed("compression pointer")
        end = end or offset + 2
        offset = bound = target
    if not end:
        return offset + 1
    rest = known.get(offset, 1)
    if length - 1 + rest > _LONGEST_NAME:
        raise Malformed("name too long")
    known[offset] = rest
    _remember(packet, walked, rest, known)
    return end


def _would_change(packet: bytes, known: Iterable[int], ttls: Sequence[int], opt: int) -> bool:
    """Whether a name that a pointer leads to takes octets of a TTL or of OPT for its own: when the TTL is
    counted down, or OPT left out, it would be another name."""
    for place in known:
        step = packet[place]
        last = place + (1 if step >= 0xC0 else step + 1 if step else 0)
        if opt and last >= opt:
            return True
        nearest = bisect_right(ttls, last) - 1
        if nearest >= 0 and ttls[nearest] + 3 >= place:
            return True
    return False


def _remember(packet: bytes, walked: list[int], rest: int, known: dict[int, int]) -> None:
    """Note for each label or pointer walked how many octets the name has from there on."""
    for place in reversed(walked):
        step = packet[place]
        rest += step + 1 if step < 64 else 0
        known[place] = rest


def _check_rdata(packet: bytes, rtype: int, rdata: int, end: int, known: dict[int, int]) -> None:
    """RDATA of the few types every resolver reads: addresses have their size, names are names and fill it."""
    before, names, after = _checked[rtype]
    rdata += before
    for _ in range(names):
        rdata = _check_name(packet, rdata, known)
    if rdata + after != end:
        raise Malformed("RDATA")


def _cut_short(packet: bytes) -> ReplyShape | None:
    """A reply that says TC may end anywhere (RFC 2181 section 9): its question is all that is needed."""
    try:
        if packet[2] & 0xFA != 0x82:
            return None
        end = _question_end(packet)
    except (Malformed, IndexError):
        return None
    bare = packet[:4] + b"\0\1\0\0\0\0\0\0" + packet[HEADER_SIZE:end]
    return ReplyShape(bare, end, packet[3] & 0xF, (), 0, False, 0) if packet[4:6] == b"\0\1" else None


def aged(packet: bytes, ttls: Iterable[int], seconds: int, most: int = _LONGEST_TTL) -> bytes:
    """The packet with every TTL counted down by ``seconds``, not below 0, and lowered to ``most``."""
    out = bytearray(packet)
    for offset in ttls:
        left = _long(out, offset)[0]
        left = 0 if left > _LONGEST_TTL or left < seconds else left - seconds
        _put_long(out, offset, min(left, most))
    return bytes(out)


def dressed(packet: bytes, ident: bytes, question: bytes, opt: bytes = b"") -> bytes:
    """A remembered reply for one asker: its ID (2 octets), its spelling of the question, its OPT record."""
    body = packet[HEADER_SIZE + len(question) :]
    if not opt:
        return ident + packet[2:HEADER_SIZE] + question + body
    additionals = (packet[10] << 8 | packet[11]) + 1
    return b"".join((ident, packet[2:10], additionals.to_bytes(2, "big"), question, body, opt))


def without_opt(shape: ReplyShape) -> ReplyShape | None:
    """The same reply without OPT; None when OPT is not its last record, so that others would move."""
    packet, opt = shape.packet, shape.opt
    if not opt:
        return shape
    if not shape.opt_is_last:
        return None
    additionals = (packet[10] << 8 | packet[11]) - 1
    bare = packet[:10] + additionals.to_bytes(2, "big") + packet[HEADER_SIZE:opt]
    return shape._replace(packet=bare, opt=0)


def fitted(packet: bytes, limit: int) -> bytes:
    """A reply cut to ``limit`` octets: records dropped from the end, TC set, question and OPT kept.

    What fits is kept, because clients without TCP (musl before 1.2.4) use it. Unchanged when it fits as it
    is. Records behind OPT are dropped with the rest: they could not move without their pointers.
    """
    if len(packet) <= limit:
        return packet
    end = _question_end(packet)
    records = _sections(packet, end)
    opt = next((packet[start:stop] for _, rtype, start, stop in records if rtype == TYPE_OPT), b"")
    if end + len(opt) > limit:
        opt = opt[:9] + b"\0\0" if opt else b""
    kept = [0, 0, 0]
    for section, rtype, _, stop in records:
        if rtype == TYPE_OPT or stop + len(opt) > limit:
            break
        kept[section] += 1
        end = stop
    kept[2] += bool(opt)
    head = packet[:2] + bytes((packet[2] | 0x02,)) + packet[3:6]
    return b"".join((head, _put_counts(*kept), packet[HEADER_SIZE:end], opt))


def _sections(packet: bytes, offset: int) -> list[tuple[int, int, int, int]]:
    """Section (0 answer, 1 authority, 2 additional), type, start and end of every record."""
    records = []
    for section, count in enumerate(_counts(packet, 6)):
        for _ in range(count):
            start = offset
            offset = skip_name(packet, offset)
            rtype, _, _, size = _record(packet, offset)
            offset += 10 + size
            records.append((section, rtype, start, offset))
    return records
