"""A question, a view and the table → a verdict. Nothing is sent from here.

The lookup is the engine's (``Sandbox.ResolveName``): the whole name on every network of the asker, then the
name cut in two at each dot from the right, ``es.dev`` being ``es`` on the network ``dev``. The first network
that knows the name answers; addresses of several networks are never merged. Network names, link aliases and
arpa suffixes ignore case here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resolver.names.keys import LOCALHOST, cuts_of, key_of, reversed_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.names.model import Endpoint, Network
    from resolver.names.policy import Policy
    from resolver.names.table import Table
    from resolver.names.view import View

A, PTR, AAAA = 1, 12, 28
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


@dataclass(frozen=True, slots=True)
class Reply:
    """Answered here. No records and NOERROR is NODATA."""

    rcode: int = NOERROR
    addresses: tuple[bytes, ...] = ()
    """Packed, all of the family asked for; the order is the sender's to rotate."""
    pointer: str = ""
    """PTR target without the final dot."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Not ours: ask these servers, or the default upstreams where none are named."""

    servers: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    """Asked when those give no reply: the engine's own resolver beside an attached container."""
    keep: bool = True
    """Whether the reply may be given again: the engine's own names may be others at any moment."""
    doubtful: bool = False
    """A container is coming: a negative reply from upstream must not be believed before it is settled."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Not ours *yet*: decide again when the table changes, or when the question has waited long enough."""


Verdict = Reply | Forward | Hold

NODATA = Reply()
HOLD = Hold()
_LOOPBACKS = {A: Reply(addresses=(b"\x7f\x00\x00\x01",)), AAAA: Reply(addresses=(b"\x00" * 15 + b"\x01",))}
_FORWARD = Forward()

FEW = 8
"""So many network names are compared with the end of a question's name faster than it is cut up."""


def answer(key: bytes, qtype: int, view: View, table: Table, *, final: bool = False) -> Verdict:
    """What to do with a question of class IN.

    ``key`` is the name's key (``names.keys``); ``final``: the question has waited long enough, decide now.
    """
    if view.way_out == "refused":
        return Reply(REFUSED) if final or settled_for(view, table) else HOLD
    if is_localhost(key):
        return _LOOPBACKS.get(qtype, NODATA)
    doubtful = not final and not settled_for(view, table)
    if doubtful and (not table.pictured or view.asker == "subnet"):
        return HOLD
    found = _answer_own(key, qtype, view, table)
    if found is not None:
        return found
    below = below_domain(key, table.policy)
    if doubtful and (below is not None or _may_be_coming(key, view)):
        return HOLD
    if below is not None:
        return Reply(NXDOMAIN)
    if view.way_out == "closed":
        return HOLD if doubtful else Reply(SERVFAIL)
    servers = view.servers or servers_for(key, table.policy)
    if view.engine:
        return _beside_engine(key, view, servers or table.policy.upstreams, doubtful)
    return Forward(servers, doubtful=doubtful) if doubtful or servers else _FORWARD


def _beside_engine(key: bytes, view: View, servers: tuple[str, ...], doubtful: bool) -> Forward:
    """Names that look like a container's may be known to the engine's own resolver only (aliases on another
    node of a swarm): it is asked first. For others it is the last."""
    if servers == (view.engine,):
        return Forward(servers, keep=False, doubtful=doubtful)
    if not cuts_of(key) or any(key[cut:] in view.by_name for cut in cuts_of(key)):
        return Forward((view.engine,), servers, keep=False, doubtful=doubtful)
    return Forward(servers, (view.engine,), doubtful=doubtful)


def settled_for(view: View, table: Table) -> bool:
    """Whether the table knows all it soon will about what this asker may see."""
    if not table.pictured:
        return table.engine is not None and table.engine.state == "lost"
    if not table.pending:
        return True
    if view.sandbox is not None and view.sandbox.id in table.pending:
        return False  # it is being connected to a network that is not in its view yet
    return not table.pending_on(view.depends)


def servers_for(key: bytes, policy: Policy) -> tuple[str, ...]:
    """The servers ``--forward`` names for this name, the longest domain winning; none where it names none."""
    best = -1
    servers: tuple[str, ...] = ()
    for domain, named in policy.forwards:
        tail = key_of(domain)
        if tail is not None and len(tail) > best and (key == tail or _ends_at_label(key, tail)):
            best, servers = len(tail), named
    return servers


