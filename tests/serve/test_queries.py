"""A question's way when its reply is not at hand: decided, held, doubted, remembered and forgotten."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import dns.edns
import dns.message
import dns.rcode
import pytest

from resolver.names.changes import Change, Engine, Gone, Pending, Sync
from resolver.names.view import view_of_attached
from resolver.serve import queries, waiting
from tests.house import POLICY, Asker, House, container, joined, network, question, stopped

if TYPE_CHECKING:
    from resolver.names.model import Sandbox
    from resolver.names.policy import Policy

DEV = network("dev", "10.1.0.0/24")
PROD = network("prod", "10.2.0.0/24")
INSIDE = network("inside", "10.3.0.0/24", internal=True)
ASKER = container("asker", joined(DEV, "10.1.0.9"))
ES = container("es", joined(DEV, "10.1.0.2"))
ES2 = container("es2", joined(DEV, "10.1.0.3", "es"))
FAR = container("far", joined(PROD, "10.2.0.2"))
GUEST = replace(container("guest", joined(PROD, "10.2.0.8")), joins=FAR.id)
NEW = container("new", joined(DEV, "10.1.0.7", "www.example.org"))
COMING = Pending(NEW.id, (DEV.id,))


def house(*more: Change, policy: Policy = POLICY, pictured: bool = True) -> House:
    return House(DEV, PROD, INSIDE, ASKER, ES, FAR, *more, policy=policy, pictured=pictured)


def ask(
    of: House, name: str, kind: str = "A", asker: str = "asker", **said: object
) -> tuple[bytes | None, Asker]:
    return of.send(question(name, kind, id=7, **said).to_wire(), asker)


def addresses(reply: bytes | None) -> list[str]:
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.id == 7
    return [r.to_text() for rrset in message.answer for r in rrset]


def rcode(reply: bytes | None) -> str:
    assert reply is not None
    return dns.rcode.to_text(dns.message.from_wire(reply).rcode())


def remembered(of: House, asker: str = "asker") -> int:
    return len(of.memory.clients.get(of.client(asker).address, ()))


# Held


def test_a_question_waits_for_who_is_coming() -> None:
    of = house(COMING)
    reply, client = ask(of, "new")
    assert reply is None
    of.clock.pass_by(0.2)
    assert client.replies == []
    of.apply(NEW)
    assert [addresses(r) for r in client.replies] == [["10.1.0.7"]]
    of.clock.pass_by(5)
    assert len(client.replies) == 1
    assert not of.forwarder.taken
    assert of.queries.counts["held"] == 1


@pytest.mark.parametrize("name", ["far", "far.prod"])
def test_a_question_waits_while_its_asker_is_being_connected(name: str) -> None:
    """To a network that is not among those its view depends on."""
    of = house(Pending(ASKER.id, (PROD.id,)))
    nobody = dns.message.make_response(question(name, id=7))
    nobody.set_rcode(dns.rcode.NXDOMAIN)
    of.forwarder.reply = nobody.to_wire()
    reply, client = ask(of, name)
    assert (reply, client.replies) == (None, [])
    of.apply(container("asker", joined(DEV, "10.1.0.9"), joined(PROD, "10.2.0.9")))
    assert [addresses(r) for r in client.replies] == [["10.2.0.2"]]


def test_an_address_that_is_new_may_be_a_container_being_connected() -> None:
    of = house(container("far", joined(PROD, "10.2.0.2")))
    reply, client = of.send(question("far", "A", id=7).to_wire(), "10.1.0.44")
    assert reply is None
    of.apply(container("mover", joined(DEV, "10.1.0.44"), joined(PROD, "10.2.0.44")))
    assert [addresses(r) for r in client.replies] == [["10.2.0.2"]]


def test_an_address_that_stays_unknown_is_decided() -> None:
    of = house()
    _, client = of.send(question("es", "A", id=7).to_wire(), "10.1.0.44")
    of.clock.pass_by(0.3)
    assert [addresses(r) for r in client.replies] == [["10.1.0.2"]]
    of.clock.pass_by(1)
    reply, _ = of.send(question("es2", "MX", id=7).to_wire(), "10.1.0.44")
    assert reply is None
    assert of.forwarder.taken


@pytest.mark.parametrize("outcome", [Gone("container", NEW.id), stopped(NEW), NEW])
def test_a_question_is_decided_when_it_is_settled(outcome: Change) -> None:
    of = house(COMING)
    _, client = ask(of, "nobody")
    of.apply(ES2)
    assert not of.forwarder.taken
    of.apply(outcome)
    assert [taken.servers for taken in of.forwarder.taken] == [POLICY.upstreams]
    assert of.forwarder.taken[0].client is client


def test_a_question_waits_no_longer_than_the_bound() -> None:
    of = house(COMING)
    ask(of, "new")
    of.clock.pass_by(POLICY.hold - 0.01)
    assert not of.forwarder.taken
    of.clock.pass_by(0.02)
    assert len(of.forwarder.taken) == 1
    assert not of.clock.timers


def test_what_the_forwarder_says_at_once_reaches_who_waited() -> None:
    of = house(COMING)
    of.forwarder.reply = b"\x00\x07\x81\x80 from the cache"
    _, client = ask(of, "new")
    of.clock.pass_by(1)
    assert client.replies == [of.forwarder.reply]


def test_internal_askers_wait_too_and_get_servfail() -> None:
    inner = container("inner", joined(INSIDE, "10.3.0.9"))
    of = house(inner, Pending("c", (INSIDE.id,)))
    _, client = ask(of, "example.org", asker="inner")
    of.clock.pass_by(1)
    assert [rcode(r) for r in client.replies] == ["SERVFAIL"]
    assert not of.forwarder.taken


def test_before_the_first_picture_the_bound_is_longer() -> None:
    of = house(pictured=False)
    _, client = ask(of, "es")
    _, other = ask(of, "example.org")
    of.clock.pass_by(POLICY.hold * 2)
    assert client.replies == []
    of.apply(Sync("end"))
    assert addresses(client.replies[0]) == ["10.1.0.2"]
    assert [taken.client for taken in of.forwarder.taken] == [other]


def test_an_engine_that_is_lost_before_the_first_picture_is_not_waited_for() -> None:
    of = house(pictured=False)
    _, client = ask(of, "es")
    of.apply(Engine("lost", "unix:///x", "refused"))
    assert addresses(client.replies[0]) == ["10.1.0.2"]
    assert addresses(ask(of, "es")[0]) == ["10.1.0.2"]


def test_a_stranger_who_turns_out_to_be_a_container() -> None:
    """Its first question may come before the line about it."""
    of = house(COMING)
    _, client = ask(of, "es", asker="10.1.0.7")
    of.apply(NEW)
    assert addresses(client.replies[0]) == ["10.1.0.2"]
    of.apply(Pending("c"))
    _, other = ask(of, "es", asker="203.0.113.9")
    of.apply(Gone("container", "c"))
    assert rcode(other.replies[0]) == "REFUSED"


def test_when_too_many_wait_questions_are_decided_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST", 2)
    of = house(COMING)
    for _ in range(3):
        ask(of, "new")
    assert len(of.queries.waiting) == 2
    assert len(of.forwarder.taken) == 1


def test_the_end_answers_everybody() -> None:
    of = house(COMING)
    of.forwarder.reply = b"\x00\x07\x81\x82"
    clients = [ask(of, "new")[1] for _ in range(3)]
    of.queries.waiting.end()
    assert all(client.replies == [b"\x00\x07\x81\x82"] for client in clients)


# Doubted


NEGATIVE = question("www.example.org", "A", id=7).to_wire()[:2] + b"\x81\x83" + bytes(8)
NO_DATA = NEGATIVE[:2] + b"\x81\x80" + bytes(8)
POSITIVE = NEGATIVE[:2] + b"\x81\x80\x00\x01\x00\x01" + bytes(4) + b"an address"


def doubtful() -> tuple[House, Asker, Asker]:
    """A name of the world's that the container just being started might have: who asked, and to whom the
    upstream's reply goes."""
    of = house(COMING)
    reply, client = ask(of, "www.example.org")
    assert reply is None
    (taken,) = of.forwarder.taken
    assert taken.client is not client
    assert taken.client.address == client.address
    assert taken.client.body == b""
    return of, client, taken.client  # type: ignore[return-value]


