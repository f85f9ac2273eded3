"""What one asker may see."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.names.changes import Sync, pack_address
from resolver.names.keys import key_of
from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy
from resolver.names.table import EVERY, Table
from resolver.names.view import (
    View,
    engine_order,
    view_of_client,
    view_of_ourselves,
    view_of_sandbox,
)
from tests import worlds
from tests.house import container, joined, network

DEV = network("dev", "10.1.0.0/24")
PROD = network("prod", "10.2.0.0/24")
INSIDE = network("inside", "10.3.0.0/24", internal=True)
BRIDGE = network("bridge", "172.17.0.0/16", default_bridge=True)
BOTH = container("both", joined(PROD, "10.2.0.2", place=1), joined(DEV, "10.1.0.2", place=0))


def filled(*changes: Network | Sandbox, policy: Policy = Policy()) -> Table:  # noqa: B008 — frozen
    table = Table()
    for change in (policy, *changes, Sync("end")):
        table.apply(change)
    return table


def names(view: View) -> list[str]:
    return [n.name for n in view.networks]


def owner_of_stack(table: Table, sandbox: Sandbox) -> Sandbox | None:
    """Whose network stack a container uses."""
    return table.sandboxes.get(sandbox.joins) if sandbox.joins else sandbox


@worlds.some_worlds
@given(worlds.tables(), worlds.addresses, st.booleans())
def test_a_view_never_shows_a_network_the_asker_is_not_on(table: Table, address: bytes, ours: bool) -> None:
    view = view_of_client(table, address, ours=ours)
    shown = {n.id for n in view.networks}
    sandbox = table.owner(address)
    if sandbox is None and ours and table.policy.own:
        sandbox = table.sandboxes.get(table.policy.own)
        if sandbox is None:
            assert shown == set()
            return
    if sandbox is not None:
        stack = owner_of_stack(table, sandbox)
        if stack is None:
            assert shown == set()
        elif not stack.on_host:
            assert shown <= {e.network for e in stack.endpoints if e.ipv4 or e.ipv6}
    elif not ours:
        around = table.network_around(address)
        if around is not None:
            assert shown <= {around.id}
        elif table.policy.strangers != "all-networks":
            assert shown == set()
    if not table.policy.names_on_default_bridge:
        assert not any(n.default_bridge for n in view.networks)


@worlds.some_worlds
@given(worlds.tables(), worlds.addresses, st.booleans())
def test_a_view_is_of_one_piece(table: Table, address: bytes, ours: bool) -> None:
    view = view_of_client(table, address, ours=ours)
    assert len({n.id for n in view.networks}) == len(view.networks)
    by_name = {n.id for named in view.by_name.values() for n in named}
    assert by_name == {n.id for n in view.networks if key_of(n.name) is not None}
    for key, named in view.by_name.items():
        assert all(key_of(n.name) == key for n in named)
        order = [view.networks.index(n) for n in named]
        assert order == sorted(order)
    assert bool(view.servers) == (view.way_out == "own")


@worlds.some_worlds
@given(worlds.tables(), worlds.addresses, st.booleans())
def test_servers_lie_where_the_asker_can_reach_them(table: Table, address: bytes, ours: bool) -> None:
    """A container that is only on internal networks is asked for at most by servers inside one of them."""
    view = view_of_client(table, address, ours=ours)
    if view.asker != "container" or view.sandbox is None:
        return
    on = [
        table.networks[e.network] for e in view.sandbox.endpoints if e.alive and e.network in table.networks
    ]
    if any(n.has_way_out for n in on):
        assert view.way_out in ("open", "own")
        return
    assert view.way_out in ("own", "closed")
    for server in view.servers:
        host = ip_address(server.rpartition(":")[0].strip("[]").partition("%")[0])
        assert any(host in subnet for n in on for subnet in n.subnets)


@worlds.some_worlds
@given(worlds.tables(), worlds.addresses, worlds.changes)
def test_a_view_changes_only_with_what_it_depends_on(table: Table, address: bytes, change: object) -> None:
    """As long as the address is the same container's: ``Queries`` looks after that itself."""
    before, owner = view_of_client(table, address, ours=True), table.owner(address)
    touched = table.apply(change)  # type: ignore[arg-type]
    if "*" in touched or before.depends == EVERY or not before.depends.isdisjoint(touched):
        return
    if before.asker == "container" and table.owner(address) is owner:
        assert view_of_client(table, address, ours=True) == before


@pytest.mark.parametrize(
    ("policy", "order"),
    [(Policy(), ["dev", "prod"]), (Policy(search_order="engine"), ["dev", "prod"])],
)
def test_first_connected_first(policy: Policy, order: list[str]) -> None:
    assert names(view_of_sandbox(filled(DEV, PROD, BOTH, policy=policy), BOTH)) == order


def test_first_connected_first_whatever_its_name() -> None:
    later = container("later", joined(PROD, "10.2.0.3"), joined(DEV, "10.1.0.3", place=1))
    assert names(view_of_sandbox(filled(DEV, PROD, later), later)) == ["prod", "dev"]
    engine = filled(DEV, PROD, later, policy=Policy(search_order="engine"))
    assert names(view_of_sandbox(engine, later)) == ["dev", "prod"]


def test_connected_at_the_same_time_the_name_decides() -> None:
    same = container("same", joined(PROD, "10.2.0.3"), joined(DEV, "10.1.0.3"))
    assert names(view_of_sandbox(filled(DEV, PROD, same), same)) == ["dev", "prod"]