def candidates(key: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, network) pairs in the order they are tried; an empty network is any."""
    yield key, b""
    for cut in reversed(cuts_of(key)):
        yield key[:cut], key[cut:]


def find(key: bytes, view: View, table: Table) -> tuple[Network, tuple[Endpoint, ...]] | None:
    """The first network of the view that knows the name, and the endpoints that hold it there."""
    networks = view.networks
    found = _on_networks(key, networks, view, table)
    if found is not None or not networks:
        return found
    if len(view.by_name) <= FEW and not key.endswith(tuple(view.by_name)):
        return None
    for cut in reversed(cuts_of(key)):
        named = view.by_name.get(key[cut:])
        if named and (found := _on_networks(key[:cut], named, view, table)) is not None:
            return found
    return None


def is_localhost(key: bytes) -> bool:
    """Whether a name is ``localhost`` or below it (RFC 6761 section 6.3)."""
    return key == LOCALHOST or _ends_at_label(key, LOCALHOST)


def is_loopback(address: bytes) -> bool:
    """Whether a packed address is the asker itself."""
    return address == b"\x00" * 15 + b"\x01" or (len(address) == 4 and address[0] == 127)


def below_domain(key: bytes, policy: Policy) -> bytes | None:
    """What is left of a name in front of ``--domain``; None for a name that is not below it."""
    if not policy.domain:
        return None
    domain = key_of(policy.domain)
    if domain is None or not (key == domain or _ends_at_label(key, domain)):
        return None
    return key[: -len(domain)]


def _on_networks(
    key: bytes, networks: tuple[Network, ...], view: View, table: Table
) -> tuple[Network, tuple[Endpoint, ...]] | None:
    """Link aliases on every network first, then names; an alias hides the name it is spelled like."""
    zones = table.zones
    if view.links:
        for network in networks:
            target = view.links.get(network.id, {}).get(key)
            if target and network.id in zones and (held := zones[network.id].names.get(target)):
                return network, held
    for network in networks:
        zone = zones.get(network.id)
        if zone is not None and (held := zone.names.get(key)) and key not in view.links.get(network.id, ()):
            return network, held
    return None


def _answer_own(key: bytes, qtype: int, view: View, table: Table) -> Reply | None:
    address = reversed_address(key)
    if address is not None:
        pointer = "localhost" if is_loopback(address) else pointer_of(address, view, table)
        if pointer is None:
            return None
        if qtype != PTR:
            return NODATA
        return Reply(pointer=pointer) if pointer else Reply(SERVFAIL)
    found = find(key, view, table)
    below = below_domain(key, table.policy)
    if found is None and below is not None:
        if not below:
            return NODATA
        found = find(below, view, table)
    if found is None:
        return None
    endpoints = found[1]
    if qtype == A:
        return Reply(addresses=tuple(dict.fromkeys(e.ipv4 for e in endpoints if e.ipv4)))
    if qtype == AAAA:
        return Reply(addresses=tuple(dict.fromkeys(e.ipv6 for e in endpoints if e.ipv6)))
    return NODATA


def pointer_of(address: bytes, view: View, table: Table) -> str | None:
    """``first-name.network`` of the endpoint with this address, on the first network of the view that has it.

    The first name that a reply can carry, that is; empty where none can.
    """
    for network in view.networks:
        zone = table.zones.get(network.id)
        held = zone.addresses.get(address) if zone else None
        if held:
            pointers = (f"{name}.{network.name}" for endpoint in held for name in endpoint.names)
            return next((p for p in pointers if key_of(p) is not None), "")
    return None


def _may_be_coming(key: bytes, view: View) -> bool:
    """Whether a name looks like a container's: one label, or ending in a network's name, or a reverse name.

    Others are asked upstream at once; only a negative reply waits (``Forward.doubtful``).
    """
    cuts = cuts_of(key)
    if not cuts or reversed_address(key) is not None:
        return bool(key)
    return any(key[cut:] in view.by_name for cut in cuts)


def _ends_at_label(key: bytes, tail: bytes) -> bool:
    return key.endswith(tail) and len(key) - len(tail) in cuts_of(key)
