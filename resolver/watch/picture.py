"""From what the engine tells to what the door says: one container or network at a time, or the whole picture
at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from resolver.watch.containers import (
    Json,
    also_aliases,
    first_network,
    network_ids,
    placed,
    read_network,
    read_sandbox,
    renamed,
)
from resolver.watch.engine import Engine, NotThere
from resolver.watch.events import Event, read_event
from resolver.watch.order import Order
from resolver.watch.own import interfaces_of, own_addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.names.changes import Change
    from resolver.names.model import Network, Sandbox

NEIGHBOURS: Final = 1_000_000_000
"""Nanoseconds within which events may be out of order."""
AT_ONCE: Final = 4
"""Inspects under way when a whole picture is drawn."""


class Picture:
    """What has to be remembered between two inspects to read the next one: network names, and who came
    first."""

    def __init__(self) -> None:
        self.order = Order()
        self.addresses: tuple[bytes, ...] = own_addresses()
        self._ids: dict[str, str] = {}
        self._also: dict[str, frozenset[str]] = {}
        """Container → networks on which its name is an alias, too; left out where there are none."""

    def network(self, body: Json, asked: str = "") -> Network:
        """A network of the engine, looked at by the id or name ``asked``. Raises ValueError for what is
        none."""
        network = read_network(body)
        self._ids[network.name] = network.id
        if asked:
            self._ids[asked] = network.id
        return network

    def sandbox(self, body: Json) -> Sandbox:
        """A container's inspect, with its endpoints in the order of connection. Raises ValueError for what is
        none."""
        sandbox = read_sandbox(body, self._ids)
        self._remember(sandbox.id, also_aliases(body, self._ids))
        interfaces = interfaces_of(sandbox, self.addresses)
        networks = network_ids(body, self._ids)
        return placed(sandbox, self.order.places(sandbox.id, networks, first_network(body), interfaces))

    def renamed(self, sandbox: Sandbox, name: str, old: str = "") -> Sandbox:
        """A container under its new name, by what its last inspect said of the one before.

        Unless that inspect has seen this rename, or another one after it: it is not called ``old`` then.
        """
        if sandbox.name == name or (old and sandbox.name != old):
            return sandbox
        before = self._also.get(sandbox.id, frozenset())
        if name.lower() != sandbox.name.lower():
            known = (e.network for e in sandbox.endpoints if name.lower() in map(str.lower, e.names))
            self._remember(sandbox.id, frozenset(known))
        return renamed(sandbox, name, before)

    def networks_of(self, body: Json) -> tuple[str, ...]:
        """Ids of the networks in a container's list entry, as far as they are known."""
        return tuple(network_ids(body, self._ids))

    def forget(self, container: str) -> None:
        """The container is no more."""
        self.order.forget(container)
        self._also.pop(container, None)

    def forget_network(self, identity: str) -> None:
        """The network is no more; its name may be another's already."""
        self._ids = {name: known for name, known in self._ids.items() if known != identity}

    def _remember(self, container: str, networks: frozenset[str]) -> None:
        if networks:
            self._also[container] = networks
        else:
            self._also.pop(container, None)


def picture(engine: Engine) -> list[Change]:
    """Every network and every container, stopped ones too, as lines of the door. Blocks.

    Raises EngineError. What vanishes while we look is left out.
    """
    drawing = Picture()
    events, _ = replay(engine, (), engine.now())
    for event in events:
        drawing.order.heard(event)
    changes: list[Change] = [drawing.network(body) for body in engine.networks()]
    identities = [str(body.get("Id")) for body in engine.containers()]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        bodies = threads.map(lambda identity: _inspect(engine, identity), identities)
        changes += [drawing.sandbox(body) for body in bodies if body is not None]
    return changes


def replay(engine: Engine, known: Sequence[Event], now: int) -> tuple[list[Event], bool]:
    """What the engine's buffer tells of the time before ``now`` beside the events ``known``, oldest first,
    and whether nothing is missing. Blocks.

    It begins a little before the last one known, or with the oldest there is. A replay without that last one
    has a gap. A little before, because the engine stamps events before it puts them in their order: it looks
    back no further than to the first that is too old, which may be a neighbour.
    """
    last = known[-1] if known else None
    until = _moment(now)
    if last and last.at >= until:
        return [], True
    since = _stamp(max(last.at - NEIGHBOURS, NEIGHBOURS)) if last else _buffer_begins(engine, now)
    bodies = engine.events(since, _stamp(until))
    events = [event for body in bodies if body is not None and (event := read_event(body))]
    seen = frozenset(known)
    return [event for event in events if event not in seen], last is None or last in events


def _stamp(at: int) -> str:
    """As the engine takes a moment without loss."""
    return f"{at // 1_000_000_000}.{at % 1_000_000_000:09d}"


def _moment(now: int) -> int:
    """The engine's time in nanoseconds, where our own clock agrees with the whole seconds it tells.

    Until a moment to come the engine would wait, and without the fraction the last second would be missing.
    """
    ours = time.time_ns()
    return ours if ours // 1_000_000_000 == now else now * 1_000_000_000


def _buffer_begins(engine: Engine, now: int) -> str:
    """Docker keeps 256 events; Podman may keep all there ever were."""
    return f"{now - 3600}.0" if engine.is_podman else "1.0"


def _inspect(engine: Engine, identity: str) -> Json | None:
    try:
        return engine.container(identity)
    except NotThere:
        return None
