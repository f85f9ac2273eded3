"""Replies of upstreams, remembered. Pure: ``now`` is an argument, in seconds of a clock that never goes back.

What is kept how long: positive replies for their least TTL, a day at most; negative ones as RFC 2308 says,
an hour at most; failures one second, the least RFC 9520 section 3.2 asks for: our clients come again after
five, and an upstream that is back should not look away for longer. Truncated replies, other rcodes and TTL
0 are not kept.

A reply past its life is kept one day more, to be served when no upstream answers (RFC 8767): with TTL 30
and for 30 seconds, then the upstreams are tried again.

Eviction is two queues (S3-FIFO without its ghosts): what is new waits in a short one and reaches the long
one only if it was used meanwhile, so a flood of names asked once passes through a tenth of the room. In the
long queue what was used since its last turn gets another. All steps take constant time.
"""

from __future__ import annotations

from collections import OrderedDict

from resolver.wire.reply import HEADER_SIZE, ReplyShape, aged, comparable, without_opt

LONGEST_POSITIVE = 86_400
LONGEST_NEGATIVE = 3_600
FAILURE_LIFETIME = 1.0
STALE_LIFETIME = 86_400
STALE_TTL = 30
DEFAULT_BYTES = 16 << 20

_MOST_FAILURES = 2_048
_PROBATION_SHARE = 10
_OVERHEAD = 720
"""Octets of an entry beside its packets and question: objects, key, place in a queue (measured)."""
_QUERY_FLAGS = 0x0130
_AA = 0x04

Key = tuple[tuple[str, ...], bytes, int]
"""(server list, comparable question, RD, AD, CD and DO): replies that may differ have different keys.

The server list is part of it because a container's own ``--dns`` servers may see another world. AD is,
because an upstream sets it only for who asked for it (RFC 6840 section 5.7).
"""


def key_of(servers: tuple[str, ...], question: bytes, flags: int, do: bool) -> Key:
    """The key of a raw question; ``flags`` is the second word of the query's header."""
    return servers, comparable(question), flags & _QUERY_FLAGS | do


class Entry:
    """One remembered reply. A loop that holds it may serve ``packed(now)`` without asking the cache again."""

    __slots__ = (
        "_bare",
        "_life",
        "_packed",
        "_refreshed",
        "_shape",
        "_stored",
        "_uses",
        "cost",
        "expires",
        "stale",
        "until",
        "used",
    )

    def __init__(self, shape: ReplyShape, life: float, now: float) -> None:
        self._shape = shape
        self._bare = False
        self._stored = now
        self._life = life
        self._packed = b""
        self._uses = 0
        self._refreshed = False
        self.cost = 2 * len(shape.packet) + shape.question_end + _OVERHEAD
        self.expires = now + life
        """From this moment ``packed`` must not be called: ask the cache again."""
        self.until = 0.0
        """Until this moment what ``packed`` returned last is right; 0: not called yet, or all is over."""
        self.stale = False
        self.used = False

    @property
    def shape(self) -> ReplyShape:
        """Where things are in ``packed``; its own packet holds the TTLs of the beginning.

        Made when it is first needed: most replies are never served twice.
        """
        if not self._bare:
            self._bare = True
            bare = without_opt(self._shape) or self._shape
            packet = b"\0\0" + bytes((bare.packet[2] & ~_AA,)) + bare.packet[3:]
            self._shape = bare._replace(packet=packet)
        return self._shape

    @property
    def dies(self) -> float:
        """From this moment it is not even served as stale."""
        return self._stored + self._life + STALE_LIFETIME

    def packed(self, now: float) -> bytes:
        """The reply as of this second: ID 0, no OPT, AA clear, TTLs counted down.

        Re-made when the second changes, the same bytes until then.
        Give it to ``wire.reply.dressed`` with the asker's ID, question and OPT.
        """
        if now < self.until:
            return self._packed
        self._uses += 1
        self.used = True
        if self.stale:
            self.until = self.expires
        else:
            age = int(now - self._stored)
            self._packed = aged(self.shape.packet, self.shape.ttls, age)
            self.until = min(self._stored + age + 1, self.expires)
        return self._packed

    def refresh_due(self, now: float) -> bool:
        """True once, in the last tenth of the life of an entry in use: ask again in the background."""
        if self._refreshed or self._uses < 2 or self.stale or now < self.expires - self._life / 10:
            return False
        self._refreshed = True
        return now < self.expires

    def use(self) -> None:
        """Count a use, for refresh and eviction."""
        self._uses += 1
        self.used = True

    def revive(self, now: float) -> None:
        """Serve it although its life is over (RFC 8767 sections 4 and 5)."""
        self.stale = True
        self._packed = aged(self.shape.packet, self.shape.ttls, 0, STALE_TTL)
        self.expires = min(now + STALE_TTL, self.dies)
        self.until = 0.0

    def end(self) -> None:
        """Whoever still holds it must ask the cache again."""
        self.expires = self.until = 0.0


