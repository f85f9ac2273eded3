"""What the operator chose, as far as answers depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SearchOrder = Literal["first-connected", "engine"]
Strangers = Literal["refuse", "forward", "all-networks"]
UpstreamPolicy = Literal["ordered", "fastest", "sequential"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that reach the answering process, in one line of the door."""

    search_order: SearchOrder = "first-connected"
    ttl: int = 600
    """Seconds, for records made from the names table."""
    names_on_default_bridge: bool = False
    strangers: Strangers = "refuse"
    block_private_answers: bool = False
    """An upstream's reply with an address that is not the Internet's becomes NODATA."""
    client_rate: int = 0
    """Questions per second of one client; more are refused. 0: any number."""
    domain: str = ""
    """Also answer ``es.DOMAIN`` and ``es.dev.DOMAIN``; empty for none. Names below it never leave the
    host."""
    own: str = ""
    """Id of the container whose view loopback clients and our own addresses have; empty: the host, every
    network."""
    hold: float = 0.25
    """Seconds a question may wait while a container that might answer it is being started."""
    first_hold: float = 2.0
    """Seconds a question may wait for the first picture of the engine."""
    upstreams: tuple[str, ...] = ()
    """``ADDR:PORT`` or ``ADDR:PORT/TCPPORT`` in the order to try them (IPv6 in brackets)."""
    forwards: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(domain, servers) pairs: names at and below the domain are sent there; the longest domain wins."""
    ourselves: tuple[str, ...] = ()
    """Addresses at which we answer: a container's ``--dns`` that names one of them is no server to forward
    to."""
