"""In which order the upstream servers of a list are asked.

Three policies:

``ordered`` (default)
    The list's order among servers that answer. People write lists in the order they mean, Docker's resolver
    and libc follow it, and in a list of unlike servers the fastest need not be the right one. A question
    that takes longer than 95 of 100 do is also asked of the next server, and the first reply counts.
``sequential``
    The same without that overlap: each server has its share of the time for itself, for lists whose servers
    see different worlds (split horizon), where a second server's "no such name" must not overtake the
    first.
``fastest``
    The smallest smoothed round trip first; the others are measured now and then.

In all of them a server that left three questions unanswered, or of which ICMP says that nobody listens,
comes last until it answers a copy of some question, sent to it after a second, two, four … thirty.
"""

from __future__ import annotations

from typing import Final, Literal

from resolver.serve.upstream.server import Inside, Server

Policy = Literal["ordered", "sequential", "fastest"]
"""See the head of this module."""

REVIEW: Final = 1.0
"""Seconds between two looks at the order of a list."""
REMEASURE: Final = 10.0
"""Seconds after which ``fastest`` asks a slower server again how fast it is."""
MOST_ROUTES: Final = 4096
"""Lists remembered: there is one for all containers, one per different ``--dns``, and two per attached
container."""

Order = tuple[Server, ...]


class Route:
    """A list of servers, and the order in which they are asked just now."""

    __slots__ = ("order", "review_at", "servers", "version")

    def __init__(self, servers: Order) -> None:
        self.servers = servers
        self.order = servers
        self.review_at = 0.0
        self.version = -1
        """The state of all servers that ``order`` is right for."""


class Routes:
    """All lists in use, and the servers they share."""

    def __init__(self, policy: Policy) -> None:
        self.policy: Policy = policy
        self.inside: Inside | None = None
        self.most = MOST_ROUTES
        self.version = 0
        """Counted up whenever a server goes down or comes back: orders are made anew."""
        self._servers: dict[str, Server] = {}
        self._routes: dict[tuple[str, ...], Route] = {}

    def order(self, servers: tuple[str, ...], now: float) -> tuple[Order, Order]:
        """Whom to ask, first choice first; and who should get a copy, so that its state is known better."""
        route = self._routes.get(servers) or self._make(servers)
        probes: Order = ()
        if route.version != self.version or now >= route.review_at:
            probes = self._review(route, now)
        return route.order, probes

    def forget(self) -> None:
        """Drop what is known; sockets are closed when the last question waiting there is settled."""
        for server in self._servers.values():
            server.forget()
        self._servers.clear()
        self._routes.clear()

    def leave(self, container: str) -> None:
        """The servers asked from inside this container are gone with it."""
        for servers in [s for s in self._routes if any(spec.endswith(f"@{container}") for spec in s)]:
            del self._routes[servers]
        for spec in [s for s, server in self._servers.items() if server.inside == container]:
            self._servers.pop(spec).forget()

    def status(self) -> dict[str, object]:
        """Per server, for people."""
        return {spec: server.status() for spec, server in self._servers.items()}

    def _make(self, servers: tuple[str, ...]) -> Route:
        if len(self._routes) >= self.most:
            self.forget()
        known = []
        for spec in servers:
            try:
                server = self._servers.get(spec) or Server(spec, self.inside)
            except ValueError:
                continue
            self._servers[spec] = server
            known.append(server)
        route = Route(tuple(known))
        if len(known) == len(servers):  # else it is made anew each time: an interface may appear
            self._routes[servers] = route
        return route

    def _review(self, route: Route, now: float) -> Order:
        ranked = list(route.servers)
        if self.policy == "fastest":
            ranked.sort(key=lambda server: server.srtt)
        ranked.sort(key=lambda server: server.down)
        probes: Order = ()
        if now >= route.review_at:
            route.review_at = now + REVIEW
            probes = tuple(server for server in ranked[1:] if self._wants_probe(server, now))
            for server in probes:
                server.probed(now)
        if self.policy == "sequential" and len(ranked) > 1:
            ranked = [server for server in ranked for _ in range(2)]  # a lost datagram is sent again
        route.order = tuple(ranked)
        route.version = self.version
        return probes

    def _wants_probe(self, server: Server, now: float) -> bool:
        if server.down:
            return now >= server.retry_at
        return self.policy == "fastest" and now >= max(server.measured + REMEASURE, server.retry_at)
