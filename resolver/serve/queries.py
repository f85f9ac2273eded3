"""One question's way through the house, when its reply is not at hand: read it, find the asker's view,
decide, reply.

``ask`` returns the reply when there is one at once. Otherwise the client gets it later, once, whatever
happens: never silence where there can be an rcode.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resolver.names.answer import HOLD, REFUSED, SERVFAIL, Forward, Hold, Reply, Verdict, answer
from resolver.names.table import EVERY, Table, Touched
from resolver.names.view import View, view_of_attached, view_of_client
from resolver.serve.waiting import Waiting
from resolver.wire.query import (
    TCP_SIZE,
    Query,
    Refused,
    RRset,
    read_query,
    udp_limit,
    write_addresses,
    write_pointer,
    write_reply,
)

if TYPE_CHECKING:
    import asyncio

    from resolver.names.model import Sandbox
    from resolver.serve.forward import Forwarder
    from resolver.serve.memory import Memory
    from resolver.serve.udp import Client

log = logging.getLogger(__name__)

NEW: Final = 1.0
"""Seconds for which an address inside a known subnet may yet turn out to be a container's."""
MOST_VIEWS: Final = 16_384
"""Client addresses whose views are remembered; spoofed sources must not fill the memory."""
LONGEST_ADDRESS: Final = 16
NOBODY: Final = View("stranger", way_out="refused")
"""The view of a container that was attached, and whose question was still under way."""
MOST_TURNS: Final = 4096
"""Sets of addresses of which is remembered whose turn it is to be first."""


@dataclass(slots=True)
class Asked:
    """A question that could not be answered at once."""

    packet: bytes
    query: Query
    client: Client
    fallback: bytes = b""
    """A negative reply from upstream that is not believed yet."""


