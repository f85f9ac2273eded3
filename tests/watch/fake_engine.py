"""A world of containers and networks that behaves as an engine does, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from resolver.watch.engine import NotThere

Json = dict[str, Any]


@dataclass
class Container:
    """``attached`` is network → address, empty while it does not run."""

    id: str
    name: str
    attached: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    status: str = "created"
    started: int = 0


class World:
    """Operations change it and leave events, in an engine's order; the rest is what an engine is asked."""

    url = "unix:///fake.sock"
    api = "1.41"
    is_podman = False

    def __init__(self) -> None:
        self.clock = 1_800_000_000_000_000_000
        self.all: dict[str, Container] = {}
        self.known_networks = {"n1": "one", "n2": "two", "n3": "three"}
        self.events_told: list[Json] = []
        self._addresses = 1

    # Operations, in the words of the command line

    def create(self, identity: str, *networks: str, alias: str = "") -> None:
        aliases = (alias,) if alias else ()
        self.all[identity] = Container(identity, f"name-{identity}", dict.fromkeys(networks, ""), aliases)
        self._tell("container", "create", identity)

    def start(self, identity: str) -> None:
        container = self.all[identity]
        if container.status == "running":
            return
        for network in container.attached:
            container.attached[network] = self._address()
            self._tell("network", "connect", network, identity)
        container.status, container.started = "running", self._now()
        self._tell("container", "start", identity)

    def stop(self, identity: str) -> None:
        container = self.all[identity]
        if container.status != "running":
            return
        container.status = "exited"
        self._tell("container", "die", identity)
        for network in container.attached:
            container.attached[network] = ""
            self._tell("network", "disconnect", network, identity)

    def connect(self, identity: str, network: str) -> None:
        container = self.all[identity]
        if network in container.attached:
            return
        container.attached[network] = self._address() if container.status == "running" else ""
        if container.status == "running":
            self._tell("network", "connect", network, identity)

    def disconnect(self, identity: str, network: str) -> None:
        container = self.all[identity]
        if container.attached.pop(network, None):
            self._tell("network", "disconnect", network, identity)
            self._tell("network", "disconnect", network, identity)  # an engine says it twice

    def rename(self, identity: str, name: str) -> None:
        container = self.all[identity]
        old, container.name = container.name, name
        self._tell("container", "rename", identity, name=name, oldName=f"/{old}")

    def remove(self, identity: str) -> None:
        self.stop(identity)
        del self.all[identity]
        self._tell("container", "destroy", identity)

    # What an engine is asked

    def containers(self) -> list[Json]:
        return [{**self.container(one.id), "State": one.status} for one in self.all.values()]

    def container(self, identity: str) -> Json:
        if identity not in self.all:
            raise NotThere(identity)
        one = self.all[identity]
        return {
            "Id": one.id,
            "Name": f"/{one.name}",
            "State": {"Status": one.status, "StartedAt": self._stamp(one.started)},
            "Config": {"Hostname": one.id[:12]},
            "HostConfig": {"NetworkMode": next(iter(one.attached), "none")},
            "NetworkSettings": {
                "Networks": {
                    self.known_networks[network]: {
                        "NetworkID": network if address else "",
                        "IPAddress": address,
                        "Aliases": list(one.aliases),
                    }
                    for network, address in one.attached.items()
                }
            },
        }

    def networks(self) -> list[Json]:
        return [self.network(identity) for identity in self.known_networks]

    def network(self, identity: str) -> Json:
        if identity not in self.known_networks:
            raise NotThere(identity)
        return {"Id": identity, "Name": self.known_networks[identity], "Driver": "bridge", "Scope": "local"}

    def _now(self) -> int:
        self.clock += 1_000_000
        return self.clock

    def _address(self) -> str:
        self._addresses += 1
        return f"10.0.{self._addresses >> 8}.{self._addresses & 255}"

    def _tell(self, kind: str, action: str, identity: str, container: str = "", **said: str) -> None:
        attributes = {"container": container} if container else said
        actor = {"ID": identity, "Attributes": attributes}
        self.events_told.append({"Type": kind, "Action": action, "Actor": actor, "timeNano": self._now()})

    @staticmethod
    def _stamp(nanoseconds: int) -> str:
        seconds, rest = divmod(nanoseconds, 1_000_000_000)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
