"""An attached container's questions: whose view they get, whom they are forwarded to, what is kept."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from resolver.names.changes import Change, Gone
from resolver.serve.udp import asker_of
from resolver.serve.upstream.server import Server
from tests.house import Asker, House, container, joined, network, question
from tests.serve.fake_upstream import answer
from tests.sockets import through, with_upstreams

if TYPE_CHECKING:
    from tests.scripted import Scripted

DEV, PROD = network("dev", "10.1.0.0/24"), network("prod", "10.2.0.0/24")
INSIDE = network("inside", "10.3.0.0/24", internal=True)
ES = container("es", joined(DEV, "10.1.0.2"))
FAR = container("far", joined(PROD, "10.2.0.2"))
WEB = container("web", joined(DEV, "10.1.0.9"))
ENGINE = "127.0.0.11:4/5"
HERE = asker_of(WEB.id)


def house(*more: Change, engine: str = ENGINE) -> House:
    of = House(DEV, PROD, INSIDE, ES, FAR, *more)
    of.queries.attach(HERE, WEB.id, engine)
    return of


def ask(of: House, name: str) -> tuple[bytes | None, Asker]:
    packet = question(name, id=7).to_wire()
    client = Asker(HERE, packet[2:])
    return of.queries.ask(packet, client), client


def told(reply: bytes | None) -> list[str]:
    """The addresses in it, or its rcode."""
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.id == 7
    return [r.to_text() for rrset in message.answer for r in rrset] or [dns.rcode.to_text(message.rcode())]


def test_whose_questions_they_are_is_not_told_from_an_address() -> None:
    """The longest address is shorter than what stands for a container."""
    of = house(WEB)
    assert told(ask(of, "es")[0]) == ["10.1.0.2"]
    assert ask(of, "far")[0] is None
    assert len(HERE) > 16
    assert told(of.send(question("far", id=7).to_wire(), "far")[0]) == ["10.2.0.2"]


def test_the_engine_answers_until_the_container_is_told_of() -> None:
    of = house()
    reply, _ = ask(of, "es")
    assert reply is None
    assert [(t.servers, t.last, t.keep) for t in of.forwarder.taken] == [((f"{ENGINE}@{WEB.id}",), (), False)]
    of.apply(WEB)
    assert told(ask(of, "es")[0]) == ["10.1.0.2"]
    of.apply(container("web", joined(PROD, "10.2.0.9")))
    assert told(ask(of, "far")[0]) == ["10.2.0.2"]
    of.apply(Gone("container", WEB.id))
    assert ask(of, "far")[0] is None
    assert of.forwarder.taken[-1].servers == (f"{ENGINE}@{WEB.id}",)


def test_without_the_engine_it_waits_for_word_of_the_container() -> None:
    """Its socket may come in before it; what it may see is not guessed."""
    of = house(engine="")
    reply, client = ask(of, "es")
    assert reply is None
    of.apply(WEB)
    assert [told(r) for r in client.replies] == [["10.1.0.2"]]
    of = house(engine="")
    _, client = ask(of, "example.org")
    of.clock.pass_by(5)
    assert [told(r) for r in client.replies] == [["SERVFAIL"]]
    assert not of.forwarder.taken


def test_verdicts_reach_the_forwarder_whole() -> None:
    of = house(WEB)
    ask(of, "nobody")
    ask(of, "example.org")
    there, upstreams = (f"{ENGINE}@{WEB.id}",), of.table.policy.upstreams
    assert [(t.servers, t.last, t.keep) for t in of.forwarder.taken] == [
        (there, upstreams, False),
        (upstreams, there, True),
    ]


def test_detaching_forgets() -> None:
    of = house(WEB)
    ask(of, "es")
    assert HERE in of.memory.clients
    of.queries.detach(HERE)
    assert HERE not in of.memory.clients
    assert told(ask(of, "es")[0]) == ["REFUSED"]
    of.queries.attach(HERE, FAR.id, ENGINE)
    assert told(ask(of, "far")[0]) == ["10.2.0.2"]
    of.queries.detach(HERE)
    of.queries.detach(HERE)


def test_a_change_of_its_networks_is_seen_at_once() -> None:
    of = house(WEB)
    ask(of, "es")
    of.apply(replace(ES, endpoints=container("es", joined(DEV, "10.1.0.77")).endpoints))
    assert told(ask(of, "es")[0]) == ["10.1.0.77"]
    of.apply(Gone("container", ES.id))
    assert ask(of, "es")[0] is None


class Inside:
    """Gives sockets of a namespace: here it is ours."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def __call__(self, container: str, kind: socket.SocketKind) -> socket.socket:
        self.taken.append(container)
        return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)


