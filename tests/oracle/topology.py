"""Topologies made from a seed: networks, containers, what happens to them. Pure; facts come later."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

BRIDGE: Final = "bridge"
"""The engine's default bridge, which gives no names."""
LONG: Final = "long-" + "a" * 55
"""An alias that makes replies large: seven of them do not fit uncompressed into 512 octets."""
UNSPEAKABLE: Final = "n" * 64
"""A container name no DNS label can carry."""

State = Literal["created", "running", "paused", "stopped", "gone"]

_NETWORKS: Final = ("a", "b", "z", "Up", "x.y", "net_1", "Dev", "prod.eu", "i")
_NAMES: Final = ("es", "web", "Db", "t800", "c3.dot", "under_score", "Api.V1", "x", "H")
_ALIASES: Final = (
    *("es", "es", "dup", "dup", "web", "Only", "api.v1", "example.com", "com", "*.wild.test", "1.2.3.4"),
    *(
        "trail.",
        "under_score",
        "DB",
        "xn--bcher-kva",
        "h1.example.com",
        "bücher",
        "x.y",
        "a-b",
        "localhost",
        "lnk",
    ),
)
_LINK_ALIASES: Final = ("lnk", "Lnk2", "es", "DUP", "db.link", "own")
_HOSTNAMES: Final = ("h1.example.com", "hh", "ES", "web", "host-x")


@dataclass(slots=True)
class Network:
    """A network to be made; ``number`` tells its subnets."""

    stem: str
    name: str
    number: int
    internal: bool = False
    ipv6: bool = False
    gateway: str = ""


@dataclass(slots=True)
class Endpoint:
    """One container on one network, as it was asked for, and the addresses the engine gave it."""

    network: Network
    aliases: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """(target, alias) pairs."""
    host: int = 0
    """Last octet of a static address; 0 for none."""
    ipv4: str = ""
    ipv6: str = ""


@dataclass(slots=True)
class Container:
    """A container to be made; ``name`` is empty where the engine is to make one up."""

    key: str
    """What it is called in what the test prints."""
    name: str
    hostname: str = ""
    ndots: bool = False
    failing_first: bool = False
    """Its first ``--dns`` server says SERVFAIL to everything."""
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    """By the stem of the network."""
    on_bridge: bool = False
    bridge_address: str = ""
    joins: str = ""
    """Key of the container whose network it shares."""
    state: State = "created"
    renamed_on_bridge: bool = False
    chosen_name: bool = True
    """Whether a person gave it its name."""
    id: str = ""
    pid: int = 0
    called: str = ""
    """Its name on the engine."""

    @property
    def short_id(self) -> str:
        return self.id[:12]

    @property
    def runs(self) -> bool:
        return self.state in ("running", "paused")

    @property
    def asks(self) -> bool:
        """Whether it has a resolver of Docker's: it runs, on a stack of its own, on a network with names."""
        return self.runs and not self.joins and bool(self.endpoints)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it may have on some network."""
        aliases = (alias for end in self.endpoints.values() for alias in end.aliases)
        found = (self.called, *aliases, self.short_id, self.hostname)
        return tuple(dict.fromkeys(name for name in found if name))


Action = Literal[
    "start", "stop", "pause", "unpause", "rename", "connect", "disconnect", "bridge", "unbridge", "remove"
]


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that happens to one container."""

    action: Action
    container: str
    network: str = ""
    name: str = ""

    def __str__(self) -> str:
        return " ".join(word for word in (self.action, self.container, self.network, self.name) if word)


