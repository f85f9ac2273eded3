"""Questions that are not ours: from the cache, else from an upstream; stale when all fail, SERVFAIL at the
very end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from resolver import cache
from resolver.serve.rebinding import blocked_reply
from resolver.wire.query import REFUSED, TCP_SIZE, Query, opt_record, udp_limit, write_reply
from resolver.wire.reply import ReplyShape, dressed, fitted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from resolver.cache import Cache, Entry
    from resolver.serve.memory import Memory
    from resolver.serve.rebinding import Rebinding
    from resolver.serve.udp import Client
    from resolver.serve.upstream.upstreams import Upstreams

SERVFAIL: Final = 2

log = logging.getLogger(__name__)


class Forwarder:
    """Forwards, and remembers what came back."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        upstreams: Upstreams,
        replies: Cache,
        memory: Memory,
        rebinding: Rebinding | None = None,
    ) -> None:
        """``rebinding`` looks at what comes from upstream; without it nothing is looked at."""
        self._now = loop.time
        self._rebinding = rebinding
        self._upstreams, self._cache, self._memory = upstreams, replies, memory
        self.counts = {"cached": 0, "stale": 0, "failed": 0, "over_limit": 0, "refreshed": 0}

    def forward(
        self,
        packet: bytes,
        query: Query,
        servers: tuple[str, ...],
        client: Client,
        last: tuple[str, ...] = (),
        *,
        keep: bool = True,
    ) -> bytes | None:
        """The reply when there is one at once; None when the client gets it later.

        ``last`` are asked when ``servers`` give none; what comes from inside a container's namespace then is
        for this client alone. ``keep``: whether a reply may be given again.
        """
        now = self._now()
        keep = keep and not query.subnet
        key = cache.key_of(servers, query.question, query.flags, query.dnssec_ok)
        entry = self._cache.get(key, now) if keep else None
        if entry is not None:
            self.counts["cached"] += 1
            if entry.refresh_due(now):
                self._refresh(packet, query, servers, key)
            return self._from_cache(entry, query, client, now)
        if self._rebinding and self._rebinding.known(key):
            return blocked_reply(query)
        whole = (servers + last, *key[1:]) if last else key
        if not whole[0] or self._cache.failed(whole, now):
            self.counts["failed"] += 1
            return write_reply(query, SERVFAIL)

        def done(shape: ReplyShape | None) -> None:
            kept = keep and not (last and shape and shape.inside)
            try:
                reply = self._reply(shape, query, key, whole, client.tcp, keep=kept)
            except MemoryError:
                self._make_room()
                reply = write_reply(query, SERVFAIL)
            client.send(reply)

        if self._upstreams.ask(packet, query.question, servers + last, client.address, done):
            return None
        self.counts["over_limit"] += 1
        return write_reply(query, REFUSED)

    def _reply(
        self,
        shape: ReplyShape | None,
        query: Query,
        key: cache.Key,
        whole: cache.Key,
        tcp: bool,
        *,
        keep: bool,
    ) -> bytes:
        """What an upstream's reply, or the lack of one, becomes for the client. ``whole`` is the key with all
        servers that were asked."""
        now = self._now()
        limit = TCP_SIZE if tcp else udp_limit(query)
        if shape is None:
            stale = self._cache.fail(key, now, whole)
            if stale is None:
                self.counts["failed"] += 1
                return write_reply(query, SERVFAIL)
            self.counts["stale"] += 1
            return fitted(dressed(stale.packed(now), query.id, query.question, opt_record(query)), limit)
        if self._blocks(shape, query, key):
            return blocked_reply(query)
        if keep:
            self._cache.put(key, shape, now)
        reply = query.id + shape.packet[2:12] + query.question + shape.packet[shape.question_end :]
        return reply if len(reply) <= limit else fitted(reply, limit)

    def _make_room(self) -> None:
        """Answering comes before remembering."""
        entries, octets = self._cache.clear()
        self._memory.forget_all()
        log.error("no memory is left; the cache was emptied", extra={"entries": entries, "bytes": octets})

    def _refresh(self, packet: bytes, query: Query, servers: tuple[str, ...], key: cache.Key) -> None:
        """Ask again for a name in use before its entry runs out; nobody waits for it."""

        def done(shape: ReplyShape | None) -> None:
            if shape is not None and not self._blocks(shape, query, key):
                self._cache.put(key, shape, self._now())

        self.counts["refreshed"] += self._upstreams.ask(packet, query.question, servers, b"refresh", done)

    def _blocks(self, shape: ReplyShape, query: Query, key: cache.Key) -> bool:
        watch = self._rebinding
        if watch is None or not watch.on or shape.inside:  # a container's own servers know its networks
            return False
        return watch.blocks(shape, query, key)

    def _from_cache(self, entry: Entry, query: Query, client: Client, now: float) -> bytes:
        limit = TCP_SIZE if client.tcp else udp_limit(query)
        reply = fitted(dressed(entry.packed(now), query.id, query.question, opt_record(query)), limit)
        if client.body and not query.options and not entry.shape.negative:
            self._memory.keep(client.address, client.body, ThisSecond(reply[2:], entry.until, self._now))
        return reply


class ThisSecond:
    """A cached reply at hand until the second ends; then the cache is asked again, and TTLs are one less."""

    __slots__ = ("_now", "_reply", "_until")

    def __init__(self, reply: bytes, until: float, clock: Callable[[], float]) -> None:
        self._reply, self._until, self._now = reply, until, clock

    @property
    def octets(self) -> int:
        """How many it holds."""
        return len(self._reply)

    def next(self) -> bytes:
        """The reply without its ID; empty once the second is over."""
        return self._reply if self._now() < self._until else b""
