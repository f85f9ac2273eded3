"""Where our answer is not to be Docker's, one by one, and what it is to be instead.

A difference either names the reply itself, or a *plain* question, which Docker answers as we must: ``es.DEV``
is to be answered as Docker answers ``es.dev``. So Docker stays the oracle where we differ too. Differences
stack: each makes the question plainer for the next, and the reply comes back through them in reverse order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from tests.oracle.message import FORWARD, SILENCE, Question, Reply, made_here, with_opt
from tests.oracle.questions import escaped
from tests.oracle.topology import LONG, Container, Endpoint, Topology

NEVER: Final = 1000


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


Plain = Callable[[Question, Situation], Question | None]
Expected = Callable[[Question, Reply, Situation], Reply]


@dataclass(frozen=True, slots=True)
class Difference:
    """One of them. ``plain`` gives None where it does not apply; ``expected`` makes our reply of Docker's."""

    name: str
    why: str
    plain: Plain
    expected: Expected
    since: int = 0
    until: int = NEVER
    """Engines this difference exists with: ``since`` included, ``until`` not."""
    silent: bool = False
    """Whether Docker may say nothing to the question."""
    needs_a: bool = False
    """Whether ``expected`` looks at what Docker says to the same question of type A."""
    last: bool = False
    """Whether it decides alone: no other difference counts then."""


def plan(question: Question, situation: Situation) -> list[tuple[Difference, Question, Question]]:
    """The differences that apply: each with the question it was given and the plainer one it makes of it."""
    steps: list[tuple[Difference, Question, Question]] = []
    if question.opcode not in ("QUERY", "NOTIFY"):
        return steps
    for difference in DIFFERENCES:
        if difference.since <= situation.engine < difference.until:
            plainer = difference.plain(question, situation)
            if plainer is not None:
                steps.append((difference, question, plainer))
                if difference.last:
                    break
                question = plainer
    return steps


def expected_reply(
    steps: list[tuple[Difference, Question, Question]], question: Question, situation: Situation
) -> Reply:
    """What we must answer; FORWARD for what the upstream says to the question as asked."""
    reply = situation.docker(steps[-1][2] if steps else question)
    for difference, given, _ in reversed(steps):
        reply = difference.expected(given, FORWARD if reply.upstream else reply, situation)
    return reply


# What a question asks for


def _split(question: Question, situation: Situation) -> tuple[str, str] | None:
    """Name and network, where the end of the name is one of the asker's networks in any case."""
    for end in situation.asker.endpoints.values():
        tail = f".{escaped(end.network.name)}"
        if question.name.lower().endswith(tail.lower()):
            return question.name[: -len(tail)], question.name[-len(tail) :]
    return None


def _below(name: str, parent: str) -> bool:
    return f".{name.lower()}".endswith(f".{parent}")


def _reversed(name: str) -> str:
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


def _same(question: Question) -> Question:
    return question


# What is decided without looking a name up


def _other_class(question: Question, _: Situation) -> Question | None:
    return question if question.qclass != "IN" and question.opcode == "QUERY" else None


def _notify(question: Question, _: Situation) -> Question | None:
    return question if question.opcode == "NOTIFY" else None


def _other_version(question: Question, _: Situation) -> Question | None:
    return question if question.edns else None


def _rcode(rcode: str) -> Expected:
    return lambda question, _reply, _situation: with_opt(Reply(rcode), question)


def _notimp(_question: Question, _reply: Reply, _situation: Situation) -> Reply:
    return Reply("NOTIMP")


def _localhost(question: Question, _: Situation) -> Question | None:
    return question if _below(question.name, "localhost") else None


def _loopback(question: Question, _reply: Reply, _situation: Situation) -> Reply:
    address = {"A": "127.0.0.1", "AAAA": "::1"}.get(question.qtype)
    return made_here("NOERROR", question, *([f"{question.qtype} {address}"] if address else []))


def _loopback_reverse(question: Question, _: Situation) -> Question | None:
    address = _reversed(question.name)
    return question if address and ip_address(address).is_loopback else None


def _localhost_name(question: Question, _reply: Reply, _situation: Situation) -> Reply:
    return made_here("NOERROR", question, *(["PTR localhost."] if question.qtype == "PTR" else []))


# The question is plainer for Docker


def _long(question: Question, _: Situation) -> Question | None:
    return replace(question, padding=0) if question.padding > 400 and not question.tcp else None


def _arpa_case(question: Question, _: Situation) -> Question | None:
    lower = question.name.lower()
    return replace(question, name=lower) if _reversed(lower) and lower != question.name else None


