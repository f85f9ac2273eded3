"""A question, a view and the table → a verdict, against the engine's rules in the simplest words."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.names.answer import (
    HOLD,
    NODATA,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    Forward,
    Hold,
    Reply,
    Verdict,
    answer,
    candidates,
    find,
    settled_for,
)
from resolver.names.changes import Change, Engine, Gone, Pending, Sync, pack_address
from resolver.names.keys import key_of, reverse_name, reversed_address
from resolver.names.policy import Policy
from resolver.names.table import Table
from resolver.names.view import View, view_of_client, view_of_sandbox
from tests import worlds
from tests.house import container, joined, network

if TYPE_CHECKING:
    from resolver.names.model import Endpoint, Network

A, AAAA, PTR, TXT = 1, 28, 12, 16
DEV = network("dev", "10.1.0.0/24")
PROD = network("prod", "10.2.0.0/24")
INSIDE = network("inside", "10.3.0.0/24", internal=True)
ES_DEV = container("es", joined(DEV, "10.1.0.2"))
ES_PROD = container("es-prod", joined(PROD, "10.2.0.2", "es", v6="fd00:2::2"))
ASKER = container("asker", joined(DEV, "10.1.0.9"), joined(PROD, "10.2.0.9", place=1))


def filled(*changes: Change, pictured: bool = True) -> Table:
    table = Table()
    for change in (*changes, *([Sync("end")] if pictured else [])):
        table.apply(change)
    return table


def key(name: str) -> bytes:
    found = key_of(name)
    assert found is not None
    return found


def decided(
    table: Table, name: str, qtype: int = A, asker: str = "10.1.0.9", *, final: bool = True
) -> Verdict:
    view = view_of_client(table, pack_address(asker), ours=False)
    return answer(key(name), qtype, view, table, final=final)


def split(octets: bytes) -> list[bytes]:
    labels = []
    while octets:
        labels.append(octets[1 : 1 + octets[0]])
        octets = octets[1 + octets[0] :]
    return labels


def join(labels: list[bytes]) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels)


def holders(table: Table, name: bytes | None, where: Network) -> list[Endpoint]:
    """Everybody alive on that network who has this name."""
    return [
        endpoint
        for sandbox in table.sandboxes.values()
        for endpoint in sandbox.endpoints
        if endpoint.alive and endpoint.network == where.id and name is not None
        if name in map(key_of, endpoint.names)
    ]


def links(view: View, where: Network) -> dict[bytes | None, bytes | None]:
    """The asker's own link aliases there."""
    ends = view.sandbox.endpoints if view.sandbox and view.asker == "container" else ()
    return {key_of(a): key_of(t) for e in ends if e.network == where.id and e.alive for a, t in e.links}


def engine_finds(name: bytes, view: View, table: Table) -> tuple[Network, list[Endpoint]] | None:
    """Section 3.1 of the reference, from the sandboxes alone; network parts and aliases ignore case."""
    labels = split(name)
    tries = [(name, view.networks)]
    for cut in range(len(labels) - 1, 0, -1):
        rest = join(labels[cut:])
        tries.append((join(labels[:cut]), tuple(n for n in view.networks if key_of(n.name) == rest)))
    for part, networks in tries:
        for where in networks:
            found = holders(table, links(view, where).get(part), where)
            if found:
                return where, found
        for where in networks:
            if part not in links(view, where) and (found := holders(table, part, where)):
                return where, found
    return None


@worlds.few
@given(worlds.tables(), worlds.addresses, st.booleans(), st.booleans())
def test_there_is_a_verdict_on_everything(table: Table, address: bytes, ours: bool, final: bool) -> None:
    view = view_of_client(table, address, ours=ours)
    for name, qtype in product(worlds.KEYS, worlds.TYPES):
        verdict = answer(name, qtype, view, table, final=final)
        assert not (final and isinstance(verdict, Hold))
        if isinstance(verdict, Reply):
            assert not (verdict.rcode and (verdict.addresses or verdict.pointer)), name
            assert not (verdict.addresses and verdict.pointer), name
            assert {len(a) for a in verdict.addresses} <= {4 if qtype == A else 16}, name
            assert not verdict.addresses or qtype in (A, AAAA), name
            assert not verdict.pointer or (qtype == PTR and key_of(verdict.pointer) is not None), name
            assert len(set(verdict.addresses)) == len(verdict.addresses), name
        if isinstance(verdict, Forward):
            assert not (final and verdict.doubtful), name


