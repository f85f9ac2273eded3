"""For each difference: when it applies, the plainer question, and our reply made of Docker's to that one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

from tests.oracle.message import FORWARD, SILENCE, Question, Reply, made_here, with_opt
from tests.oracle.questions import escaped
from tests.oracle.situation import Situation, below, reversed_address, split
from tests.oracle.topology import LONG, Container, Endpoint, Network

Plain = Callable[[Question, Situation], Question | None]
Expected = Callable[[Question, Reply, Situation], Reply]


# What is decided without looking a name up


def other_class(question: Question, _: Situation) -> Question | None:
    return question if question.qclass != "IN" and question.opcode == "QUERY" else None


def notify(question: Question, _: Situation) -> Question | None:
    return question if question.opcode == "NOTIFY" else None


def other_version(question: Question, _: Situation) -> Question | None:
    return question if question.edns else None


def rcode(rcode: str) -> Expected:
    return lambda question, _reply, _situation: with_opt(Reply(rcode), question)


def notimp(_question: Question, _reply: Reply, _situation: Situation) -> Reply:
    return Reply("NOTIMP")


def localhost(question: Question, _: Situation) -> Question | None:
    return question if below(question.name, "localhost") else None


def loopback(question: Question, _reply: Reply, _situation: Situation) -> Reply:
    address = {"A": "127.0.0.1", "AAAA": "::1"}.get(question.qtype)
    return made_here("NOERROR", question, *([f"{question.qtype} {address}"] if address else []))


def loopback_reverse(question: Question, _: Situation) -> Question | None:
    address = reversed_address(question.name)
    return question if address and ip_address(address).is_loopback else None


def localhost_name(question: Question, _reply: Reply, _situation: Situation) -> Reply:
    return made_here("NOERROR", question, *(["PTR localhost."] if question.qtype == "PTR" else []))


# The question is plainer for Docker


def long(question: Question, _: Situation) -> Question | None:
    return replace(question, padding=0) if question.padding > 400 and not question.tcp else None


def arpa_case(question: Question, _: Situation) -> Question | None:
    lower = question.name.lower()
    return replace(question, name=lower) if reversed_address(lower) and lower != question.name else None


def network_case(question: Question, situation: Situation) -> Question | None:
    found = split(question, situation)
    if found is None:
        return None
    true = {f".{escaped(e.network.name)}" for e in situation.asker.endpoints.values()}
    [spelt] = [tail for tail in true if tail.lower() == found[1].lower()]
    return replace(question, name=found[0] + spelt) if spelt != found[1] else None


def link_case(question: Question, situation: Situation) -> Question | None:
    found = split(question, situation)
    for name, tail in ((question.name, ""), found or ("", "")):
        for end in situation.asker.endpoints.values():
            if tail and tail != f".{escaped(end.network.name)}":
                continue
            aliases = {alias for _, alias in end.links}
            near = [a for a in aliases if a.lower() == name.lower()]
            if near and name not in aliases:
                return replace(question, name=near[0] + tail)
    return None


def as_asked(_question: Question, reply: Reply, _situation: Situation) -> Reply:
    return reply


def generated(question: Question, situation: Situation) -> Question | None:
    """Ask for its short id, which only it has."""
    found = split(question, situation)
    for container, _ in situation.ends():
        called = container.called.lower()
        if not container.chosen_name and question.name.lower() == called:
            return replace(question, name=container.short_id)
        if not container.chosen_name and found and found[0].lower() == called:
            return replace(question, name=container.short_id + found[1])
    return None


def reverse_other_type(question: Question, _: Situation) -> Question | None:
    whole = reversed_address(question.name) and question.name == question.name.lower()
    return replace(question, qtype="PTR") if whole and question.qtype != "PTR" else None


def other_type(question: Question, _: Situation) -> Question | None:
    if question.qtype in ("A", "AAAA", "MX") or reversed_address(question.name):
        return None
    if question.qtype == "PTR" and below(question.name, "arpa") and question.name == question.name.lower():
        return None
    return replace(question, qtype="A")


def nodata(question: Question, reply: Reply, _situation: Situation) -> Reply:
    """What exists has no such records; what does not is asked outside."""
    return made_here("NOERROR", question) if reply.local else FORWARD


def not_arpa(question: Question, _: Situation) -> Question | None:
    """Engines before 24 say nothing at all to PTR of what is not below ``in-addr.arpa`` or ``ip6.arpa``."""
    zones = (".in-addr.arpa", ".ip6.arpa")
    silent = question.qtype == "PTR" and not question.name.endswith(zones)
    return replace(question, qtype="TXT") if silent else None


def cut(question: Question, _: Situation) -> Question | None:
    large = below(question.name, LONG) or question.name.lower().startswith(LONG)
    return replace(question, tcp=True) if large and not question.tcp else None


# The reply is another one


def _pointed_at(question: Question, situation: Situation) -> tuple[Container, Endpoint] | None:
    address = reversed_address(question.name) if question.qtype == "PTR" else ""
    for container, end in situation.ends():
        if address and address in (end.ipv4, end.ipv6):
            return container, end
    return None


def generated_at(question: Question, situation: Situation) -> Question | None:
    found = _pointed_at(question, situation)
    return question if found and not found[0].chosen_name else None


def chosen_alias(question: Question, reply: Reply, situation: Situation) -> Reply:
    """The first alias a person chose; without one, the name."""
    found = _pointed_at(question, situation)
    assert found is not None
    container, end = found
    own = {container.hostname.lower(), container.short_id}
    chosen = (alias for alias in end.aliases if alias.lower() not in own and _speakable(alias))
    return _pointer(question, next(chosen, container.called), end) if reply.local else reply


def unspeakable(question: Question, situation: Situation) -> Question | None:
    """Engines before 25 take the first alias for a container whose name they made up."""
    found = _pointed_at(question, situation)
    if found is None:
        return None
    container, end = found
    names = [container.called] if container.chosen_name or situation.engine >= 25 else [*end.aliases, "x"]
    return question if not _speakable(names[0]) else None


def next_name(question: Question, reply: Reply, situation: Situation) -> Reply:
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


def single_label(question: Question, situation: Situation) -> Question | None:
    """Docker's MX tells a name that exists from one that does not, whatever ndots says."""
    single = "." not in question.name.replace("\\.", "")
    fits = single and question.qtype in ("A", "AAAA") and situation.asker.ndots
    return replace(question, qtype="MX") if fits else None


