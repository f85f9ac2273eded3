"""A topology on a real engine: made, changed, looked at and taken away again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.oracle.topology import BRIDGE, Container, Endpoint, Operation, Topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.topology import Lab


class Played:
    """One topology on the engine of a laboratory, which takes it away."""

    def __init__(self, lab: Lab, topology: Topology, dns: tuple[str, str]) -> None:
        """``dns``: the upstream that fails, and the one that answers. Made when this returns."""
        self._lab, self.topology, self._dns = lab, topology, dns
        for network in topology.networks.values():
            identity = lab.network(network.name, internal=network.internal, ipv6=network.ipv6)
            pools = lab.api.inspect_network(identity)["IPAM"]["Config"]
            prefix = next(pool["Subnet"] for pool in pools if ":" not in pool["Subnet"]).rpartition(".")[0]
            network.gateway = f"{prefix}.1"
        own = [c for c in topology.containers.values() if not c.joins]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._make, own))
        for container in topology.containers.values():
            if container.joins:
                mode = f"container:{topology.containers[container.joins].id}"
                container.id = lab.container(container.name, network_mode=mode)
                container.state = "running"
        self.look()

    def do(self, operation: Operation) -> None:
        """Let it happen, and return when the engine says it has."""
        _ACTIONS[operation.action](self, self.topology.containers[operation.container], operation)

    def look(self) -> None:
        """Take the addresses, names and processes from the engine, which may have given others."""
        for container in self.topology.containers.values():
            if container.state == "gone":
                continue
            seen = self._lab.inspect(container.id)
            container.called = seen["Name"].removeprefix("/")
            container.pid = seen["State"]["Pid"]
            networks = seen["NetworkSettings"]["Networks"]
            container.bridge_address = networks.get(BRIDGE, {}).get("IPAddress", "")
            for end in container.endpoints.values():
                shown = networks.get(end.network.name, {})
                end.ipv4, end.ipv6 = shown.get("IPAddress", ""), shown.get("GlobalIPv6Address", "")

    def remove(self) -> None:
        """Take the containers away, several at once: the laboratory removes one after the other."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda c: self._lab.remove(c.id), self.topology.containers.values()))

    def _make(self, c: Container) -> None:
        """Created on its first network, connected to the others, started."""
        first, *others = c.endpoints.values()
        c.id = self._lab.container(
            c.name or None,
            network=first.network.name,
            hostname=c.hostname or None,
            dns=self._dns if c.failing_first else self._dns[1:],
            dns_options=["ndots:2"] if c.ndots else [],
            start=False,
            **_shape(first),
        )
        for end in others:
            self._lab.connect(end.network.name, c.id, **_shape(end))
        if c.on_bridge:
            self._lab.connect(BRIDGE, c.id)
        self._lab.start(c.id)
        c.state = "running"

    def _start(self, c: Container, _: Operation) -> None:
        self._lab.start(c.id)
        c.state = "running"

    def _stop(self, c: Container, _: Operation) -> None:
        self._lab.stop(c.id)
        c.state = "stopped"

    def _pause(self, c: Container, _: Operation) -> None:
        self._lab.pause(c.id)
        c.state = "paused"

    def _unpause(self, c: Container, _: Operation) -> None:
        self._lab.unpause(c.id)
        c.state = "running"

    def _remove(self, c: Container, _: Operation) -> None:
        self._lab.remove(c.id)
        c.state = "gone"
        c.endpoints.clear()

    def _rename(self, c: Container, operation: Operation) -> None:
        self._lab.rename(c.id, operation.name)
        c.name, c.chosen_name = operation.name, True
        c.renamed_on_bridge = c.renamed_on_bridge or (c.runs and c.on_bridge)

    def _joined(self, c: Container, operation: Operation) -> None:
        network = self.topology.networks[operation.network]
        end = self.topology.new_endpoint(network, static=False)
        self._lab.connect(network.name, c.id, **_shape(end))
        c.endpoints[network.stem] = end

    def _left(self, c: Container, operation: Operation) -> None:
        self._lab.disconnect(c.endpoints.pop(operation.network).network.name, c.id)

    def _bridge(self, c: Container, _: Operation) -> None:
        self._lab.connect(BRIDGE, c.id)
        c.on_bridge = True

    def _unbridge(self, c: Container, _: Operation) -> None:
        self._lab.disconnect(BRIDGE, c.id)
        c.on_bridge = c.renamed_on_bridge = False


_ACTIONS: dict[str, Callable[[Played, Container, Operation], None]] = {
    "start": Played._start,
    "stop": Played._stop,
    "pause": Played._pause,
    "unpause": Played._unpause,
    "remove": Played._remove,
    "rename": Played._rename,
    "connect": Played._joined,
    "disconnect": Played._left,
    "bridge": Played._bridge,
    "unbridge": Played._unbridge,
}


def _shape(end: Endpoint) -> dict[str, Any]:
    """What the engine is told of an endpoint."""
    prefix = end.network.gateway.rpartition(".")[0]
    return {
        "aliases": end.aliases,
        "links": dict(end.links),
        "ip": f"{prefix}.{end.host}" if end.host else None,
    }
