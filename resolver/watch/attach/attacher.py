"""Whom we answer in: decided from what the engine says, done in a thread, renewed on the loop.

A container is attached to when it runs and is wanted; attached anew when its namespace or its nameservers are
others; let go when it ends, or when somebody says so. Nothing here waits for anything in the way of events.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from resolver.names.changes import Gone
from resolver.names.model import Sandbox
from resolver.watch.attach.attachment import (
    SPARE_TCP,
    SPARE_UDP,
    Attachment,
    clean,
    open_in,
)
from resolver.watch.attach.candidate import Candidate, obstacle, read_candidate, wanted
from resolver.watch.attach.claim import AlreadyAnswered
from resolver.watch.attach.hatch import Hatch
from resolver.watch.attach.namespace import CannotEnter, look_inside
from resolver.watch.containers import STOPPED
from resolver.watch.nftables import start_closing
from resolver.watch.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from resolver.names.changes import Change

LINGER: Final = 5.0
"""Seconds that sockets stay open after a container was let go: replies under way still find their way."""
RETRY: Final = 1.0
"""Seconds until a container is looked at again in which another resolver answered, or that was just being
started."""
LOOKS: Final = 2
"""Looks for what an earlier run left: one at once, and one when that can have run out."""
ENOUGH: Final = 2.0
"""Seconds that work under way may take once we are to end."""
THREADS: Final = 4
RENEWALS: Final = 3
"""Renewals in the life of an element: two may fail."""

_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Case:
    """One container: what is known, what was said about it, and what came of it."""

    candidate: Candidate
    said: bool | None = None
    """What a person said with ``resolver attach`` or ``detach``, which counts most."""
    attachment: Attachment | None = None
    why: str = ""
    """Why it is not attached to although it is wanted."""
    failures: int = 0
    """So many times in a row, for the same reason."""
    looks: int = LOOKS
    """So many times it is yet to be looked at for what an earlier run left."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Attacher:
    """All containers, attached or not."""

    def __init__(
        self,
        selectors: Sequence[str],
        life: float,
        workers: int,
        *,
        ready: Callable[[], bool],
        fall_back: bool,
    ) -> None:
        """``life`` is how long a redirect outlives us, in seconds; ``ready`` whether there are names, and
        somebody to answer."""
        self.selectors, self._life = tuple(selectors), life
        self._ready, self._fall_back = ready, fall_back
        self.hatches = [Hatch(self.opened, self.more) for _ in range(workers)]
        self.cases: dict[str, Case] = {}
        self._loop = asyncio.get_running_loop()
        self._threads = Workers(THREADS)
        """They enter namespaces; most of that time the kernel waits for packets on their way through
        rules."""
        start_closing()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping, self._closing = False, asyncio.Event()

    # What the engine says

    def seen(self, body: Mapping[str, Any]) -> None:
        """An inspect came in."""
        candidate = read_candidate(body)
        case = self.cases.get(candidate.id)
        if case is None:
            case = self.cases[candidate.id] = Case(candidate)
        case.candidate = candidate
        self._settle(case)

    def heard(self, changes: Iterable[Change]) -> None:
        """What became of containers, as the door is told."""
        for change in changes:
            if isinstance(change, Gone) and change.kind == "container":
                self._gone(change.id)
            elif isinstance(change, Sandbox) and change.state in STOPPED:
                self._ended(change.id)

    def _ended(self, identity: str) -> None:
        """A container has stopped; it may come again."""
        if (case := self.cases.get(identity)) and case.candidate.pid:
            case.candidate = _stopped(case.candidate)
            self._settle(case)

    def _gone(self, identity: str) -> None:
        """A container is no more."""
        if case := self.cases.pop(identity, None):
            case.candidate = _stopped(case.candidate)
            self._settle(case)

    # What people say

    def choose(self, selectors: Sequence[str]) -> None:
        """Other selectors from now on."""
        self.selectors = tuple(selectors)
        for case in self.cases.values():
            self._settle(case)

    async def say(self, name: str, attach: bool) -> Case | None:
        """Attach to this container or let it go, whatever the selectors say, and have it done; None when
        there is none, or not one, of that name."""
        case = self.named(name)
        if case is not None:
            case.said = attach
            await asyncio.shield(self._settle(case))  # who asked may leave before it is done
        return case

    def named(self, name: str) -> Case | None:
        """By name, id, or the beginning of an id where only one begins so."""
        for case in self.cases.values():
            if name in (case.candidate.name, case.candidate.id):
                return case
        begins = [c for c in self.cases.values() if len(name) >= 4 and c.candidate.id.startswith(name)]
        return begins[0] if len(begins) == 1 else None

    # Doing it

    def wants(self, case: Case) -> bool:
        """Whether it should be attached to, as things are."""
        if self._stopping or obstacle(case.candidate):
            return False
        return wanted(case.candidate, self.selectors) if case.said is None else case.said

    def _settle(self, case: Case) -> asyncio.Task[None]:
        return self._begin(self._settling(case))

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a container could not be attached to", exc_info=error)

    async def _settling(self, case: Case) -> None:
        async with case.turn:
            name = case.candidate.name
            if not self.wants(case):
                case.why = obstacle(case.candidate)
                await self._let_go(case)
                await self._clean(case)
                return
            try:
                if case.attachment:
                    engine = await self._run(_engine_there, case.attachment, case.candidate)
                    if engine is not None:
                        self._moved(case, case.attachment, engine)
                        return
                await self._let_go(case)
                case.attachment = await self._run(open_in, case.candidate.pid, case.candidate.id)
            except CannotEnter as error:
                self._failed(case, error)
                return
            case.why, case.looks, case.failures = "", 0, 0
            if not self.wants(case):  # any more
                await self._let_go(case)
                return
            await self._hand(case, case.attachment)
            if self._ready():
                case.attachment.renew(self._life)
            servers = ",".join(case.attachment.nameservers)
            log.info("attached", extra={"container": name, "nameservers": servers})

    def _moved(self, case: Case, attachment: Attachment, engine: str) -> None:
        """Tell where the engine's own resolver is, if that is news; nothing that is under way is lost."""
        if engine != attachment.engine and self._fall_back:
            self._hatch(case.candidate.id).send({"moved": case.candidate.id, "engine": engine})
        attachment.engine = engine

    async def _let_go(self, case: Case) -> None:
        """Take no more; close when replies under way have left. The container's own resolver answers from the
        first datagram on."""
        attachment, case.attachment = case.attachment, None
        if attachment is None:
            return
        attachment.release()
        log.info("detached", extra={"container": case.candidate.name})
        if case.candidate.pid and not self._stopping:
            self._begin(self._close_later(case, attachment))
        else:
            await self._close(case, attachment)

    async def _close_later(self, case: Case, attachment: Attachment) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await self._closing.wait()
        async with case.turn:
            await self._close(case, attachment)

    async def _close(self, case: Case, attachment: Attachment) -> None:
        """In its turn: where it is attached to again, the rules and the container are the new one's."""
        now = self.cases.get(case.candidate.id)
        if now is None or now.attachment is None:
            self._hatch(case.candidate.id).send({"detached": case.candidate.id})
            await self._run(attachment.remove)
        attachment.close()

    async def _clean(self, case: Case) -> None:
        """Once for each container we are not attached to: what a resolver that was killed left there."""
        if not case.looks or obstacle(case.candidate) or self._stopping:
            return
        case.looks -= 1
        try:
            if await self._run(clean, case.candidate.pid, case.candidate.id):
                log.info("removed what an earlier run left", extra={"container": case.candidate.name})
            case.looks = 0
        except AlreadyAnswered:
            self._loop.call_later(self._life + RETRY, self._settle, case)
        except CannotEnter as error:
            log.debug("%s was not looked at: %s", case.candidate.name, error)

    def _failed(self, case: Case, error: CannotEnter) -> None:
        """A container that has just ended cannot be looked at either, and the engine will say so in a moment:
        only the second failure counts."""
        if str(error) != case.why:
            case.failures = 0
        case.why, case.failures = str(error), case.failures + 1
        if case.failures == 2:
            log.warning("%s is not attached: %s", case.candidate.name, error)
        if isinstance(error, AlreadyAnswered) or case.failures == 1:
            self._loop.call_later(RETRY, self._settle, case)

    def _run(self, function: Callable[..., _Result], *arguments: Any) -> asyncio.Future[_Result]:
        return self._threads.submit(function, *arguments)

    # The answering processes

    def _hatch(self, identity: str) -> Hatch:
        """The one that answers in this container, of several."""
        return self.hatches[int(identity[:8] or "0", 16) % len(self.hatches)]

    def opened(self, hatch: Hatch) -> None:
        """A new answering process has to be told everything."""
        for case in self.cases.values():
            if case.attachment and self._hatch(case.candidate.id) is hatch:
                self._begin(self._handing(case))

    async def _handing(self, case: Case) -> None:
        async with case.turn:
            if case.attachment:
                await self._hand(case, case.attachment)

    async def _hand(self, case: Case, attachment: Attachment) -> None:
        """In one message: whoever asks at the first moment may need a server that only this namespace
        reaches."""
        message = {
            "attached": case.candidate.id,
            "engine": attachment.engine if self._fall_back else "",
            "udp": len(attachment.udp),
            "tcp": len(attachment.tcp),
        }
        await self._send(case, attachment, message, SPARE_UDP, SPARE_TCP, *attachment.udp, *attachment.tcp)

    def more(self, hatch: Hatch, identity: str, kind: str) -> None:
        """The answering process needs one more socket in a namespace."""
        if (case := self.cases.get(identity)) and case.attachment:
            udp, tcp = int(kind == "udp"), int(kind == "tcp")
            self._begin(self._send(case, case.attachment, {"spare": identity}, udp, tcp))

    async def _send(
        self,
        case: Case,
        attachment: Attachment,
        message: dict[str, Any],
        udp: int,
        tcp: int,
        *sockets: socket.socket,
    ) -> None:
        """A message with these sockets and so many new ones; with none of them where none can be had."""
        kinds = (socket.SOCK_DGRAM,) * udp + (socket.SOCK_STREAM,) * tcp
        made: list[socket.socket] = []
        try:
            made = await self._run(attachment.spare, kinds)
        except (CannotEnter, OSError) as error:
            log.debug("no socket in the namespace of %s: %s", case.candidate.name, error)
            udp = tcp = 0
        try:
            if sockets or udp or tcp:
                spare = made if udp or tcp else []
                said = {**message, "spare_udp": udp, "spare_tcp": tcp}
                self._hatch(case.candidate.id).send(said, (*sockets, *spare))
        finally:
            for sock in made:
                sock.close()

    # Life

    async def renew(self) -> None:
        """Until cancelled: say that we are there, while there are names and somebody to answer."""
        while True:
            if self._ready() and not self._stopping:
                for case in list(self.cases.values()):
                    if case.attachment and not case.attachment.renew(self._life):
                        self._begin(self._put_back(case))  # the others are not to wait
            await asyncio.sleep(self._life / RENEWALS if self._ready() else 0.05)

    async def _put_back(self, case: Case) -> None:
        """Our table is gone: somebody flushed the rules, or the container has just ended."""
        async with case.turn:
            attachment = case.attachment
            if attachment is None or self._stopping or attachment.renew(self._life):
                return
            try:
                await self._run(attachment.put_back)
                if not self._stopping:
                    attachment.renew(self._life)
                case.why = ""
            except CannotEnter as error:
                self._failed(case, error)

    def release(self) -> None:
        """Let go of every container, at once; sockets stay open for what they have taken in until
        ``close``."""
        self._stopping = True
        for case in self.cases.values():
            if case.attachment:
                case.attachment.release()

    async def close(self) -> None:
        """Remove what is ours everywhere."""
        self._stopping = True
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(ENOUGH):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        for task in list(self._tasks):
            task.cancel()
        leaving = [case.attachment for case in self.cases.values() if case.attachment]
        for case in self.cases.values():
            case.attachment = None
        await asyncio.gather(*(self._run(attachment.remove) for attachment in leaving))
        for attachment in leaving:
            attachment.close()
        for hatch in self.hatches:
            hatch.close()
        self._threads.close()


def _engine_there(attachment: Attachment, candidate: Candidate) -> str | None:
    """Where the engine's own resolver is now; None where the container's namespace or its nameservers are
    others than those we answer in."""
    inside = look_inside(candidate.pid, candidate.id)
    try:
        if inside.identity != attachment.inside.identity or not attachment.serves(inside):
            return None
        return attachment.engine_in(inside)
    finally:
        inside.close()


def _stopped(candidate: Candidate) -> Candidate:
    return Candidate(candidate.id, candidate.name, 0, candidate.networks, candidate.labels, candidate.mode)
