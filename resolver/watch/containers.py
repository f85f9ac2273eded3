"""The engine's JSON → ``Sandbox`` and ``Network``, by the engine's own rules for names, for every API
version. Pure.

The names of an endpoint are, in order: the container's name, the aliases given for that network, the short
id, the hostname. Engines from 25 on (API 1.44) say so themselves in ``DNSNames``; for older ones the rule is
applied here. Those append the short id and the hostname to ``Aliases``, which changes nothing, for each name
counts once.

Two differences we choose. On the default bridge, where the engine gives no names, they are filled in all the
same: who answers decides whether to tell. And where the engine made up the container's name but a person
chose an alias, the alias comes first, so that a reverse lookup says something a person chose.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

from resolver.names.changes import pack_address
from resolver.names.keys import key_of
from resolver.names.model import Endpoint, Network, Sandbox, Subnet
from resolver.watch.generated import is_generated

Json = Mapping[str, Any]

SHORT_ID = 12
STOPPED = frozenset({"created", "restarting", "removing", "exited", "dead", "configured", "stopped"})
"""States without an endpoint, whatever an inspect still shows: a restarted 20.10 shows the old addresses."""
DEFAULT_BRIDGE_OPTION = "com.docker.network.bridge.default_bridge"


def read_network(body: Json) -> Network:
    """A network as list or inspect gives it. Raises ValueError when it has no id."""
    identity, name = _text(body, "Id"), _text(body, "Name")
    if not identity:
        raise ValueError("a network without an id")
    subnets, gateways = _addressing(_list(_object(body, "IPAM"), "Config"))
    return Network(
        id=identity,
        name=name or identity,
        driver=_text(body, "Driver"),
        scope=_text(body, "Scope") or "local",
        internal=body.get("Internal") is True,
        default_bridge=name == "bridge" or _text(_object(body, "Options"), DEFAULT_BRIDGE_OPTION) == "true",
        subnets=subnets,
        gateways=gateways,
    )


def read_sandbox(body: Json, networks: Mapping[str, str]) -> Sandbox:
    """A container as inspect gives it; every endpoint's place is still 0.

    ``networks`` is name → id of those known: before its first start the engine names a container's networks,
    but leaves their ids empty. Raises ValueError when it has no id.
    """
    identity = _text(body, "Id")
    if not identity:
        raise ValueError("a container without an id")
    name = _text(body, "Name").removeprefix("/")
    hostname = _text(_object(body, "Config"), "Hostname")
    host = _object(body, "HostConfig")
    mode = _text(host, "NetworkMode")
    state = _text(_object(body, "State"), "Status") or "running"
    endpoints = tuple(_endpoints(body, networks, name, hostname))
    if state in STOPPED:
        endpoints = tuple(replace(e, ipv4=b"", ipv6=b"") for e in endpoints)
    return Sandbox(
        id=identity,
        name=name or identity[:SHORT_ID],
        endpoints=endpoints,
        dns=tuple(server for server in _texts(host, "Dns") if _is_address(server)),
        state=state,
        joins=mode.removeprefix("container:") if mode.startswith("container:") else "",
        on_host=mode == "host",
    )


def first_network(body: Json) -> str:
    """Name or id of the network the container was created with; the engine's word for its own bridge is
    ``bridge``."""
    mode = _text(_object(body, "HostConfig"), "NetworkMode")
    return "bridge" if mode == "default" else mode


def network_ids(body: Json, networks: Mapping[str, str]) -> dict[str, str]:
    """Id → name of the networks in a container's inspect or list entry."""
    attached = _object(_object(body, "NetworkSettings"), "Networks")
    named = {
        key: _network_id(key, value, networks) for key, value in attached.items() if isinstance(value, dict)
    }
    return {identity: key for key, identity in named.items() if identity}


def started_at(body: Json) -> int:
    """When the present run began, in nanoseconds since the epoch; 0 when it never ran."""
    text = _text(_object(body, "State"), "StartedAt")
    seconds, _, fraction = text.rstrip("Z").partition(".")
    try:
        whole = datetime.fromisoformat(f"{seconds}+00:00").timestamp()
        return max(0, int(whole) * 1_000_000_000 + int(f"{fraction:0<9.9}" or 0))
    except (ValueError, OverflowError):
        return 0


def names_of(name: str, aliases: Iterable[str], identity: str, hostname: str) -> tuple[str, ...]:
    """The engine's rule. Case does not make a name another one."""
    names: dict[str, str] = {}
    for candidate in (name, *aliases, identity[:SHORT_ID], hostname):
        if candidate:
            names.setdefault(candidate.lower(), candidate)
    return tuple(names.values())


def chosen_first(names: tuple[str, ...], aliases: Iterable[str], made: Iterable[str]) -> tuple[str, ...]:
    """The same names, an alias that a person chose in front of a name the engine made up.

    ``made`` are the names nobody chose as an alias: the container's own, its short id and its hostname.
    """
    if not names or not is_generated(names[0]):
        return names
    nobodys = {name.lower() for name in made}
    speakable = (alias for alias in aliases if key_of(alias) is not None)
    chosen = next((alias for alias in speakable if alias.lower() not in nobodys), None)
    return tuple(dict.fromkeys((chosen, *names))) if chosen else names


