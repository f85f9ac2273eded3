"""Names as they are compared: the wire form, lower-cased, without the root label.

``es.dev`` is ``b"\\x02es\\x03dev"``. With labels kept apart by their lengths, a label that holds a dot can
never be taken for two labels, and cutting a name at a label boundary is slicing.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

_LABEL = re.compile(r"[!#$%&*+,/0-9:<=>?A-Z\[\]^_`a-z{|}~-]{1,63}\Z")
"""What the engine compares unescaped: printable ASCII but for blanks, quotes, brackets, ``;``, ``@`` and
``\\``."""

LOCALHOST = b"\x09localhost"
IN_ADDR_ARPA = b"\x07in-addr\x04arpa"
IP6_ARPA = b"\x03ip6\x04arpa"
MAX_KEY = 254
"""A name has at most 255 octets on the wire, the root's included (RFC 1035 section 3.1)."""


def key_of(name: str) -> bytes | None:
    """The key of a name as people write it, or None where no question can carry it.

    A trailing dot is not stripped: the engine takes it for part of the name, which then never matches.
    """
    labels = name.split(".")
    if not all(_LABEL.match(label) for label in labels):
        return None
    key = b"".join(bytes((len(label),)) + label.lower().encode("ascii") for label in labels)
    return key if len(key) <= MAX_KEY else None


def text_of(key: bytes) -> str:
    """A key as people write it (RFC 1035 section 5.1 escapes); the root is a dot."""
    labels, at = [], 0
    while at < len(key):
        label = key[at + 1 : at + 1 + key[at]]
        at += 1 + key[at]
        labels.append("".join(_escape(octet) for octet in label))
    return ".".join(labels) or "."


def _escape(octet: int) -> str:
    if octet in b'."\\();@$':
        return "\\" + chr(octet)
    return chr(octet) if 0x21 <= octet <= 0x7E else f"\\{octet:03d}"


def cuts_of(key: bytes) -> list[int]:
    """Offsets at which the labels of a key begin, without the first: where it can be cut in two."""
    cuts, at, end = [], 1 + key[0] if key else 0, len(key)
    while at < end:
        cuts.append(at)
        at += 1 + key[at]
    return cuts


def reversed_address(key: bytes) -> bytes | None:
    """The address a reverse name stands for (RFC 1035 section 3.5, RFC 3596 section 2.5), packed.

    None for any other name, one with leading zeros, and a reverse zone that is not a whole address.
    """
    if key.endswith(IN_ADDR_ARPA):
        return _reversed_ipv4(key[: -len(IN_ADDR_ARPA)])
    if key.endswith(IP6_ARPA) and len(key) == 64 + len(IP6_ARPA):
        return _reversed_ipv6(key[: -len(IP6_ARPA)])
    return None


def _reversed_ipv4(key: bytes) -> bytes | None:
    octets, at = [], 0
    while at < len(key):
        label = key[at + 1 : at + 1 + key[at]]
        at += 1 + key[at]
        if not label.isdigit() or len(label) > 3 or (label[0] == 0x30 and len(label) > 1) or int(label) > 255:
            return None
        octets.append(int(label))
    return bytes(reversed(octets)) if len(octets) == 4 else None


def _reversed_ipv6(key: bytes) -> bytes | None:
    if key[0::2] != b"\x01" * 32:
        return None
    try:
        address = bytes.fromhex(key[1::2][::-1].decode("ascii"))
    except ValueError:
        return None
    return address if len(address) == 16 else None  # blanks are skipped


def reverse_name(address: bytes) -> str:
    """The reverse name of a packed address, without the final dot."""
    if len(address) == 4:
        return ".".join(str(octet) for octet in reversed(address)) + ".in-addr.arpa"
    return IPv6Address(address).reverse_pointer
