"""The names table: per network, which name has which endpoints and which address is whose.

Fed with change lines, in any order; the same changes lead to the same table. ``apply`` says which networks a
change touched, so that only what was remembered for their views need be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from resolver.names.changes import Change, Engine, Gone, Pending, Sync
from resolver.names.keys import key_of, reverse_name
from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Held = TypeVar("_Held")

Touched = frozenset[str]
"""Ids of networks; EVERY when any view may have changed."""

NOTHING: Touched = frozenset()
EVERY: Touched = frozenset("*")


@dataclass(slots=True)
class Zone:
    """What is known of one network. Several endpoints may hold one name, and for a moment one address."""

    names: dict[bytes, tuple[Endpoint, ...]] = field(default_factory=dict)
    addresses: dict[bytes, tuple[Endpoint, ...]] = field(default_factory=dict)


class Table:
    """Networks, sandboxes, and the indexes over them. Changed by ``apply`` only."""

    def __init__(self) -> None:
        self.policy = Policy()
        self.networks: dict[str, Network] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.zones: dict[str, Zone] = {}
        self.pending: dict[str, Pending] = {}
        self.engine: Engine | None = None
        self.pictured = False
        """Whether a full picture was ever applied."""
        self._owners: dict[bytes, tuple[str, ...]] = {}
        self._subnets: dict[int, list[tuple[int, int, str]]] | None = None
        self._picturing: set[tuple[str, str]] | None = None
        self._stirred: list[Endpoint] = []
        self.replaced: set[str] = set()
        """Ids of the containers that the last change put, changed or removed."""

    def apply(self, change: Change) -> Touched:
        """Take one change in; the ids of the networks it touched, or EVERY. Applying it again touches
        nothing."""
        self._stirred.clear()
        self.replaced.clear()
        match change:
            case Sandbox():
                return self._put_sandbox(change)
            case Network():
                return self._put_network(change)
            case Gone():
                return (
                    self._remove_sandbox(change.id)
                    if change.kind == "container"
                    else self._remove_network(change.id)
                )
            case Pending():
                return self._put_pending(change)
            case Sync():
                return self._sync(change)
            case Engine():
                self.engine = change
                return NOTHING
            case Policy():
                unchanged = change == self.policy
                self.policy = change
                return NOTHING if unchanged else EVERY

    def stirred(self) -> set[bytes]:
        """Keys of the questions whose answers the last change may have changed, unless it touched EVERY:
        names bare, with their network, below the domain, and reverse names; not the link aliases for them."""
        domain = key_of(self.policy.domain) if self.policy.domain else None
        found: set[bytes] = set()
        for endpoint in self._stirred:
            network = self.networks.get(endpoint.network)
            suffix = key_of(network.name) if network else None
            names = set(_keys(endpoint))
            if suffix:
                names |= {name + suffix for name in names}
            if domain:
                names |= {name + domain for name in names}
            found |= names
            found.update(key for a in _addresses(endpoint) if (key := key_of(reverse_name(a))))
        return found

    def owner(self, address: bytes) -> Sandbox | None:
        """The sandbox that has this address; the one named last where, for a moment, two have it."""
        owners = self._owners.get(address)
        return self.sandboxes[owners[-1]] if owners else None

    def network_around(self, address: bytes) -> Network | None:
        """The network in one of whose subnets this address lies."""
        if self._subnets is None:
            self._subnets = self._index_subnets()
        number = int.from_bytes(address, "big")
        for prefix, mask, network in self._subnets[len(address)]:
            if number & mask == prefix:
                return self.networks[network]
        return None

    def pending_on(self, networks: Touched) -> bool:
        """Whether a container is coming that may be on one of these networks (EVERY for any)."""
        return any(
            not coming.networks or "*" in networks or not networks.isdisjoint(coming.networks)
            for coming in self.pending.values()
        )

    def named(self, name: str) -> Sandbox | None:
        """The container of that name or id; an id may be cut short where that is not ambiguous."""
        for sandbox in self.sandboxes.values():
            if sandbox.name == name or sandbox.id == name:
                return sandbox
        short = [s for s in self.sandboxes.values() if len(name) >= 4 and s.id.startswith(name)]
        return short[0] if len(short) == 1 else None

    def rows(self) -> Iterator[tuple[Network, str, Sandbox, Endpoint]]:
        """Every (network, name, sandbox, endpoint) that is in the table now."""
        for sandbox in self.sandboxes.values():
            for endpoint in sandbox.endpoints:
                if endpoint.alive and (network := self.networks.get(endpoint.network)):
                    for name in dict.fromkeys(endpoint.names):
                        yield network, name, sandbox, endpoint

    def _put_sandbox(self, sandbox: Sandbox) -> Touched:
        """One without networks touches every view: it may be the one whose network stack others share."""
        self._seen("container", sandbox.id)
        self.pending.pop(sandbox.id, None)
        old = self.sandboxes.get(sandbox.id)
        if old == sandbox:
            return NOTHING
        touched = self._unindex(old) if old else set()
        self.sandboxes[sandbox.id] = sandbox
        self.replaced.add(sandbox.id)
        self._stirred += sandbox.endpoints
        for endpoint in sandbox.endpoints:
            touched.add(endpoint.network)
            if endpoint.alive:
                self._index(endpoint, sandbox.id)
        return frozenset(touched) or EVERY

    def _remove_sandbox(self, identity: str) -> Touched:
        self.pending.pop(identity, None)
        old = self.sandboxes.pop(identity, None)
        return frozenset(self._unindex(old)) or EVERY if old else NOTHING

    def _put_network(self, network: Network) -> Touched:
        self._seen("network", network.id)
        if self.networks.get(network.id) == network:
            return NOTHING
        self.networks[network.id] = network
        self._subnets = None
        return EVERY

    def _remove_network(self, identity: str) -> Touched:
        if self.networks.pop(identity, None) is None:
            return NOTHING
        self._subnets = None
        return EVERY

    def _put_pending(self, coming: Pending) -> Touched:
        before = self.pending.get(coming.container)
        if before:
            everywhere = not before.networks or not coming.networks
            both = () if everywhere else tuple(dict.fromkeys(before.networks + coming.networks))
            coming = Pending(coming.container, both)
        self.pending[coming.container] = coming
        return NOTHING

    def _sync(self, sync: Sync) -> Touched:
        if sync.at == "begin":
            self._picturing = set()
            return NOTHING
        named, self._picturing = self._picturing, None
        first, self.pictured = not self.pictured, True
        touched: set[str] = set(EVERY) if first else set()
        if named is not None:
            for identity in [i for i in (*self.sandboxes, *self.pending) if ("container", i) not in named]:
                touched |= self._remove_sandbox(identity)
            for identity in [i for i in self.networks if ("network", i) not in named]:
                touched |= self._remove_network(identity)
        return frozenset(touched)

    def _seen(self, kind: str, identity: str) -> None:
        if self._picturing is not None:
            self._picturing.add((kind, identity))

    def _index(self, endpoint: Endpoint, owner: str) -> None:
        zone = self.zones.get(endpoint.network)
        if zone is None:
            zone = self.zones[endpoint.network] = Zone()
        for key in _keys(endpoint):
            zone.names[key] = (*zone.names.get(key, ()), endpoint)
        for address in _addresses(endpoint):
            zone.addresses[address] = (*zone.addresses.get(address, ()), endpoint)
            self._owners[address] = (*self._owners.get(address, ()), owner)

    def _unindex(self, sandbox: Sandbox) -> set[str]:
        touched = set()
        self.replaced.add(sandbox.id)
        self._stirred += sandbox.endpoints
        for endpoint in sandbox.endpoints:
            touched.add(endpoint.network)
            if not endpoint.alive:
                continue
            zone = self.zones[endpoint.network]
            for key in _keys(endpoint):
                _take(zone.names, key, endpoint)
            for address in _addresses(endpoint):
                _take(zone.addresses, address, endpoint)
                _take(self._owners, address, sandbox.id)
            if not zone.names and not zone.addresses:
                del self.zones[endpoint.network]
        return touched

    def _index_subnets(self) -> dict[int, list[tuple[int, int, str]]]:
        subnets: dict[int, list[tuple[int, int, str]]] = {4: [], 16: []}
        for network in self.networks.values():
            for subnet in network.subnets:
                entry = (int(subnet.network_address), int(subnet.netmask), network.id)
                subnets[subnet.max_prefixlen // 8].append(entry)
        for entries in subnets.values():
            entries.sort(key=lambda entry: (-entry[1], entry[2]))
        return subnets


def _keys(endpoint: Endpoint) -> Iterable[bytes]:
    """Each once: a hostname is often the short id again, and names differ in case only."""
    return dict.fromkeys(key for name in endpoint.names if (key := key_of(name)) is not None)


def _addresses(endpoint: Endpoint) -> Iterator[bytes]:
    if endpoint.ipv4:
        yield endpoint.ipv4
    if endpoint.ipv6:
        yield endpoint.ipv6


def _take(index: dict[bytes, tuple[_Held, ...]], key: bytes, value: _Held) -> None:
    """Take one holder out; the others that share the key stay."""
    held = list(index[key])
    held.remove(value)
    if held:
        index[key] = tuple(held)
    else:
        del index[key]
