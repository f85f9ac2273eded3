"""Changes a real engine at random, and writes down which call did what to which endpoint, and when."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from docker.errors import APIError

from lab.subnets import SUBNETS
from tests.history.record import Change, Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Network

    from lab.topology import Lab

CONTAINERS: Final = 3
"""Of each driver."""
NAMES: Final = 5
"""Of each driver, more than it has containers: names come free and move."""
_PREFIX: Final = 27
"""Small networks, so that addresses soon are another's."""
_REST: Final = 0.05
"""Seconds a driver pauses between two calls, on average."""


@dataclass(slots=True)
class Container:
    """What we asked the engine for. Only one driver changes it."""

    id: str
    key: str
    """What the record calls it; a name may be another's later."""
    name: str
    ends: dict[str, tuple[str, ...]]
    """Network → aliases."""
    home: str = ""
    """The network it never leaves."""
    running: bool = True
    paused: bool = False
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    """What resolves now."""


class Ground:
    """What all drivers share: permanent networks, aliases, the record."""

    def __init__(self, lab: Lab, token: str) -> None:
        self.lab, self.token = lab, token
        self.networks = tuple(f"{token}-{stem}" for stem in ("c", "a", "b"))
        """Not in the order of their names: the search order must not be right by chance."""
        self.subnets = {network: add_network(lab, network) for network in self.networks}
        self.aliases = tuple(f"{token}{stem}" for stem in ("es", "db", "web", "api"))
        self.changes: list[Change] = []
        self.surprises: list[str] = []
        self.calls = itertools.count()
        self.places = itertools.count(1)

    def gateway(self, network: str) -> str:
        """The host's address on a permanent network, which is the first."""
        return str(next(self.subnets[network].hosts()))

    def addresses(self) -> tuple[str, ...]:
        """All a container on a permanent network may get."""
        return tuple(str(a) for subnet in self.subnets.values() for a in list(subnet.hosts())[1:])

    def names(self, number: int) -> tuple[str, ...]:
        """The names of one driver's containers."""
        return tuple(f"{self.token}n{number}{n}" for n in range(NAMES))

    def extra(self, number: int) -> str:
        """The network that one driver creates and removes."""
        return f"{self.token}-x{number}"


