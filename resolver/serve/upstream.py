"""Asking upstream servers: which one, how long to wait, when to ask the next.

Three policies:

``ordered`` (default)
    The list's order among servers that answer. People write lists in the order they mean, Docker's resolver and libc
    follow it, and in a list of unlike servers the fastest need not be the right one. A question that takes longer than
    95 of 100 do is also asked of the next server, and the first reply counts.
``sequential``
    The same without that overlap: each server has its share of the time for itself, for lists whose servers see
    different worlds (split horizon), where a second server's "no such name" must not overtake the first.
``fastest``
    The smallest smoothed round trip first; the others are measured now and then.

In all of them a server that left three questions unanswered, or of which ICMP says that nobody listens, comes last
until it answers a copy of some question, sent to it after a second, two, four … thirty.

A reply is taken when it comes from the server asked, with the ID and the question asked (RFC 5452 section 9.1); any
other is ignored while time remains. SERVFAIL, REFUSED and what cannot be read send us to the next server, every other
rcode is final, a truncated reply is fetched over TCP from the same server.

Nothing is made per question but the ``Flight``: no task, no future, no timer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resolver.serve.tcp_exchange import TcpExchange
from resolver.serve.udp_exchange import POOL, Idents, UdpExchange
from resolver.serve.upstream_server import Server
from resolver.serve.upstream_wheel import Slot, Wheel
from resolver.wire.reply import RCODE_REFUSED, RCODE_SERVFAIL, ReplyShape, read_reply

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

Policy = Literal["ordered", "sequential", "fastest"]
"""See the head of this module."""

DEADLINE = 4.5
"""Seconds for all tries together: libc stops listening after five."""
LEAST_PATIENCE = 0.4
MOST_PATIENCE = 1.0
TCP_PATIENCE = 2.0
REVIEW = 1.0
"""Seconds between two looks at the order of a list of servers."""
REMEASURE = 10.0
"""Seconds after which ``fastest`` asks a slower server again how fast it is."""
MOST_ROUTES = 256
"""Lists of servers remembered; there is one for all containers and one per different ``--dns``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many questions may wait at a time; whoever asks above that is told so at once."""

    total: int = 8192
    per_client: int = 256


class Route:
    """A list of servers, and the order in which they are asked just now."""

    __slots__ = ("order", "review_at", "servers", "version")

    def __init__(self, servers: tuple[Server, ...]) -> None:
        self.servers = servers
        self.order = servers
        self.review_at = 0.0
        self.version = -1


class Flight:
    """One question on its way, and who waits for it."""

    __slots__ = ("again", "body", "deadline", "failed", "key", "order", "over", "question", "slot", "step", "tries", "truncated", "waiters")

    def __init__(self, key: object, body: bytes, question: bytes, order: tuple[Server, ...], deadline: float) -> None:
        self.key = key
        self.body = body
        """The client's packet without its ID."""
        self.question = question
        self.order = order
        self.deadline = deadline
        self.waiters: list[tuple[Hashable, Done]] = []
        self.tries: list[tuple[UdpExchange | TcpExchange, bytes, float]] = []
        """Where, with which ID and when it was asked and no reply has come yet."""
        self.step = 0
        self.failed: tuple[Server, ...] = ()
        """Servers that said they cannot answer: not asked again."""
        self.truncated: ReplyShape | None = None
        """What is passed on when TCP fails."""
        self.again = False
        """It was asked once more after its connection had been closed."""
        self.over = False
        self.slot: Slot = {}


Done = "Callable[[ReplyShape | None], None]"
