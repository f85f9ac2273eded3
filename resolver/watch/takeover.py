"""``--take-over``: receive what goes to 127.0.0.11:53 in this network namespace, and let it go when we end,
however we end.

Docker redirects that address by rules of its own. Ours stand in a table of our own before them, and match
only while the address is in a set whose element runs out after 6 s; we renew it every 2 s. A resolver that is
killed renews nothing, and Docker's own answers again. No rule and no table that is not ours is touched.

Datagrams are led to our port without connection tracking, which would hold a client that keeps its socket on
a dead port for as long as it goes on asking: the set decides for each packet. Tried with such a client: ours
from the first packet after the start, Docker's again as soon as the element had run out. A TCP connection is
short and belongs to whoever took it, so there the ordinary translation is right.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Protocol, Self

from resolver.watch.nftables import NetAdminMissing, Nftables, NftablesError

LIFE: Final = 6
"""Seconds the redirect lives when it is not renewed."""
RENEWAL: Final = 2.0
"""Seconds between renewals."""

_TABLE: Final = """
table ip resolver
delete table ip resolver
table ip resolver {{
    set live {{ type ipv4_addr; flags timeout; }}
    chain datagrams {{
        type filter hook output priority -300;
        ip daddr @live udp dport 53 notrack udp dport set {udp}
        ip saddr 127.0.0.11 udp sport {udp} notrack udp sport set 53
    }}
    chain connections {{
        type nat hook output priority -101;
        ip daddr @live tcp dport 53 dnat to 127.0.0.11:{tcp}
    }}
}}
"""
"""-300 is before connection tracking, -101 before Docker's own rules at -100. Naming a table before deleting
it makes the deletion right whether or not an earlier run left one. The set is empty: nothing is taken over
yet."""

_RENEW: Final = """
add element ip resolver live {{ 127.0.0.11 timeout {life}s }}
delete element ip resolver live {{ 127.0.0.11 }}
add element ip resolver live {{ 127.0.0.11 timeout {life}s }}
"""
"""One transaction. The first line makes the second right when the element has just run out."""

_RELEASE: Final = """
add element ip resolver live {{ 127.0.0.11 timeout {life}s }}
delete element ip resolver live {{ 127.0.0.11 }}
"""

_REMOVE: Final = """
table ip resolver
delete table ip resolver
"""


class TakeOverFailed(Exception):
    """The redirect could not be set; the text says what to do."""


class Rules(Protocol):
    """What runs nft commands."""

    def run(self, commands: str) -> str:
        """All of them or none; what they print. Raises NftablesError."""


class TakeOver:
    """The redirect's life: prepare, renew, release, remove."""

    def __init__(self, rules: Rules, udp: int, tcp: int) -> None:
        """``udp`` and ``tcp`` are the ports our sockets have on 127.0.0.11."""
        self._rules, self._udp, self._tcp = rules, udp, tcp

    @classmethod
    def begun(cls, udp: int, tcp: int) -> Self:
        """With our table in place. Raises TakeOverFailed without the library, or without the capability."""
        try:
            rules = Nftables()
        except NftablesError as error:
            raise _failed(error) from None
        take_over = cls(rules, udp, tcp)
        take_over.prepare()
        return take_over

    def prepare(self) -> None:
        """Put our table in place of whatever an earlier run left; it takes nothing over yet. Raises
        TakeOverFailed."""
        self._run(_TABLE.format(udp=self._udp, tcp=self._tcp))

    def renew(self) -> None:
        """Receive for ``LIFE`` seconds from now; put the table back should somebody have removed it.

        Raises TakeOverFailed.
        """
        try:
            self._run(_RENEW.format(life=LIFE))
        except TakeOverFailed:
            self.prepare()
            self._run(_RENEW.format(life=LIFE))

    def release(self) -> None:
        """Take no new questions; replies to those taken still find their way."""
        with suppress(TakeOverFailed):
            self._run(_RELEASE.format(life=LIFE))

    def remove(self) -> None:
        """Leave nothing behind."""
        with suppress(TakeOverFailed):
            self._run(_REMOVE)

    def _run(self, commands: str) -> None:
        try:
            self._rules.run(commands)
        except NftablesError as error:
            raise _failed(error) from None


def _failed(error: NftablesError) -> TakeOverFailed:
    advice = "; give it with --cap-add NET_ADMIN (Compose: cap_add: [NET_ADMIN])"
    return TakeOverFailed(f"--take-over: {error}{advice if isinstance(error, NetAdminMissing) else ''}")
