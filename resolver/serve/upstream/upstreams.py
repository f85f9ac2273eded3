"""Asking upstream servers: how long to wait, when to ask the next, what to take for a reply.

A reply is taken when it comes from the server asked, with the ID and the question asked (RFC 5452 section
9.1); any other is ignored while time remains. SERVFAIL, REFUSED and what cannot be read send us to the next
server, every other rcode is final, a truncated reply is fetched over TCP from the same server.

Nothing is made per question but the ``Flight``: no task, no future, no timer.
"""

from __future__ import annotations

import errno
import logging
import time
from typing import TYPE_CHECKING, Final

from resolver.serve.upstream.batch import Batch
from resolver.serve.upstream.counters import COUNTERS
from resolver.serve.upstream.flight import LIMITS, Done, Flight, Limits
from resolver.serve.upstream.routes import Policy, Routes
from resolver.serve.upstream.server import MOST_PATIENCE, POOL, Server
from resolver.serve.upstream.tcp import TcpExchange
from resolver.serve.upstream.udp import Idents, UdpExchange
from resolver.serve.upstream.wheel import Wheel
from resolver.wire.reply import (
    HEADER_SIZE,
    RCODE_REFUSED,
    RCODE_SERVFAIL,
    ReplyShape,
    comparable,
    read_reply,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

DEADLINE: Final = 4.5
"""Seconds for all tries together: libc stops listening after five."""
GROWTH: Final = 1.5
"""Each further try has so many times the patience of the one before."""
CUT_OFF: Final = 1.0
"""Seconds for which a container's own servers are tried again when there is no way to them: for a moment
there is none while its networks are changed."""
TCP_PATIENCE: Final = 2.0
LATE: Final = 1.0
"""Seconds for which a reply that another one overtook still tells how fast its server is."""

FAULT: Final = "a question could not be asked"

log = logging.getLogger(__name__)

_NO_WAY: Final = frozenset(
    (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETDOWN, errno.ENODEV)
)
"""What a socket is told whose source address is gone; or any other, where there is no way to the server."""
_UNWILLING: Final = frozenset((RCODE_SERVFAIL, RCODE_REFUSED))


class Upstreams:
    """All exchanges with all upstream servers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        policy: Policy = "ordered",
        limits: Limits = LIMITS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self.wheel = Wheel(loop, now)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.routes = Routes(policy)
        self.limits = limits
        self.open: set[UdpExchange | TcpExchange] = set()
        self._loop = loop
        self._idents = Idents()
        self._batch = Batch(loop, self)
        self.place = 0
        self._flights: dict[object, Flight] = {}
        self._clients: dict[Hashable, int] = {}
        self._waiting = 0
        self._closed = False

    def ask(
        self, query: bytes, question: bytes, servers: tuple[str, ...], client: Hashable, done: Done
    ) -> bool:
        """Ask ``servers`` (``ADDR:PORT`` or ``ADDR:PORT/TCPPORT``, IPv6 in brackets) in the client's words.

        ``query`` is the client's packet, ``question`` its raw question section. False: over a bound,
        nothing was done and ``done`` is never called. True: ``done`` is called once, within ``DEADLINE``,
        possibly before this returns.
        """
        asking, limits = self._clients.get(client, 0), self.limits
        if self._waiting >= limits.total or asking >= limits.per_client or self._closed:
            self.counters["refused_limit"] += 1
            return False
        body = query[2:]
        lower = question[:-4].lower()
        if question.startswith(lower):
            key = servers, body
        else:
            key = servers, body[:10] + lower + body[10 + len(lower) :]
        flight = self._flights.get(key)
        if flight is not None:
            self._count(client, asking)
            self.counters["joined"] += 1
            flight.waiters.append((client, done))
            return True
        now = self.now()
        order, probes = self.routes.order(servers, now)
        flight = Flight(key, body, question, order, now + DEADLINE, [(client, done)])
        self._count(client, asking)
        self._flights[key] = flight
        try:
            for server in probes:
                self._probe(server, body, question, now)
            self._next(flight, now)
        except Exception:
            log.exception(FAULT)
            self._give_up(flight)
        return True

    def _count(self, client: Hashable, asking: int) -> None:
        """A question is taken, and its place in flight with it; ``_finish`` gives it back."""
        self._clients[client] = asking + 1
        self._waiting += 1
        self.counters["asked"] += 1

    @property
    def in_flight(self) -> int:
        """How many questions are under way."""
        return len(self._flights)

    def forget(self) -> None:
        """The list of upstreams changed: drop what is known of servers; exchanges under way are finished."""
        self.routes.forget()

    def status(self) -> dict[str, object]:
        """Counters, and per server its round trip and state."""
        flights = {"waiting": self._waiting, "in_flight": len(self._flights)}
        return {**self.counters, **flights, "servers": self.routes.status()}

    def close(self) -> None:
        """Close every socket; whoever waits gets None."""
        self._closed = True
        for flight in list(self._flights.values()):
            self._finish(flight, None)
        self.wheel.close()
        for exchange in list(self.open):
            exchange.close()
        self.routes.forget()

    # What the exchanges report

    def answered(
        self, exchange: UdpExchange | TcpExchange, flight: Flight, packet: bytes, now: float
    ) -> None:
        """A message with an ID that ``flight`` waits for came from the server asked."""
        question = flight.question
        shape = read_reply(packet, question)
        # Most servers repeat the question letter by letter, all of them but for the case.
        repeated = packet.startswith(question, HEADER_SIZE)
        if shape and not repeated and comparable(shape.question) != comparable(question):
            self.counters["mismatched"] += 1
            return
        sent = flight.take(exchange, packet[:2])
        server = exchange.server
        if server.replied(now - sent, now):
            self.routes.version += 1
        if flight.over:
            self.counters["late"] += 1
        elif shape is None or shape.rcode in _UNWILLING:
            self.counters["malformed" if shape is None else "unwilling"] += 1
            self._pass_over(flight, server, now)
        elif shape.truncated and isinstance(exchange, UdpExchange):
            flight.truncated = shape
            self._ask_over_tcp(flight, server, now)
        else:
            self._finish(flight, shape._replace(inside=True) if server.inside else shape)

    def unreachable(self, exchange: UdpExchange, failure: int) -> None:
        """The kernel says that nobody listens there (ICMP), or that it cannot send there.

        A connected socket keeps its source address. Where that one is gone (another network, another lease) a
        fresh socket may get through: what waits is sent once more by one before the server is blamed.
        """
        exchange.broken = False
        self.counters["unreachable"] += 1
        now, server = self.now(), exchange.server
        if moved := failure in _NO_WAY:
            server.renew()
        waiting = list(exchange.pending.items())
        blamed = not moved or any(flight.again for _, flight in waiting)
        if blamed and server.failed(now, surely=True):
            self.routes.version += 1
        for ident, flight in waiting:
            flight.take(exchange, ident)
            if flight.over:
                continue
            flight.cut_off |= moved and bool(server.inside)
            if not blamed and self._send(flight, server, now):
                flight.again = True
                self._wait(flight, min(flight.deadline, now + server.patience))
            else:
                self._pass_over(flight, server, now)

    def disconnected(self, exchange: TcpExchange, waiting: list[Flight]) -> None:
        """A connection ended, a server's right after a while (RFC 7766 section 6.2.4): ask once more."""
        server = exchange.server
        if server.tcp is exchange:
            server.tcp = None
        now = self.now()
        for flight in waiting:
            flight.tries.clear()
            if flight.over:
                continue
            if exchange.replies and not flight.again:
                flight.again = True
                self._ask_over_tcp(flight, server, now)
            else:
                self._finish(flight, flight.truncated)

    def _probe(self, server: Server, body: bytes, question: bytes, now: float) -> None:
        """Send a copy of a question to a server whose state should be known better. Nobody waits for it."""
        self.counters["probes"] += 1
        flight = Flight(None, body, question, (server,), now, [])
        flight.over = True
        if self._send(flight, server, now):
            flight.slot = self.wheel.put(flight, now + MOST_PATIENCE, self._expired)

    # One question's way

    def _next(self, flight: Flight, now: float) -> None:
        """Ask the next server that has not failed it; when there is none, it is over."""
        order = flight.order
        for _ in order:
            step = flight.step
            server = order[step % len(order)]
            flight.step = step + 1
            if server not in flight.failed:
                if self._send(flight, server, now):
                    self._wait(flight, min(flight.deadline, now + self._patience(server, step, len(order))))
                    return
                flight.failed += (server,)
                flight.cut_off |= bool(server.inside)
        if flight.cut_off and now < flight.deadline - DEADLINE + CUT_OFF:
            flight.failed, flight.step, flight.again, flight.cut_off = (), 0, False, False
            self._wait(flight, now + CUT_OFF / 10)
        else:
            self._finish(flight, None)

    def _patience(self, server: Server, step: int, count: int) -> float:
        """Seconds until the next server is asked as well."""
        patience = server.patience
        if self.routes.policy == "sequential" and count > 1:
            share = 2 * DEADLINE / count
            first = min(patience, share / 2)
            return share - first if step % 2 else first
        return patience * GROWTH**step if step else patience

    def _send(self, flight: Flight, server: Server, now: float) -> bool:
        """Send it to this server; False when there is no way to."""
        place = self.place
        exchange = server.sockets[place]
        if exchange is None or exchange.uses <= 0 or now >= exchange.retire_at:
            exchange = self._replace(server, place, now)
            if exchange is None:
                return False
        pending, ident = exchange.pending, self._idents.next()
        while ident in pending:
            ident = self._idents.next()
        pending[ident] = flight
        exchange.uses -= 1
        flight.tries.append((exchange, ident, now))
        self._batch.put(exchange, ident + flight.body)
        return True

    def turn(self) -> None:
        """The next batch of questions leaves by another socket, perhaps."""
        self.place = self._idents.next()[0] % POOL

    def broke(self, exchange: UdpExchange, failure: int) -> None:
        """Later: the error is about earlier datagrams too, and the caller is not done with this one."""
        if not exchange.broken:
            exchange.broken = True
            self._loop.call_soon(self.unreachable, exchange, failure)

    def _replace(self, server: Server, place: int, now: float) -> UdpExchange | None:
        """A fresh socket in that place of the pool; where there is none to be had an old one serves on."""
        old = server.sockets[place]
        try:
            fresh = UdpExchange(self._loop, self, server, now)
        except OSError:
            self.counters["no_socket"] += 1
            return old or next((other for other in server.sockets if other is not None), None)
        server.sockets[place] = fresh
        if old is not None:
            old.retire()
        return fresh

    def _wait(self, flight: Flight, due: float) -> None:
        if flight.slot is not None:
            flight.slot.pop(flight, None)
        flight.slot = self.wheel.put(flight, due, self._expired)

    def _give_up(self, flight: Flight) -> None:
        """A fault of ours costs this question, and no place in flight."""
        if not flight.over:
            self._finish(flight, None)

    def _expired(self, flight: Flight, now: float) -> None:
        """Patience or time is over. The wheel has forgotten it: nobody else would end it."""
        try:
            self._overdue(flight, now)
        except Exception:
            log.exception(FAULT)
            self._give_up(flight)

    def _overdue(self, flight: Flight, now: float) -> None:
        exchange, _, sent = flight.tries[-1] if flight.tries else (None, b"", 0.0)
        if exchange is not None and isinstance(exchange, UdpExchange):
            server = exchange.server
            server.timeouts += 1
            self.counters["timeouts"] += 1
            # One that answered others meanwhile is slow about this name only.
            if server.measured <= sent and server.failed(now, surely=False):
                self.routes.version += 1
        if flight.over:
            flight.drop()
        elif flight.truncated is not None or now >= flight.deadline:
            if (
                isinstance(exchange, TcpExchange)
                and exchange.used <= sent
                and exchange.server.tcp is exchange
            ):
                exchange.server.tcp = None  # accepted and silent: the next question opens another
            self._finish(flight, flight.truncated)
        else:
            self.counters["hedged"] += 1
            self._next(flight, now)

    def _pass_over(self, flight: Flight, server: Server, now: float) -> None:
        """This server cannot answer it: ask the next, unless a reply of another one is still due."""
        flight.failed += (server,)
        if flight.truncated is not None:
            self._finish(flight, flight.truncated)
        elif all(exchange.server in flight.failed for exchange, _, _ in flight.tries):
            self._next(flight, now)

    def _ask_over_tcp(self, flight: Flight, server: Server, now: float) -> None:
        flight.drop()
        self.counters["tcp"] += 1
        exchange = server.tcp
        if exchange is None or exchange.closed:
            try:
                exchange = server.tcp = TcpExchange(self._loop, self, server, now)
            except OSError:
                self._finish(flight, flight.truncated)
                return
        ident = self._idents.next()
        while ident in exchange.pending:
            ident = self._idents.next()
        exchange.pending[ident] = flight
        flight.tries.append((exchange, ident, now))
        exchange.send(ident + flight.body)
        self._wait(flight, min(flight.deadline, now + TCP_PATIENCE))

    def _finish(self, flight: Flight, shape: ReplyShape | None) -> None:
        """Tell everyone who waits. Nothing of ours is touched afterwards: they may ask again at once."""
        flight.over = True
        if flight.slot is not None:
            flight.slot.pop(flight, None)
        del self._flights[flight.key]
        if flight.tries:
            if shape is None or self._closed:
                flight.drop()
            else:
                flight.slot = self.wheel.put(flight, self.now() + LATE, self._expired)
        waiters, flight.waiters = flight.waiters, []
        self.counters["failed" if shape is None else "replied"] += len(waiters)
        self._waiting -= len(waiters)
        clients = self._clients
        for client, _ in waiters:
            if clients[client] == 1:
                del clients[client]
            else:
                clients[client] -= 1
        for _, done in waiters:
            try:
                done(shape)
            except Exception:
                log.exception("a reply was not taken")