@pytest.mark.parametrize("negative", [NEGATIVE, NO_DATA])
def test_a_negative_reply_is_not_believed_before_it_is_settled(negative: bytes) -> None:
    of, client, watched = doubtful()
    watched.send(negative)
    assert client.replies == []
    of.apply(NEW)
    assert [addresses(r) for r in client.replies] == [["10.1.0.7"]]
    of.clock.pass_by(5)
    assert len(client.replies) == 1


def test_a_negative_reply_is_given_when_the_time_is_over() -> None:
    of, client, watched = doubtful()
    watched.send(NEGATIVE)
    of.clock.pass_by(POLICY.hold + 0.01)
    assert client.replies == [NEGATIVE]
    of.apply(NEW)
    assert len(client.replies) == 1
    assert len(of.forwarder.taken) == 1


def test_a_negative_reply_is_given_when_it_is_settled() -> None:
    of, client, watched = doubtful()
    watched.send(NEGATIVE)
    of.apply(Gone("container", NEW.id))
    assert client.replies == [NEGATIVE]
    assert len(of.forwarder.taken) == 1


def test_a_negative_reply_that_comes_when_all_is_settled_is_given_at_once() -> None:
    of, client, watched = doubtful()
    of.apply(Gone("container", NEW.id))
    watched.send(NEGATIVE)
    assert client.replies == [NEGATIVE]


