"""What must hold for any octets from outside: from a client, from an upstream, through the door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import dns.exception
import dns.message

from resolver.names.changes import BadChange, read, write
from resolver.names.keys import MAX_KEY
from resolver.wire.query import (
    MIN_UDP_SIZE,
    REFUSED,
    Refused,
    read_query,
    udp_limit,
    write_addresses,
    write_reply,
)
from resolver.wire.reply import HEADER_SIZE, aged, fitted, read_reply, without_opt

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESSES: Final = tuple(bytes((10, 1, 0, host)) for host in range(100))


def query(packet: bytes) -> None:
    """A client's packet: every reply to it can be read by another library, and none is too long.

    Who is refused gets no more octets than were sent: nothing is amplified for strangers.
    """
    try:
        asked = read_query(packet)
    except Refused as refused:
        refusal(packet, refused.reply)
        return
    assert len(asked.key) <= MAX_KEY
    refusal(packet, write_reply(asked, REFUSED))
    limit = udp_limit(asked)
    reply = asked.id + write_addresses(asked, ADDRESSES, 600, limit).next()
    dns.message.from_wire(reply)
    assert limit >= MIN_UDP_SIZE
    assert len(reply) <= limit


def refusal(packet: bytes, said: bytes | None) -> None:
    """What is said to who gets no answer."""
    if said is None:
        assert len(packet) < HEADER_SIZE or packet[2] & 0x80
        return
    dns.message.from_wire(said)
    assert said[:2] == packet[:2]
    assert len(said) <= len(packet)


def reply(packet: bytes) -> None:
    """An upstream's packet: refused, or fit to be cut, aged and passed on."""
    shape = read_reply(packet)
    if shape is None:
        return
    assert packet.startswith(shape.packet[:4])
    assert all(HEADER_SIZE < offset <= len(shape.packet) - 6 for offset in shape.ttls)
    for limit in (MIN_UDP_SIZE, 1232):
        cut = fitted(shape.packet, limit)
        assert len(cut) <= max(limit, shape.question_end)
        assert read_reply(cut) is not None
    older = aged(shape.packet, shape.ttls, 7)
    changed = {at for at, (old, new) in enumerate(zip(shape.packet, older, strict=True)) if old != new}
    assert changed <= {offset + octet for offset in shape.ttls for octet in range(4)}
    bare = without_opt(shape) if shape.lifetime else None  # as the cache does: others are not kept
    assert bare is None or read_reply(bare.packet) is not None


def change(line: bytes) -> None:
    """A line of the door: no change, or one that is the same when it is written and read again."""
    try:
        said = read(line)
    except BadChange:
        return
    assert read(write(said)) == said


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"query": query, "reply": reply, "change": change}