class Topology:
    """What is there now. ``token`` keeps its names apart from those of others on the same engine."""

    def __init__(self, seed: int, token: str) -> None:
        self.seed, self.token = seed, token
        self.random = Random(seed)
        self.networks = {n.stem: n for n in self._networks()}
        self.containers: dict[str, Container] = {}
        self._make_containers()
        self.happened: list[Operation] = []

    @property
    def last(self) -> str:
        """What happened last, in words."""
        return str(self.happened[-1]) if self.happened else "the start"

    def named(self, stem: str) -> str:
        """A name no other run uses."""
        return f"{stem}-{self.token}" if len(stem) < 60 else stem

    def operations(self, count: int) -> Iterator[Operation]:
        """What happens next, each chosen from what is there when the one before has been done."""
        for _ in range(count):
            operation = self._operation()
            if operation:
                self.happened.append(operation)
                yield operation

    def new_endpoint(self, network: Network, *, static: bool) -> Endpoint:
        """An endpoint with aliases and links."""
        r = self.random
        aliases = tuple(dict.fromkeys(r.choice(_ALIASES) for _ in range(r.choice((0, 1, 2, 3)))))
        if r.random() < 0.3:
            aliases += (LONG,)
        ends = (c.endpoints.get(network.stem) for c in self.containers.values())
        taken = {end.host for end in ends if end}
        free = [host for host in range(100, 200) if host not in taken]
        return Endpoint(network, aliases, self._links(), r.choice(free) if static else 0)

    def told(self) -> str:
        """The topology in words, for whoever looks into a failure."""
        lines = [f"seed {self.seed}"]
        for n in self.networks.values():
            kinds = [word for word, on in (("internal", n.internal), ("IPv6", n.ipv6)) if on]
            lines.append(f"  network {n.name} {' '.join(kinds)}")
        for c in self.containers.values():
            about = [c.called or "(not created)", c.short_id, c.state, *(["ndots"] if c.ndots else [])]
            about += [f"hostname={c.hostname}"] if c.hostname else []
            about += [f"joins={c.joins}"] if c.joins else []
            about += ["bridge"] if c.on_bridge else []
            lines.append(f"  container {c.key}: {' '.join(about)}")
            lines += [
                f"    {e.network.name} {e.ipv4} {e.ipv6} aliases={e.aliases} links={e.links}"
                for e in c.endpoints.values()
            ]
        lines += [f"  then {operation}" for operation in self.happened]
        return "\n".join(lines)

    def _networks(self) -> list[Network]:
        r = self.random
        stems = r.sample(_NETWORKS, r.randint(2, 4))
        kinds = [(r.random() < 0.3, r.random() < 0.35) for _ in stems]
        kinds[0] = (False, kinds[0][1])
        return [
            Network(stem, self.named(stem), number, internal, ipv6)
            for number, (stem, (internal, ipv6)) in enumerate(zip(stems, kinds, strict=True))
        ]

    def _make_containers(self) -> None:
        """As many as make the search order, shared names and links matter; the first is on all networks."""
        r = self.random
        stems = r.sample(_NAMES, r.randint(4, 5)) + [""] * r.randint(1, 2)
        if r.random() < 0.25:
            stems[-1] = UNSPEAKABLE
        for number, stem in enumerate(stems):
            key = f"c{number}"
            container = Container(
                key,
                self.named(stem) if stem else "",
                hostname=r.choice(_HOSTNAMES) if r.random() < 0.4 else "",
                ndots=number == 1 and r.random() < 0.5,
                failing_first=r.random() < 0.2,
                chosen_name=bool(stem),
                on_bridge=r.random() < 0.3,
            )
            count = len(self.networks) if number == 0 else r.choice((1, 1, 2, 3))
            for network in r.sample(list(self.networks.values()), min(count, len(self.networks))):
                container.endpoints[network.stem] = self.new_endpoint(network, static=r.random() < 0.3)
            self.containers[key] = container
        if r.random() < 0.5:
            self.containers["cj"] = Container("cj", self.named("joiner"), joins="c0")

    def _links(self) -> tuple[tuple[str, str], ...]:
        r = self.random
        if not self.containers or r.random() < 0.6:
            return ()
        targets = {c.name or r.choice(_ALIASES): None for c in self.containers.values() if not c.joins}
        count = min(len(targets), r.randint(1, 2))
        return tuple(zip(r.sample(list(targets), count), r.sample(_LINK_ALIASES, count), strict=True))

    def _operation(self) -> Operation | None:
        r = self.random
        possible = list(self._possible())
        kinds = sorted({operation.action for operation in possible})
        if not kinds:
            return None
        kind = r.choice(kinds)
        return r.choice([operation for operation in possible if operation.action == kind])

    def _possible(self) -> Iterator[Operation]:
        """Everything that can be done to what is there. The first container always runs."""
        for key, c in self.containers.items():
            if c.joins or c.state == "gone":
                continue
            if key != "c0":
                yield from _life(c)
            yield from self._moves(c)

    def _moves(self, c: Container) -> Iterator[Operation]:
        renames = sum(operation.action == "rename" for operation in self.happened)
        rename = Operation("rename", c.key, name=self.named(f"Renamed{renames}"))
        yield from [rename] * (3 if c.on_bridge else 1)
        for stem in self.networks:
            if stem not in c.endpoints:
                yield Operation("connect", c.key, stem)
            elif len(c.endpoints) > 1 or c.on_bridge:
                yield Operation("disconnect", c.key, stem)
        if c.state == "running":
            yield Operation("unbridge" if c.on_bridge else "bridge", c.key)


def _life(c: Container) -> Iterator[Operation]:
    if c.state in ("created", "stopped"):
        yield Operation("start", c.key)
        yield Operation("remove", c.key)
    elif c.state == "running":
        yield Operation("stop", c.key)
        yield Operation("pause", c.key)
    else:
        yield Operation("unpause", c.key)
