"""What one asker may see: its networks in search order, its links, and whom its other questions may go to.

Who asks is found from the source address. The engine knows it because every container has a socket of its
own; we derive it, and when we cannot, the asker sees less, never more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, TypedDict

from resolver.names.keys import key_of
from resolver.names.table import EVERY, Table, Touched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resolver.names.model import Endpoint, Network, Sandbox
    from resolver.names.policy import Policy

Asker = Literal["container", "subnet", "host", "stranger"]
WayOut = Literal["open", "own", "closed", "refused"]
Links = dict[str, dict[bytes, bytes | None]]
"""Network id → link alias → name it stands for; None where no question can carry that name."""

DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class View:
    """What one asker may see. Built when it first asks, forgotten when one of its networks changes."""

    asker: Asker
    networks: tuple[Network, ...] = ()
    """Those searched, best first."""
    by_name: dict[bytes, tuple[Network, ...]] = field(default_factory=dict)
    """The same by the key of their name, for ``es.dev``."""
    links: Links = field(default_factory=dict)
    way_out: WayOut = "open"
    """``open``: our upstreams; ``own``: its ``--dns`` servers; ``closed``: internal, SERVFAIL; ``refused``: a
    stranger."""
    servers: tuple[str, ...] = ()
    """``ADDR:PORT`` of its own ``--dns`` servers, where the way out is ``own``."""
    engine: str = ""
    """``ADDR:UDPPORT/TCPPORT@CONTAINER`` of the engine's own resolver beside an attached container."""
    sandbox: Sandbox | None = None
    depends: Touched = EVERY
    """Ids of the networks whose changes may change this view."""


def view_of_client(table: Table, address: bytes, *, ours: bool) -> View:
    """The view of whoever sent a question from this address (packed); ``ours``: loopback or an address of our
    own."""
    sandbox = table.owner(address)
    if sandbox is None and ours:
        return view_of_ourselves(table)
    if sandbox is not None:
        return view_of_sandbox(table, sandbox)
    if network := table.network_around(address):
        return view_of_subnet(table, network)
    return view_of_stranger(table)


def view_of_attached(table: Table, container: str, engine: str) -> View:
    """The view of a container in whose network namespace we answer; ``engine`` is where the engine's own
    resolver answers there, or empty.

    Its own ``--dns`` servers are asked from its namespace: they may be on a network only it is on, or its own
    loopback. Those with an IPv6 address are asked from ours.
    """
    asked_there = f"{engine}@{container}" if engine else ""
    sandbox = table.sandboxes.get(container)
    if sandbox is None:  # not told yet, or no more: only the engine's own resolver knows what it may see
        if not engine:
            return View("container", way_out="closed")
        return View("container", servers=(asked_there,), engine=asked_there)
    view = view_of_sandbox(table, sandbox)
    endpoints = search_order(table, sandbox.endpoints)
    networks = [table.networks[e.network] for e in endpoints]
    out = any(n.has_way_out for n in networks)
    own = [a for a in sandbox.dns if _is_reachable(a) and (out or _within(a, networks))]
    if own:
        return replace(view, way_out="own", engine=asked_there, servers=_at(own, container))
    return replace(view, way_out="open" if out else "closed", engine=asked_there, servers=())


def view_of_ourselves(table: Table) -> View:
    """The view of the container whose network stack we share; on the host, every network in the engine's
    order."""
    own = table.policy.own
    if own:
        sandbox = table.sandboxes.get(own)
        return view_of_sandbox(table, sandbox) if sandbox else View("host")
    return View("host", **_searching(_every_network(table)))


def view_of_sandbox(table: Table, sandbox: Sandbox) -> View:
    """The view of a container; one that joins another's network stack sees what that one sees."""
    if sandbox.joins:
        owner = table.sandboxes.get(sandbox.joins)
        return (
            view_of_sandbox(table, owner)
            if owner and not owner.joins
            else View("stranger", way_out="refused")
        )
    if sandbox.on_host:
        return View("host", **_searching(_every_network(table)), sandbox=sandbox)
    endpoints = search_order(table, sandbox.endpoints)
    networks = [table.networks[e.network] for e in endpoints]
    way_out, servers = _way_out(table.policy, networks, sandbox.dns)
    return View(
        "container",
        **_searching(n for n in networks if _gives_names(n, table.policy)),
        links=_links(endpoints),
        way_out=way_out,
        servers=servers,
        sandbox=sandbox,
        depends=frozenset(e.network for e in sandbox.endpoints) or EVERY,
    )