@pytest.fixture
def inside() -> Inside:
    return Inside()


def well(packet: bytes) -> list[bytes]:
    return [answer(packet)]


def fails(packet: bytes) -> list[bytes]:
    return [answer(packet, rcode=2)]


def knows_nothing(packet: bytes) -> list[bytes]:
    return [answer(packet, rcode=3)]


def between(of: House, inside: Inside, engine: Scripted, *upstreams: Scripted) -> None:
    """Attach to the container whose engine's own resolver that is; these are the upstreams of others."""
    of.apply(replace(of.table.policy, upstreams=tuple(upstream.address for upstream in upstreams)))
    of.queries._forwarder._upstreams.routes.inside = inside
    of.queries.attach(HERE, WEB.id, engine.address)


async def asked_through(of: House, name: str) -> list[str]:
    packet = question(name, id=7).to_wire()
    client = Asker(HERE, packet[2:])
    reply = of.queries.ask(packet, client)
    if reply is None:
        await client.replied.wait()
        (reply,) = client.replies
    return told(reply)


async def test_names_that_look_like_containers_are_never_kept(inside: Inside) -> None:
    of = house(WEB)
    async with with_upstreams(of, knows_nothing, well) as (upstream, engine):
        between(of, inside, engine, upstream)
        for count in (1, 2, 3):
            assert await asked_through(of, "nobody") == ["192.0.2.1"]
            assert (len(engine.asked), len(upstream.asked)) == (count, 0)
        assert set(inside.taken) == {WEB.id}


async def test_nothing_is_kept_of_a_container_not_told_of_yet(inside: Inside) -> None:
    of = house()
    async with with_upstreams(of, well) as (engine,):
        between(of, inside, engine)
        for count in (1, 2):
            assert await asked_through(of, "www.example.org") == ["192.0.2.1"]
            assert len(engine.asked) == count


async def test_other_names_are_kept_when_they_come_from_upstream_only(inside: Inside) -> None:
    """What the engine's own resolver says as the last is for this container alone."""
    of = house(WEB)
    async with with_upstreams(of, fails, well) as (upstream, engine):
        between(of, inside, engine, upstream)
        for count in (1, 2):
            assert await asked_through(of, "www.example.org") == ["192.0.2.1"]
            assert len(engine.asked) == count
        assert upstream.asked
        upstream._over_udp = well
        await asked_through(of, "other.example.org")
        before = len(upstream.asked), len(engine.asked)
        assert told(await through(of, question("other.example.org", id=7).to_wire(), "es")) == ["192.0.2.1"]
        assert (len(upstream.asked), len(engine.asked)) == before


async def test_the_engine_is_the_last_where_there_is_no_upstream(inside: Inside) -> None:
    of = house(WEB)
    async with with_upstreams(of, well) as (engine,):
        between(of, inside, engine)
        assert await asked_through(of, "www.example.org") == ["192.0.2.1"]


async def test_what_failed_for_others_may_be_known_to_the_engine(inside: Inside) -> None:
    """And what failed there too is not asked again at once (RFC 9520)."""
    of = house(WEB)
    async with with_upstreams(of, fails, well) as (upstream, engine):
        between(of, inside, engine, upstream)
        asked = question("www.example.org", id=7).to_wire()
        assert told(await through(of, asked, "es")) == ["SERVFAIL"]
        assert await asked_through(of, "www.example.org") == ["192.0.2.1"]
        engine._over_udp = fails
        await asked_through(of, "other.example.org")
        before = len(upstream.asked), len(engine.asked)
        await asked_through(of, "other.example.org")
        assert (len(upstream.asked), len(engine.asked)) == before


def test_a_server_inside_of_a_family_without_sockets() -> None:
    """Fails as any server that cannot be reached does."""
    server = Server(f"[fd00::53]:53@{WEB.id}", Inside())
    with pytest.raises(OSError, match="IPv4") as failure:
        server.socket(socket.SOCK_DGRAM)
    assert failure.value.errno == errno.EAFNOSUPPORT
    with pytest.raises(OSError, match="no container"):
        Server(f"192.0.2.1:53@{WEB.id}").socket(socket.SOCK_DGRAM)