def ndots(question: Question, reply: Reply, situation: Situation) -> Reply:
    return situation.docker(question) if reply.local else FORWARD


def several_families(question: Question, situation: Situation) -> Question | None:
    families = {end.network.ipv6 for end in situation.asker.endpoints.values()}
    return question if question.qtype == "AAAA" and len(families) > 1 else None


def first_network(question: Question, reply: Reply, situation: Situation) -> Reply:
    """Empty where the network that answers A has no IPv6."""
    addresses = situation.docker(replace(question, qtype="A"))
    found = {record.split()[2].rpartition(".")[0] for record in addresses.records if addresses.local}
    for end in situation.asker.endpoints.values():
        if end.network.gateway.rpartition(".")[0] in found:
            return reply if end.network.ipv6 else made_here("NOERROR", question)
    return reply


def renamed_on_bridge(question: Question, situation: Situation) -> Question | None:
    """Ask for the name on the first other network that has it; without one, for what nobody has."""
    if not situation.asker.on_bridge:
        return None
    name = question.name.lower()
    renamed = [c for c in situation.topology.containers.values() if c.renamed_on_bridge and c.runs]
    if question.qtype == "PTR" and reversed_address(name) in {c.bridge_address for c in renamed}:
        return replace(question, name="250.2.0.192.in-addr.arpa")
    for container in renamed:
        own = {n.lower() for n in (container.called, container.short_id, container.hostname) if n}
        if name.removesuffix(".bridge") not in own:
            continue
        ends = [end for c, end in situation.ends() if name in _names_at(c, end)]
        if not ends:
            return replace(question, name=f"nobody.{question.name}")
        best = min((end.network for end in ends), key=_search_order)
        return replace(question, name=f"{question.name}.{escaped(best.name)}")
    return None


def between_internal(question: Question, situation: Situation) -> Question | None:
    """Ask for the name on the first internal network that has it, where they differ in families."""
    if question.qtype == "PTR" or split(question, situation):
        return None
    having = _linked(question.name, situation) or [
        end.network
        for container, end in situation.ends()
        if question.name.lower() in _names_at(container, end)
    ]
    if not all(network.internal for network in having) or len({network.ipv6 for network in having}) < 2:
        return None
    return replace(question, name=f"{question.name}.{escaped(min(having, key=_search_order).name)}")


def _linked(alias: str, situation: Situation) -> list[Network]:
    """The networks on which the asker has a link of that name to somebody there; Docker looks at these
    first."""
    there = {(end.network.stem, name) for container, end in situation.ends() for name in container.names}
    return [
        end.network
        for end in situation.asker.endpoints.values()
        for target, name in end.links
        if name == alias and (end.network.stem, target) in there
    ]


def _names_at(container: Container, end: Endpoint) -> set[str]:
    names = (container.called, *end.aliases, container.short_id, container.hostname)
    return {name.lower() for name in names}


def _search_order(network: Network) -> tuple[bool, bool, bytes]:
    return network.internal, not network.ipv6 and not network.internal, network.name.encode()


def may_be_closed(question: Question, situation: Situation) -> Question | None:
    return question if situation.closed else None


def closed(question: Question, reply: Reply, _situation: Situation) -> Reply:
    return FORWARD if reply.rcode == SILENCE else reply


def refused_upstream(question: Question, _: Situation) -> Question | None:
    return question if question.name.lower().startswith("rf") else None


def servfail(question: Question, reply: Reply, _situation: Situation) -> Reply:
    return with_opt(Reply("SERVFAIL"), question) if reply.upstream else reply


def edns(question: Question, _: Situation) -> Question | None:
    return question if question.edns == 0 else None


def opt(question: Question, reply: Reply, _situation: Situation) -> Reply:
    return reply if reply.upstream else with_opt(reply, question)
