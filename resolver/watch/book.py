"""The last line about each thing: what the answering process knows, so that a new one can be told everything
at once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.names.changes import Change, Engine, Gone, Pending, Sync
from resolver.names.model import Network, Sandbox
from resolver.names.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Book:
    """Changed by ``note`` only."""

    def __init__(self) -> None:
        self.policy: Policy | None = None
        self.engine: Engine | None = None
        self.networks: dict[str, Network] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.pending: dict[str, Pending] = {}
        self.pictured = False
        """Whether a full picture is in it."""
        self._named: set[str] | None = None

    def note(self, change: Change) -> bool:
        """Take a change in; whether it says anything new and has to be passed on."""
        match change:
            case Sandbox():
                return self._sandbox(change)
            case Network():
                return self._network(change)
            case Gone():
                return self._gone(change)
            case Pending():
                return self._pending(change)
            case Sync():
                return self._sync(change)
            case Engine():
                news, self.engine = change != self.engine, change
                return news
            case Policy():
                news, self.policy = change != self.policy, change
                return news

    def picture(self) -> Iterator[Change]:
        """Everything, between begin and end. Before the first picture only what may be said without one."""
        if not self.pictured:
            yield from (change for change in (self.policy, self.engine) if change)
            yield from self.pending.values()
            return
        yield Sync("begin")
        yield from (change for change in (self.policy, self.engine) if change)
        yield from self.networks.values()
        yield from self.sandboxes.values()
        yield Sync("end")
        yield from self.pending.values()  # after the end, which ends those of containers it did not name

    def _sandbox(self, change: Sandbox) -> bool:
        self._mark(change.id)
        was_pending = self.pending.pop(change.id, None) is not None
        news = self.sandboxes.get(change.id) != change
        self.sandboxes[change.id] = change
        return news or was_pending

    def _network(self, change: Network) -> bool:
        self._mark(change.id)
        news = self.networks.get(change.id) != change
        self.networks[change.id] = change
        return news

    def _gone(self, change: Gone) -> bool:
        if change.kind == "network":
            return self.networks.pop(change.id, None) is not None
        was_pending = self.pending.pop(change.id, None) is not None
        return self.sandboxes.pop(change.id, None) is not None or was_pending

    def _pending(self, change: Pending) -> bool:
        """One container may come to several networks, one event after the other; none named means any."""
        before = self.pending.get(change.container)
        if before:
            known = before.networks and change.networks
            both = tuple(dict.fromkeys(before.networks + change.networks)) if known else ()
            change = Pending(change.container, both)
        self.pending[change.container] = change
        return change != before

    def _sync(self, change: Sync) -> bool:
        if change.at == "begin":
            self._named = set()
            return False
        named, self._named = self._named, None
        if named is not None:
            self.networks = {k: v for k, v in self.networks.items() if k in named}
            self.sandboxes = {k: v for k, v in self.sandboxes.items() if k in named}
            self.pending = {k: v for k, v in self.pending.items() if k in named}
        news, self.pictured = not self.pictured, True
        return news

    def _mark(self, identity: str) -> None:
        if self._named is not None:
            self._named.add(identity)