class Queries:
    """Decides every question that the memory has no reply for."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, table: Table, memory: Memory, forwarder: Forwarder
    ) -> None:
        self._loop, self._table, self._memory, self._forwarder = loop, table, memory, forwarder
        self._views: dict[bytes, View] = {}
        self._attached: dict[bytes, tuple[str, str]] = {}
        self._owners: dict[bytes, Sandbox | None] = {}
        """Whose address it was when the view was made."""
        self._first_heard: dict[bytes, float] = {}
        self._turns: dict[tuple[bytes, ...], int] = {}
        self.waiting: Waiting[Asked] = Waiting(loop, self._decide_again)
        self.counts = {"cold": 0, "local": 0, "forwarded": 0, "held": 0, "refused": 0, "malformed": 0}

    def ask(self, packet: bytes, client: Client) -> bytes | None:
        """Take a packet in. The reply with its ID; None when it comes later, or never (no question)."""
        counts = self.counts
        counts["cold"] += 1
        try:
            query = read_query(packet)
        except Refused as refused:
            counts["malformed"] += 1
            return refused.reply
        try:
            return self._decide(Asked(packet, query, client), final=False)
        except Exception:
            # A fault of ours costs this one question, and is told; it does not cost the batch it came in.
            log.exception("a question could not be decided")
            return write_reply(query, SERVFAIL)

    def changed(self, touched: Touched) -> None:
        """The table changed: forget what it touched, and look at the questions that wait."""
        if "*" in touched:
            self._views.clear()
            self._owners.clear()
            self._memory.forget_all()
        elif touched:
            names = self._table.stirred()
            for address, view in list(self._views.items()):
                if self._is_another(address, view, names):
                    del self._views[address], self._owners[address]
                    self._memory.forget(address)
                elif view.depends is EVERY or not view.depends.isdisjoint(touched):
                    self._memory.forget_names(address, names)
        self.waiting.look_again()

    def attach(self, asker: bytes, container: str, engine: str) -> None:
        """Questions of this asker are this container's; ``engine`` is the engine's own resolver there."""
        self._attached[asker] = container, engine
        self._forget(asker)

    def detach(self, asker: bytes) -> None:
        """It asks no more."""
        self._attached.pop(asker, None)
        self._forget(asker)

    def _forget(self, address: bytes) -> None:
        self._views.pop(address, None)
        self._owners.pop(address, None)
        self._memory.forget(address)

    def view(self, address: bytes) -> View:
        """What the client at this address may see."""
        view = self._views.get(address)
        if view is None:
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
                self._owners.clear()
                self._memory.forget_all()
            if address in self._attached:
                view = view_of_attached(self._table, *self._attached[address])
            elif len(address) > LONGEST_ADDRESS:
                view = NOBODY
            else:
                view = view_of_client(self._table, address, ours=_is_ours(address))
            self._views[address], self._owners[address] = view, self._table.owner(address)
        return view

    def _is_another(self, address: bytes, view: View, names: set[bytes]) -> bool:
        """Whether a change of containers made a view another one. Most change only what names stand for."""
        table = self._table
        if table.owner(address) is not self._owners[address] or view.asker == "stranger":
            return True
        attached = self._attached.get(address)
        if attached and attached[0] in table.replaced:
            return True
        if table.policy.own in table.replaced or (view.sandbox and view.sandbox.id in table.replaced):
            return True
        return any(not names.isdisjoint(links.values()) for links in view.links.values())

    def _decide(self, asked: Asked, final: bool) -> bytes | None:
        verdict = self._verdict(asked, final)
        match verdict:
            case Reply():
                return self._reply(asked, verdict)
            case Hold():
                return self._hold(asked)
            case Forward():
                return self._forward(asked, verdict)

    def _verdict(self, asked: Asked, final: bool) -> Verdict:
        address = asked.client.address
        view = self.view(address)
        if not final and view.asker == "subnet" and self._is_new(address):
            return HOLD
        if not final and view.way_out == "closed" and view.sandbox is None and address in self._attached:
            return HOLD  # its socket came in before word of it
        return answer(asked.query.key, asked.query.qtype, view, self._table, final=final)

    def _is_new(self, address: bytes) -> bool:
        """Whether an address of no known container was first heard of a moment ago.

        A container that is being connected to a network asks from its new address before the engine says so;
        taken for a stranger it would be told that the names of its other networks do not exist.
        """
        now = self._loop.time()
        if len(self._first_heard) >= MOST_VIEWS:
            self._first_heard.clear()
        return now - self._first_heard.setdefault(address, now) < NEW

    def _reply(self, asked: Asked, verdict: Reply) -> bytes:
        """The reply made from the table. Remembered where its question may come again, unless it is a refusal
        of any kind: that may be wrong as soon as a container is being started."""
        query, client = asked.query, asked.client
        self.counts["refused" if verdict.rcode == REFUSED else "local"] += 1
        limit = TCP_SIZE if client.tcp else udp_limit(query)
        kept: bytes | RRset
        if verdict.addresses:
            rrset = write_addresses(query, verdict.addresses, self._table.policy.ttl, limit)
            rrset.turn = self._turn(verdict.addresses) * rrset.width
            body = rrset.next()
            kept = rrset if len(verdict.addresses) > 1 else body
        else:
            if verdict.pointer:
                reply = write_pointer(query, verdict.pointer, self._table.policy.ttl, limit)
            else:
                reply = write_reply(query, verdict.rcode)
            kept = body = reply[2:]
        if client.body and not query.options and not verdict.rcode:
            self._memory.keep(client.address, client.body, kept)
        return query.id + body

    def _turn(self, addresses: tuple[bytes, ...]) -> int:
        """Which of them is first now. A reply that is not kept would always begin with the same."""
        if len(addresses) == 1:
            return 0
        if len(self._turns) >= MOST_TURNS:
            self._turns.clear()
        turn = self._turns.get(addresses, 0)
        self._turns[addresses] = (turn + 1) % len(addresses)
        return turn

    def _hold(self, asked: Asked) -> bytes | None:
        policy = self._table.policy
        bound = policy.hold if self._table.pictured else policy.first_hold
        if self.waiting.add(asked, self._loop.time() + bound):
            self.counts["held"] += 1
            return None
        return self._decide(asked, final=True)

    def _decide_again(self, asked: Asked, final: bool) -> bool:
        """Whether a question that waited is decided now; if so its reply is sent or on its way."""
        try:
            return self._settle(asked, final)
        except Exception:
            # As in ``ask``; and the other questions that wait are still looked at.
            log.exception("a question that waited could not be decided")
            asked.client.send(write_reply(asked.query, SERVFAIL))
            return True

    def _settle(self, asked: Asked, final: bool) -> bool:
        verdict = self._verdict(asked, final)
        if isinstance(verdict, Hold) or (
            asked.fallback and isinstance(verdict, Forward) and verdict.doubtful
        ):
            return False
        if isinstance(verdict, Reply):
            asked.client.send(self._reply(asked, verdict))
        elif asked.fallback:
            asked.client.send(asked.fallback)
        else:
            reply = self._forward(asked, verdict)
            if reply is not None:
                asked.client.send(reply)
        return True

    def _forward(self, asked: Asked, verdict: Forward) -> bytes | None:
        self.counts["forwarded"] += 1
        servers, last = verdict.servers or self._table.policy.upstreams, verdict.last
        if not verdict.doubtful:
            return self._forwarder.forward(
                asked.packet, asked.query, servers, asked.client, last, keep=verdict.keep
            )
        watched = _Doubting(self, asked)
        reply = self._forwarder.forward(asked.packet, asked.query, servers, watched, last, keep=verdict.keep)
        if reply is not None:
            watched.send(reply)
        return None

    def doubt(self, asked: Asked, reply: bytes) -> None:
        """A negative reply to a question that a container just being started might answer: wait for that
        one."""
        asked.fallback = reply
        if self._decide_again(asked, final=False):
            return  # it is settled by now
        if not self.waiting.add(asked, self._loop.time() + self._table.policy.hold):
            asked.client.send(reply)


class _Doubting:
    """A client in front of a client: lets answers through, and holds a negative reply back."""

    __slots__ = ("_asked", "_queries", "address", "body", "tcp")

    def __init__(self, queries: Queries, asked: Asked) -> None:
        self._queries, self._asked = queries, asked
        self.address, self.tcp, self.body = asked.client.address, asked.client.tcp, b""

    def send(self, reply: bytes) -> None:
        if reply[3] & 0x0F == 0 and reply[6:8] != b"\x00\x00":
            self._asked.client.send(reply)
        else:
            self._queries.doubt(self._asked, reply)


def _is_ours(address: bytes) -> bool:
    """Whether an address is this machine's: only then can a socket be bound to it."""
    if address[:1] == b"\x7f" and len(address) == 4:
        return True
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((socket.inet_ntop(family, address), 0))
    except OSError:
        return False
    return True
