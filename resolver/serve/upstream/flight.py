"""A question on its way to upstream servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resolver.wire.reply import ReplyShape

if TYPE_CHECKING:
    from collections.abc import Hashable

    from resolver.serve.upstream.server import Server
    from resolver.serve.upstream.tcp import TcpExchange
    from resolver.serve.upstream.udp import UdpExchange
    from resolver.serve.upstream.wheel import Slot

Done = Callable[[ReplyShape | None], None]
"""Called exactly once per question taken: with the reply (its ID is ours: replace it), or with None when
no server had one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many questions may wait at a time; whoever asks above that is told so at once."""

    total: int = 8192
    per_client: int = 1024
    """As many as the engine's own resolver allows a container."""


LIMITS: Final = Limits()


class Flight:
    """One question on its way, and who waits for it."""

    __slots__ = (
        "again",
        "body",
        "cut_off",
        "deadline",
        "failed",
        "key",
        "order",
        "over",
        "question",
        "slot",
        "step",
        "tries",
        "truncated",
        "waiters",
    )

    def __init__(
        self,
        key: object,
        body: bytes,
        question: bytes,
        order: tuple[Server, ...],
        deadline: float,
        waiters: list[tuple[Hashable, Done]],
    ) -> None:
        self.key = key
        """Equal for questions that one reply serves; None for a probe, for which nobody waits."""
        self.body = body
        """The client's packet without its ID."""
        self.question = question
        self.order = order
        self.deadline = deadline
        self.waiters = waiters
        self.tries: list[tuple[UdpExchange | TcpExchange, bytes, float]] = []
        """Where, with which ID and when it was asked, for each reply that has not come yet."""
        self.step = 0
        self.failed: tuple[Server, ...] = ()
        """Servers that said they cannot answer: not asked again."""
        self.truncated: ReplyShape | None = None
        """Passed on when TCP fails."""
        self.again = False
        """It was asked once more because its connection had been closed or its socket's address was gone."""
        self.cut_off = False
        """There was no way to a server, or no socket, inside a container."""
        self.over = False
        self.slot: Slot | None = None

    def drop(self) -> None:
        """Wait for none of its replies any more."""
        for exchange, ident, _ in self.tries:
            exchange.drop(ident)
        self.tries.clear()

    def take(self, exchange: UdpExchange | TcpExchange, ident: bytes) -> float:
        """End one try; when it was sent."""
        exchange.drop(ident)
        if len(self.tries) == 1:
            return self.tries.pop()[2]
        for i, (asked, its, sent) in enumerate(self.tries):
            if asked is exchange and its == ident:
                del self.tries[i]
                return sent
        return 0.0
