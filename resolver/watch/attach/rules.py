"""The redirect inside a container's network namespace: one nftables table of our own per family. Pure.

What goes to a nameserver of the container's resolv.conf is led to a socket of ours while that nameserver is
in the set ``live``, whose elements run out. Whoever stops renewing them, in whatever way, has let go.

Datagrams are rewritten without connection tracking, which would hold a client that keeps its socket on a dead
port for as long as it goes on asking: the set decides for each packet. Each nameserver has a port of its own,
so that a reply can be given the address its question was sent to. A TCP connection is short and belongs to
whoever took it, so there the ordinary translation is right.

Our own questions to a server inside the namespace carry a mark, and pass.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TABLE: Final = "resolver_attached"
SET: Final = "live"
MARK: Final = 0x7265736F
"""On our own questions (SO_MARK): they are not led back to us."""
DNS_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class Redirect:
    """One nameserver of the container, and where we answer in its place."""

    nameserver: str
    local: str
    udp: int
    tcp: int

    @property
    def family(self) -> str:
        """nft's word for it."""
        return "ip6" if ":" in self.nameserver else "ip"

    @property
    def packed(self) -> bytes:
        return ip_address(self.nameserver).packed


def local_address(nameserver: str) -> str:
    """Where we bind for questions to this nameserver: at a loopback address itself, so that a datagram needs
    no other way; else at the usual one."""
    address = ip_address(nameserver)
    if address.is_loopback:
        return nameserver
    return "127.0.0.1" if address.version == 4 else "::1"


def table(redirects: Sequence[Redirect]) -> str:
    """nft commands: our table, where there is none. Its set is empty: nothing is taken yet."""
    return "".join(_table(family, chosen) for family, chosen in _families(redirects))


