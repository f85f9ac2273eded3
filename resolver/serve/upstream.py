"""Asking upstream servers (interface; being built)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from resolver.wire.reply import ReplyShape

Policy = Literal["ordered", "sequential", "fastest"]
Done = Callable[[ReplyShape | None], None]
"""Called exactly once per accepted question: the reply (``shape.packet``; its ID is ours, overwrite it), or None."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is in flight."""

    total: int = 8192
    per_client: int = 256


class Upstreams:
    """All exchanges with all upstream servers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        policy: Policy = "ordered",
        limits: Limits = Limits(),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        raise NotImplementedError

    def ask(self, query: bytes, question: bytes, servers: tuple[str, ...], client: Hashable, done: Done) -> bool:
        """Ask ``servers`` (``ADDR:PORT`` or ``ADDR:PORT/TCPPORT``, IPv6 in brackets) in the client's own words.

        False: over a bound, nothing was done and ``done`` is never called. True: ``done`` is called once, within
        4.5 seconds, possibly before this returns.
        """
        raise NotImplementedError

    def forget(self) -> None:
        """The list of upstreams changed: drop what is known of servers; exchanges under way are finished."""
        raise NotImplementedError

    def status(self) -> dict[str, object]:
        """Counters, and per server its round trip and state."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every socket; whoever waits gets None."""
        raise NotImplementedError
