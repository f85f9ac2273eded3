"""The addresses a reply would have its reader connect to."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from resolver.wire.reply import ReplyShape, skip_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORD: Final = struct.Struct("!HHIH")
_WIDTH: Final = {1: 4, 28: 16}
"""A, AAAA: octets of RDATA."""
_SERVICE: Final = (64, 65)
"""SVCB and HTTPS (RFC 9460)."""
_HINTS: Final = {4: 4, 6: 16}
"""ipv4hint and ipv6hint: octets of one address (RFC 9460 section 7.3)."""


def addresses_in(shape: ReplyShape) -> Iterator[bytes]:
    """Packed addresses of the answer section: A, AAAA, and the hints of SVCB and HTTPS.

    RDATA of another length than its type has is no address to anybody.
    """
    packet, at = shape.packet, shape.question_end
    for _ in range(int.from_bytes(packet[6:8], "big")):
        at = skip_name(packet, at)
        kind, _, _, size = _RECORD.unpack_from(packet, at)
        at += 10
        if _WIDTH.get(kind) == size:
            yield packet[at : at + size]
        elif kind in _SERVICE:
            yield from _hints(packet[at : at + size])
        at += size


def _hints(rdata: bytes) -> Iterator[bytes]:
    """Of a service binding: priority, target, parameters as key, length, value (RFC 9460 section 2.2)."""
    at = 2
    while at < len(rdata) and rdata[at]:
        at += 1 + rdata[at]
    at += 1
    while at + 4 <= len(rdata):
        key, size = int.from_bytes(rdata[at : at + 2], "big"), int.from_bytes(rdata[at + 2 : at + 4], "big")
        at += 4
        width = _HINTS.get(key)
        if width:
            value = rdata[at : at + size]
            yield from (value[i : i + width] for i in range(0, len(value) - width + 1, width))
        at += size
