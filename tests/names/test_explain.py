"""The walk told in words says what the walk does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.names.answer import Forward, Reply, answer, find
from resolver.names.changes import Change, Sync, spell_address
from resolver.names.explain import Explanation, explain
from resolver.names.keys import key_of, reversed_address, text_of
from resolver.names.model import Sandbox
from resolver.names.policy import Policy
from resolver.names.table import Table
from resolver.names.view import View, view_of_ourselves, view_of_sandbox
from tests import worlds
from tests.house import container, joined, network, stopped

A, AAAA, PTR, TXT = 1, 28, 12, 16
DEV = network("dev", "10.1.0.0/24")
PROD = network("prod", "10.2.0.0/24")
INSIDE = network("inside", "10.3.0.0/24", internal=True)
BRIDGE = network("bridge", "172.17.0.0/16", default_bridge=True)
ES = container("es", joined(DEV, "10.1.0.2", "search"))
T800 = container("t800", joined(PROD, "10.2.0.2"))
ASKER = container("asker", joined(DEV, "10.1.0.9"))
UPSTREAMS = ("192.0.2.53:53",)


def filled(*changes: Change) -> Table:
    table = Table()
    for change in (Policy(upstreams=UPSTREAMS), *changes, Sync("end")):
        table.apply(change)
    return table


def told(name: str, qtype: int = A, *changes: Change, asker: Sandbox = ASKER) -> Explanation:
    return explain(filled(DEV, PROD, ES, T800, asker, *changes), asker, name, qtype)


@worlds.few
@given(worlds.tables(), st.sampled_from((*worlds.CONTAINER_IDS, "")))
def test_what_is_told_is_what_is_answered(table: Table, who: str) -> None:
    sandbox = table.sandboxes.get(who)
    view = view_of_sandbox(table, sandbox) if sandbox else view_of_ourselves(table)
    for number, key in enumerate(worlds.KEYS):
        qtype = (A, AAAA, PTR, TXT)[number % 4]
        verdict = answer(key, qtype, view, table, final=True)
        explanation = explain(table, sandbox, text_of(key), qtype)
        assert explanation.conclusion
        assert explanation.networks == tuple(n.name for n in view.networks)
        if isinstance(verdict, Forward):
            assert explanation.rcode is None
            assert explanation.upstreams == (verdict.servers or worlds.UPSTREAMS)
            assert not any(step.matched for step in explanation.steps), key
        else:
            assert isinstance(verdict, Reply)
            assert explanation.rcode == verdict.rcode
            assert explanation.upstreams == ()
            pointer = (verdict.pointer + ".",) if verdict.pointer else ()
            assert explanation.records == tuple(map(spell_address, verdict.addresses)) + pointer, key
        _the_last_step_is_the_match(explanation, key, view, table)


def _the_last_step_is_the_match(explanation: Explanation, key: bytes, view: View, table: Table) -> None:
    assert not any(step.matched for step in explanation.steps[:-1]), key
    if reversed_address(key) is not None or key.endswith(b"\x09localhost"):
        return
    found = find(key, view, table)
    domain = key_of(table.policy.domain) if table.policy.domain else None
    if found is None and domain and key.endswith(domain):
        found = find(key[: -len(domain)], view, table)
    matched = [step.network for step in explanation.steps if step.matched]
    assert matched == ([found[0].name] if found else []), key


@pytest.mark.parametrize(
    ("name", "qtype", "conclusion"),
    [
        ("es", A, "answered from the names table"),
        ("es.", A, "answered from the names table"),
        ("es", AAAA, "NODATA"),
        ("example.org", A, "sent to the upstream servers"),
        ("localhost", A, "localhost"),
        ("2.0.1.10.in-addr.arpa", PTR, "answered from the names table"),
    ],
)
def test_conclusions(name: str, qtype: int, conclusion: str) -> None:
    assert conclusion in told(name, qtype).conclusion


def test_steps_say_where_it_was_looked_for() -> None:
    asker = container("asker", joined(DEV, "10.1.0.9"), joined(PROD, "10.2.0.9", place=1))
    steps = told("t800", asker=asker).steps
    assert [(s.network, s.name, s.matched) for s in steps] == [("dev", "t800", False), ("prod", "t800", True)]
    assert steps[1].outcome == "t800 (10.2.0.2)"


def test_a_link_is_told_before_the_names_it_hides() -> None:
    """The engine looks at the links of every network before it looks at names."""
    linked = container(
        "asker", joined(DEV, "10.1.0.9"), joined(PROD, "10.2.0.9", place=1, links=(("es", "t800"),))
    )
    explanation = told("es", asker=linked)
    assert explanation.records == ("10.2.0.2",)
    assert explanation.steps[-1].network == "prod"
    assert "a link to t800" in explanation.steps[-1].outcome


@pytest.mark.parametrize(
    ("name", "changes", "hint"),
    [
        ("t800", (), "t800 is on prod, where the asker is not: docker network connect prod"),
        ("t800", (stopped(T800),), "t800 is exited: it has names only while it runs"),
        ("esx", (), "did you mean es?"),
        (
            "lone",
            (BRIDGE, Sandbox("l" * 12, "lone", (joined(BRIDGE, "172.17.0.5"),))),
            "lone is on the default bridge, where names need --names-on-default-bridge",
        ),
    ],
)
def test_hints(name: str, changes: tuple[Change, ...], hint: str) -> None:
    hints = told(name, A, *changes).hints
    assert any(hint in told for told in hints), hints


def test_failures_say_why() -> None:
    inside = container("asker", joined(INSIDE, "10.3.0.9"))
    table = filled(INSIDE, inside)
    assert "internal networks" in explain(table, inside, "example.org", A).conclusion
    orphan = Sandbox("orphan", "orphan", joins="nobody")
    assert "REFUSED" in explain(table, orphan, "es", A).conclusion
    nameless = replace(inside, endpoints=(replace(inside.endpoints[0], names=("l" * 64,)),))
    unspeakable = explain(filled(INSIDE, nameless), nameless, "9.0.3.10.in-addr.arpa", PTR)
    assert "no reply can carry its name" in unspeakable.conclusion


def test_whose_servers() -> None:
    own = replace(ASKER, dns=("192.0.2.9",))
    assert "its own --dns servers" in told("example.org", asker=own).conclusion
    split = Policy(upstreams=UPSTREAMS, forwards=(("corp", ("192.0.2.7:53",)),))
    explanation = told("a.corp", A, split)
    assert explanation.upstreams == ("192.0.2.7:53",)
    assert "--dns" not in explanation.conclusion


@pytest.mark.parametrize("name", ["", "a..b", "l" * 64, "bücher"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="no name a question can carry"):
        told(name)


def test_the_host() -> None:
    explanation = explain(filled(DEV, PROD, ES, T800), None, "t800", A)
    assert explanation.asker == "the host"
    assert explanation.order == "every network, in the engine's order"
    assert explanation.records == ("10.2.0.2",)
