"""What an attached container may see, and whom its other questions go to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.names.answer import SERVFAIL, Forward, Hold, Reply, answer
from resolver.names.changes import Change, Pending, Sync, pack_address
from resolver.names.keys import key_of
from resolver.names.policy import Policy
from resolver.names.table import Table
from resolver.names.view import View, view_of_attached, view_of_sandbox
from tests import worlds
from tests.house import container, joined, network

if TYPE_CHECKING:
    from resolver.names.model import Sandbox

A = 1
DEV = network("dev", "10.1.0.0/24")
INSIDE = network("inside", "10.3.0.0/24", internal=True)
BRIDGE = network("bridge", "172.17.0.0/16", default_bridge=True)
ES = container("es", joined(DEV, "10.1.0.2"))
WEB = container("web", joined(DEV, "10.1.0.9"))
SAFE = container("safe", joined(INSIDE, "10.3.0.9"))
OLD = container("old", joined(BRIDGE, "172.17.0.2"))
OTHER = container("other", joined(BRIDGE, "172.17.0.3"))
ENGINE = "127.0.0.11:41234/35555"
UPSTREAMS = ("192.0.2.53:53",)
POLICY = Policy(upstreams=UPSTREAMS, forwards=(("corp.test", ("192.0.2.77:53",)),), domain="house.test")


def table(*more: Change, policy: Policy = POLICY) -> Table:
    filled = Table()
    for change in (policy, DEV, INSIDE, BRIDGE, ES, WEB, SAFE, OLD, OTHER, *more, Sync("end")):
        filled.apply(change)
    return filled


def seen(of: Table, sandbox: Sandbox, engine: str = ENGINE) -> View:
    return view_of_attached(of, sandbox.id, engine)


def asked(name: str, of: Table, sandbox: Sandbox, engine: str = ENGINE) -> object:
    key = key_of(name)
    assert key is not None
    return answer(key, A, seen(of, sandbox, engine), of)


def at(sandbox: Sandbox, engine: str = ENGINE) -> str:
    return f"{engine}@{sandbox.id}"


@worlds.some_worlds
@given(worlds.tables(), st.sampled_from(worlds.CONTAINER_IDS), st.sampled_from(("", ENGINE)))
def test_it_sees_what_it_sees_by_its_address(of: Table, identity: str, engine: str) -> None:
    """Only where its other questions go is another matter; and never out of a network without a way out."""
    view = view_of_attached(of, identity, engine)
    sandbox = of.sandboxes.get(identity)
    there = f"{engine}@{identity}" if engine else ""
    assert view.engine == there
    if sandbox is None:
        assert (view.networks, view.links, view.servers) == ((), {}, (there,) if there else ())
        assert view.way_out == ("open" if engine else "closed")
        return
    plain = view_of_sandbox(of, sandbox)
    fields = ("asker", "networks", "by_name", "links", "sandbox", "depends")
    assert all(getattr(view, field) == getattr(plain, field) for field in fields)
    assert (view.way_out == "own") == bool(view.servers)
    assert all(server.endswith("]:53" if "[" in server else f":53@{identity}") for server in view.servers)
    for key in worlds.KEYS:
        verdict = answer(key, A, view, of, final=True)
        if view.way_out == "closed":
            assert isinstance(verdict, Reply)
        elif isinstance(verdict, Forward):
            assert all(
                s == there or s in view.servers or "@" not in s for s in verdict.servers + verdict.last
            )


def test_own_names_are_ours_to_answer() -> None:
    assert asked("es", table(), WEB) == Reply(addresses=(pack_address("10.1.0.2"),))


@pytest.mark.parametrize("name", ["nobody", "es.dev.dev", "nobody.dev", "a.b.DEV", "com"])
def test_what_looks_like_a_containers_name_is_asked_of_the_engine_first(name: str) -> None:
    """An alias on another node of a swarm; it may be another one at any moment."""
    assert asked(name, table(), WEB) == Forward((at(WEB),), UPSTREAMS, keep=False)


@pytest.mark.parametrize("name", ["example.org", "dev.example.org", "es.inside", "1.2.3.4"])
def test_other_names_are_asked_of_the_engine_last(name: str) -> None:
    assert asked(name, table(), WEB) == Forward(UPSTREAMS, (at(WEB),))


def test_the_servers_of_a_domain_come_first_as_well() -> None:
    assert asked("a.corp.test", table(), WEB) == Forward(("192.0.2.77:53",), (at(WEB),))


def test_names_of_the_house_go_nowhere() -> None:
    assert asked("nobody.house.test", table(), WEB) == Reply(3)


def test_without_falling_back_the_engine_is_never_asked() -> None:
    assert asked("nobody", table(), WEB, "") == Forward()
    assert asked("example.org", table(), WEB, "") == Forward()


@pytest.mark.parametrize("name", ["nobody", "nobody.inside", "example.org"])
def test_an_internal_container_is_forwarded_for_by_nobody(name: str) -> None:
    """The engine's own resolver of before 2024 would (CVE-2024-29018)."""
    assert asked(name, table(), SAFE) == Reply(SERVFAIL)


def test_its_own_servers_are_asked_from_inside() -> None:
    """Also those on its own loopback; not what is no address. Over IPv6 they are asked from here."""
    dns = ("192.0.2.9", "127.0.0.1", "no address", "fd00::53", "::1")
    given_own = replace(WEB, dns=dns)
    servers = (f"192.0.2.9:53@{WEB.id}", f"127.0.0.1:53@{WEB.id}", "[fd00::53]:53")
    assert asked("example.org", table(given_own), WEB) == Forward(servers, (at(WEB),))
    assert asked("nobody", table(given_own), WEB) == Forward((at(WEB),), servers, keep=False)
    assert asked("nobody", table(given_own), WEB, "") == Forward(servers)


def test_an_internal_containers_servers_are_those_on_its_networks() -> None:
    given_own = replace(SAFE, dns=("192.0.2.9", "no address", "10.3.0.53"))
    assert seen(table(given_own), SAFE).servers == (f"10.3.0.53:53@{SAFE.id}",)
    assert seen(table(replace(SAFE, dns=("192.0.2.9", "no address"))), SAFE).way_out == "closed"


def test_one_not_told_of_yet_is_the_engines() -> None:
    """All of it, and nothing is kept: soon we know better."""
    stranger = replace(WEB, id="99" * 32)
    for name in ("es", "nobody.dev", "example.org", "a.corp.test"):
        assert asked(name, table(), stranger) == Forward((at(stranger),), keep=False)
        assert asked(name, table(), stranger, "") == Reply(SERVFAIL)


def test_a_negative_reply_is_doubted_while_somebody_is_coming() -> None:
    verdict = asked("www.example.org", table(Pending("77" * 32, (DEV.id,))), WEB)
    assert isinstance(verdict, Hold) or (isinstance(verdict, Forward) and verdict.doubtful)
    verdict = asked("nobody", table(Pending("77" * 32, (DEV.id,))), WEB)
    assert isinstance(verdict, Hold)


@pytest.mark.parametrize("given_names", [False, True])
def test_names_on_the_default_bridge(given_names: bool) -> None:
    of = table(policy=replace(POLICY, names_on_default_bridge=given_names))
    verdict = asked("other", of, OLD, "")
    assert verdict == (Reply(addresses=(pack_address("172.17.0.3"),)) if given_names else Forward())
