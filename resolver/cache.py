"""Replies of upstreams, remembered (interface; being built). Pure: ``now`` is an argument, in seconds."""

from __future__ import annotations

from resolver.wire.reply import ReplyShape

Key = tuple[tuple[str, ...], bytes, int]
"""(server list, comparable question, query flags & 0x0130 (RD, AD, CD) | DO)."""


def key_of(servers: tuple[str, ...], question: bytes, flags: int, do: bool) -> Key:
    """The key of a question: ``flags`` is the second word of the query's header."""
    raise NotImplementedError


class Entry:
    """One remembered reply. A loop that holds it may serve ``packed(now)`` without asking the cache again."""

    __slots__ = ("expires",)

    expires: float
    """From this moment ``packed`` must not be called: ask the cache again."""

    def packed(self, now: float) -> bytes:
        """The reply as of this second: ID 0, no OPT, AA clear, TTLs counted down; re-made when the second changes.

        Give it to ``wire.reply.dressed`` with the asker's ID, question and OPT.
        """
        raise NotImplementedError

    def refresh_due(self, now: float) -> bool:
        """True once, in the last tenth of the life of an entry in use: ask upstream again, in the background."""
        raise NotImplementedError


class Cache:
    """The replies, bounded in bytes."""

    def __init__(self, max_bytes: int = 16 << 20) -> None:
        raise NotImplementedError

    def get(self, key: Key, now: float) -> Entry | None:
        """What may be served now; None: ask upstream."""
        raise NotImplementedError

    def put(self, key: Key, shape: ReplyShape, now: float) -> Entry | None:
        """Remember a reply; None when it is not one to remember."""
        raise NotImplementedError

    def fail(self, key: Key, now: float) -> Entry | None:
        """No upstream answered: what is served instead, a stale reply (RFC 8767) or None.

        None is remembered too: for a moment ``failed(key, now)`` is true (RFC 9520).
        """
        raise NotImplementedError

    def failed(self, key: Key, now: float) -> bool:
        """Whether this question failed a moment ago: answer SERVFAIL without asking again."""
        raise NotImplementedError

    def clear(self) -> tuple[int, int]:
        """Empty it: how many entries and bytes there were."""
        raise NotImplementedError