def test_the_engines_order() -> None:
    """Priority, not the swarm gateway, not internal, both families, then the name byte by byte."""
    gateway = network("docker_gwbridge", "10.9.0.0/24")
    dual = network("zz", "10.4.0.0/24", "fd00:4::/64")
    upper = network("Upper", "10.5.0.0/24")
    chosen = network("chosen", "10.6.0.0/24", internal=True)
    ends = (
        joined(gateway, "10.9.0.2"),
        joined(INSIDE, "10.3.0.2", v6="fd00:3::2"),
        joined(DEV, "10.1.0.2"),
        joined(upper, "10.5.0.2"),
        joined(dual, "10.4.0.2", v6="fd00:4::2"),
        joined(chosen, "10.6.0.2", priority=1),
    )
    many = container("many", *ends)
    table = filled(gateway, INSIDE, DEV, upper, dual, chosen, many, policy=Policy(search_order="engine"))
    assert names(view_of_sandbox(table, many)) == [
        "chosen",
        "zz",
        "Upper",
        "dev",
        "inside",
        "docker_gwbridge",
    ]


@given(st.lists(worlds.networks, max_size=4), st.none() | worlds.endpoints)
def test_the_engines_order_takes_any_name(networks: list[Network], endpoint: Endpoint | None) -> None:
    assert len(sorted(networks, key=lambda n: engine_order(n, endpoint))) == len(networks)


def test_on_the_host_every_network() -> None:
    table = filled(PROD, DEV, BRIDGE, BOTH)
    view = view_of_client(table, pack_address("127.0.0.1"), ours=True)
    assert (view.asker, view.way_out, names(view)) == ("host", "open", ["dev", "prod"])
    on_host = replace(container("h"), on_host=True)
    assert names(view_of_sandbox(table, on_host)) == ["dev", "prod"]


def test_in_a_container_its_own() -> None:
    policy = Policy(own=BOTH.id)
    table = filled(DEV, PROD, INSIDE, BOTH, policy=policy)
    assert view_of_client(table, pack_address("127.0.0.1"), ours=True) == view_of_sandbox(table, BOTH)
    unknown = filled(DEV, policy=policy)
    assert names(view_of_ourselves(unknown)) == []


def test_who_joins_sees_what_the_other_sees() -> None:
    guest = Sandbox("guest", "guest", joins=BOTH.id)
    table = filled(DEV, PROD, BOTH, guest)
    assert view_of_sandbox(table, guest) == view_of_sandbox(table, BOTH)
    orphan = Sandbox("orphan", "orphan", joins="nobody")
    assert view_of_sandbox(table, orphan).way_out == "refused"
    second = Sandbox("second", "second", joins="guest")
    assert view_of_sandbox(table, second).way_out == "refused"


@pytest.mark.parametrize(
    ("strangers", "way_out", "seen"),
    [("refuse", "refused", []), ("forward", "open", []), ("all-networks", "open", ["dev", "prod"])],
)
def test_strangers(strangers: str, way_out: str, seen: list[str]) -> None:
    table = filled(DEV, PROD, policy=Policy(strangers=strangers))  # type: ignore[arg-type]
    view = view_of_client(table, pack_address("203.0.113.9"), ours=False)
    assert (view.asker, view.way_out, names(view)) == ("stranger", way_out, seen)


@pytest.mark.parametrize(
    ("where", "address", "way_out", "seen"),
    [
        (DEV, "10.1.0.99", "open", ["dev"]),
        (INSIDE, "10.3.0.99", "closed", ["inside"]),
        (BRIDGE, "172.17.0.9", "open", []),
    ],
)
def test_somebody_unknown_in_a_known_subnet(
    where: Network, address: str, way_out: str, seen: list[str]
) -> None:
    view = view_of_client(filled(DEV, PROD, INSIDE, BRIDGE), pack_address(address), ours=False)
    assert (view.asker, view.way_out, names(view)) == ("subnet", way_out, seen)
    assert view.depends == {where.id}


@pytest.mark.parametrize(
    ("ends", "dns", "way_out", "servers"),
    [
        ((DEV,), (), "open", ()),
        ((INSIDE,), (), "closed", ()),
        ((INSIDE, DEV), (), "open", ()),
        ((), (), "closed", ()),
        ((DEV,), ("192.0.2.9",), "own", ("192.0.2.9:53",)),
        ((DEV,), ("fd00::9",), "own", ("[fd00::9]:53",)),
        ((DEV,), ("127.0.0.11", "::1"), "open", ()),
        ((DEV,), ("10.1.0.200",), "open", ()),
        ((DEV,), ("10.1.0.200", "192.0.2.9"), "own", ("192.0.2.9:53",)),
        ((DEV,), ("no address",), "open", ()),
        ((INSIDE,), ("192.0.2.9",), "closed", ()),
        ((INSIDE,), ("10.3.0.9", "192.0.2.9"), "own", ("10.3.0.9:53",)),
    ],
)
def test_the_way_out(
    ends: tuple[Network, ...], dns: tuple[str, ...], way_out: str, servers: tuple[str, ...]
) -> None:
    places = [joined(n, f"{str(n.subnets[0].network_address)[:-1]}7") for n in ends]
    sandbox = container("asker", *places, dns=dns)
    table = filled(DEV, INSIDE, sandbox, policy=Policy(ourselves=("10.1.0.200",)))
    view = view_of_sandbox(table, sandbox)
    assert (view.way_out, view.servers) == (way_out, servers)


def test_a_container_without_networks_is_seen_when_it_gets_one() -> None:
    """The sidecar of a container that is connected later must not keep the view of none."""
    view = view_of_sandbox(filled(DEV), container("late"))
    assert view.depends == EVERY
