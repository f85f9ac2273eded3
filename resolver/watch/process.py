"""The watching process as a story: sockets, child, engine; then signals; then the end, in the reverse
order."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resolver.names.model import Network, Sandbox
from resolver.names.policy import Policy
from resolver.settings import Settings, SettingsError
from resolver.watch import control, notify
from resolver.watch.book import Book
from resolver.watch.capabilities import CannotAttach, CannotDropRoot, may_attach, may_drop_root
from resolver.watch.child import Child
from resolver.watch.find import places
from resolver.watch.handover import Former, Offer, Remembered, open_offer, receive
from resolver.watch.own import mounted_container, named, own_addresses, own_container
from resolver.watch.sockets import CannotListen, Sockets, open_sockets
from resolver.watch.static import BadChanges, load_changes
from resolver.watch.takeover import RENEWAL, TakeOver, TakeOverFailed
from resolver.watch.upstreams import (
    Ourselves,
    Watched,
    choose,
    engines_resolver,
    grouped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from resolver.names.changes import Change
    from resolver.watch.attach.attacher import Attacher

LOOK_AT_RESOLV_CONF: Final = 1.0
"""Seconds between looks at whether /etc/resolv.conf was changed: one system call."""

log = logging.getLogger(__name__)


def run(settings: Settings, reload: Callable[[], Settings] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. The exit code: 0 stopped, 1 could not begin, 2 a file of changes is
    wrong.

    ``reload`` reads the settings anew for SIGHUP; it may raise SettingsError.
    """
    sockets: list[Sockets] = []
    try:
        may_drop_root()
        if settings.attach:
            may_attach()
            _want_descriptors()
        book = Book()
        if settings.changes:
            load_changes(settings.changes, book)
        former = receive(settings) if settings.replace else None
        sockets = former.sockets if former else _opened(settings)
        take_over = TakeOver.begun(*sockets[0].redirected) if settings.take_over else None
        if take_over and former:
            take_over.renew()  # somebody answers already, and goes on until we do
        return asyncio.run(_serve(settings, reload, book, sockets, take_over, former))
    except BadChanges as error:
        log.error("%s", error)
        return 2
    except (CannotAttach, CannotDropRoot, CannotListen, TakeOverFailed) as error:
        log.error("%s", error)
        return 1
    finally:
        for each in sockets:
            each.close()


