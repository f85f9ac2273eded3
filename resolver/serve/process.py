"""The answering process as a story: sockets in hand, root dropped, table filled through the door, packets
answered.

It is started by ``watch`` with open sockets and one JSON argument. It holds no descriptor of the engine and
opens no file once it runs. When the door closes it answers what it has taken in, and ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resolver.cache import Cache
from resolver.names.changes import Engine
from resolver.names.table import Table
from resolver.serve import landlock, privileges, tcp, udp
from resolver.serve.door import Door
from resolver.serve.forward import Forwarder
from resolver.serve.hatch import Hatch
from resolver.serve.memory import Memory
from resolver.serve.queries import Queries
from resolver.serve.rates import Rates
from resolver.serve.rebinding import Rebinding
from resolver.serve.status import Staleness, StatusSocket
from resolver.serve.upstream.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.names.changes import Change
    from resolver.names.policy import Policy, UpstreamPolicy

GRACE: Final = 0.8
"""Seconds that questions under way may take once we are told to end."""

TURNS: Final = 5
"""Of the loop, until a connection just accepted has been set up and its question read."""
LONG_GRACE: Final = 5.0
"""The same when another process has our sockets already, and nobody waits for our end."""
DESCRIPTORS: Final = 8192
"""How many we want: 2,048 connections of clients, and sockets to upstreams. Unless asked for more, 1,024 is
usual."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """What ``watch`` hands over: descriptors, and who to become."""

    door: int
    status: int
    udp: tuple[int, ...]
    tcp: tuple[int, ...]
    hatch: int | None = None
    """Where sockets of other network namespaces come in, if any do."""
    uid: int | None = None
    gid: int | None = None
    log_level: str = "info"
    log_format: str = "text"
    cache_size: int = 16 << 20
    upstream_policy: UpstreamPolicy = "ordered"

    @classmethod
    def read(cls, text: str) -> Start:
        """From the JSON argument. Raises ValueError, TypeError or KeyError for anything else: a fault of
        ours."""
        said: dict[str, Any] = json.loads(text)
        return cls(**{**said, "udp": tuple(said["udp"]), "tcp": tuple(said["tcp"])})


class Process:
    """Everything that answers, and how it begins and ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: Start) -> None:
        self._loop = loop
        self.table = Table()
        self.memory = Memory()
        self.upstreams = Upstreams(loop, policy=start.upstream_policy)
        self.cache = Cache(start.cache_size)
        self.rebinding = Rebinding(self.table, loop.time)
        self.rates = Rates(loop.time)
        self.forwarder = Forwarder(loop, self.upstreams, self.cache, self.memory, self.rebinding)
        self.queries = Queries(loop, self.table, self.memory, self.forwarder)
        self.tcp = tcp.Service(loop, self.rates.before(self.queries.ask))
        self.listeners: list[udp.Listener] = []
        self.ended = asyncio.Event()
        self._handed_over = self._told_ready = False
        self._sockets = [_socket(fd) for fd in (*start.udp, *start.tcp)]
        self._udp_sockets = self._sockets[: len(start.udp)]
        self._tcp_sockets = self._sockets[len(start.udp) :]
        self._door = Door(loop, _socket(start.door), self._apply, self.stop, self.hand_over)
        self._staleness = Staleness(loop.time)
        self._status = StatusSocket(loop, _socket(start.status), self.status)
        self.hatch = Hatch(loop, self)
        self.upstreams.routes.inside = self.hatch.take
        if start.hatch is not None:
            self.hatch.listen(_socket(start.hatch))

    @property
    def ready(self) -> bool:
        """Sockets bound and first picture applied."""
        return bool(self.listeners) and self.table.pictured

    @property
    def listening(self) -> list[str]:
        """``udp 127.0.0.11:53`` and so on."""
        kinds = {socket.SOCK_DGRAM: "udp", socket.SOCK_STREAM: "tcp"}
        return [f"{kinds[s.type]} {_spell(s)}" for s in self._sockets]

    def left(self, identity: str) -> None:
        """A container is not attached any more: sockets to servers in its namespace are closed."""
        self.upstreams.routes.leave(identity)

    def _listeners(self) -> Iterator[udp.Listener]:
        yield from self.listeners
        for one in self.hatch.attached.values():
            yield from one.listeners

    def status(self) -> dict[str, Any]:
        """What ``resolver check --json`` prints: readiness, the engine, sizes and counters."""
        table, queries = self.table, self.queries
        hits = sum(listener.hits for listener in self._listeners())
        engine = table.engine
        return {
            "ready": self.ready,
            "picture": table.pictured,
            "engine": engine
            and {"state": engine.state, "url": engine.url, "since": engine.at, "why": engine.why},
            "stale": self._staleness.told() if table.pictured else None,
            "listening": self.listening,
            "networks": len(table.networks),
            "containers": len(table.sandboxes),
            "names": sum(len(zone.names) for zone in table.zones.values()),
            "pending": len(table.pending),
            "waiting": len(queries.waiting),
            "own": table.policy.own,
            "attached": self.hatch.status(),
            "upstreams": list(table.policy.upstreams),
            "counters": {
                "queries": hits + queries.counts["cold"],
                "at_hand": hits,
                **queries.counts,
                **self.forwarder.counts,
                "blocked": self.rebinding.blocked,
                "over_rate": self.rates.refused,
                "tcp_queries": self.tcp.queries,
            },
            "upstream": self.upstreams.status(),
        }

    async def run(self) -> None:
        """Answer until told to end, then finish what is under way."""
        for sock in self._tcp_sockets:
            await self.tcp.listen(sock)
        for sock in self._udp_sockets:
            self.listeners.append(udp.listen(self._loop, sock, self.memory, self.queries.ask, self.rates))
        self._loop.add_signal_handler(signal.SIGTERM, self.stop)
        self._loop.add_signal_handler(signal.SIGINT, lambda: None)  # the parent has it too, and tells us
        self._loop.add_signal_handler(signal.SIGUSR1, self.empty_cache)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        self._look_whether_ready()
        await self.ended.wait()
        await self._finish()

    def stop(self) -> None:
        """Begin to end."""
        self.ended.set()

    def hand_over(self) -> None:
        """Somebody else reads our sockets now: begin to end, and take the time for what we have read."""
        for listener in self.listeners:
            listener.close()
        self._handed_over = True
        self.stop()

    def empty_cache(self) -> None:
        """Forget every upstream's reply."""
        entries, octets = self.cache.clear()
        self.memory.forget_all()
        self.rebinding.forget()
        log.info("the cache was emptied", extra={"entries": entries, "bytes": octets})

    def _apply(self, change: Change) -> None:
        policy = self.table.policy
        self.queries.changed(self.table.apply(change))
        if isinstance(change, Engine):
            self._staleness.heard(change)
        if self.table.policy is not policy:
            self._policy_changed(policy, self.table.policy)
        self._look_whether_ready()

    def _look_whether_ready(self) -> None:
        """After each change, and when the sockets are read: the whole picture may have come before that."""
        if self._told_ready or not self.ready:
            return
        self._told_ready = True
        # The table is long-lived: later collections need not walk it. None does now either: with 10,000
        # endpoints that is 40 ms in which nobody is answered.
        gc.freeze()
        self._door.say_ready()
        counts = {"networks": len(self.table.networks), "containers": len(self.table.sandboxes)}
        log.info("ready", extra=counts)

    def _policy_changed(self, before: Policy, policy: Policy) -> None:
        self.rates.limit = policy.client_rate
        if policy.upstreams != before.upstreams:
            self.upstreams.forget()
        if policy.block_private_answers and not before.block_private_answers:
            self.cache.clear()  # what is in it was not looked at
        self.rebinding.forget()

    async def _finish(self) -> None:
        """Questions already in our sockets are answered; those forwarded get their reply while there is
        time."""
        self.tcp.stop_accepting()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if not self._handed_over:
            self.queries.waiting.end()
            self.tcp.finish()
        deadline = self._loop.time() + (LONG_GRACE if self._handed_over else GRACE)
        while self._busy() and self._loop.time() < deadline:  # noqa: ASYNC110 — no event is set per reply
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        for listener in self.listeners:
            listener.close()
        self.upstreams.close()  # who waits is told
        await asyncio.sleep(0)
        self.hatch.close_listeners()
        self.tcp.close()
        self._status.close()
        await asyncio.sleep(0)

    def _busy(self) -> bool:
        """Whether somebody waits for us; when others read our sockets, connections may ask on until they
        end."""
        return bool(self.upstreams.in_flight or self.tcp.connections or len(self.queries.waiting))


def main(argument: str) -> None:
    """Run the answering process; ``argument`` is ``Start`` as JSON."""
    start = Start.read(argument)
    _want_descriptors()
    gc.set_threshold(20_000, 20, 50)

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(_end_without_memory)
        process = Process(asyncio.get_running_loop(), start)
        try:
            privileges.drop(start.uid, start.gid)
        except OSError as error:
            log.critical("root cannot be given away, so no packet is read: %s", error)
            raise SystemExit(1) from None
        _give_up_files()
        await process.run()

    asyncio.run(story())


def _end_without_memory(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A fault of ours costs what it happened in. Without memory nothing works any more; a new process is told
    the whole table, and works."""
    loop.default_exception_handler(context)
    if isinstance(context.get("exception"), MemoryError):
        log.critical("no memory is left; ending, to be started again")
        os._exit(1)


def _give_up_files() -> None:
    """A second wall behind the first: without it we are still nobody, without capabilities."""
    try:
        version = landlock.restrict()
    except OSError as error:
        log.debug("files stay as reachable as they are for nobody", extra={"why": str(error)})
    else:
        log.debug("no file can be opened any more" if version else "no Landlock here", extra={"abi": version})


def _want_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _socket(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def _spell(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
