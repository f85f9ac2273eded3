"""Replies at hand: for each client address, the exact octets of a question after its ID → what to send.

This is the whole hot path: one look-up, the ID in front, sent. Everything here can be forgotten at any
moment; the cold path makes it again. Questions with EDNS options (cookies) are not kept, for they seldom
repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_PER_CLIENT: Final = 16_384
MOST: Final = 65_536
"""Replies at hand for all clients; when it is reached all are forgotten, which costs one cold question
each."""
MOST_OCTETS: Final = 48 << 20
"""The same for what they take: an alias of many containers, asked for in many spellings, would fill more."""
LONGEST: Final = 10 + 255 + 4 + 11
"""Octets of a question that is kept: header, name, type and class, OPT. What has more behind it need never
repeat."""
_EACH: Final = 256
"""Octets that keeping takes besides question and reply."""


class Turning(Protocol):
    """A reply that is not always the same: a rotating RRset, or an upstream's with a TTL that runs down."""

    @property
    def octets(self) -> int:
        """How many it holds."""

    def next(self) -> bytes:
        """The reply without its ID; empty when it can no longer be given and must be made again."""


Kept = bytes | Turning
"""A reply without its ID."""


class Memory:
    """What was answered, per client. Bounded in entries and in octets."""

    def __init__(self) -> None:
        self.clients: dict[bytes, dict[bytes, Kept]] = {}
        """Packed client address → question without its ID → reply. Read by the hot loop directly."""
        self._named: dict[bytes, dict[bytes, list[bytes]]] = {}
        """Packed client address → key of a name → the questions about it that are in ``clients``."""
        self._count = self._octets = 0

    def keep(self, client: bytes, body: bytes, reply: Kept) -> None:
        """Remember a reply for this client, unless the question is a longer one than any need be."""
        if len(body) > LONGEST:
            return
        if self._count >= MOST or self._octets >= MOST_OCTETS:
            self.forget_all()
        replies = self.clients.get(client)
        if replies is None:
            replies = self._begin(client)
        elif len(replies) >= MOST_PER_CLIENT:
            self.forget(client)
            replies = self._begin(client)
        if body in replies:
            self._octets -= _size(body, replies[body])
        else:
            self._count += 1
            self._named[client].setdefault(_key(body), []).append(body)
        replies[body] = reply
        self._octets += _size(body, reply)

    def forget(self, client: bytes) -> None:
        """This client's view may have changed."""
        replies = self.clients.pop(client, {})
        self._count -= len(replies)
        self._octets -= sum(_size(body, reply) for body, reply in replies.items())
        self._named.pop(client, None)

    def forget_names(self, client: bytes, keys: Iterable[bytes]) -> None:
        """What this client is told of these names may have changed, and nothing else."""
        named = self._named.get(client)
        if not named:
            return
        replies = self.clients[client]
        for key in keys:
            for body in named.pop(key, ()):
                self._octets -= _size(body, replies.pop(body))
                self._count -= 1

    def forget_all(self) -> None:
        """Every view may have changed."""
        self.clients.clear()
        self._named.clear()
        self._count = self._octets = 0

    def _begin(self, client: bytes) -> dict[bytes, Kept]:
        self._named[client] = {}
        replies = self.clients[client] = {}
        return replies


def _key(body: bytes) -> bytes:
    """The key of the name asked for. A label with a zero octet in it cuts it short: none of ours has one."""
    return body[10 : body.find(0, 10)].lower()


def _size(body: bytes, reply: Kept) -> int:
    """Octets that one of them takes, about."""
    return _EACH + len(body) + (len(reply) if isinstance(reply, bytes) else reply.octets)
