"""One session with a reached engine: its events, the looks they cause, and the full pictures in between.

Lives on the loop; the engine is called from the follower's threads, and its events are read in one of their
own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from resolver.names.changes import Engine as EngineLine
from resolver.names.changes import Gone, Pending
from resolver.watch.audit import is_whole
from resolver.watch.containers import STOPPED, Json, started_at, unspeakable, withdrawn
from resolver.watch.engine import Engine, EngineError, EngineUnreachable, EventStream, NotThere
from resolver.watch.events import (
    Event,
    Inspect,
    Inspections,
    Kind,
    Renamed,
    Step,
    Withdraw,
    read_event,
    steps,
)
from resolver.watch.own import own_addresses
from resolver.watch.picture import replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resolver.names.model import Network, Sandbox
    from resolver.watch.follow import Follower

WALKERS: Final = 3
"""Looks under way for a full picture; the other threads are free for what happens meanwhile."""
STALLED: Final = 1.0
"""Seconds without any answer after which a full picture is told without those that are stuck."""
SETTLE: Final = 1.0
"""Seconds until a thing that ended, or was only created, is looked at."""
PATIENCE: Final = 5.0
"""Seconds until we look at a container that was coming and never said it started; also between tries that
fail."""
SLOWEST: Final = 60.0
"""Seconds between tries at most."""
AUDIT: Final = 10.0
"""Seconds between comparisons of what the stream told with what the engine's buffer holds."""
FULL: Final = 300.0
"""Seconds between full pictures, whatever the events say."""
LATE: Final = 2.0
"""Seconds an event may be older than the promptest one before we must have been too slow ourselves."""

_RUNNING: Final = ("running", "paused")

Key = tuple[Kind, str]

log = logging.getLogger(__name__)


