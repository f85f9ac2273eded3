"""In which order a container was connected to its networks. Pure.

The engine does not keep it: ``Networks`` is a map, and interfaces are numbered anew at each start. What is
known:

- a connect of a running container is an event of its own, so these are in order. It is told from the batch of
  connects
  that belongs to a start, which has no meaningful order, by what comes after: the batch is followed by
  ``start``;
- a network that appears in a container's inspect later than others was connected later (a connect of a
  stopped
  container is no event);
- a restart disconnects and reconnects everything at random, so a place once known is kept until an inspect no
  longer
  lists the network.

Where nothing is known: the network the container was created with, then the order of the interfaces where
they are our own, then the name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resolver.watch.events import Event

AT_CREATION: Final = 0
"""The time of whatever was there when the container was seen first."""
_LAST: Final = 1 << 30


@dataclass(slots=True)
class _Connections:
    since: dict[str, int] = field(default_factory=dict)
    """Network → when it was connected, nanoseconds since the epoch, as far as known."""
    open: dict[str, int | None] = field(default_factory=dict)
    """Network → what ``since`` said before a connect that may yet turn out to be part of a start."""
    running: bool | None = None
    listed: bool = False
    """Whether an inspect was seen: only against an earlier one is a network a later one."""


class Order:
    """Fed with events, oldest first, and with what inspects list; says each endpoint's place."""

    def __init__(self) -> None:
        self._containers: dict[str, _Connections] = {}

    def heard(self, event: Event) -> None:
        """Take an event in."""
        if event.type == "network":
            if event.container and event.action in ("connect", "disconnect"):
                self._network(event, self._containers.setdefault(event.container, _Connections()))
            return
        if event.action == "destroy":
            self._containers.pop(event.id, None)
        elif event.action in ("create", "start", "die"):
            known = self._containers.setdefault(event.id, _Connections())
            if event.action == "start":
                self._started(known)
            known.running = event.action == "start"

    def places(
        self, container: str, networks: Mapping[str, str], first: str, interfaces: Mapping[str, int]
    ) -> dict[str, int]:
        """Network id → place, from 0, for the networks an inspect lists (id → name).

        ``first`` is the name or id of the network the container was created with; ``interfaces`` is network
        id → index of the interface, where the network stack is ours.
        """
        known = self._containers.setdefault(container, _Connections())
        self._listed(known, networks)

        def key(network: str) -> tuple[int, bool, int, str]:
            name = networks[network]
            return known.since[network], first not in (name, network), interfaces.get(network, _LAST), name

        return {network: place for place, network in enumerate(sorted(networks, key=key))}

    def known(self) -> dict[str, dict[str, int]]:
        """What the engine could not tell anew, for the version that comes after us: container → network →
        when it was connected."""
        return {identity: dict(known.since) for identity, known in self._containers.items() if known.listed}

    def recall(self, told: Mapping[str, Mapping[str, int]]) -> None:
        """Begin with what an earlier version knew. What happens to be heard again says the same again."""
        for identity, since in told.items():
            self._containers[identity] = _Connections(dict(since), listed=True)

    def forget(self, container: str) -> None:
        """The container is no more."""
        self._containers.pop(container, None)

    @staticmethod
    def _network(event: Event, known: _Connections) -> None:
        if event.action == "disconnect":
            known.open.pop(event.id, None)
        elif known.running is not False:
            known.open.setdefault(event.id, known.since.get(event.id))
            known.since[event.id] = event.at

    @staticmethod
    def _started(known: _Connections) -> None:
        """Whatever was connected without being disconnected since belongs to this start, and says nothing."""
        for network, before in known.open.items():
            if before is None:
                known.since.pop(network, None)
            else:
                known.since[network] = before
        known.open.clear()

    @staticmethod
    def _listed(known: _Connections, networks: Mapping[str, str]) -> None:
        for network in [n for n in known.since if n not in networks]:
            del known.since[network]
            known.open.pop(network, None)
        later = max(known.since.values()) + 1 if known.since and known.listed else AT_CREATION
        known.listed = True
        for network in networks:
            known.since.setdefault(network, later)