class Driver:
    """Makes one call after the other, of its own containers and network only."""

    def __init__(self, ground: Ground, lab: Lab, number: int, seed: int) -> None:
        self._ground, self._lab, self._number = ground, lab, number
        self._random = Random(f"{seed} {number}")
        self._names = ground.names(number)
        self._extra = False
        self._made = itertools.count()
        self.containers: list[Container] = []

    def make(self, count: int) -> None:
        """The first containers."""
        for _ in range(count):
            self.containers.append(self._run(self._free_name(), self._some_network(), self._some_aliases()))

    def seat(self, name: str, home: str, dns: str) -> Container:
        """A container that goes on running, for others to ask from."""
        identity = self._lab.container(name, network=home, dns=[dns], start=False)
        container = Container(identity, name, name, {home: ()}, home)
        self._call("start", container, lambda: self._lab.api.start(identity), moved=(home,))
        self.containers.append(container)
        return container

    def run(self, until: float) -> None:
        """Until that time, or for ever."""
        while time.monotonic() < until:
            self.step()
            time.sleep(self._random.expovariate(1 / _REST))

    def step(self) -> None:
        """One operation, chosen among what is possible; what is done seldom comes as often as the rest."""
        possible = list(self._possible())
        kind = self._random.choice(sorted({kind for kind, _ in possible}))
        self._random.choice([act for called, act in possible if called == kind])()

    def _possible(self) -> Iterator[tuple[str, Callable[[], None]]]:
        if not self._extra:
            yield "network", self._create_network
        else:
            yield "network", self._remove_network
        for container in self.containers:
            yield from self._life(container)
            yield from self._moves(container)

    def _life(self, c: Container) -> Iterator[tuple[str, Callable[[], None]]]:
        yield "rename", lambda: self._rename(c)
        if c.home:
            return
        if not c.running:
            yield "start", lambda: self._start(c)
            yield "replace", lambda: self._replace(c)
        elif c.paused:
            yield "unpause", lambda: self._freeze("unpause", c, paused=False)
        else:
            yield "stop", lambda: self._end("stop", c, lambda: self._lab.stop(c.id))
            yield "kill", lambda: self._end("kill", c, lambda: self._kill(c))
            yield "restart", lambda: self._call("restart", c, lambda: self._lab.restart(c.id), gap=True)
            yield "pause", lambda: self._freeze("pause", c, paused=True)
            yield "replace", lambda: self._replace(c)
            yield "roll", lambda: self._roll(c)

    def _moves(self, c: Container) -> Iterator[tuple[str, Callable[[], None]]]:
        there = [*self._ground.networks, *([self._ground.extra(self._number)] if self._extra else [])]
        for network in there:
            if network not in c.ends:
                yield "connect", lambda network=network: self._connect(c, network)  # type: ignore[misc]
            elif len(c.ends) > 1 and network != c.home:
                yield "disconnect", lambda network=network: self._disconnect(c, network)  # type: ignore[misc]

    # What is done

    def _run(self, name: str, network: str, aliases: tuple[str, ...]) -> Container:
        """Created, perhaps connected to another network, started."""
        identity = self._lab.container(name, network=network, aliases=aliases, start=False)
        container = Container(identity, f"{self._number}.{next(self._made)}", name, {network: aliases})
        container.running = False
        if self._random.random() < 0.5:
            other = self._random.choice([n for n in self._ground.networks if n != network])
            self._connect(container, other)
        self._start(container)
        return container

    def _start(self, c: Container) -> None:
        c.running = True
        self._call("start", c, lambda: self._lab.api.start(c.id))

    def _end(self, word: str, c: Container, end: Callable[[], object]) -> None:
        c.running = False
        self._call(word, c, end)

    def _kill(self, c: Container) -> None:
        """The engine returns when the signal is sent; the end of the container comes later."""
        self._lab.kill(c.id)
        self._lab.api.wait(c.id)

    def _freeze(self, word: str, c: Container, *, paused: bool) -> None:
        c.paused = paused
        self._call(word, c, lambda: self._lab.pause(c.id) if paused else self._lab.unpause(c.id))

    def _rename(self, c: Container) -> None:
        name = c.name = self._free_name()
        self._call("rename", c, lambda: self._lab.rename(c.id, name))

    def _connect(self, c: Container, network: str) -> None:
        aliases = c.ends[network] = () if c.home else self._some_aliases()
        self._call("connect", c, lambda: self._lab.connect(network, c.id, aliases=aliases), moved=(network,))

    def _disconnect(self, c: Container, network: str) -> None:
        del c.ends[network]
        self._call("disconnect", c, lambda: self._lab.api.disconnect_container_from_network(c.id, network))

    def _remove(self, c: Container) -> None:
        c.ends = {}
        c.running = False
        self.containers.remove(c)
        self._call("remove", c, lambda: self._lab.remove(c.id))

    def _replace(self, c: Container) -> None:
        """As Compose does it: the old one removed, a new one of the same name and aliases."""
        name, (network, aliases) = c.name, self._random.choice(list(c.ends.items()))
        if network not in self._ground.networks:
            network = self._some_network()
        self._remove(c)
        self.containers.append(self._run(name, network, aliases))

    def _roll(self, c: Container) -> None:
        """As an orchestrator does it: the new one is there before the old one goes."""
        network, aliases = self._random.choice(list(c.ends.items()))
        self.containers.append(self._run(self._free_name(), network, aliases))
        self._remove(c)

    def _create_network(self) -> None:
        add_network(self._lab, self._ground.extra(self._number))
        next(self._ground.calls)
        self._extra = True

    def _remove_network(self) -> None:
        network = self._ground.extra(self._number)
        for container in [c for c in self.containers if network in c.ends]:
            if len(container.ends) == 1:
                self._connect(container, self._some_network())
            self._disconnect(container, network)
        with self._refusals(f"network remove {network}"):
            self._lab.remove_network(network)
        next(self._ground.calls)
        self._extra = False

    # Choices

    def _free_name(self) -> str:
        taken = {c.name for c in self.containers}
        return self._random.choice([name for name in self._names if name not in taken])

    def _some_network(self) -> str:
        return self._random.choice(self._ground.networks)

    def _some_aliases(self) -> tuple[str, ...]:
        return tuple(self._random.sample(self._ground.aliases, self._random.choice((0, 1, 1, 2))))

    # The record

    def _call(
        self,
        word: str,
        c: Container,
        call: Callable[[], object],
        *,
        gap: bool = False,
        moved: tuple[str, ...] = (),
    ) -> None:
        """Call the engine, and note what that did to the container's endpoints."""
        began = time.monotonic()
        with self._refusals(f"{word} {c.key} ({c.name})"):
            call()
        returned = time.monotonic()
        next(self._ground.calls)
        before, after = c.endpoints, self._look(c, moved)
        for network in before.keys() | after.keys():
            if gap or before.get(network) != after.get(network):
                end = after.get(network)
                told = f"{word} {c.name}"
                self._ground.changes.append(Change(began, returned, c.key, network, end, gap, told))
        c.endpoints = after

    def _look(self, c: Container, moved: tuple[str, ...]) -> dict[str, Endpoint]:
        """What must resolve by what we asked for. The engine is asked for the addresses only."""
        if not c.running or not c.ends:
            return {}
        networks = self._lab.inspect(c.id)["NetworkSettings"]["Networks"]
        found = {}
        for network, aliases in c.ends.items():
            address = networks.get(network, {}).get("IPAddress", "")
            if not address:
                self._ground.surprises.append(f"{c.key} has no address on {network}")
                continue
            known = c.endpoints.get(network)
            place = known.place if known and network not in moved else next(self._ground.places)
            found[network] = Endpoint((c.name, *aliases), address, place)
        return found

    @contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        """What the engine refuses is noted, and the history goes on."""
        try:
            yield
        except APIError as error:
            self._ground.surprises.append(f"{what}: {error.explanation}")


def add_network(lab: Lab, name: str) -> IPv4Network:
    """A small network in the next subnet nobody has."""
    while True:
        wide, _ = SUBNETS.take()
        subnet = next(wide.subnets(new_prefix=_PREFIX))
        try:
            lab.network(name, subnet=str(subnet))
        except APIError as refused:
            if "overlap" not in str(refused.explanation):
                raise
        else:
            return subnet