class Session:
    """``run`` once, then ``close``."""

    def __init__(self, follower: Follower, engine: Engine) -> None:
        self._follower, self._engine = follower, engine
        self._book, self._tell = follower.book, follower.tell
        self._loop = asyncio.get_running_loop()
        self._inspections = Inspections()
        self._looks: dict[Key, asyncio.Task[None]] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._unseen: dict[str, list[Withdraw | Renamed]] = {}
        """What was told of a container while a look was under way, which may not have seen it."""
        self._started: dict[str, int] = {}
        self._reported: set[tuple[str, str]] = set()
        self._walking: list[asyncio.Task[None]] = []
        self._stream: EventStream | None = None
        self._why = f"the engine at {engine.url} ended its stream of events"
        self.confirmed = self._loop.time()
        """When the engine last said something that the book agrees with."""
        self._tries: dict[Key, int] = {}
        """How often in a row a thing could not be looked at."""
        self._least_lag: float | None = None
        self._doubt = self._over = False
        self._woken = asyncio.Event()

    async def run(self) -> str:
        """Until the stream ends; why it did. Raises EngineError."""
        submit, engine = self._follower.workers.submit, self._engine
        now = await submit(engine.now)
        events, complete = await submit(replay, engine, tuple(self._follower.recent), now)
        if not complete:
            log.warning("events were lost while the engine was away; a full picture makes it good")
            self._follower.recent.clear()
        for event in events:
            self._learn(event)
        self._stream = await submit(engine.events, f"{now}.0")
        threading.Thread(target=self._read, args=(self._stream,), name="resolver-events", daemon=True).start()
        await self._draw()
        self._tell([EngineLine("reached", engine.url, at=round(time.time(), 3))])
        self._follower.reached(engine)
        drawn = self._loop.time()
        while not self._over:
            self._woken.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), AUDIT)
            if self._doubt or self._loop.time() - drawn > FULL:
                self._doubt = False
                await self._draw()
                drawn = self._loop.time()
            elif not self._over:
                await self._audit()
        return self._why

    async def _audit(self) -> None:
        """A stream that is not whole ends the session; the next one makes it good. Raises EngineError."""
        began = self._loop.time()
        if await is_whole(self._engine, self._follower.workers, self._follower.recent):
            self.confirmed = began
        elif not self._over:
            self._why = f"the engine at {self._engine.url} left out events of its stream"
            log.warning("%s; connecting anew", self._why)
            self._over = True

    def close(self) -> None:
        """Leave nothing running."""
        for task in (*self._looks.values(), *self._walking):
            task.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._over = True
        if self._stream:
            self._stream.close()

    # Events

    def _read(self, stream: EventStream) -> None:
        """In its own thread. However the stream ends, the session does."""
        with suppress(RuntimeError):  # the loop is closed
            try:
                for body in stream:
                    self._loop.call_soon_threadsafe(self._heard, body)
            except EngineError as error:
                log.debug("%s", error)
            finally:
                self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        if not self._over:
            self.confirmed = self._loop.time()
        self._over = True
        self._woken.set()

    def _heard(self, body: Json | None) -> None:
        if self._over:
            return
        self.confirmed = self._loop.time()
        event = read_event(body) if body is not None else None
        if event is None:
            if body is None:
                self._doubtful("an event could not be read")
            return
        running = self._follower.running.of(event.container or event.id)
        self._learn(event)
        self._lag(event)
        for step in steps(event, running):
            self._take(step)

    def _learn(self, event: Event) -> None:
        self._follower.recent.append(event)
        self._follower.running.heard(event)
        self._follower.picture.order.heard(event)

    def _lag(self, event: Event) -> None:
        """We were too slow, or stopped: the engine gives each reader 0.1 s, then skips what it cannot
        deliver."""
        if not event.at:
            return  # an engine that does not say when
        lag = time.time() - event.at / 1e9
        if self._least_lag is None or lag < self._least_lag:
            self._least_lag = lag
        elif lag > self._least_lag + LATE:
            self._least_lag = lag  # a clock that was set must not cost more than one picture
            self._doubtful("events came late")

    def _doubtful(self, why: str) -> None:
        log.info("%s: looking at everything again", why)
        self._doubt = True
        self._woken.set()

    def _take(self, step: Step) -> None:
        match step:
            case Inspect(kind, identity, soon):
                if soon:
                    self._look_later((kind, identity), SETTLE)
                else:
                    self._look((kind, identity))
            case Pending(container, _):
                self._tell([step])
                self._look_later(("container", container), PATIENCE)
            case Withdraw():
                self._withdraw(step)
            case Renamed():
                self._rename(step)
            case Gone(kind, identity):
                self._gone((kind, identity))

    def _withdraw(self, step: Withdraw) -> None:
        self._note(step)
        sandbox = self._book.sandboxes.get(step.container)
        coming = self._book.pending.get(step.container)
        if sandbox is None:
            return
        if step.at < self._started.get(step.container, 0):
            # The end of an earlier run, told late; or of this one, and the engine's clock was set back.
            self._look(("container", step.container))
            return
        if coming and not step.network:
            return  # some engines tell of the end of the last run after the next one's connects
        self._tell([withdrawn(sandbox, step.network), *([coming] if coming else ())])

    def _rename(self, step: Renamed) -> None:
        """Known at once: a question for the new name must not be asked elsewhere while we look."""
        self._note(step)
        coming = self._book.pending.get(step.container)
        if sandbox := self._book.sandboxes.get(step.container):
            self._tell(
                [self._follower.picture.renamed(sandbox, step.name, step.old), *([coming] if coming else ())]
            )

    def _note(self, step: Withdraw | Renamed) -> None:
        if ("container", step.container) in self._looks:
            self._unseen.setdefault(step.container, []).append(step)

    def _gone(self, key: Key) -> None:
        kind, identity = key
        if key in self._looks:
            self._inspections.wanted(*key)  # it may still find what is gone now
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._tell([Gone(kind, identity)])
        if kind == "network":
            self._follower.picture.forget_network(identity)
            return
        self._follower.picture.forget(identity)
        self._started.pop(identity, None)
        self._tries.pop(key, None)
        self._reported = {entry for entry in self._reported if entry[0] != identity}

    # Looks

    def _look(self, key: Key) -> asyncio.Task[None]:
        """Look now, or once more after the look under way; the task ends when all is seen."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if self._inspections.wanted(*key):
            self._looks[key] = self._loop.create_task(self._looking(key))
        return self._looks[key]

    def _look_later(self, key: Key, delay: float) -> None:
        if key in self._looks:
            self._inspections.wanted(*key)
            return
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._timers[key] = self._loop.call_later(delay, self._look, key)

    async def _looking(self, key: Key) -> None:
        again = True
        while again:
            self._unseen.pop(key[1], None)
            try:
                await self._look_once(key)
            finally:
                again = self._inspections.finished(*key)
        del self._looks[key]

    async def _look_once(self, key: Key) -> None:
        kind, identity = key
        ask = self._engine.container if kind == "container" else self._engine.network
        try:
            body = await self._follower.workers.submit(ask, identity)
            if kind == "container":
                self._seen(body)
            else:
                self._network_seen(identity, self._follower.picture.network(body, identity))
            self._tries.pop(key, None)
        except NotThere:
            self._tell([Gone(kind, identity)])
        except EngineUnreachable as error:
            self._why = str(error)
            self._ended()
        except (EngineError, ValueError) as error:
            tries = self._tries[key] = self._tries.get(key, 0) + 1
            if tries == 1:
                log.warning("%s %.12s could not be looked at: %s", kind, identity, error)
            # Later and later: a look that hangs costs a thread for as long as its time-out.
            delay = min(SLOWEST, PATIENCE * 2 ** (tries - 1))
            self._loop.call_later(0, self._retry, key, delay)

    def _retry(self, key: Key, delay: float) -> None:
        if not self._over:
            self._look_later(key, delay)

    def _seen(self, body: Json) -> None:
        sandbox = self._follower.picture.sandbox(body)
        self._started[sandbox.id] = started_at(body)
        self._follower.running.seen(sandbox.id, sandbox.state not in STOPPED)
        for step in self._unseen.pop(sandbox.id, ()):
            if isinstance(step, Renamed):
                sandbox = self._follower.picture.renamed(sandbox, step.name, step.old)
            elif step.at > self._started[sandbox.id]:
                sandbox = withdrawn(sandbox, step.network)
        coming = self._book.pending.get(sandbox.id)
        self._tell([sandbox])
        if self._follower.seen:
            self._follower.seen(body)
        if coming and self._inspections.stale("container", sandbox.id):
            self._still_coming(coming, sandbox)
        for endpoint in sandbox.endpoints:
            if endpoint.network not in self._book.networks:
                self._look(("network", endpoint.network))
        self._report(sandbox)

    def _network_seen(self, asked: str, network: Network) -> None:
        """Podman's containers have their networks' names: who has this one is read again with its id."""
        self._tell([network])
        if asked != network.id:
            for sandbox in [*self._book.sandboxes.values()]:
                if any(endpoint.network == asked for endpoint in sandbox.endpoints):
                    self._look(("container", sandbox.id))

    def _still_coming(self, coming: Pending, sandbox: Sandbox) -> None:
        """What was announced after this look began is not in it."""
        there = {e.network for e in sandbox.endpoints if e.alive}
        missing = tuple(network for network in coming.networks if network not in there)
        if missing:
            self._tell([Pending(sandbox.id, missing)])

    def _report(self, sandbox: Sandbox) -> None:
        for name in unspeakable(sandbox):
            if (sandbox.id, name) not in self._reported:
                self._reported.add((sandbox.id, name))
                log.warning(
                    "a name no DNS question can carry is left out", extra={"name_": name, "of": sandbox.name}
                )

    # The whole picture

    async def _draw(self) -> None:
        """Look at everything. What is new is told as it is seen; the first time, and after a loss, the caller
        tells all of it."""
        submit, follower, began = self._follower.workers.submit, self._follower, self._loop.time()
        known, networks_known = set(self._book.sandboxes), set(self._book.networks)
        follower.picture.addresses = own_addresses()
        networks = [*self._networks(await submit(self._engine.networks))]
        self._tell(networks)
        listed = {str(body.get("Id")): body for body in await submit(self._engine.containers)}
        unseen = dict(listed)
        # Those that run first. One that is being started holds up whoever looks at it, and the engine lists
        # the newest first: a few slow starts would hold up all walkers before anybody was seen.
        ids = iter(sorted(listed, key=lambda identity: listed[identity].get("State") not in _RUNNING))
        self._walking = [self._loop.create_task(self._walk(ids, unseen)) for _ in range(WALKERS)]
        left = len(unseen) + 1
        while unseen and len(unseen) < left:
            left = len(unseen)
            await asyncio.wait(self._walking, timeout=STALLED)
        if self._over:
            raise EngineUnreachable(self._why)
        for identity, body in unseen.items():
            self._tell([Pending(identity, follower.picture.networks_of(body))])
        for identity in known - set(listed):
            self._gone(("container", identity))
        for identity in networks_known - {network.id for network in networks}:
            self._gone(("network", identity))
        self.confirmed = began

    def _networks(self, bodies: Iterable[Json]) -> Iterator[Network]:
        for body in bodies:
            try:
                yield self._follower.picture.network(body)
            except ValueError as error:
                log.warning("the engine lists what cannot be used: %s", error)

    async def _walk(self, identities: Iterator[str], unseen: dict[str, Json]) -> None:
        for identity in identities:
            await self._look(("container", identity))
            del unseen[identity]