@worlds.few
@given(worlds.tables(), worlds.addresses, st.booleans())
def test_the_walk_is_the_engines(table: Table, address: bytes, ours: bool) -> None:
    view = view_of_client(table, address, ours=ours)
    for name in worlds.KEYS:
        found, expected = find(name, view, table), engine_finds(name, view, table)
        assert (found is None) == (expected is None), name
        if found is None or expected is None:
            continue
        assert found[0] == expected[0], name
        assert sorted(map(repr, found[1])) == sorted(map(repr, expected[1])), name
        if not (split(name)[-1:] == [b"localhost"] or view.way_out == "refused" or reversed_address(name)):
            answered_here(name, expected[1], view, table)


def answered_here(name: bytes, held: list[Endpoint], view: View, table: Table) -> None:
    """With all addresses of the family; without any record for other types."""
    for qtype, family in ((A, "ipv4"), (AAAA, "ipv6"), (TXT, "")):
        addresses = {getattr(e, family) for e in held} - {b""} if family else set()
        verdict = answer(name, qtype, view, table, final=True)
        assert isinstance(verdict, Reply), name
        assert (verdict.rcode, set(verdict.addresses)) == (0, addresses), name


@worlds.few
@given(worlds.tables(), worlds.addresses, st.booleans())
def test_reverse_and_forward_agree(table: Table, address: bytes, ours: bool) -> None:
    """A PTR target is somebody with that address on a network of the asker's, and is answered here."""
    view = view_of_client(table, address, ours=ours)
    for whose in worlds.addresses_of_interest:
        verdict = answer(key(reverse_name(whose)), PTR, view, table, final=True)
        if not isinstance(verdict, Reply) or verdict.pointer in ("", "localhost"):
            continue
        assert any(
            whose in (endpoint.ipv4, endpoint.ipv6)
            and f"{name}.{where.name}" == verdict.pointer
            and where in view.networks
            for where, name, _, endpoint in table.rows()
        ), whose
        there = answer(key(verdict.pointer), A if len(whose) == 4 else AAAA, view, table, final=True)
        assert isinstance(there, Reply), whose


@worlds.few
@given(worlds.tables(), worlds.addresses, st.booleans(), st.booleans())
def test_what_never_leaves(table: Table, address: bytes, ours: bool, final: bool) -> None:
    """Names below our domain, and for a container that is only on internal networks everything but what its
    own servers inside them are asked."""
    view = view_of_client(table, address, ours=ours)
    ends = view.sandbox.endpoints if view.sandbox else ()
    on = [table.networks.get(e.network) for e in ends if e.alive]
    closed = view.asker == "container" and not any(n is not None and n.has_way_out for n in on)
    for name in worlds.KEYS:
        verdict = answer(name, A, view, table, final=final)
        if not isinstance(verdict, Forward):
            continue
        assert not (table.policy.domain and split(name)[-2:] == [b"house", b"test"]), name
        if closed:
            assert verdict.servers, name
            assert verdict.servers == view.servers, name


@worlds.few
@given(worlds.tables(settled=True), worlds.addresses, st.booleans())
def test_nothing_waits_for_a_settled_table(table: Table, address: bytes, ours: bool) -> None:
    view = view_of_client(table, address, ours=ours)
    for name, qtype in product(worlds.KEYS, (A, PTR)):
        assert answer(name, qtype, view, table) == answer(name, qtype, view, table, final=True), name


@worlds.few
@given(worlds.tables(), worlds.addresses, st.booleans())
def test_waiting_never_changes_a_verdict_already_given(table: Table, address: bytes, ours: bool) -> None:
    view = view_of_client(table, address, ours=ours)
    for name, qtype in product(worlds.KEYS, (A, PTR)):
        first, last = (answer(name, qtype, view, table, final=final) for final in (False, True))
        if isinstance(first, Reply):
            assert first == last, name
        if isinstance(first, Forward):
            assert isinstance(last, Forward), name
            assert last.servers == first.servers, name


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("es", [("es", "")]),
        ("a.b.c.d", [("a.b.c.d", ""), ("a.b.c", "d"), ("a.b", "c.d"), ("a", "b.c.d")]),
    ],
)
def test_names_are_cut_from_the_right(name: str, tried: list[tuple[str, str]]) -> None:
    assert list(candidates(key(name))) == [(key(n), key(w) if w else b"") for n, w in tried]