class Cache:
    """The replies, bounded in bytes."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        """0: nothing is kept."""
        self.bytes = 0
        self.counters = {"hits": 0, "misses": 0, "stale": 0, "stored": 0, "evicted": 0, "failures": 0}
        self._new: OrderedDict[Key, Entry] = OrderedDict()
        self._new_bytes = 0
        self._kept: OrderedDict[Key, Entry] = OrderedDict()
        self._failures: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._new) + len(self._kept)

    def get(self, key: Key, now: float) -> Entry | None:
        """What may be served now; None: ask upstream."""
        entry = self._find(key)
        if entry is None or now >= entry.expires:
            self.counters["misses"] += 1
            return None
        self.counters["hits"] += 1
        entry.use()
        return entry

    def put(self, key: Key, shape: ReplyShape, now: float) -> Entry | None:
        """Remember a reply; None when it is not one to remember."""
        life = min(shape.lifetime, LONGEST_NEGATIVE if shape.negative else LONGEST_POSITIVE)
        if self._failures:
            self._failures.pop(key, None)
        if life <= 0 or not self.max_bytes or not shape.opt_is_last:
            return None
        if not shape.packet.startswith(key[1], HEADER_SIZE) and comparable(shape.question) != key[1]:
            return None
        entry = Entry(shape, life, now)
        self._insert(key, entry)
        self.counters["stored"] += 1
        return entry

    def fail(self, key: Key, now: float, whole: Key | None = None) -> Entry | None:
        """No upstream answered: what is served instead, or None.

        None is remembered too: for a moment ``failed(key, now)`` is true (RFC 9520), or that of ``whole``,
        where more servers than the key's were asked.
        """
        entry = self._find(key)
        if entry is not None and now < entry.expires:
            return entry
        if entry is not None and now < entry.dies:
            entry.revive(now)
            self.counters["stale"] += 1
            return entry
        self.counters["failures"] += 1
        if self.max_bytes:
            failed = whole or key
            self._failures[failed] = now + FAILURE_LIFETIME
            self._failures.move_to_end(failed)
            if len(self._failures) > _MOST_FAILURES:
                self._failures.popitem(last=False)
        return None

    def failed(self, key: Key, now: float) -> bool:
        """Whether this question failed a moment ago: answer SERVFAIL without asking again."""
        until = self._failures.get(key)
        if until is None:
            return False
        if now < until:
            return True
        del self._failures[key]
        return False

    def clear(self) -> tuple[int, int]:
        """Empty it: how many entries and bytes there were."""
        was = len(self), self.bytes
        for queue in (self._new, self._kept):
            for entry in queue.values():
                entry.end()
            queue.clear()
        self._failures.clear()
        self.bytes = self._new_bytes = 0
        return was

    def resize(self, max_bytes: int) -> None:
        """Another bound, from now on."""
        self.max_bytes = max_bytes
        self._shrink()

    def _find(self, key: Key) -> Entry | None:
        return self._kept.get(key) or self._new.get(key)

    def _insert(self, key: Key, entry: Entry) -> None:
        """A known name keeps its place in its queue; a new one begins at the end of the short queue."""
        queue = self._kept
        old = queue.get(key)
        if old is None:
            queue = self._new
            old = queue.get(key)
        grown = entry.cost
        if old is not None:
            grown -= old.cost
            entry.used = old.used
            old.end()
        queue[key] = entry
        self.bytes += grown
        if queue is self._new:
            self._new_bytes += grown
        if self.bytes > self.max_bytes:
            self._shrink()

    def _shrink(self) -> None:
        while self.bytes > self.max_bytes:
            if self._new_bytes * _PROBATION_SHARE > self.max_bytes or not self._kept:
                key, entry = self._new.popitem(last=False)
                self._new_bytes -= entry.cost
            else:
                key, entry = self._kept.popitem(last=False)
            if entry.used:
                entry.used = False
                self._kept[key] = entry
            else:
                self.bytes -= entry.cost
                self.counters["evicted"] += 1
