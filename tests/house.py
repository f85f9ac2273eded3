"""The answering process without sockets: changes and packets in, replies read by another DNS library."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, cast

import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype

from resolver.names.changes import Change, Sync, pack_address, read, write
from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy
from resolver.names.table import Table
from resolver.serve.forward import Forwarder
from resolver.serve.memory import Memory
from resolver.serve.queries import Queries

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.serve.udp import Client
    from resolver.wire.query import Query

UPSTREAMS = ("192.0.2.53:53",)
POLICY = Policy(upstreams=UPSTREAMS)


def identity(name: str) -> str:
    """A container's 64-digit id, the same for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()


def network(name: str, *subnets: str, **said: Any) -> Network:
    """A network whose id is told from its name."""
    return Network(f"id-of-{name}", name, subnets=tuple(ip_network(s) for s in subnets), **said)


def joined(
    where: Network,
    address: str,
    *aliases: str,
    v6: str = "",
    links: tuple[tuple[str, str], ...] = (),
    place: int = 0,
    priority: int = 0,
) -> Endpoint:
    """An endpoint with aliases only; ``container`` gives it the other names the engine gives."""
    return Endpoint(where.id, aliases, pack_address(address), pack_address(v6), links, place, priority)


def container(
    name: str, *ends: Endpoint, hostname: str = "", generated: bool = False, **said: Any
) -> Sandbox:
    """A container with the names the engine gives it: its own, its aliases, the short id, the hostname.

    Where the engine made its name up and a person chose an alias, the alias stands first: it is the PTR name.
    """
    short = identity(name)[:12]
    endpoints = []
    for end in ends:
        chosen = (*end.names, name) if generated else (name, *end.names)
        names = dict.fromkeys((*chosen, short, hostname or short))
        endpoints.append(replace(end, names=tuple(names)))
    return Sandbox(identity(name), name, tuple(endpoints), **said)


def stopped(sandbox: Sandbox, state: str = "exited") -> Sandbox:
    """As the engine shows a container that does not run: its endpoints without addresses."""
    return replace(
        sandbox, state=state, endpoints=tuple(replace(e, ipv4=b"", ipv6=b"") for e in sandbox.endpoints)
    )


class Clock:
    """The part of a loop that tells the time; it passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.loop = cast(asyncio.AbstractEventLoop, self)
        self.timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self.loop)
        self.timers.append(timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.timers.remove(handle)

    def pass_by(self, seconds: float) -> None:
        """Let time pass; what is due by then happens at its own moment."""
        end = self.now + seconds
        while due := sorted(t for t in self.timers if t.when() <= end):
            self.timers.remove(due[0])
            self.now = max(self.now, due[0].when())
            due[0]._run()
        self.now = end


@dataclass
class Asker:
    """A client; what it is sent later is kept in ``replies``."""

    address: bytes
    body: bytes = b""
    tcp: bool = False
    replies: list[bytes] = field(default_factory=list)
    replied: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, reply: bytes) -> None:
        self.replies.append(reply)
        self.replied.set()


@dataclass
class Taken:
    """A question the forwarder was handed."""

    packet: bytes
    query: Query
    servers: tuple[str, ...]
    client: Client
    last: tuple[str, ...] = ()
    keep: bool = True


class Recorder(Forwarder):
    """A forwarder that asks nobody and notes whom it was to ask."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.reply: bytes | None = None
        """What it says at once; None: it will answer later."""

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
        self.taken.append(Taken(packet, query, servers, client, last, keep))
        return self.reply


class House:
    """A table, what is remembered, and the questions' way through, on a clock that stands still."""

    def __init__(self, *changes: Change, policy: Policy = POLICY, pictured: bool = True) -> None:
        self.clock = Clock()
        self.table, self.memory, self.forwarder = Table(), Memory(), Recorder()
        self.queries = Queries(self.clock.loop, self.table, self.memory, self.forwarder)
        self.apply(policy, *changes)
        if pictured:
            self.apply(Sync("end"))

    def apply(self, *changes: Change) -> None:
        """Through the door's text and into the table."""
        for change in changes:
            again = read(write(change))
            assert again == change
            self.queries.changed(self.table.apply(again))

    def address_of(self, name: str) -> bytes:
        """An address from which the container of this name asks."""
        sandbox = self.table.named(name)
        assert sandbox is not None, name
        return next(e.ipv4 or e.ipv6 for e in sandbox.endpoints if e.alive)

    def client(self, asker: str, packet: bytes = b"", *, tcp: bool = False) -> Asker:
        """A container by name, or an address."""
        try:
            address = ip_address(asker).packed
        except ValueError:
            address = self.address_of(asker)
        return Asker(address, b"" if tcp else packet[2:], tcp)

    def send(self, packet: bytes, asker: str, *, tcp: bool = False) -> tuple[bytes | None, Asker]:
        """A packet in: the reply if there is one at once, and the client who may get it later."""
        client = self.client(asker, packet, tcp=tcp)
        return self.queries.ask(packet, client), client

    def ask(self, name: str | dns.name.Name, kind: str = "A", asker: str = "spec-c2", **said: Any) -> Seen:
        """A question from a container, and what came of it."""
        query = question(name, kind, **said)
        before = len(self.forwarder.taken)
        reply, _ = self.send(query.to_wire(), asker)
        return Seen(query, reply, self.forwarder.taken[before:])


def question(name: str | dns.name.Name, kind: str = "A", **said: Any) -> dns.message.QueryMessage:
    """A query as dnspython makes it, RD set, without EDNS unless told."""
    return dns.message.make_query(name, kind, **said)


@dataclass
class Seen:
    """What came of a question."""

    query: dns.message.QueryMessage
    raw: bytes | None
    taken: list[Taken]

    @property
    def forwarded(self) -> bool:
        """Handed to the forwarder, as it came, and nothing else said."""
        return self.raw is None and len(self.taken) == 1 and self.taken[0].packet == self.query.to_wire()

    @property
    def message(self) -> dns.message.Message:
        """The reply, read strictly; its question and id are those asked."""
        assert self.raw is not None, "no reply"
        message = dns.message.from_wire(self.raw)
        assert self.query.is_response(message)
        return message

    @property
    def rcode(self) -> int:
        return int(self.message.rcode())

    @property
    def records(self) -> list[str]:
        """The answer section's RDATA in the order sent; owner and TTL must be as everywhere."""
        message = self.message
        assert not message.authority
        assert not message.additional
        asked = self.query.question[0].name
        for rrset in message.answer:
            assert rrset.name.labels == asked.labels, "the owner is spelt as asked"
            assert rrset.rdclass == dns.rdataclass.IN
        return [rdata.to_text() for rrset in message.answer for rdata in rrset]

    @property
    def flags(self) -> str:
        return dns.flags.to_text(self.message.flags).lower()