TABLE = filled(DEV, PROD, ES_DEV, ES_PROD, ASKER)
ES1, ES2, ES6 = (pack_address(a) for a in ("10.1.0.2", "10.2.0.2", "fd00:2::2"))


@pytest.mark.parametrize(
    ("name", "qtype", "verdict"),
    [
        ("es", A, Reply(addresses=(ES1,))),
        ("es.dev", A, Reply(addresses=(ES1,))),
        ("es.PROD", A, Reply(addresses=(ES2,))),
        ("es", AAAA, NODATA),
        ("es.prod", AAAA, Reply(addresses=(ES6,))),
        ("es", TXT, NODATA),
        ("nobody", A, Forward()),
        ("es.inside", A, Forward()),
        ("localhost", A, Reply(addresses=(b"\x7f\x00\x00\x01",))),
        ("any.localhost", AAAA, Reply(addresses=(bytes(15) + b"\x01",))),
        ("localhost", TXT, NODATA),
        ("notlocalhost", A, Forward()),
        ("2.0.2.10.in-addr.arpa", PTR, Reply(pointer="es-prod.prod")),
        ("2.0.2.10.in-addr.arpa", A, NODATA),
        ("7.0.2.10.in-addr.arpa", PTR, Forward()),
        ("1.0.0.127.in-addr.arpa", PTR, Reply(pointer="localhost")),
        (reverse_name(bytes(15) + b"\x01"), PTR, Reply(pointer="localhost")),
    ],
)
def test_verdicts(name: str, qtype: int, verdict: Verdict) -> None:
    assert decided(TABLE, name, qtype) == verdict
    assert decided(TABLE, name, qtype, final=False) == verdict


def test_the_longer_name_comes_before_the_longer_network() -> None:
    """``es.x`` on the network ``y`` before ``es`` on the network ``x.y``."""
    short, long = network("y", "10.4.0.0/24"), network("x.y", "10.5.0.0/24")
    asker = container("asker", joined(long, "10.5.0.9"), joined(short, "10.4.0.9", place=1))
    es, dotted = container("es", joined(long, "10.5.0.2")), container("es.x", joined(short, "10.4.0.2"))
    both = filled(short, long, asker, es, dotted)
    assert decided(both, "es.x.y", asker="10.5.0.9") == Reply(addresses=(pack_address("10.4.0.2"),))
    one = filled(short, long, asker, es)
    assert decided(one, "es.x.y", asker="10.5.0.9") == Reply(addresses=(pack_address("10.5.0.2"),))
    literal = container("es.x.y", joined(short, "10.4.0.3"))
    all_three = filled(short, long, asker, es, dotted, literal)
    assert decided(all_three, "es.x.y", asker="10.5.0.9") == Reply(addresses=(pack_address("10.4.0.3"),))


def test_a_link_hides_the_name_it_is_spelled_like() -> None:
    """On its own network only, and also when nobody has what it stands for."""
    linked = container(
        "asker", joined(DEV, "10.1.0.9", links=(("es", "nobody"),)), joined(PROD, "10.2.0.9", place=1)
    )
    assert decided(filled(DEV, ES_DEV, linked), "es") == Forward()
    assert decided(filled(DEV, PROD, ES_DEV, ES_PROD, linked), "es") == Reply(addresses=(ES2,))
    assert decided(filled(DEV, PROD, ES_DEV, ES_PROD, linked), "es.dev") == Forward()


def test_localhost_comes_before_any_alias() -> None:
    table = filled(DEV, container("sly", joined(DEV, "10.1.0.3", "localhost")), ASKER)
    assert decided(table, "localhost") == Reply(addresses=(b"\x7f\x00\x00\x01",))


@pytest.mark.parametrize(
    ("name", "qtype", "verdict"),
    [
        ("es.in.house", A, Reply(addresses=(ES1,))),
        ("ES.prod.In.House", A, Reply(addresses=(ES2,))),
        ("es.in.house", TXT, NODATA),
        ("nobody.in.house", A, Reply(NXDOMAIN)),
        ("es.es.in.house", A, Reply(NXDOMAIN)),
        ("in.house", A, NODATA),
        ("house", A, Forward()),
        ("xin.house", A, Forward()),
        ("es.xin.house", A, Forward()),
    ],
)
def test_below_our_domain(name: str, qtype: int, verdict: Verdict) -> None:
    table = filled(Policy(domain="in.house"), DEV, PROD, ES_DEV, ES_PROD, ASKER)
    assert decided(table, name, qtype) == verdict


