"""Who asks, where, and what a name stands for there."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.oracle.questions import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.oracle.message import Question, Reply
    from tests.oracle.topology import Container, Endpoint, Topology


@dataclass(frozen=True, slots=True)
class Situation:
    """Who asks, where, and an engine of which age has said what."""

    topology: Topology
    asker: Container
    engine: int
    """Major version."""
    docker: Callable[[Question], Reply]
    """What Docker says to one of the questions that were planned."""

    @property
    def closed(self) -> bool:
        """Whether the asker's questions must not leave: all its networks are internal."""
        ends = self.asker.endpoints.values()
        return not self.asker.on_bridge and all(end.network.internal for end in ends)

    def ends(self) -> Iterator[tuple[Container, Endpoint]]:
        """Everybody on the asker's networks."""
        for container in self.topology.containers.values():
            for stem, end in container.endpoints.items():
                if stem in self.asker.endpoints and end.ipv4:
                    yield container, end


def split(question: Question, situation: Situation) -> tuple[str, str] | None:
    """Name and network, where the end of the name is one of the asker's networks in any case."""
    for end in situation.asker.endpoints.values():
        tail = f".{escaped(end.network.name)}"
        if question.name.lower().endswith(tail.lower()):
            return question.name[: -len(tail)], question.name[-len(tail) :]
    return None


def below(name: str, parent: str) -> bool:
    return f".{name.lower()}".endswith(f".{parent}")


def reversed_address(name: str) -> str:
    """The address of a reverse name, in any case; empty for any other name, and for one that is not whole."""
    labels = name.lower().split(".")
    if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
        text = ".".join(reversed(labels[:4]))
    elif labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
        digits = "".join(reversed(labels[:32]))
        text = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
    else:
        return ""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