def test_a_negative_reply_that_comes_after_the_container_is_not_given() -> None:
    of, client, watched = doubtful()
    of.apply(NEW)
    watched.send(NEGATIVE)
    assert [addresses(r) for r in client.replies] == [["10.1.0.7"]]


def test_an_answer_is_believed_at_once() -> None:
    of, client, watched = doubtful()
    watched.send(POSITIVE)
    assert client.replies == [POSITIVE]
    of.clock.pass_by(5)
    assert client.replies == [POSITIVE]


def test_a_negative_reply_at_hand_is_doubted_too() -> None:
    of = house(COMING)
    of.forwarder.reply = NEGATIVE
    reply, client = ask(of, "www.example.org")
    assert reply is None
    assert client.replies == []
    of.clock.pass_by(1)
    assert client.replies == [NEGATIVE]


# Remembered and forgotten


def test_what_is_remembered() -> None:
    of = house(ES2)
    ask(of, "es")
    ask(of, "es", "AAAA")
    ask(of, "2.0.1.10.in-addr.arpa", "PTR")
    assert remembered(of) == 3
    ask(of, "es")
    assert remembered(of) == 3


@pytest.mark.parametrize("policy", [POLICY, replace(POLICY, domain="house.test")])
def test_what_is_not_remembered(policy: Policy) -> None:
    inner = container("inner", joined(INSIDE, "10.3.0.9"))
    of = house(inner, policy=policy)
    ask(of, "nobody.house.test")
    ask(of, "example.org", asker="inner")
    ask(of, "es", asker="203.0.113.9")
    ask(of, "es", options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")])
    of.send(question("es", "A").to_wire(), "asker", tcp=True)
    of.send(b"\x00\x07\x01\x00" + bytes(8), "asker")
    assert not of.memory.clients


def test_nothing_negative_is_remembered() -> None:
    """A container may have the name a moment later."""
    of = house(policy=replace(POLICY, domain="house.test"))
    assert rcode(ask(of, "new.house.test")[0]) == "NXDOMAIN"
    assert remembered(of) == 0
    of.apply(NEW)
    assert addresses(ask(of, "new.house.test")[0]) == ["10.1.0.7"]


@pytest.mark.parametrize(
    ("change", "forgotten"),
    [
        (ES2, True),
        (stopped(ES), True),
        (Gone("container", ES.id), True),
        (replace(ASKER, endpoints=(*ASKER.endpoints, joined(PROD, "10.2.0.9", place=1))), True),
        (replace(DEV, internal=True), True),
        (PROD, False),
        (replace(POLICY, ttl=5), True),
        (POLICY, False),
        (ES, False),
        (container("farther", joined(PROD, "10.2.0.3", "es")), False),
        (Gone("container", FAR.id), False),
        (Gone("container", "unknown"), False),
        (COMING, False),
        (Engine("lost", "unix:///x"), False),
        (Sync("begin"), False),
    ],
)
def test_it_is_forgotten_when_and_only_when_a_network_of_the_view_changes(
    change: Change, forgotten: bool
) -> None:
    of = house()
    ask(of, "es")
    assert remembered(of) == 1
    of.apply(change)
    assert remembered(of) == (not forgotten)


def test_other_names_of_the_network_stay() -> None:
    """Forgetting all of a network with each of its containers would make nearly every question a cold one."""
    of = house(ES2)
    for name in ("es2", "ES2.dev", "10.9.0.1.in-addr.arpa"):
        ask(of, name)
    ask(of, "3.0.1.10.in-addr.arpa", "PTR")
    of.apply(container("other", joined(DEV, "10.1.0.8", "db")))
    assert remembered(of) == 3
    of.apply(container("other", joined(DEV, "10.1.0.8", "es2")))
    assert remembered(of) == 1
    of.apply(stopped(ES2))
    assert remembered(of) == 0


def test_an_alias_is_forgotten_with_what_it_stands_for() -> None:
    linked = container("linked", replace(joined(DEV, "10.1.0.10"), links=(("search", "es"),)))
    of = house(linked)
    ask(of, "search", asker="linked")
    assert remembered(of, "linked") == 1
    of.apply(stopped(ES))
    assert remembered(of, "linked") == 0


def test_a_guest_that_is_gone_leaves_nothing_behind() -> None:
    """Its address is nobody's then, though no network changed that its view was of."""
    guest = replace(container("guest", joined(PROD, "10.2.0.7")), joins=ES.id)
    of = house(guest)
    ask(of, "es", asker="10.2.0.7")
    assert remembered(of, "10.2.0.7") == 1
    of.apply(Gone("container", guest.id))
    assert remembered(of, "10.2.0.7") == 0
    assert of.queries.view(of.client("10.2.0.7").address).asker == "subnet"


@pytest.mark.parametrize("change", [FAR, Gone("container", FAR.id), GUEST])
def test_a_container_answered_inside_is_another_one_now(change: Sandbox | Gone) -> None:
    """Told for the first time, gone, or a guest of another's network stack than before."""
    of = House(DEV, PROD, ES, *((replace(GUEST, joins=ES.id), ES2) if change is GUEST else ()))
    if isinstance(change, Gone):
        of.apply(FAR)
    of.queries.attach(b"inside", change.id, "")
    before = of.queries.view(b"inside")
    of.apply(change)
    now = of.queries.view(b"inside")
    assert now != before
    assert now == view_of_attached(of.table, change.id, "")


def test_the_first_picture_forgets_everything() -> None:
    of = house(pictured=False)
    of.apply(Engine("lost", "unix:///x"))
    ask(of, "es")
    assert remembered(of) == 1
    of.apply(Sync("end"))
    assert remembered(of) == 0


def test_an_address_that_changes_hands() -> None:
    """On a network that the view of the one before never saw."""
    of = house()
    assert addresses(ask(of, "es")[0]) == ["10.1.0.2"]
    thief = container("thief", joined(PROD, "10.1.0.9"))
    of.apply(thief)
    assert of.queries.view(of.client("10.1.0.9").address).sandbox == thief
    assert ask(of, "es", asker="10.1.0.9")[0] is None
    assert len(of.forwarder.taken) == 1


def test_our_own_container_is_connected_later() -> None:
    """A sidecar that started before its container had a network."""
    lonely: Sandbox = container("lonely")
    of = House(DEV, ES, lonely, policy=replace(POLICY, own=lonely.id))
    assert rcode(ask(of, "es", asker="127.0.0.1")[0]) == "SERVFAIL"
    of.apply(container("lonely", joined(DEV, "10.1.0.8")))
    assert addresses(ask(of, "es", asker="127.0.0.1")[0]) == ["10.1.0.2"]


def test_whose_network_stack_we_share_is_found_out_later() -> None:
    host = replace(container("host"), on_host=True)
    guest = replace(container("guest"), joins=host.id)
    of = House(DEV, ES, guest, policy=replace(POLICY, own=guest.id))
    assert rcode(ask(of, "es", asker="127.0.0.1")[0]) == "REFUSED"
    of.apply(host)
    assert addresses(ask(of, "es", asker="127.0.0.1")[0]) == ["10.1.0.2"]


def test_spoofed_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MOST_VIEWS", 4)
    of = house()
    for number in range(20):
        ask(of, "es", asker=f"10.1.0.{100 + number}")
        assert len(of.queries._views) <= 4
        assert of.memory.clients.keys() <= of.queries._views.keys()


# Faults


def test_a_fault_of_ours_costs_one_question(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    of = house(COMING)
    clients = [ask(of, name)[1] for name in ("new", "other")]

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(queries, "answer", broken)
    with caplog.at_level(logging.ERROR):
        assert rcode(ask(of, "es")[0]) == "SERVFAIL"
        of.apply(ES2)
    assert [[rcode(r) for r in client.replies] for client in clients] == [["SERVFAIL"], ["SERVFAIL"]]
    assert len(caplog.records) == 3


def test_counts() -> None:
    of = house()
    ask(of, "es")
    ask(of, "example.org")
    ask(of, "es", asker="203.0.113.9")
    of.send(b"too short", "asker")
    assert of.queries.counts == {
        "cold": 4, "local": 1, "forwarded": 1, "held": 0, "refused": 1, "malformed": 1,
    }  # fmt: skip
