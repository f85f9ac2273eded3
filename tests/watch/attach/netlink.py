"""A reader of nf_tables transactions as linux/netlink.h and linux/netfilter/nf_tables.h lay them out."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = {
    (10 << 8) | 12: "new element",
    (10 << 8) | 14: "delete element",
    (10 << 8) | 2: "delete table",
}
FAMILIES = {2: "ip", 10: "ip6"}
SAME_OR_NEW, REQUEST = 0x400, 0x1


@dataclass(frozen=True)
class Message:
    """One message between begin and end; elements are (key, milliseconds)."""

    word: str
    flags: int
    family: str
    table: str
    set: str = ""
    elements: tuple[tuple[bytes, int], ...] = ()


def read_batch(octets: bytes) -> list[Message]:
    """The messages of exactly one transaction."""
    parts = list(_messages(octets))
    (first, *_, first_body), *inner, (last, *_, last_body) = parts
    assert (first, last) == (16, 17), "NFNL_MSG_BATCH_BEGIN and _END"
    for body in (first_body, last_body):
        assert struct.unpack("=BB", body[:2]) + struct.unpack(">H", body[2:4]) == (0, 0, 10)
    return [_message(*part) for part in inner]


def _messages(octets: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(octets):
        length, kind, flags, _, _ = struct.unpack_from("=IHHII", octets, at)
        assert 20 <= length <= len(octets) - at
        assert length % 4 == 0
        yield kind, flags, octets[at + 16 : at + length]
        at += length


def _message(kind: int, flags: int, body: bytes) -> Message:
    family, version, resource = struct.unpack("=BBH", body[:4])
    assert (version, resource) == (0, 0)
    told = dict(_attributes(body[4:]))
    elements = []
    for number, (nested, listed) in enumerate(_attributes(told.get(3, (True, b""))[1])):
        assert told[3][0], "NFTA_SET_ELEM_LIST_ELEMENTS is nested"
        assert (nested, number) == (1, number)
        element = dict(_attributes(listed[1]))
        assert element[1][0], "NFTA_SET_ELEM_KEY is nested"
        ((kind_of_value, (_, key)),) = _attributes(element[1][1])
        assert kind_of_value == 1
        (life,) = struct.unpack(">Q", element[4][1]) if 4 in element else (0,)
        elements.append((key, life))
    return Message(
        WORDS[kind], flags, FAMILIES[family], _string(told[1][1]), _string(told[2][1]) if 2 in told else "",
        tuple(elements),
    )  # fmt: skip


def _attributes(octets: bytes) -> Iterator[tuple[int, tuple[bool, bytes]]]:
    """Kind → (nested, value)."""
    at = 0
    while at < len(octets):
        length, kind = struct.unpack_from("=HH", octets, at)
        assert 4 <= length <= len(octets) - at
        yield kind & 0x3FFF, (bool(kind & 0x8000), octets[at + 4 : at + length])
        at += (length + 3) & ~3
    assert at == len(octets), "padded to four octets"


def _string(octets: bytes) -> str:
    assert octets.endswith(b"\0")
    return octets[:-1].decode()
