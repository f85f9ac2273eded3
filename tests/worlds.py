"""Worlds as hypothesis draws them: few names, networks and addresses, so that they meet, and odd ones."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st

from resolver.names.changes import Change, Engine, Gone, Pending, Sync, pack_address
from resolver.names.keys import key_of, reverse_name
from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy
from resolver.names.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

NETWORK_IDS = ("n1", "n2", "n3", "n4")
NETWORK_NAMES = ("dev", "Dev", "y", "x.y", "docker_gwbridge", "y" * 64, "\ud800")
CONTAINER_IDS = ("c1", "c2", "c3", "c4", "c5")
NAMES = (
    "es", "ES", "web", "es.x", "web.dev", "es.x.y", "dev", "x.y", "localhost", "a.localhost", "com", "trail.",
    "l" * 64, "bücher", "under_score", "*.wild", "1.2.3.4", "in.house.test", "2.0.1.10.in-addr.arpa", "",
)  # fmt: skip
ADDRESSES_4 = tuple(pack_address(f"10.{n}.0.{h}") for n in (1, 2) for h in (2, 3, 4))
ADDRESSES_6 = tuple(pack_address(f"fd00:{n}::{h}") for n in (1, 2) for h in (2, 3))
STRANGERS = (pack_address("10.1.0.99"), pack_address("fd00:1::99"), pack_address("203.0.113.9"))
LOOPBACKS = (pack_address("127.0.0.1"), pack_address("127.0.0.11"), pack_address("::1"))
SUBNETS = tuple(map(ip_network, ("10.1.0.0/16", "10.1.0.0/24", "10.2.0.0/16", "fd00:1::/64", "fd00:2::/64")))
SERVERS = ("127.0.0.11", "192.0.2.9", "10.1.0.4", "fd00:1::53", "fe80::1%eth0", "no address")
DOMAIN = "house.test"
UPSTREAMS = ("192.0.2.53:53",)
TYPES = (1, 28, 12, 15, 16, 33, 255, 65, 0, 65280)


def some(values: Iterable[str], most: int = 3) -> st.SearchStrategy[tuple[str, ...]]:
    """Some of these, each once."""
    return st.lists(st.sampled_from(tuple(values)), max_size=most, unique=True).map(tuple)


networks = st.builds(
    Network,
    id=st.sampled_from(NETWORK_IDS),
    name=st.sampled_from(NETWORK_NAMES),
    driver=st.sampled_from(("bridge", "null", "host", "overlay")),
    internal=st.booleans(),
    default_bridge=st.sampled_from((False, False, True)),
    subnets=st.lists(st.sampled_from(SUBNETS), max_size=2, unique=True).map(tuple),
    gateways=st.sampled_from(((), (b"\x0a\x01\x00\x01",))),
)

endpoints = st.builds(
    Endpoint,
    network=st.sampled_from(NETWORK_IDS),
    names=some(NAMES, 4),
    ipv4=st.sampled_from((b"", *ADDRESSES_4)),
    ipv6=st.sampled_from((b"", b"", *ADDRESSES_6)),
    links=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=2).map(tuple),
    place=st.integers(0, 3),
    priority=st.integers(-1, 1),
)

sandboxes = st.builds(
    Sandbox,
    id=st.sampled_from(CONTAINER_IDS),
    name=st.sampled_from(NAMES),
    endpoints=st.lists(endpoints, max_size=3, unique_by=lambda e: e.network).map(tuple),
    dns=some(SERVERS, 2),
    state=st.sampled_from(("running", "exited", "paused")),
    joins=st.sampled_from(("", "", "", *CONTAINER_IDS)),
    on_host=st.sampled_from((False, False, False, True)),
)

policies = st.builds(
    Policy,
    search_order=st.sampled_from(("first-connected", "engine")),
    ttl=st.integers(0, 0x7FFFFFFF),
    names_on_default_bridge=st.booleans(),
    strangers=st.sampled_from(("refuse", "forward", "all-networks")),
    block_private_answers=st.booleans(),
    client_rate=st.sampled_from((0, 100)),
    domain=st.sampled_from(("", DOMAIN)),
    own=st.sampled_from(("", *CONTAINER_IDS)),
    upstreams=st.just(UPSTREAMS),
    ourselves=some(SERVERS, 1),
    forwards=st.sampled_from(((), (("x.y", ("192.0.2.77:53",)), ("web.x.y", ("192.0.2.78:53",))))),
)

gone = st.builds(Gone, st.just("container"), st.sampled_from(CONTAINER_IDS)) | st.builds(
    Gone, st.just("network"), st.sampled_from(NETWORK_IDS)
)
pendings = st.builds(Pending, st.sampled_from(CONTAINER_IDS), some(NETWORK_IDS, 2))
engines = st.builds(Engine, st.sampled_from(("reached", "lost")), st.just("unix:///x"), st.text(max_size=3))
syncs = st.builds(Sync, st.sampled_from(("begin", "end")))
changes: st.SearchStrategy[Change] = st.one_of(
    networks, sandboxes, sandboxes, sandboxes, gone, pendings, syncs, engines, policies
)
histories = st.lists(changes, max_size=25)

QUESTIONS = tuple(
    key
    for text in (
        *NAMES,
        *(f"{name}.{network}" for name in NAMES for network in NETWORK_NAMES),
        *(f"{name}.{DOMAIN}" for name in ("es", "web", "es.dev", "nobody")),
        DOMAIN,
        "nobody",
        "example.org",
        "in-addr.arpa",
        "0.10.in-addr.arpa",
        *map(reverse_name, (*ADDRESSES_4, *ADDRESSES_6, *STRANGERS, *LOOPBACKS)),
    )
    if (key := key_of(text)) is not None
)
KEYS = (b"", *dict.fromkeys(QUESTIONS))
"""Everything there is to ask in these worlds: each drawn world is asked all of it."""
keys = st.sampled_from(KEYS)
few = settings(max_examples=30)
some_worlds = settings(max_examples=60)
types = st.sampled_from(TYPES)
addresses = st.sampled_from((*ADDRESSES_4, *ADDRESSES_6, *STRANGERS, *LOOPBACKS))


@st.composite
def tables(draw: st.DrawFn, *, settled: bool = False) -> Table:
    """A table as some history left it; ``settled``: with a picture and nothing pending."""
    table = Table()
    table.apply(replace(draw(policies), upstreams=UPSTREAMS))
    for network in draw(st.lists(networks, min_size=1, max_size=4, unique_by=lambda n: n.id)):
        table.apply(network)
    for sandbox in draw(st.lists(sandboxes, max_size=5, unique_by=lambda s: s.id)):
        table.apply(sandbox)
    if settled or draw(st.booleans()):
        table.apply(Sync("end"))
    if not settled:
        for change in draw(st.lists(pendings | engines, max_size=2)):
            table.apply(change)
    return table


addresses_of_interest = (*ADDRESSES_4, *ADDRESSES_6, *STRANGERS, *LOOPBACKS)