def _want_descriptors() -> None:
    """An attached container takes some ten; usual is 1,024 in all."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _opened(settings: Settings) -> list[Sockets]:
    return open_sockets(settings.listen, take_over=settings.take_over, workers=settings.workers)


async def _serve(
    settings: Settings,
    reload: Callable[[], Settings] | None,
    book: Book,
    sockets: list[Sockets],
    take_over: TakeOver | None,
    former: Former | None,
) -> int:
    return await Watch(settings, reload, book, sockets, take_over, former).run()


class Watch:
    """Everything that watches, and how it begins and ends."""

    def __init__(
        self,
        settings: Settings,
        reload: Callable[[], Settings] | None,
        book: Book,
        sockets: list[Sockets],
        take_over: TakeOver | None,
        former: Former | None = None,
    ) -> None:
        self.settings, self.book, self._sockets, self._former = settings, book, sockets, former
        self._loop = asyncio.get_running_loop()
        self._attacher = self._attaching(len(sockets)) if settings.attach else None
        hatches = self._attacher.hatches if self._attacher else [None] * len(sockets)
        self.children = [
            Child(
                each,
                book.picture,
                log_level=settings.log_level,
                log_format=settings.log_format,
                cache_size=settings.cache_size,
                upstream_policy=settings.upstream_policy,
                hatch=hatch,
            )
            for each, hatch in zip(sockets, hatches, strict=True)
        ]
        self._redirected = sockets[0].redirected
        self._reload, self._take_over = reload, take_over
        self._stopped = asyncio.Event()
        self._resolv_conf = Watched()
        self._mounted = mounted_container()
        self._policy_is_due = False
        self._tasks: list[asyncio.Task[None]] = []
        self._offer: Offer | None = None
        self._remembered: Callable[[], Remembered] = dict

    async def run(self) -> int:
        """Until told to stop; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopped.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._reread)
        self._loop.add_signal_handler(signal.SIGUSR1, self._empty_caches)
        self.book.note(self._policy())
        offer = self._former.offer if self._former else open_offer(self.settings.listen[0])
        if offer:
            self._offer = Offer(
                offer, self.settings, self._sockets, lambda: self._remembered(), self._replaced
            )
        if not self._former or self.book.pictured:
            self._start_children()
        self._begin(self._watch_resolv_conf())
        if self._take_over:
            self._begin(self._renew(self._take_over))
        if self._attacher:
            self._begin(self._attacher.renew())
            self._begin(control.serve(self._attacher, self.settings.listen[0]))
        if not self.settings.changes:
            self._begin(self._follow())
        self._begin(self._tell_when_ready())
        await self._stopped.wait()
        notify.tell(notify.STOPPING)
        await self._stop()
        return 0

    def tell(self, changes: Iterable[Change]) -> None:
        """Note the changes and pass on those that are news. Before the first picture, only what is no part of
        it."""
        news = [change for change in changes if self.book.note(change)]
        if any(isinstance(change, Sandbox | Network) for change in news):
            self._policy_soon()
        if self._attacher:
            self._attacher.heard(news)
        if not self.book.pictured:
            news = [change for change in news if not isinstance(change, Sandbox | Network)]
        if news:
            self._tell_children(news)

    def _tell_children(self, changes: Iterable[Change]) -> None:
        lines = list(changes)
        for child in self.children:
            child.tell(lines)

    # Beginning and end

    def _start_children(self) -> None:
        for child in self.children:
            child.start()
        former, self._former = self._former, None
        if former:
            self._begin(self._succeed(former))

    async def _succeed(self, former: Former) -> None:
        """Who ran before answers until ours do."""
        await asyncio.gather(*(child.ready.wait() for child in self.children))
        former.end()

    async def _tell_when_ready(self) -> None:
        await asyncio.gather(*(child.ready.wait() for child in self.children))
        notify.tell(notify.READY)

    def _replaced(self) -> None:
        """Another one answers on our sockets, and owns what was taken over."""
        log.info("another one has taken over")
        self._take_over = None
        if self._attacher:
            self._attacher.release()
        self._begin(self._hand_over())

    async def _hand_over(self) -> None:
        """What we know is kept right until the last answer."""
        await asyncio.gather(*(child.hand_over() for child in self.children))
        self._stopped.set()

    def _begin(self, story: object) -> None:
        assert asyncio.iscoroutine(story)
        task = self._loop.create_task(story)
        task.add_done_callback(self._failed)
        self._tasks.append(task)

    def _failed(self, task: asyncio.Task[None]) -> None:
        """A fault of ours: better to end and be started again than to answer from a table nobody follows any
        more."""
        if not task.cancelled() and (error := task.exception()):
            log.critical("a part of the watching process failed", exc_info=error)
            self._stopped.set()

    async def _stop(self) -> None:
        if self._offer:
            self._offer.close()
        for task in self._tasks:
            task.cancel()
        if self._take_over:
            self._take_over.release()
        if self._attacher:
            self._attacher.release()
        await asyncio.gather(*(child.stop() for child in self.children))
        if self._take_over:
            self._take_over.remove()
        if self._attacher:
            await self._attacher.close()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        """The engine's client is loaded only now: sockets and child do not wait for it."""
        from resolver.watch.follow import Follower  # noqa: PLC0415

        def candidates() -> object:
            return places(self.settings.engine, os.environ, Path.home())

        seen = self._attacher.seen if self._attacher else None
        follower = Follower(candidates, self.book, self.tell, self._pictured, seen)  # type: ignore[arg-type]
        if self._former:
            follower.picture.order.recall(self._former.remembered)
        self._remembered = follower.picture.order.known
        await follower.run()

    def _pictured(self) -> None:
        self.book.pictured = True
        self.book.note(self._policy())
        if self._former:
            self._start_children()  # not before: until now who ran before us knows better
        else:
            self._tell_children(self.book.picture())

    def _ready(self) -> bool:
        """Whether there are names, and somebody to answer."""
        return self.book.pictured and all(child.steady for child in self.children)

    def _attaching(self, workers: int) -> Attacher:
        """Loaded where it is wanted only."""
        from resolver.watch.attach.attacher import Attacher  # noqa: PLC0415

        return Attacher(
            self.settings.attach,
            self.settings.release_after,
            workers,
            ready=self._ready,
            fall_back=self.settings.fall_back_to_engine,
        )

    async def _renew(self, take_over: TakeOver) -> None:
        """Only while there are names and somebody to answer: otherwise Docker's own resolver is the better
        one."""
        said = ""
        while True:
            if self._ready():
                try:
                    take_over.renew()
                    said = ""
                except TakeOverFailed as error:
                    if str(error) != said:
                        log.error("%s", error)
                    said = str(error)
            await asyncio.sleep(RENEWAL if self.book.pictured else 0.05)

    # Settings

    def _policy(self) -> Policy:
        s = self.settings
        ourselves = Ourselves(s.listen, own_addresses(), s.take_over)
        return Policy(
            search_order=s.search_order,
            ttl=s.ttl,
            names_on_default_bridge=s.names_on_default_bridge,
            strangers=s.strangers,
            block_private_answers=s.block_private_answers,
            client_rate=s.client_rate,
            domain=s.domain,
            own=self._own(),
            upstreams=self._upstreams(ourselves),
            forwards=grouped(s.forward),
            ourselves=ourselves.servers(),
        )

    def _own(self) -> str:
        """A container that was named but is not there yet is nobody, rather than the host, which sees every
        network."""
        wanted = self.settings.as_container
        if wanted:
            found = named(wanted, self.book.sandboxes)
            return found.id if found else wanted
        if not self.book.pictured:
            return self._mounted
        # The addresses of a file of changes may be anybody's: only the mounts say whose stack this is.
        addresses = () if self.settings.changes else own_addresses()
        return own_container(self._mounted, addresses, self.book.sandboxes)

    def _upstreams(self, ourselves: Ourselves) -> tuple[str, ...]:
        engines = engines_resolver(self._redirected)
        servers = choose(self.settings.upstream, self._resolv_conf.text(), ourselves, engines)
        before = self.book.policy.upstreams if self.book.policy else None
        if not servers and before != ():
            log.warning("no upstream is left to ask about other names; name one with --upstream")
        return servers

    def _policy_soon(self) -> None:
        """Whose container we are, and which addresses are ours, may have changed; once for many changes."""
        if not self._policy_is_due:
            self._policy_is_due = True
            self._loop.call_soon(self._tell_policy)

    def _tell_policy(self) -> None:
        self._policy_is_due = False
        self.tell([self._policy()])

    async def _watch_resolv_conf(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AT_RESOLV_CONF)
            if self._resolv_conf.changed() and not self.settings.upstream:
                log.info("resolv.conf was changed")
                self._tell_policy()

    def _reread(self) -> None:
        """SIGHUP. What cannot be read changes nothing."""
        try:
            if self._reload:
                self._apply(self._reload())
            if self.settings.changes:
                fresh = Book()
                load_changes(self.settings.changes, fresh)
                self.book.networks, self.book.sandboxes = fresh.networks, fresh.sandboxes
                self.book.pending = fresh.pending
                self._tell_children(self.book.picture())
        except (SettingsError, BadChanges) as error:
            log.error("the settings stay as they were: %s", error)
            return
        self._tell_policy()
        log.info("settings reread")

    def _empty_caches(self) -> None:
        """SIGUSR1. Each child empties its own cache, and reports."""
        for child in self.children:
            child.send_signal(signal.SIGUSR1)

    def _apply(self, fresh: Settings) -> None:
        self.settings, changed = self.settings.after_reload(fresh)
        if not self._attacher:
            changed += ("attach",) * bool(self.settings.attach)
        elif self.settings.attach != self._attacher.selectors:
            self._attacher.choose(self.settings.attach)
        if changed:
            log.warning("these settings change at the next start: %s", ", ".join(changed))
        logging.getLogger().setLevel(self.settings.log_level.upper())
