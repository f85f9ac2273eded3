"""What is known of one upstream server: its addresses, how fast it answers, whether it does at all."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resolver.serve.upstream.tcp import TcpExchange
    from resolver.serve.upstream.udp import UdpExchange

FAILURES_TO_DOWN = 3
"""So many questions in a row unanswered, and others are preferred."""
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 30.0
POOL = 4
"""UDP sockets in use at a time for one server."""
LEAST_PATIENCE = 0.4
MOST_PATIENCE = 1.0
FIRST_GUESS = 0.2
"""Seconds a server is thought to take before it has answered once."""

_PERCENTILE = 0.95
_STEP = 0.1

Address = tuple[Any, ...]
Inside = Callable[[str, socket.SocketKind], socket.socket]
"""Gives a socket in the network namespace of an attached container; raises OSError."""


class Server:
    """One upstream server and its health."""

    __slots__ = (
        "_open_inside",
        "backoff",
        "down",
        "failures",
        "family",
        "forgotten",
        "inside",
        "measured",
        "p95",
        "patience",
        "replies",
        "retry_at",
        "sockets",
        "spec",
        "srtt",
        "tcp",
        "tcp_address",
        "timeouts",
        "udp_address",
    )

    def __init__(self, spec: str, inside: Inside | None = None) -> None:
        self.spec, self._open_inside = spec, inside
        address, _, self.inside = spec.partition("@")
        """The attached container from whose network namespace it is asked; empty for ours."""
        self.family, self.udp_address, self.tcp_address = addresses_of(address)
        self.sockets: list[UdpExchange | None] = [None] * POOL
        """In use; one that was retired is in nobody's list any more."""
        self.tcp: TcpExchange | None = None
        self.forgotten = False
        self.srtt = FIRST_GUESS
        """Smoothed round trip (RFC 6298 section 2)."""
        self.p95 = FIRST_GUESS
        """Time within which 95 of 100 replies come: estimated in steps, those up 19 times those down."""
        self.patience = LEAST_PATIENCE
        """Seconds after which another server is asked as well: twice ``p95``, within bounds."""
        self.measured = 0.0
        """When a reply came last; 0 for never."""
        self.failures = 0
        self.down = False
        self.backoff = FIRST_BACKOFF
        self.retry_at = 0.0
        """When a server that is down is tried again."""
        self.replies = 0
        self.timeouts = 0

    def socket(self, kind: socket.SocketKind) -> socket.socket:
        """A socket to ask it with, not connected yet. Raises OSError."""
        if not self.inside:
            return socket.socket(self.family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if self._open_inside is None:
            raise OSError(errno.ENETDOWN, "no container is attached")
        if self.family != socket.AF_INET:
            raise OSError(errno.EAFNOSUPPORT, "the sockets of its namespace are for IPv4")
        return self._open_inside(self.inside, kind)

    def replied(self, took: float, now: float) -> bool:
        """A reply came; whether the server's state changed."""
        self.replies += 1
        self.failures = 0
        if not self.measured:
            self.srtt, self.p95 = took, 2 * took
        self.measured = now
        self.srtt += (took - self.srtt) / 8
        step = self.srtt * _STEP
        self.p95 += step * _PERCENTILE if took > self.p95 else step * (_PERCENTILE - 1)
        self.patience = min(MOST_PATIENCE, max(LEAST_PATIENCE, 2 * self.p95))
        if not self.down:
            return False
        self.down = False
        self.backoff = FIRST_BACKOFF
        return True

    def failed(self, now: float, *, surely: bool) -> bool:
        """No reply in time, or (``surely``) word that there will be none; whether its state changed."""
        self.failures += 1
        if self.down or not (surely or self.failures >= FAILURES_TO_DOWN):
            return False
        self.down = True
        self.retry_at = now + self.backoff
        return True

    def probed(self, now: float) -> None:
        """It is being tried once more; the next time is later."""
        self.backoff = min(LONGEST_BACKOFF, self.backoff * 2)
        self.retry_at = now + self.backoff

    def forget(self) -> None:
        """It is in no list any more."""
        self.forgotten = True
        self.renew()

    def renew(self) -> None:
        """The next question opens another socket."""
        for exchange in self.sockets:
            if exchange is not None:
                exchange.retire()
        self.sockets = [None] * POOL

    def status(self) -> dict[str, object]:
        """For people: state, round trip in milliseconds, counts."""
        return {
            "state": "down" if self.down else "up" if self.measured else "unknown",
            "rtt_ms": round(self.srtt * 1000, 3) if self.measured else None,
            "p95_ms": round(self.p95 * 1000, 3) if self.measured else None,
            "replies": self.replies,
            "timeouts": self.timeouts,
        }


def addresses_of(spec: str) -> tuple[socket.AddressFamily, Address, Address]:
    """Family, UDP and TCP socket address of ``ADDR:PORT`` or ``ADDR:UDPPORT/TCPPORT``, IPv6 in brackets.

    Raises ValueError for anything else, also for a zone (``fe80::1%eth0``) whose interface does not exist
    now.
    """
    host, _, ports = spec.rpartition(":")
    udp_port, _, tcp_port = ports.partition("/")
    family, udp_address = _address(spec, host.strip("[]"), udp_port)
    return family, udp_address, _address(spec, host.strip("[]"), tcp_port or udp_port)[1]


def _address(spec: str, host: str, port: str) -> tuple[socket.AddressFamily, Address]:
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{spec!r} is not ADDR:PORT")
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        # As octets: text goes through Python's idna codec, which may not be importable any more once root is
        # dropped.
        found = socket.getaddrinfo(host.encode(), int(port), type=socket.SOCK_DGRAM, flags=flags)[0]
    except OSError as error:
        raise ValueError(f"{spec!r}: {error}") from None
    return found[0], found[4]