def unspeakable(sandbox: Sandbox) -> tuple[str, ...]:
    """The names no DNS question can carry: too long, with empty labels, spaces or letters beyond ASCII."""
    names = {name for endpoint in sandbox.endpoints for name in endpoint.names}
    return tuple(sorted(name for name in names if key_of(name) is None))


def withdrawn(sandbox: Sandbox, network: str) -> Sandbox:
    """The same container without its addresses on a network; an empty network stands for its end, on all of
    them."""
    silent = tuple(
        replace(e, ipv4=b"", ipv6=b"") if network in ("", e.network) else e for e in sandbox.endpoints
    )
    return replace(sandbox, endpoints=silent, state=sandbox.state if network else "exited")


def renamed(sandbox: Sandbox, name: str, kept: Container[str]) -> Sandbox:
    """The same container under a new name instead of the old one. On the networks in ``kept`` it keeps that,
    too: there it is an alias."""
    endpoints = (
        replace(e, names=_called(name, sandbox.name, e.names, keep=e.network in kept))
        for e in sandbox.endpoints
    )
    return replace(sandbox, name=name, endpoints=tuple(endpoints))


def also_aliases(body: Json, networks: Mapping[str, str]) -> frozenset[str]:
    """Ids of the networks where a container's name is an alias or the hostname, too. A rename leaves it."""
    name = _text(body, "Name").removeprefix("/").lower()
    identity, hostname = _text(body, "Id"), _text(_object(body, "Config"), "Hostname")
    attached = _object(_object(body, "NetworkSettings"), "Networks")
    others = {
        key: names_of("", _texts(said, "Aliases"), identity, hostname)
        for key, said in attached.items()
        if isinstance(said, dict)
    }
    return frozenset(
        _network_id(key, attached[key], networks)
        for key, names in others.items()
        if name in map(str.lower, names)
    )


def placed(sandbox: Sandbox, places: Mapping[str, int]) -> Sandbox:
    """The same container with its endpoints in the order of connection."""
    endpoints = sorted(
        (replace(e, place=places.get(e.network, 0)) for e in sandbox.endpoints), key=lambda e: e.place
    )
    return replace(sandbox, endpoints=tuple(endpoints))


def _endpoints(body: Json, networks: Mapping[str, str], name: str, hostname: str) -> Iterator[Endpoint]:
    identity = _text(body, "Id")
    own = (name, identity[:SHORT_ID], hostname)
    for key, said in _object(_object(body, "NetworkSettings"), "Networks").items():
        network = _network_id(key, said, networks) if isinstance(said, dict) else ""
        if not network:
            continue  # a network that is gone, or not known yet: its creation is an event of its own
        aliases = _texts(said, "Aliases")
        names = tuple(dict.fromkeys(_texts(said, "DNSNames"))) or names_of(name, aliases, identity, hostname)
        priority = said.get("GwPriority")
        yield Endpoint(
            network=network,
            names=chosen_first(names, aliases, own),
            ipv4=_address(said, "IPAddress", 4),
            ipv6=_address(said, "GlobalIPv6Address", 16),
            links=tuple(_link(text) for text in _texts(said, "Links")),
            priority=priority if isinstance(priority, int) else 0,
        )


def _called(name: str, old: str, names: tuple[str, ...], *, keep: bool) -> tuple[str, ...]:
    """The names with a new one in front, which a person chose; the old one goes, or is one of the others."""
    gone = {name.lower()} if keep else {name.lower(), old.lower()}
    return (name, *(known for known in names if known.lower() not in gone))


def _network_id(key: str, said: Json, networks: Mapping[str, str]) -> str:
    """The id. Before the first start only the name, or the id in place of the name, is there to go by; with
    Podman it is always the name, and that of its default network another one than in the list of networks."""
    given = _text(said, "NetworkID")
    if given and given != key:
        return given
    name = "bridge" if given == "podman" and given not in networks else key
    return networks.get(name) or (key if key in networks.values() else given)


def _link(text: str) -> tuple[str, str]:
    target, colon, alias = text.partition(":")
    return (alias if colon and alias else target, target)


def _addressing(configs: Iterable[Any]) -> tuple[tuple[Subnet, ...], tuple[bytes, ...]]:
    subnets: list[Subnet] = []
    gateways: list[bytes] = []
    for config in configs:
        if not isinstance(config, dict):
            continue
        try:
            subnets.append(ip_network(_text(config, "Subnet"), strict=False))
            gateways.append(pack_address(_text(config, "Gateway")))
        except ValueError:
            continue
    return tuple(subnets), tuple(gateway for gateway in gateways if gateway)


def _address(said: Json, name: str, length: int) -> bytes:
    try:
        packed = pack_address(_text(said, name))
    except ValueError:
        return b""
    return packed if len(packed) == length else b""


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _object(body: Json, name: str) -> Json:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _list(body: Json, name: str) -> list[Any]:
    value = body.get(name)
    return value if isinstance(value, list) else []


def _texts(body: Json, name: str) -> tuple[str, ...]:
    return tuple(value for value in _list(body, name) if isinstance(value, str))
