"""What an upstream sent, read strictly and in linear time, and changed in place.

A reply is passed on as it came: never taken apart and packed again, because no packer knows every record type. What may be
changed are the header, the letter case of the question, the TTLs, and whole records cut off the end. For that the offsets
suffice, and those are all that ``read_reply`` finds.

Names are checked although they are not decoded: a reply whose compression pointers loop, point forward or lead into the
header would be trouble for whoever gets it. Each label of the packet is looked at once at most, however many pointers lead
to it, so the work is bounded by the packet's length.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, error
from typing import NamedTuple

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

_LONGEST_NAME = 255
_LONGEST_TTL = 0x7FFFFFFF
_NO_TTL = -1

_header = Struct("!6H").unpack_from
_counts = Struct("!3H").unpack_from
_record = Struct("!HHIH").unpack_from
_long = Struct("!I")
_name_rdata = {2: (0, 1), 5: (0, 1), 6: (0, 2), 12: (0, 1), 15: (2, 1), 33: (6, 1), 39: (0, 1)}
"""Type → where names begin in its RDATA and how many there are: the types whose names are compressed in the wild."""
_fixed_rdata = {1: 4, 28: 16}


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
    """Seconds it may be kept; 0: not at all. The least TTL, and of a negative reply also SOA's minimum (RFC 2308)."""
    negative: bool
    """NXDOMAIN or NODATA."""
    opt: int
    """Offset of the OPT record, 0 for none."""

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
    def udp_size(self) -> int:
        """The UDP size its OPT offers, 512 without OPT."""
        return int.from_bytes(self.packet[self.opt + 3 : self.opt + 5], "big") if self.opt else 512


def comparable(question: bytes) -> bytes:
    """A raw question with its name in lower case: equal for equal questions (RFC 4343)."""
    return question[:-4].lower() + question[-4:]


def skip_name(packet: bytes, offset: int) -> int:
    """Offset just behind the name at ``offset``; a compression pointer ends a name and is not followed.

    Raises Malformed for a label type RFC 1035 does not know, a name longer than 255 octets, or the packet's end.
    """
    raise NotImplementedError


def read_reply(packet: bytes, question: bytes = b"") -> ReplyShape | None:
    """The shape of a reply; None when it is malformed, no reply, or has not exactly one question.

    ``question``: raw question that is expected: where it is found letter by letter it need not be read again.
    """
    raise NotImplementedError


def aged(packet: bytes, ttls: Iterable[int], seconds: int, most: int = _LONGEST_TTL) -> bytes:
    """The packet with every TTL counted down by ``seconds``, not below 0, and lowered to ``most``."""
    raise NotImplementedError


def dressed(packet: bytes, ident: bytes, question: bytes, opt: bytes = b"") -> bytes:
    """A remembered reply for one asker: its ID (2 octets), its spelling of the question, an OPT record at the end."""
    raise NotImplementedError


def without_opt(shape: ReplyShape) -> ReplyShape | None:
    """The same reply without OPT; None when OPT is not its last record, so that others would move."""
    raise NotImplementedError


def fitted(packet: bytes, limit: int) -> bytes:
    """A well-formed reply cut to ``limit`` octets: whole records dropped from the end, TC set, question and OPT kept.

    What fits is kept, because clients without TCP (musl before 1.2.4) use it. Unchanged when it fits as it is.
    """
    raise NotImplementedError
