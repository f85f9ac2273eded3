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

import ctypes
import ctypes.util
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

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


_NEEDS_NET_ADMIN: Final = (
    "--take-over needs the capability NET_ADMIN in this network namespace; "
    "give it with --cap-add NET_ADMIN (Compose: cap_add: [NET_ADMIN])"
)
_CAP_NET_ADMIN: Final = 12


class TakeOverFailed(Exception):
    """The redirect could not be set; the text says what to do."""


class Rules(Protocol):
    """What runs nft commands."""

    def run(self, commands: str) -> None:
        """All of them or none. Raises TakeOverFailed."""


class Nftables:
    """libnftables, through ctypes: no program is started, and a renewal costs half a millisecond."""

    def __init__(self) -> None:
        """Raises TakeOverFailed without the library, or without the capability: the library would write a
        line of its own on stderr."""
        if not _has_net_admin():
            raise TakeOverFailed(_NEEDS_NET_ADMIN)
        try:
            self._library = ctypes.CDLL(ctypes.util.find_library("nftables") or "libnftables.so.1")
        except OSError:
            raise TakeOverFailed(
                "--take-over needs the library libnftables.so.1; install it "
                "(Debian, Ubuntu: libnftables1; Alpine: nftables)"
            ) from None
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        self._library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_buffer_error", "nft_ctx_buffer_output"):
            getattr(self._library, name).argtypes = [ctypes.c_void_p]
        self._library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise TakeOverFailed("--take-over: libnftables could not be started")
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, commands: str) -> None:
        """All of them or none. Raises TakeOverFailed."""
        if self._library.nft_run_cmd_from_buffer(self._context, commands.encode()) == 0:
            return
        said: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        why = said.decode(errors="replace").strip().partition("\n")[0].removeprefix("Error: ")
        if "not permitted" in why or "ermission denied" in why:
            raise TakeOverFailed(_NEEDS_NET_ADMIN)
        raise TakeOverFailed(f"--take-over: nftables refused: {why or 'no reason given'}")


def _has_net_admin() -> bool:
    """Whether this process has the capability; where that cannot be read, the library will tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return True


class TakeOver:
    """The redirect's life: prepare, renew, release, remove."""

    def __init__(self, rules: Rules, udp: int, tcp: int) -> None:
        """``udp`` and ``tcp`` are the ports our sockets have on 127.0.0.11."""
        self._rules, self._udp, self._tcp = rules, udp, tcp

    def prepare(self) -> None:
        """Put our table in place of whatever an earlier run left; it takes nothing over yet. Raises
        TakeOverFailed."""
        self._rules.run(_TABLE.format(udp=self._udp, tcp=self._tcp))

    def renew(self) -> None:
        """Receive for ``LIFE`` seconds from now; put the table back should somebody have removed it.

        Raises TakeOverFailed.
        """
        try:
            self._rules.run(_RENEW.format(life=LIFE))
        except TakeOverFailed:
            self.prepare()
            self._rules.run(_RENEW.format(life=LIFE))

    def release(self) -> None:
        """Take no new questions; replies to those taken still find their way."""
        with suppress(TakeOverFailed):
            self._rules.run(_RELEASE.format(life=LIFE))

    def remove(self) -> None:
        """Leave nothing behind."""
        with suppress(TakeOverFailed):
            self._rules.run(_REMOVE)
