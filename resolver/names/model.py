"""Network, Endpoint, Sandbox: the Container Network Model's own words, as values.

Addresses are packed octets (4 for IPv4, 16 for IPv6, empty for none); identifiers are the engine's own
strings. Nothing here changes after it is made: a change of the world is a new value.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

Subnet = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the engine, as far as names depend on it."""

    id: str
    name: str
    driver: str = "bridge"
    """``bridge``, ``overlay``, ``macvlan``, …; ``null`` and ``host`` are the engine's networks without
    addresses."""
    scope: str = "local"
    internal: bool = False
    """No way out: a container that is only on internal networks is never forwarded for (CVE-2024-29018)."""
    default_bridge: bool = False
    """The engine's own ``bridge``, on which it gives no names."""
    subnets: tuple[Subnet, ...] = ()
    gateways: tuple[bytes, ...] = ()

    @property
    def has_way_out(self) -> bool:
        """Whether an endpoint here can reach the world (engine rule: not internal, not ``none``, not
        ``host``)."""
        return not self.internal and self.driver not in ("null", "host")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One container on one network."""

    network: str
    """Network id."""
    names: tuple[str, ...] = ()
    """DNS names as the engine spells them; the first is the PTR name."""
    ipv4: bytes = b""
    ipv6: bytes = b""
    links: tuple[tuple[str, str], ...] = ()
    """(alias, target) pairs that only this container sees on this network."""
    place: int = 0
    """Place in the order of connection, from 0: lower was connected earlier."""
    priority: int = 0
    """The engine's gateway priority (``GwPriority``, engine 28 and later); higher is searched earlier by the
    engine."""

    @property
    def alive(self) -> bool:
        """Whether the endpoint has an address. The engine's records exist exactly that long."""
        return bool(self.ipv4 or self.ipv6)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One container's network stack: its endpoints, and what it asks with."""

    id: str
    name: str
    endpoints: tuple[Endpoint, ...] = ()
    dns: tuple[str, ...] = ()
    """The container's own ``--dns`` servers, as given."""
    state: str = "running"
    """The engine's word: created, running, paused, restarting, exited, dead."""
    joins: str = ""
    """Id of the container whose network stack it shares (``--network container:X``), or empty."""
    on_host: bool = False
    """It shares the host's network stack (``--network host``)."""