def removal() -> str:
    """nft commands that leave nothing behind. Naming a table before deleting it makes the deletion right
    whether or not there was one. Whatever is done next waits, 8 to 20 ms, for every processor to be done with
    what was deleted."""
    return "".join(f"table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in ("ip", "ip6"))


def listing() -> tuple[str, ...]:
    """nft commands that print what is live; each fails where there is no such table."""
    return tuple(f"list set {family} {TABLE} {SET}" for family in ("ip", "ip6"))


def _table(family: str, redirects: Sequence[Redirect]) -> str:
    kind = "ipv4_addr" if family == "ip" else "ipv6_addr"
    there = "".join(_datagrams_there(r) for r in redirects)
    back = "".join(_datagrams_back(r) for r in redirects)
    connections = "".join(_connections(r) for r in redirects)
    return (
        f"table {family} {TABLE} {{\n"
        f"  set {SET} {{ type {kind}; flags timeout; }}\n"
        # -300 is before connection tracking. A chain of type route finds the way anew for an address that
        # was changed.
        f"  chain there {{ type route hook output priority -300;\n"
        f"    meta mark {MARK} return\n{there}  }}\n"
        f"  chain back {{ type filter hook output priority -300;\n{back}  }}\n"
        # -101 is before Docker's own rules at -100.
        f"  chain connections {{ type nat hook output priority -101;\n"
        f"    meta mark {MARK} return\n{connections}  }}\n"
        "}\n"
    )


def _datagrams_there(r: Redirect) -> str:
    moved = "" if r.local == r.nameserver else f"{r.family} daddr set {r.local} "
    return (
        f"    {r.family} daddr {r.nameserver} {r.family} daddr @{SET} udp dport {DNS_PORT} "
        f"notrack {moved}udp dport set {r.udp}\n"
    )


def _datagrams_back(r: Redirect) -> str:
    moved = "" if r.local == r.nameserver else f"{r.family} saddr set {r.nameserver} "
    return f"    {r.family} saddr {r.local} udp sport {r.udp} notrack {moved}udp sport set {DNS_PORT}\n"


def _connections(r: Redirect) -> str:
    to = f"[{r.local}]:{r.tcp}" if r.family == "ip6" else f"{r.local}:{r.tcp}"
    return f"    {r.family} daddr {r.nameserver} {r.family} daddr @{SET} tcp dport {DNS_PORT} dnat to {to}\n"


def _families(redirects: Sequence[Redirect]) -> Iterator[tuple[str, list[Redirect]]]:
    for family in ("ip", "ip6"):
        if chosen := [r for r in redirects if r.family == family]:
            yield family, chosen


# Netlink (linux/netfilter/nfnetlink.h, nf_tables.h): a renewal is one datagram to the kernel, the same octets
# each time.

_NEW_ELEMENT, _DELETE_ELEMENT = 0x0A0C, 0x0A0E
_GET_TABLE, _DELETE_TABLE = 0x0A01, 0x0A02
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_REQUEST, _CREATE = 0x1, 0x400
_NESTED = 0x8000
_AF = {"ip": 2, "ip6": 10}
_ERROR: Final = 2


def renewal(redirects: Sequence[Redirect], life: float) -> bytes:
    """One netlink transaction: every nameserver is live for ``life`` seconds from now.

    An element that is there keeps its old time, so it is taken out and put in again; put in first, because
    what has just run out cannot be taken out.
    """
    messages = []
    for family, chosen in _families(redirects):
        with_life = _elements(family, [(r.packed, life) for r in chosen])
        without = _elements(family, [(r.packed, 0.0) for r in chosen])
        messages += [
            _message(_NEW_ELEMENT, _REQUEST | _CREATE, with_life),
            _message(_DELETE_ELEMENT, _REQUEST, without),
            _message(_NEW_ELEMENT, _REQUEST | _CREATE, with_life),
        ]
    return _batch(messages)


def release(redirects: Sequence[Redirect]) -> bytes:
    """One netlink transaction: nothing is live any more; replies still find their way."""
    messages = []
    for family, chosen in _families(redirects):
        body = _elements(family, [(r.packed, 0.0) for r in chosen])
        messages += [
            _message(_NEW_ELEMENT, _REQUEST | _CREATE, body),
            _message(_DELETE_ELEMENT, _REQUEST, body),
        ]
    return _batch(messages)


def deletions(redirects: Sequence[Redirect]) -> list[bytes]:
    """One netlink transaction for each of our tables: it is no more."""
    name = _attribute(1, TABLE.encode() + b"\0")
    return [
        _batch([_message(_DELETE_TABLE, _REQUEST, struct.pack("=BBH", _AF[family], 0, 0) + name)])
        for family, _ in _families(redirects)
    ]


def questions() -> list[bytes]:
    """One netlink message for each of our tables: is it there? An error says that it is not."""
    name = _attribute(1, TABLE.encode() + b"\0")
    return [_message(_GET_TABLE, _REQUEST, struct.pack("=BBH", af, 0, 0) + name) for af in _AF.values()]


def errors(octets: bytes) -> list[int]:
    """The error numbers in what the kernel replied to a transaction; none of them is success."""
    found, at = [], 0
    while at + 20 <= len(octets):
        length, kind = struct.unpack_from("=IH", octets, at)
        if kind == _ERROR and (number := -struct.unpack_from("=i", octets, at + 16)[0]):
            found.append(number)
        at += max(16, (length + 3) & ~3)
    return found


def _batch(messages: Iterable[bytes]) -> bytes:
    """Begin and end carry the subsystem (10: nf_tables) in network order in their last two octets."""
    edge = struct.pack("=BBH", 0, 0, 0x0A00)
    return b"".join((_message(_BATCH_BEGIN, _REQUEST, edge), *messages, _message(_BATCH_END, _REQUEST, edge)))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def _elements(family: str, elements: Iterable[tuple[bytes, float]]) -> bytes:
    """The body of a set-element message: table, set, and each key with its time-out in milliseconds."""
    listed = b""
    for key, life in elements:
        element = _attribute(1 | _NESTED, _attribute(1, key))
        if life:
            element += _attribute(4, struct.pack(">Q", round(life * 1000)))
        listed += _attribute(1 | _NESTED, element)
    return (
        struct.pack("=BBH", _AF[family], 0, 0)
        + _attribute(1, TABLE.encode() + b"\0")
        + _attribute(2, SET.encode() + b"\0")
        + _attribute(3 | _NESTED, listed)
    )


def _attribute(kind: int, body: bytes) -> bytes:
    padding = b"\0" * (-len(body) % 4)
    return struct.pack("=HH", 4 + len(body), kind) + body + padding
