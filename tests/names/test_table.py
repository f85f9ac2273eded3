"""The names table: whatever the order of the changes, it is what the world is now."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.names.changes import Change, Engine, Gone, Pending, Sync
from resolver.names.keys import key_of
from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy
from resolver.names.table import EVERY, NOTHING, Table
from tests import worlds
from tests.house import container, joined, network, stopped

if TYPE_CHECKING:
    from collections.abc import Iterable

Picture = dict[str, object]


class World:
    """What the changes say, kept in the simplest way there is."""

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.pending: dict[str, set[str]] = {}
        """Networks by container; an empty set is any."""
        self.named: set[tuple[str, str]] | None = None
        self.pictured = False
        self.policy = Policy()
        self.engine: Engine | None = None

    def apply(self, change: Change) -> None:
        match change:
            case Sandbox(id=identity):
                self.sandboxes[identity] = change
                self.pending.pop(identity, None)
                self._name("container", identity)
            case Network(id=identity):
                self.networks[identity] = change
                self._name("network", identity)
            case Gone(kind="container", id=identity):
                self.sandboxes.pop(identity, None)
                self.pending.pop(identity, None)
            case Gone(id=identity):
                self.networks.pop(identity, None)
            case Pending(container=identity, networks=coming):
                known = self.pending.get(identity, set(coming))
                self.pending[identity] = known | set(coming) if known and coming else set()
            case Sync():
                self._sync(change)
            case Engine():
                self.engine = change
            case Policy():
                self.policy = change

    def _name(self, kind: str, identity: str) -> None:
        if self.named is not None:
            self.named.add((kind, identity))

    def _sync(self, change: Sync) -> None:
        if change.at == "begin":
            self.named = set()
            return
        self.pictured = True
        if self.named is not None:
            self._keep(self.named)
        self.named = None

    def _keep(self, named: set[tuple[str, str]]) -> None:
        self.networks = {i: n for i, n in self.networks.items() if ("network", i) in named}
        self.sandboxes = {i: s for i, s in self.sandboxes.items() if ("container", i) in named}
        self.pending = {i: p for i, p in self.pending.items() if ("container", i) in named}

    def picture(self) -> list[Change]:
        """The truth in as many changes."""
        coming = [Pending(i, tuple(sorted(p))) for i, p in self.pending.items()]
        told: list[Change] = [self.policy, *self.networks.values(), *self.sandboxes.values()]
        return [*told, *([self.engine] if self.engine else []), *coming]


def seen(table: Table) -> Picture:
    """Everything a table knows, its indexes included; the order among several holders aside."""
    return {
        "policy": table.policy,
        "networks": table.networks,
        "sandboxes": table.sandboxes,
        "pending": {i: set(p.networks) for i, p in table.pending.items()},
        "engine": table.engine,
        "pictured": table.pictured,
        "names": {(i, k): Counter(held) for i, z in table.zones.items() for k, held in z.names.items()},
        "addresses": {
            (i, k): Counter(held) for i, z in table.zones.items() for k, held in z.addresses.items()
        },
        "zones": set(table.zones),
        "owners": {address: Counter(owners) for address, owners in table._owners.items()},
        "around": {a: table.network_around(a) for a in worlds.addresses_of_interest},
    }


def filled(changes: Iterable[Change]) -> Table:
    table = Table()
    for change in changes:
        table.apply(change)
    return table


@worlds.some_worlds
@given(worlds.histories, st.data())
def test_any_history_is_a_full_picture(history: list[Change], data: st.DataObject) -> None:
    """Lines sent again, pendings and pictures in between leave nothing behind."""
    table, world = Table(), World()
    for change in history:
        for _ in range(data.draw(st.integers(1, 2)) if not isinstance(change, Sync) else 1):
            table.apply(change)
        world.apply(change)
    picture = data.draw(st.permutations(world.picture()))
    fresh = filled([c for c in picture if not isinstance(c, Pending)])
    for change in picture:
        if isinstance(change, Pending):
            fresh.apply(change)
    if world.pictured:
        fresh.apply(Sync("end"))
    assert seen(table) == seen(fresh)


@worlds.some_worlds
@given(worlds.histories)
def test_indexes_are_what_the_sandboxes_say(history: list[Change]) -> None:
    table = filled(history)
    names: Counter[tuple[str, bytes, Endpoint]] = Counter()
    addresses: Counter[tuple[str, bytes, Endpoint]] = Counter()
    owners: Counter[tuple[bytes, str]] = Counter()
    for sandbox in table.sandboxes.values():
        for endpoint in sandbox.endpoints:
            if not (endpoint.ipv4 or endpoint.ipv6):
                continue
            for key in {key_of(name) for name in endpoint.names} - {None}:
                assert key is not None
                names[endpoint.network, key, endpoint] += 1
            for address in (endpoint.ipv4, endpoint.ipv6):
                if address:
                    addresses[endpoint.network, address, endpoint] += 1
                    owners[address, sandbox.id] += 1
    for index, expected in (("names", names), ("addresses", addresses)):
        found = Counter(
            (i, key, endpoint)
            for i, zone in table.zones.items()
            for key, held in getattr(zone, index).items()
            for endpoint in held
        )
        assert found == expected
    assert Counter((a, o) for a, held in table._owners.items() for o in held) == owners


@worlds.some_worlds
@given(worlds.histories)
def test_forward_and_reverse_agree(history: list[Change]) -> None:
    """What a name leads to is found by its addresses, and what has an address by its names."""
    table = filled(history)
    for zone in table.zones.values():
        for held in zone.names.values():
            for endpoint in held:
                for address in filter(None, (endpoint.ipv4, endpoint.ipv6)):
                    assert endpoint in zone.addresses[address]
        for held in zone.addresses.values():
            for endpoint in held:
                for key in filter(None, map(key_of, endpoint.names)):
                    assert endpoint in zone.names[key]


@worlds.some_worlds
@given(worlds.histories, worlds.changes)
def test_a_line_sent_again_touches_nothing(history: list[Change], change: Change) -> None:
    if isinstance(change, Sync):
        return
    table = filled(history)
    table.apply(change)
    before = seen(table)
    assert table.apply(change) == NOTHING
    assert seen(table) == before


@worlds.some_worlds
@given(worlds.histories, worlds.changes)
def test_what_changed_is_what_was_touched(history: list[Change], change: Change) -> None:
    """The zones of networks that ``apply`` does not name are as they were."""
    table = filled(history)
    before = seen(table)
    touched = table.apply(change)
    after = seen(table)
    if touched == EVERY or "*" in touched:
        return
    for index in ("names", "addresses"):
        old, new = before[index], after[index]
        assert isinstance(old, dict)
        assert isinstance(new, dict)
        assert {k[0] for k in old.keys() | new.keys() if old.get(k) != new.get(k)} <= touched
    assert before["networks"] == after["networks"]
    assert before["policy"] == after["policy"]


@worlds.some_worlds
@given(worlds.histories)
def test_the_narrowest_subnet_around_an_address(history: list[Change]) -> None:
    table = filled(history)
    for packed in worlds.addresses_of_interest:
        address = ip_address(packed)
        around = [
            (subnet.prefixlen, n)
            for n in table.networks.values()
            for subnet in n.subnets
            if address in subnet
        ]
        found = table.network_around(packed)
        if not around:
            assert found is None
        else:
            assert found is not None
            best = max(length for length, _ in around)
            assert found.id == min(n.id for length, n in around if length == best)


DEV = network("dev", "10.1.0.0/24")
ES = container("es", joined(DEV, "10.1.0.2", "search"))


def test_an_endpoint_without_an_address_has_no_names() -> None:
    table = filled([DEV, stopped(ES)])
    assert not table.zones
    assert table.owner(b"\x0a\x01\x00\x02") is None
    assert not list(table.rows())


def test_the_end_of_a_picture_ends_what_it_did_not_name() -> None:
    table = filled([DEV, ES, Pending("other"), Sync("begin"), DEV, Sync("end")])
    assert not table.sandboxes
    assert not table.pending
    assert table.networks == {DEV.id: DEV}


def test_the_first_picture_touches_everything_and_later_ones_only_what_went() -> None:
    table = filled([DEV, ES])
    assert table.apply(Sync("end")) == EVERY
    for change in (Sync("begin"), DEV, ES):
        assert table.apply(change) == NOTHING
    assert table.apply(Sync("end")) == NOTHING
    for change in (Sync("begin"), DEV):
        table.apply(change)
    assert table.apply(Sync("end")) == {DEV.id}


def test_who_has_an_address_is_who_was_named_last() -> None:
    """A container may get the address of one whose end we hear of later."""
    other = container("other", joined(DEV, "10.1.0.2"))
    table = filled([DEV, ES, other])
    assert table.owner(b"\x0a\x01\x00\x02") == other
    table.apply(Gone("container", ES.id))
    assert table.owner(b"\x0a\x01\x00\x02") == other
    table = filled([DEV, ES, other, Gone("container", other.id)])
    assert table.owner(b"\x0a\x01\x00\x02") == ES


@pytest.mark.parametrize(
    ("pendings", "on_dev", "anywhere"),
    [
        ([], False, False),
        ([Pending("c", (DEV.id,))], True, True),
        ([Pending("c", ("other",))], False, True),
        ([Pending("c")], True, True),
        ([Pending("c", ("other",)), Pending("c", (DEV.id,))], True, True),
        ([Pending("c", ("other",)), Pending("c")], True, True),
        ([Pending(ES.id, (DEV.id,)), ES], False, False),
        ([Pending("c", (DEV.id,)), Gone("container", "c")], False, False),
    ],
)
def test_pending(pendings: list[Change], on_dev: bool, anywhere: bool) -> None:
    table = filled(pendings)
    assert table.pending_on(frozenset((DEV.id,))) is on_dev
    assert table.pending_on(EVERY) is anywhere


def test_named_by_name_id_or_enough_of_it() -> None:
    twin = replace(ES, id=ES.id[:8] + "f" * 56, name="twin")
    table = filled([ES])
    assert table.named("es") == table.named(ES.id) == table.named(ES.id[:4]) == ES
    assert table.named(ES.id[:3]) is None
    table.apply(twin)
    assert table.named(ES.id[:8]) is None
    assert table.named(ES.id[:12]) == ES
