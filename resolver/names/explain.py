"""The same walk as ``answer``, told in words: for ``resolver why``.

Every step says which name was looked for on which network and what came of it, so that a person sees what to
change.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from resolver.names.answer import (
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    Forward,
    Reply,
    Verdict,
    answer,
    below_domain,
    candidates,
    find,
    is_localhost,
    is_loopback,
)
from resolver.names.changes import spell_address
from resolver.names.keys import key_of, reversed_address, text_of
from resolver.names.view import View, view_of_ourselves, view_of_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.names.model import Endpoint, Network, Sandbox
    from resolver.names.table import Table


@dataclass(frozen=True, slots=True)
class Step:
    """One name looked for on one network."""

    network: str
    name: str
    outcome: str
    matched: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a question gets the answer it gets."""

    asker: str
    """Who asks, in words."""
    order: str
    """Why the networks are searched in this order, in words."""
    networks: tuple[str, ...]
    """Names of the networks searched, best first."""
    steps: tuple[Step, ...]
    conclusion: str
    rcode: int | None = None
    """Of the reply made here; None when the question goes upstream."""
    records: tuple[str, ...] = ()
    """Addresses or the PTR target."""
    upstreams: tuple[str, ...] = ()
    """Who would be asked; empty when nobody."""
    hints: tuple[str, ...] = ()
    """What may have been meant, and why it did not match."""


def explain(table: Table, sandbox: Sandbox | None, name: str, qtype: int) -> Explanation:
    """The walk of a question as this container would ask it (None: as we ourselves, which on a host is every
    network).

    Raises ValueError for a name that no question can carry.
    """
    key = key_of(name.removesuffix(".")) if name != "." else b""
    if key is None:
        raise ValueError(
            f"{name!r} is no name a question can carry: labels of 1 to 63 printable characters, 253 in all"
        )
    view = view_of_sandbox(table, sandbox) if sandbox else view_of_ourselves(table)
    verdict = answer(key, qtype, view, table, final=True)
    told = Explanation(
        asker=_asker(view, sandbox),
        order=_order(view, table),
        networks=tuple(n.name for n in view.networks),
        steps=tuple(_steps(key, view, table)),
        conclusion="",
        hints=() if isinstance(verdict, Reply) and not verdict.rcode else tuple(_hints(key, view, table)),
    )
    return _concluded(told, verdict, view, table)


def _concluded(told: Explanation, verdict: Verdict, view: View, table: Table) -> Explanation:
    conclusion, rcode = "", None
    records: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    if isinstance(verdict, Forward):
        upstreams = verdict.servers or table.policy.upstreams
        named = "its own --dns servers" if view.servers else "the servers named for its domain (--forward)"
        whose = named if verdict.servers else "the upstream servers"
        conclusion = f"not a name we know for this asker: sent to {whose}"
    elif isinstance(verdict, Reply):
        rcode, records = verdict.rcode, tuple(map(spell_address, verdict.addresses))
        records = records or ((verdict.pointer + ".",) if verdict.pointer else ())
        conclusion = _said(verdict, told)
    return Explanation(
        told.asker, told.order, told.networks, told.steps, conclusion, rcode, records, upstreams, told.hints
    )


def _said(reply: Reply, told: Explanation) -> str:
    if reply.rcode == NXDOMAIN:
        return "NXDOMAIN: it is below our own --domain and nobody has it"
    if reply.rcode == REFUSED:
        return "REFUSED: the asker is a stranger (see --strangers)"
    if reply.rcode == SERVFAIL:
        known = any(step.matched for step in told.steps)
        return (
            "SERVFAIL: no reply can carry its name"
            if known
            else "SERVFAIL: not known here, and a container only on internal networks is not forwarded for"
        )
    if reply.addresses or reply.pointer:
        known = any(step.matched for step in told.steps)
        return "answered from the names table" if known else "answered here: localhost is the asker itself"
    return "NODATA: the name is known, but has no record of this type"


def _asker(view: View, sandbox: Sandbox | None) -> str:
    if sandbox is None and view.sandbox is None:
        return "the host"
    who = sandbox or view.sandbox
    assert who is not None
    shared = (
        f", sharing the network stack of {view.sandbox.name}"
        if view.sandbox and view.sandbox is not who
        else ""
    )
    state = "" if who.state in ("running", "paused") else f" ({who.state}: it has no address now)"
    return f"container {who.name}{shared}{state}"


