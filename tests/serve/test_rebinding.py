"""Answers of upstreams that lead into a network behind us."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import dns.message
import dns.rrset
import pytest

from resolver.names.changes import pack_address
from resolver.serve.rebinding import leads_inside
from tests.house import POLICY, House, container, joined, network, question
from tests.sockets import through, with_upstreams

if TYPE_CHECKING:
    from tests.scripted import Behaviour

DEV = network("dev", "10.1.0.0/24")
PUBLIC = network("public", "203.0.113.0/28")
ASKER = container("asker", joined(DEV, "10.1.0.9"))
BLOCKING = replace(POLICY, block_private_answers=True)
BLOCKED = 15


def answering(*records: str) -> Behaviour:
    """Answers every question with these records of the name asked: ``A 10.0.0.1``."""

    def reply(packet: bytes) -> list[bytes]:
        message = dns.message.make_response(dns.message.from_wire(packet))
        name = message.question[0].name
        for text in records:
            kind, _, rdata = text.partition(" ")
            message.answer.append(dns.rrset.from_text(name, 60, "IN", kind, rdata))
        return [message.to_wire()]

    return reply


INSIDE = [
    "A 10.0.0.1",
    "A 192.168.1.1",
    "A 172.31.255.255",
    "A 127.0.0.1",
    "A 0.0.0.0",
    "A 169.254.169.254",
    "A 100.64.0.1",
    "A 203.0.113.7",
    "AAAA fd12::1",
    "AAAA fe80::1",
    "AAAA ::1",
    "AAAA ::",
    "AAAA ::ffff:10.0.0.1",
    "AAAA 64:ff9b::c0a8:101",
    "AAAA 2002:a00:1::1",
    "HTTPS 1 . ipv4hint=192.0.2.1,10.0.0.1",
    "SVCB 1 svc.example. alpn=h2 ipv6hint=2001:db8::1,fd00::1",
]
OUTSIDE = [
    "A 192.0.2.1",
    "A 172.32.0.1",
    "A 11.0.0.1",
    "A 203.0.113.16",
    "AAAA 2001:db8::1",
    "AAAA 2002:c000:201::1",
    "AAAA 64:ff9b::c000:201",
    "HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1",
    "TXT 10.0.0.1",
    "MX 10 ten.example.",
]


def house(policy: object = BLOCKING) -> House:
    return House(DEV, PUBLIC, ASKER, policy=policy)  # type: ignore[arg-type]


async def asked(of: House, name: str, *records: str, edns: bool = True) -> dns.message.Message:
    async with with_upstreams(of, answering(*records)):
        packet = question(name, records[0].partition(" ")[0], use_edns=0 if edns else -1).to_wire()
        return dns.message.from_wire(await through(of, packet, "asker"))


@pytest.mark.parametrize("record", INSIDE)
async def test_what_leads_inside_becomes_an_empty_answer(record: str) -> None:
    """Also where an address outside stands before it."""
    first = [r for r in OUTSIDE if r.partition(" ")[0] == record.partition(" ")[0]][:1]
    message = await asked(house(), "attacker.example", *first, record)
    assert (message.rcode(), message.answer) == (0, [])
    (option,) = message.options
    assert option.code == BLOCKED


@pytest.mark.parametrize("record", OUTSIDE)
async def test_what_leads_elsewhere_is_passed_on(record: str) -> None:
    message = await asked(house(), "www.example", record)
    assert [r.to_text().partition(" ")[2] for r in message.answer]
    assert not message.options


async def test_why_is_told_only_to_who_can_read_it() -> None:
    message = await asked(house(), "attacker.example", "A 10.0.0.1", edns=False)
    assert (message.rcode(), message.answer, message.edns) == (0, [], -1)


async def test_only_where_it_was_asked_for() -> None:
    message = await asked(house(POLICY), "www.example", "A 10.0.0.1")
    assert message.answer[0][0].to_text() == "10.0.0.1"


@pytest.mark.parametrize(("name", "passed"), [("a.corp.test", True), ("corp.test.example", False)])
async def test_a_forwarded_domain_is_exempt(name: str, passed: bool) -> None:
    of = house()
    async with with_upstreams(of, answering("A 10.0.0.1")) as (server,):
        of.apply(replace(of.table.policy, forwards=(("corp.test", (server.address,)),)))
        message = dns.message.from_wire(await through(of, question(name).to_wire(), "asker"))
    assert bool(message.answer) is passed


async def test_what_was_blocked_is_not_asked_again_at_once(caplog: pytest.LogCaptureFixture) -> None:
    of = house()
    async with with_upstreams(of, answering("A 10.0.0.1")) as (server,):
        with caplog.at_level(logging.WARNING):
            for ident in range(3):
                packet = question("attacker.example", id=ident).to_wire()
                assert not dns.message.from_wire(await through(of, packet, "asker")).answer
        assert len(server.asked) == 1
    (line,) = caplog.records
    assert (line.__dict__["question"], line.__dict__["address"]) == ("attacker.example", "10.0.0.1")


@pytest.mark.parametrize(
    ("address", "inside"), [("172.15.0.1", False), ("172.16.0.0", True), ("::2", True), ("fec0::1", True)]
)
def test_edges(address: str, inside: bool) -> None:
    assert leads_inside(pack_address(address)) is inside
