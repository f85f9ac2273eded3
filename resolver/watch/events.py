"""What an event of the engine means for the names, and what has to be looked up because of it. Pure.

A container that is being started cannot be inspected: the engine makes the call wait until the start is over.
So a ``network connect`` of a container that is not running only says that something is coming (``Pending``),
and the inspect follows at ``start``. One start would otherwise hold up a thread, and a burst of them all
threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from resolver.names.changes import Gone, Pending

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["container", "network"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event, with the fields every API version has."""

    type: str
    action: str
    id: str
    """Of the container or network it is about."""
    at: int
    """Nanoseconds since the epoch, by the engine's clock."""
    container: str = ""
    """For a network's connect and disconnect: whose."""
    name: str = ""
    """For a container's rename: what it is called from now on."""
    old: str = ""
    """And what it was called before; empty where the engine does not say."""


@dataclass(frozen=True, slots=True)
class Inspect:
    """Look it up: now, or when it has had time to settle, if nothing else made us look before."""

    kind: Kind
    id: str
    soon: bool = False


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The endpoint is no more, whatever an inspect will say later; an empty network stands for all of
    them."""

    container: str
    network: str
    at: int


@dataclass(frozen=True, slots=True)
class Renamed:
    """It has this name from now on, and ``old``, where the engine says that, no longer."""

    container: str
    name: str
    old: str = ""


Step = Inspect | Withdraw | Renamed | Gone | Pending


def read_event(body: Mapping[str, Any]) -> Event | None:
    """The event in an object of the stream; None for one that is not about a container or network."""
    actor = body.get("Actor")
    if not isinstance(actor, dict):
        return None
    kind, action, identity = body.get("Type"), body.get("Action"), actor.get("ID")
    if kind not in ("container", "network") or not isinstance(action, str) or not isinstance(identity, str):
        return None
    said = actor.get("Attributes")
    attributes = said if isinstance(said, dict) else {}
    container, name, old = map(attributes.get, ("container", "name", "oldName"))
    at = body.get("timeNano")
    if action in _BETWEEN and kind == "network" and not container:
        kind = "container"  # Podman says whose connection it is, and not to which network
    return Event(
        kind,
        _SYNONYMS.get(action, action),
        identity,
        at if isinstance(at, int) else 0,
        container if isinstance(container, str) else "",
        name.removeprefix("/") if action == "rename" and isinstance(name, str) else "",
        old.removeprefix("/") if action == "rename" and isinstance(old, str) else "",
    )


_SYNONYMS: Mapping[str, str] = {"died": "die", "remove": "destroy"}
"""Podman's own words, where they get through its Docker interface; networks are removed in some versions,
destroyed in others."""

_BETWEEN = frozenset({"connect", "disconnect"})
_NOW = frozenset({"start", "restart", "pause", "unpause"}) | _BETWEEN
_ENDS = frozenset({"die"})


def steps(event: Event, running: bool | None) -> tuple[Step, ...]:
    """What follows from an event; ``running`` is what was known of the container before, None for nothing."""
    if event.type == "network":
        return _network_steps(event, running)
    if event.action == "destroy":
        return (Gone("container", event.id),)
    if event.action == "create":
        return (Inspect("container", event.id, soon=True),)
    if event.action == "start" and running is None:
        return (Pending(event.id), Inspect("container", event.id))
    if event.action in _NOW:
        return (Inspect("container", event.id),)
    if event.action == "rename":
        truth = Inspect("container", event.id)
        return (Renamed(event.id, event.name, event.old), truth) if event.name else (truth,)
    if event.action in _ENDS:
        return (Withdraw(event.id, "", event.at), Inspect("container", event.id, soon=True))
    return ()


def _network_steps(event: Event, running: bool | None) -> tuple[Step, ...]:
    if event.action == "connect" and event.container:
        coming = Pending(event.container, (event.id,))
        return (coming,) if running is False else (coming, Inspect("container", event.container))
    if event.action == "disconnect" and event.container:
        truth = Inspect("container", event.container, soon=running is False)
        return (Withdraw(event.container, event.id, event.at), truth)
    if event.action == "destroy":
        return (Gone("network", event.id),)
    if event.action in ("create", "update"):
        return (Inspect("network", event.id),)
    return ()


class Running:
    """Which containers run, as the events and inspects tell it. Unknown is an answer too."""

    def __init__(self) -> None:
        self._running: dict[str, bool] = {}

    def heard(self, event: Event) -> None:
        """Take an event in."""
        if event.type != "container":
            return
        if event.action in ("create", "start", "die"):
            self._running[event.id] = event.action == "start"
        elif event.action == "destroy":
            self._running.pop(event.id, None)

    def seen(self, container: str, running: bool) -> None:
        """Take an inspect's word."""
        self._running[container] = running

    def of(self, container: str) -> bool | None:
        """Whether it runs; None when nothing was heard of it."""
        return self._running.get(container)


@dataclass(slots=True)
class Inspections:
    """One look at a thing at a time: an event that comes while one is under way makes another one follow, and
    only one."""

    _again: dict[tuple[Kind, str], bool] = field(default_factory=dict)

    def wanted(self, kind: Kind, identity: str) -> bool:
        """Whether to begin one now; otherwise the one under way is followed by another."""
        if (kind, identity) in self._again:
            self._again[kind, identity] = True
            return False
        self._again[kind, identity] = False
        return True

    def stale(self, kind: Kind, identity: str) -> bool:
        """Whether what the one under way finds is already in doubt."""
        return self._again.get((kind, identity), False)

    def finished(self, kind: Kind, identity: str) -> bool:
        """To be called at the end of each; whether another one has to follow (it then counts as begun)."""
        if self._again.pop((kind, identity), False):
            self._again[kind, identity] = False
            return True
        return False