def _order(view: View, table: Table) -> str:
    if view.asker == "host":
        return "every network, in the engine's order"
    if table.policy.search_order == "engine":
        return "the engine's order: gateway priority, not internal, two families, name"
    return "the order of connection, first connected first"


def _steps(key: bytes, view: View, table: Table) -> Iterator[Step]:
    """What ``find`` looks at, in its order, to the first match."""
    if is_localhost(key):
        return
    address = reversed_address(key)
    if address is not None:
        yield from _look_up_address(address, key, view, table)
        return
    found = find(key, view, table)
    yield from _walk(key, view, table)
    inner = below_domain(key, table.policy)
    if found is None and inner:
        yield from _walk(inner, view, table)


def _look_up_address(address: bytes, key: bytes, view: View, table: Table) -> Iterator[Step]:
    if is_loopback(address):
        return
    for network in view.networks:
        zone = table.zones.get(network.id)
        held = zone.addresses.get(address, ()) if zone else ()
        outcome = _holders(held, table) or "no container has this address"
        yield Step(network.name, text_of(key), outcome, bool(held))
        if held:
            return


def _walk(key: bytes, view: View, table: Table) -> Iterator[Step]:
    for name, wanted in candidates(key):
        networks = view.by_name.get(wanted, ()) if wanted else view.networks
        linked = [n for n in networks if name in view.links.get(n.id, ())]
        others = [n for n in networks if n not in linked]
        for network in (*linked, *others):
            step = _look(name, network, view, table)
            yield step
            if step.matched:
                return


def _look(name: bytes, network: Network, view: View, table: Table) -> Step:
    """One name on one network; a link alias hides the name it is spelled like."""
    zone = table.zones.get(network.id)
    names = zone.names if zone else {}
    links = view.links.get(network.id, {})
    if name in links:
        target = links[name]
        held = names.get(target, ()) if target else ()
        meant = f"a link to {text_of(target)}" if target else "a link to a name nothing can carry"
        outcome = f"{meant}: {_holders(held, table)}" if held else f"{meant}, which nobody has here now"
    else:
        held = names.get(name, ())
        outcome = _holders(held, table) or "nobody has this name here"
    return Step(network.name, text_of(name), outcome, bool(held))


def _holders(endpoints: tuple[Endpoint, ...], table: Table) -> str:
    who = []
    for endpoint in endpoints:
        owner = table.owner(endpoint.ipv4 or endpoint.ipv6)
        addresses = ", ".join(spell_address(a) for a in (endpoint.ipv4, endpoint.ipv6) if a)
        who.append(f"{owner.name if owner else '?'} ({addresses})")
    return ", ".join(who)


def _hints(key: bytes, view: View, table: Table) -> Iterator[str]:
    """Why a name somebody has was not found, then the nearest names this asker could use."""
    seen = {n.id for n in view.networks}
    for sandbox in table.sandboxes.values():
        for endpoint in sandbox.endpoints:
            network = table.networks.get(endpoint.network)
            if network is None or not any(key_of(n) == key for n in (*endpoint.names, sandbox.name)):
                continue
            if not endpoint.alive:
                yield f"{sandbox.name} is {sandbox.state}: it has names only while it runs"
            elif network.default_bridge and not table.policy.names_on_default_bridge:
                yield f"{sandbox.name} is on the default bridge, where names need --names-on-default-bridge"
            elif endpoint.network not in seen:
                yield (
                    f"{sandbox.name} is on {network.name}, where the asker is not: "
                    f"docker network connect {network.name} …"
                )
    yield from _nearest(key, view, table)


def _nearest(key: bytes, view: View, table: Table) -> Iterator[str]:
    known: dict[str, None] = {}
    for network in view.networks:
        zone = table.zones.get(network.id)
        for name in zone.names if zone else ():
            known[text_of(name)] = None
            known[f"{text_of(name)}.{network.name.lower()}"] = None
    for near in get_close_matches(text_of(key), known, n=1, cutoff=0.7):
        yield f"did you mean {near}?"