def view_of_subnet(table: Table, network: Network) -> View:
    """The view of an address inside a known subnet that is no known container's: that network only."""
    return View(
        "subnet",
        **_searching((network,) if _gives_names(network, table.policy) else ()),
        way_out="open" if network.has_way_out else "closed",
        depends=frozenset((network.id,)),
    )


def view_of_stranger(table: Table) -> View:
    """The view of nobody we know, as ``--strangers`` says."""
    if table.policy.strangers == "refuse":
        return View("stranger", way_out="refused")
    networks = _every_network(table) if table.policy.strangers == "all-networks" else ()
    return View("stranger", **_searching(networks))


def search_order(table: Table, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The live endpoints, the one to search first in front, by the policy's order."""
    live = [e for e in endpoints if e.alive and e.network in table.networks]
    if table.policy.search_order == "engine":
        return sorted(live, key=lambda e: engine_order(table.networks[e.network], e))
    return sorted(live, key=lambda e: (e.place, table.networks[e.network].name))


def engine_order(network: Network, endpoint: Endpoint | None = None) -> tuple[int, bool, bool, int, bytes]:
    """The engine's sort key (``Endpoint.Less``): gateway priority, not the swarm gateway network, not
    internal, two families before one, then the name byte by byte."""
    families = (
        bool(endpoint.ipv4) + bool(endpoint.ipv6) if endpoint else len({s.version for s in network.subnets})
    )
    return (
        -(endpoint.priority if endpoint else 0),
        network.name == "docker_gwbridge",
        network.internal,
        0 if network.internal else -families,
        network.name.encode("utf-8", "surrogatepass"),
    )


class _Searching(TypedDict):
    networks: tuple[Network, ...]
    by_name: dict[bytes, tuple[Network, ...]]


def _searching(networks: Iterable[Network]) -> _Searching:
    found = tuple(networks)
    by_name: dict[bytes, tuple[Network, ...]] = {}
    for network in found:
        if (key := key_of(network.name)) is not None:
            by_name[key] = (*by_name.get(key, ()), network)
    return {"networks": found, "by_name": by_name}


def _every_network(table: Table) -> tuple[Network, ...]:
    seen = [n for n in table.networks.values() if _gives_names(n, table.policy)]
    return tuple(sorted(seen, key=engine_order))


def _gives_names(network: Network, policy: Policy) -> bool:
    if network.driver in ("null", "host"):
        return False
    return not network.default_bridge or policy.names_on_default_bridge


def _links(endpoints: Iterable[Endpoint]) -> Links:
    links: Links = {}
    for endpoint in endpoints:
        known = {key_of(alias): key_of(target) for alias, target in endpoint.links}
        if named := {alias: target for alias, target in known.items() if alias is not None}:
            links[endpoint.network] = named
    return links


def _way_out(policy: Policy, networks: list[Network], dns: tuple[str, ...]) -> tuple[WayOut, tuple[str, ...]]:
    """Where questions that are not ours may go (engine rules after CVE-2024-29018 and moby#47822).

    Servers at which we ourselves answer, and loopback ones, which would be the asker itself, are no way out.
    """
    own = [a for a in dns if a not in policy.ourselves and not _loopback(a)]
    out = any(n.has_way_out for n in networks)
    if not out:
        own = [a for a in own if _within(a, networks)]
    if own:
        return "own", _at(own)
    return ("open" if out else "closed"), ()


def _within(address: str, networks: Iterable[Network]) -> bool:
    """Whether a server is on one of these networks."""
    asked = ip_address(address.partition("%")[0])
    return any(asked in subnet for network in networks for subnet in network.subnets)


def _at(addresses: Iterable[str], container: str = "") -> tuple[str, ...]:
    """As servers to ask; from inside the namespace of a container where one is named, if over IPv4: there are
    no sockets for IPv6 there."""
    where = f"@{container}" if container else ""
    return tuple(f"[{a}]:{DNS_PORT}" if ":" in a else f"{a}:{DNS_PORT}{where}" for a in addresses)


def _is_reachable(address: str) -> bool:
    """Whether it is an address, and not the IPv6 loopback of an attached container."""
    return _is_address(address) and not (":" in address and _loopback(address))


def _loopback(address: str) -> bool:
    return not _is_address(address) or ip_address(address.partition("%")[0]).is_loopback


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
