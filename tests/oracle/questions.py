"""What is asked in a topology: names as they are and as they are not, every type, both transports."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

from tests.oracle.message import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from tests.oracle.topology import Container, Endpoint, Topology

OTHER_TYPES: Final = ("TXT", "ANY", "NS", "SOA", "CNAME", "HTTPS", "SRV", "TYPE65280", "PTR")


def questions(topology: Topology, asker: Container, random: Random, count: int) -> list[Question]:
    """The same number of every kind, as far as ``count`` goes; kinds begin at a random one."""
    kinds = list(_KINDS)
    random.shuffle(kinds)
    pick = _Pick(topology, asker, random)
    return [_varied(kind(pick), random) for kind in islice(cycle(kinds), count)]


def escaped(name: str) -> str:
    """A name as master files write it, with escapes. A final dot is the root's."""
    octets = name.removesuffix(".").encode()
    return "".join(
        f"\\{octet:03d}" if octet > 0x7E or octet <= 0x20 or chr(octet) in '\\"();@$' else chr(octet)
        for octet in octets
    )


def askable(name: str) -> bool:
    """Whether a question can carry it."""
    return all(len(label) < 64 for label in name.split("."))


def reverse(address: str) -> str:
    """The reverse name of an address."""
    return ip_address(address).reverse_pointer


class _Pick:
    """Names and addresses of one topology, picked at random."""

    def __init__(self, topology: Topology, asker: Container, random: Random) -> None:
        self.topology, self.asker, self.random = topology, asker, random

    def container(self) -> Container:
        """Any container, more often one that shares a network with the asker."""
        every = [c for c in self.topology.containers.values() if c.state != "gone" and not c.joins]
        near = [c for c in every if set(c.endpoints) & set(self.asker.endpoints)]
        return self.random.choice(near if near and self.random.random() < 0.8 else every)

    def name(self) -> str:
        """A name of one of them, spelt right."""
        return escaped(self.random.choice([name for name in self.container().names if askable(name)]))

    def network(self) -> str:
        """The name of a network, more often one of the asker's."""
        every = list(self.topology.networks.values())
        own = [n for n in every if n.stem in self.asker.endpoints]
        return escaped(self.random.choice(own if own and self.random.random() < 0.8 else every).name)

    def endpoint(self) -> Endpoint | None:
        """One that has an address."""
        ends = [e for c in self.topology.containers.values() for e in c.endpoints.values() if e.ipv4]
        near = [e for e in ends if e.network.stem in self.asker.endpoints]
        chosen = near if near and self.random.random() < 0.8 else ends
        return self.random.choice(chosen) if chosen else None

    def address(self) -> str:
        """An address somebody has."""
        end = self.endpoint()
        if end is None:
            return "10.255.0.9"
        return end.ipv6 if end.ipv6 and self.random.random() < 0.4 else end.ipv4

    def family(self) -> str:
        return self.random.choice(("A", "A", "AAAA", "MX"))


def _varied(question: Question, random: Random) -> Question:
    """Over TCP, with EDNS, without RD, with CD: what must not change the answer."""
    if random.random() < 0.25:
        question = replace(question, tcp=True)
    if random.random() < 0.15 and question.edns is None:
        question = replace(question, edns=0)
    if random.random() < 0.05:
        question = replace(question, rd=False)
    return replace(question, cd=True) if random.random() < 0.05 else question


def _spelt(name: str, random: Random) -> str:
    """The name in other case."""
    return random.choice((name.upper(), name.lower(), name.swapcase(), name.title()))


def _plain(p: _Pick) -> Question:
    return Question(p.name(), p.family())


def _other_case(p: _Pick) -> Question:
    return Question(_spelt(p.name(), p.random), p.family())


def _qualified(p: _Pick) -> Question:
    return Question(f"{p.name()}.{p.network()}", p.family())


def _qualified_other_case(p: _Pick) -> Question:
    name = p.name()
    left = _spelt(name, p.random) if p.random.random() < 0.5 else name
    return Question(f"{left}.{_spelt(p.network(), p.random)}", p.family())


def _qualified_twice(p: _Pick) -> Question:
    network = p.network()
    return Question(f"{p.name()}.{network}.{p.random.choice((network, p.network()))}", "A")


def _other_type(p: _Pick) -> Question:
    name = p.name()
    qualified = f"{name}.{p.network()}" if p.random.random() < 0.3 else name
    return Question(qualified, p.random.choice(OTHER_TYPES))


