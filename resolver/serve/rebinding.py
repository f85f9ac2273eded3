"""``--block-private-answers``: an upstream's reply that leads into a network behind us is not passed on.

DNS rebinding: a page's own name is answered with an address inside, and what loaded the page reaches there as
that page. Each reply is looked at once, when it comes; one that leads inside becomes NODATA with the extended
error «Blocked» (RFC 8914 section 4.16), as dnsmasq does it. REFUSED would send the C library to its next
server, and that one might tell.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from resolver.names.answer import servers_for
from resolver.names.keys import text_of
from resolver.wire.addresses import addresses_in
from resolver.wire.query import write_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver import cache
    from resolver.names.table import Table
    from resolver.wire.query import Query
    from resolver.wire.reply import ReplyShape

KEPT: Final = 30.0
"""Seconds for which a question that was blocked is not asked again; its TTL if that is shorter."""
MOST: Final = 2048
"""Questions of which that is remembered."""
BLOCKED: Final = 15
"""Extended DNS error «Blocked» (RFC 8914)."""

INSIDE: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
    )
)
"""This host, RFC 1918, shared address space (RFC 6598), link-local, unique local (RFC 4193) and its
forerunner."""
_EMBEDDING: Final = (bytes(12), bytes(10) + b"\xff\xff", b"\0\x64\xff\x9b" + bytes(8))
"""What stands before an IPv4 address in IPv6: compatible, mapped (RFC 4291), NAT64 (RFC 6052)."""
_SIX_TO_FOUR: Final = b"\x20\x02"
"""RFC 3056: 2002::/16, the IPv4 address right behind."""

log = logging.getLogger(__name__)


class Rebinding:
    """Looks at replies; does nothing while the policy does not ask for it."""

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table, self._now = table, now
        self._until: dict[cache.Key, float] = {}
        self.blocked = 0
        """Replies that were not passed on."""

    @property
    def on(self) -> bool:
        """Whether replies are looked at."""
        return self._table.policy.block_private_answers

    def known(self, key: cache.Key) -> bool:
        """Whether the answer to this question was blocked a moment ago."""
        until = self._until.get(key)
        if until is None:
            return False
        if self._now() < until:
            return True
        del self._until[key]
        return False

    def blocks(self, shape: ReplyShape, query: Query, key: cache.Key) -> bool:
        """Whether this reply leads inside. Names below a ``--forward`` domain may: they were sent there."""
        found = next((a for a in addresses_in(shape) if self._inside(a)), None)
        if found is None or servers_for(query.key, self._table.policy):
            return False
        self.blocked += 1
        if len(self._until) >= MOST:
            self._until.clear()
        self._until[key] = self._now() + min(shape.lifetime, KEPT)
        told = {"question": text_of(query.key), "address": str(ip_address(found))}
        log.warning("an upstream's answer that leads inside was blocked", extra=told)
        return True

    def forget(self) -> None:
        """Ask anew."""
        self._until.clear()

    def _inside(self, address: bytes) -> bool:
        return leads_inside(address) or self._table.network_around(address) is not None


def leads_inside(address: bytes) -> bool:
    """Whether a packed address is of this host, or of a network that is not the Internet's."""
    if len(address) == 16:
        if address[:2] == _SIX_TO_FOUR:
            return leads_inside(address[2:6])
        if address[:12] in _EMBEDDING:
            return leads_inside(address[12:])
    there = ip_address(address)
    return any(there in network for network in INSIDE)


def blocked_reply(query: Query) -> bytes:
    """NODATA, and why where the question had EDNS."""
    reply = write_reply(query, 0)
    if not query.edns:
        return reply
    return reply[:-2] + b"\0\x06" + b"\0\x0f\0\2" + BLOCKED.to_bytes(2, "big")