def _network_case(question: Question, situation: Situation) -> Question | None:
    found = _split(question, situation)
    if found is None:
        return None
    true = {f".{escaped(e.network.name)}" for e in situation.asker.endpoints.values()}
    [spelt] = [tail for tail in true if tail.lower() == found[1].lower()]
    return replace(question, name=found[0] + spelt) if spelt != found[1] else None


def _link_case(question: Question, situation: Situation) -> Question | None:
    found = _split(question, situation)
    for name, tail in ((question.name, ""), found or ("", "")):
        for end in situation.asker.endpoints.values():
            if tail and tail != f".{escaped(end.network.name)}":
                continue
            aliases = {alias for _, alias in end.links}
            near = [a for a in aliases if a.lower() == name.lower()]
            if near and name not in aliases:
                return replace(question, name=near[0] + tail)
    return None


def _as_asked(_question: Question, reply: Reply, _situation: Situation) -> Reply:
    return reply


def _generated(question: Question, situation: Situation) -> Question | None:
    """Ask for its short id, which only it has."""
    found = _split(question, situation)
    for container, _ in situation.ends():
        called = container.called.lower()
        if not container.chosen_name and question.name.lower() == called:
            return replace(question, name=container.short_id)
        if not container.chosen_name and found and found[0].lower() == called:
            return replace(question, name=container.short_id + found[1])
    return None


def _reverse_other_type(question: Question, _: Situation) -> Question | None:
    whole = _reversed(question.name) and question.name == question.name.lower()
    return replace(question, qtype="PTR") if whole and question.qtype != "PTR" else None


def _other_type(question: Question, _: Situation) -> Question | None:
    if question.qtype in ("A", "AAAA", "MX") or _reversed(question.name):
        return None
    if question.qtype == "PTR" and _below(question.name, "arpa") and question.name == question.name.lower():
        return None
    return replace(question, qtype="A")


def _nodata(question: Question, reply: Reply, _situation: Situation) -> Reply:
    """What exists has no such records; what does not is asked outside."""
    return made_here("NOERROR", question) if reply.local else FORWARD


def _not_arpa(question: Question, _: Situation) -> Question | None:
    """Engines before 24 say nothing at all to PTR of what is not below ``in-addr.arpa`` or ``ip6.arpa``."""
    zones = (".in-addr.arpa", ".ip6.arpa")
    silent = question.qtype == "PTR" and not question.name.endswith(zones)
    return replace(question, qtype="TXT") if silent else None


def _cut(question: Question, _: Situation) -> Question | None:
    large = _below(question.name, LONG) or question.name.lower().startswith(LONG)
    return replace(question, tcp=True) if large and not question.tcp else None


# The reply is another one


def _pointed_at(question: Question, situation: Situation) -> tuple[Container, Endpoint] | None:
    address = _reversed(question.name) if question.qtype == "PTR" else ""
    for container, end in situation.ends():
        if address and address in (end.ipv4, end.ipv6):
            return container, end
    return None


def _generated_at(question: Question, situation: Situation) -> Question | None:
    found = _pointed_at(question, situation)
    return question if found and not found[0].chosen_name else None


def _chosen_alias(question: Question, reply: Reply, situation: Situation) -> Reply:
    """The first alias a person chose; without one, the name."""
    found = _pointed_at(question, situation)
    assert found is not None
    container, end = found
    own = {container.hostname.lower(), container.short_id}
    chosen = (alias for alias in end.aliases if alias.lower() not in own and _speakable(alias))
    return _pointer(question, next(chosen, container.called), end) if reply.local else reply


def _unspeakable(question: Question, situation: Situation) -> Question | None:
    """Engines before 25 take the first alias for a container whose name they made up."""
    found = _pointed_at(question, situation)
    if found is None:
        return None
    container, end = found
    names = [container.called] if container.chosen_name or situation.engine >= 25 else [*end.aliases, "x"]
    return question if not _speakable(names[0]) else None


def _next_name(question: Question, reply: Reply, situation: Situation) -> Reply:
    """The first of its names that DNS can carry."""
    found = _pointed_at(question, situation)
    assert found is not None
    container, end = found
    names = (container.called, *end.aliases, container.short_id)
    failed = reply.rcode in (SILENCE, "SERVFAIL")
    return _pointer(question, next(filter(_speakable, names)), end) if failed else reply


def _pointer(question: Question, name: str, end: Endpoint) -> Reply:
    return made_here("NOERROR", question, f"PTR {escaped(name)}.{escaped(end.network.name)}.")


def _speakable(name: str) -> bool:
    return name.isascii() and not name.endswith(".") and all(len(label) < 64 for label in name.split("."))