@pytest.mark.parametrize(
    ("name", "servers"),
    [
        ("corp", ("1:53",)),
        ("a.corp", ("1:53",)),
        ("a.eu.CORP", ("2:53",)),
        ("eu.corp", ("2:53",)),
        ("acorp", ()),
        ("corp.test", ()),
    ],
)
def test_names_below_a_domain_go_to_its_own_servers(name: str, servers: tuple[str, ...]) -> None:
    policy = Policy(forwards=(("corp", ("1:53",)), ("eu.corp", ("2:53",))))
    assert decided(filled(policy, DEV, ASKER), name) == Forward(servers)
    own = replace(ASKER, dns=("192.0.2.9",))
    assert decided(filled(policy, DEV, own), name) == Forward(("192.0.2.9:53",))
    inside = container("asker", joined(INSIDE, "10.1.0.9"))
    assert decided(filled(policy, INSIDE, inside), name) == Reply(SERVFAIL)


def test_strangers_are_refused_everything() -> None:
    for name in ("es", "localhost", "example.org"):
        assert decided(TABLE, name, asker="203.0.113.9") == Reply(REFUSED)


# Not yet: what is held while something is coming.

COMING = Pending("new", (DEV.id,))


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("es", Reply(addresses=(ES1,))),
        ("new", HOLD),
        ("new.dev", HOLD),
        ("new.elsewhere", Forward(doubtful=True)),
        ("example.org", Forward(doubtful=True)),
        ("7.0.2.10.in-addr.arpa", HOLD),
        ("localhost", Reply(addresses=(b"\x7f\x00\x00\x01",))),
    ],
)
def test_while_a_container_is_coming(name: str, verdict: Verdict) -> None:
    table = filled(DEV, PROD, ES_DEV, ES_PROD, ASKER, COMING)
    assert decided(table, name, final=False) == verdict
    final = decided(table, name)
    assert final == (verdict if isinstance(verdict, Reply) else Forward())


def test_a_container_that_comes_to_another_network_holds_nothing_up() -> None:
    table = filled(DEV, PROD, INSIDE, ASKER, Pending("new", (INSIDE.id,)))
    assert decided(table, "new", final=False) == Forward()


def test_somebody_unknown_waits_until_we_know_who_it_is() -> None:
    """The first question of a container may come before the line about it."""
    table = filled(DEV, ES_DEV, COMING)
    assert decided(table, "es", asker="10.1.0.77", final=False) == HOLD
    assert decided(table, "es", asker="10.1.0.77") == Reply(addresses=(ES1,))
    assert decided(table, "es", asker="203.0.113.9", final=False) == HOLD
    assert decided(table, "es", asker="203.0.113.9") == Reply(REFUSED)


def test_before_the_first_picture_everything_waits_until_the_engine_is_lost() -> None:
    table = filled(DEV, ES_DEV, ASKER, pictured=False)
    assert decided(table, "es", final=False) == HOLD
    assert decided(table, "example.org", final=False) == HOLD
    assert decided(table, "example.org") == Forward()
    table.apply(Engine("lost", "unix:///x", "nobody there"))
    assert decided(table, "example.org", final=False) == Forward()
    table.apply(Engine("reached", "unix:///x"))
    assert decided(table, "example.org", final=False) == HOLD
    table.apply(Sync("end"))
    assert decided(table, "example.org", final=False) == Forward()


def test_internal_and_below_the_domain_wait_too() -> None:
    inside = container("asker", joined(INSIDE, "10.3.0.9"))
    coming = Pending("new", (INSIDE.id,))
    table = filled(Policy(domain="in.house"), INSIDE, inside, coming)
    assert decided(table, "example.org", asker="10.3.0.9", final=False) == HOLD
    assert decided(table, "new.in.house", asker="10.3.0.9", final=False) == HOLD
    table.apply(Gone("container", "new"))
    assert settled_for(view_of_sandbox(table, inside), table)
    assert decided(table, "example.org", asker="10.3.0.9", final=False) == Reply(SERVFAIL)
    assert decided(table, "new.in.house", asker="10.3.0.9", final=False) == Reply(NXDOMAIN)


def test_the_first_name_that_a_reply_can_carry() -> None:
    long = joined(DEV, "10.1.0.2")
    unspeakable = container("l" * 64, long)
    table = filled(DEV, unspeakable, ASKER)
    verdict = decided(table, "2.0.1.10.in-addr.arpa", PTR)
    assert verdict == Reply(pointer=f"{unspeakable.id[:12]}.dev")