def _link(p: _Pick) -> Question:
    links = [(e, alias) for e in p.asker.endpoints.values() for _, alias in e.links]
    if not links:
        return _plain(p)
    end, alias = p.random.choice(links)
    spelt = _spelt(alias, p.random) if p.random.random() < 0.5 else alias
    return Question(f"{spelt}.{end.network.name}" if p.random.random() < 0.3 else spelt, p.family())


def _others_link(p: _Pick) -> Question:
    aliases = [a for c in p.topology.containers.values() for e in c.endpoints.values() for _, a in e.links]
    return Question(p.random.choice(aliases), "A") if aliases else _unknown(p)


def _unknown(p: _Pick) -> Question:
    single = ("nosuch", "nxname", "emname", "unknown", "sfname", "")
    several = ("www.example.org", "nx.example.org", "em.example.org", "sf.example.org", "rf.example.org")
    return Question(p.random.choice(single + several), p.random.choice(("A", "AAAA", "MX", *OTHER_TYPES)))


def _near_miss(p: _Pick) -> Question:
    """What looks like a name and is none: part of an id, a label too many or too few, a network."""
    c, name = p.container(), p.name()
    misses = (
        *(c.id[:6], c.id[:13], c.id[:60], f"foo.{name}", f"{name}.foo.{p.network()}", p.network()),
        *(f"{name}.nosuch", f"*.{name}", name.partition(".")[0], f"{name}.{c.id[:12]}", "x.wild.test"),
        *("bridge", f"{name}.bridge", f"{c.hostname or 'hh'}.d.test", "a\\.b", "two\\032words"),
    )
    return Question(p.random.choice(misses), p.family())


def _reverse(p: _Pick) -> Question:
    return Question(reverse(p.address()), "PTR")


def _own_reverse(p: _Pick) -> Question:
    ends = [e for e in p.asker.endpoints.values() if e.ipv4]
    return Question(reverse(p.random.choice(ends).ipv4), "PTR") if ends else _reverse(p)


def _reverse_other_case(p: _Pick) -> Question:
    return Question(reverse(p.address()).upper(), "PTR")


def _reverse_other_type(p: _Pick) -> Question:
    return Question(reverse(p.address()), p.random.choice(("A", "TXT", "MX", "ANY")))


def _reverse_of_nobody(p: _Pick) -> Question:
    end = p.endpoint()
    network = end.network if end else next(iter(p.topology.networks.values()))
    free = network.gateway.rpartition(".")[0] + ".250"
    name = reverse(p.random.choice((network.gateway, free, "127.0.0.11", "8.8.8.8", "fd00:dead::1")))
    odd = ("0" + reverse(free), "x." + reverse(free), name.partition(".")[2], "in-addr.arpa", "arpa")
    return Question(p.random.choice((name, name, *odd)), "PTR")


def _localhost(p: _Pick) -> Question:
    name = p.random.choice(("localhost", "LocalHost", "db.localhost"))
    return Question(name, p.random.choice(("A", "AAAA", "TXT")))


def _class(p: _Pick) -> Question:
    name = p.random.choice((p.name(), "version.bind"))
    return Question(name, p.random.choice(("A", "TXT")), qclass=p.random.choice(("CH", "ANY")))


def _unusual(p: _Pick) -> Question:
    name = p.random.choice((p.name(), "nosuch"))
    kinds = (
        *(Question(name, edns=1), Question(name, opcode="NOTIFY"), Question(name, edns=0, padding=600)),
        *(Question(name, opcode="STATUS"), Question(name, opcode="UPDATE")),
    )
    return p.random.choice(kinds)


_KINDS: Final[tuple[Callable[[_Pick], Question], ...]] = (
    *(_plain, _plain, _plain, _other_case, _qualified, _qualified, _qualified_other_case, _qualified_twice),
    *(_other_type, _link, _link, _others_link, _unknown, _unknown, _near_miss, _near_miss),
    *(_reverse, _reverse, _own_reverse, _reverse_other_case, _reverse_other_type, _reverse_of_nobody),
    *(_localhost, _class, _unusual),
)


def every_name(topology: Topology, asker: Container) -> Iterator[Question]:
    """For each name there is one question: what must hold after whatever happened."""
    for container in topology.containers.values():
        for name in container.names:
            if askable(name):
                yield Question(escaped(name))
        if asker.on_bridge and container.bridge_address:
            yield Question(reverse(container.bridge_address), "PTR")
        for end in container.endpoints.values():
            if end.ipv4 and end.network.stem in asker.endpoints:
                yield Question(reverse(end.ipv4), "PTR")