def _single_label(question: Question, situation: Situation) -> Question | None:
    """Docker's MX tells a name that exists from one that does not, whatever ndots says."""
    single = "." not in question.name.replace("\\.", "")
    fits = single and question.qtype in ("A", "AAAA") and situation.asker.ndots
    return replace(question, qtype="MX") if fits else None


def _ndots(question: Question, reply: Reply, situation: Situation) -> Reply:
    return situation.docker(question) if reply.local else FORWARD


def _several_families(question: Question, situation: Situation) -> Question | None:
    families = {end.network.ipv6 for end in situation.asker.endpoints.values()}
    return question if question.qtype == "AAAA" and len(families) > 1 else None


def _first_network(question: Question, reply: Reply, situation: Situation) -> Reply:
    """Empty where the network that answers A has no IPv6."""
    addresses = situation.docker(replace(question, qtype="A"))
    found = {record.split()[2].rpartition(".")[0] for record in addresses.records if addresses.local}
    for end in situation.asker.endpoints.values():
        if end.network.gateway.rpartition(".")[0] in found:
            return reply if end.network.ipv6 else made_here("NOERROR", question)
    return reply


def _renamed_on_bridge(question: Question, situation: Situation) -> Question | None:
    """Ask for the same name with a label in front, which nobody has: it is forwarded."""
    if not situation.asker.on_bridge:
        return None
    renamed = [c for c in situation.topology.containers.values() if c.renamed_on_bridge and c.runs]
    near = {name.lower() for c, _ in situation.ends() for name in c.names}
    names = {name.lower() for c in renamed for name in (c.called, c.short_id, c.hostname) if name} - near
    name = question.name.lower()
    asked = {name, name.removesuffix(".bridge")}
    bridged = name.endswith(".bridge") and asked & {c.called.lower() for c in renamed}
    return replace(question, name=f"nobody.{question.name}") if asked & names or bridged else None


def _may_be_closed(question: Question, situation: Situation) -> Question | None:
    return question if situation.closed else None


def _closed(question: Question, reply: Reply, _situation: Situation) -> Reply:
    return FORWARD if reply.rcode == SILENCE else reply


def _refused_upstream(question: Question, _: Situation) -> Question | None:
    return question if question.name.lower().startswith("rf") else None


def _servfail(question: Question, reply: Reply, _situation: Situation) -> Reply:
    return with_opt(Reply("SERVFAIL"), question) if reply.upstream else reply


def _edns(question: Question, _: Situation) -> Question | None:
    return question if question.edns == 0 else None


def _opt(question: Question, reply: Reply, _situation: Situation) -> Reply:
    return reply if reply.upstream else with_opt(reply, question)


DIFFERENCES: Final = (
    Difference("notify", "NOTIFY is not ours to take", _notify, _notimp, last=True),
    Difference("edns version", "RFC 6891", _other_version, _rcode("BADVERS"), last=True),
    Difference("class", "class other than IN is refused", _other_class, _rcode("REFUSED"), last=True),
    Difference("localhost", "RFC 6761", _localhost, _loopback, last=True),
    Difference("loopback reverse", "RFC 6761", _loopback_reverse, _localhost_name, last=True),
    Difference("edns", "OPT is answered with OPT", _edns, _opt),
    Difference("long question", "up to 4,096 octets over UDP are read", _long, _as_asked),
    Difference("upstream refused", "as engines from 24 on", _refused_upstream, _servfail, until=24),
    Difference("arpa case", "DNS ignores case", _arpa_case, _as_asked),
    Difference("network case", "DNS ignores case", _network_case, _as_asked),
    Difference("link case", "DNS ignores case", _link_case, _as_asked),
    Difference("renamed on bridge", "no names on the default bridge", _renamed_on_bridge, _as_asked),
    Difference("generated name", "as engines from 25 on", _generated, _as_asked, until=25),
    Difference("other type", "a name that exists is NODATA for other types", _other_type, _nodata),
    Difference("reverse, other type", "the same for reverse names", _reverse_other_type, _nodata),
    Difference("reverse of no address", "as engines from 24 on", _not_arpa, _as_asked, until=24, silent=True),
    Difference("ndots", "single labels are forwarded like others", _single_label, _ndots),
    Difference(
        "family",
        "the first network decides, as engines from 28 on",
        _several_families,
        _first_network,
        until=28,
        needs_a=True,
    ),
    Difference("reverse of a generated name", "something a person chose", _generated_at, _chosen_alias),
    Difference(
        "reverse of an unspeakable name", "some answer is better", _unspeakable, _next_name, silent=True
    ),
    Difference("cut reply", "compression, as engines from 24 on", _cut, _as_asked, until=24),
    Difference(
        "internal", "does not leave, as engines from 26 on", _may_be_closed, _closed, until=26, silent=True
    ),
)
"""In the order in which questions are made plainer."""
