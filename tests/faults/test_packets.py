"""Packets that are no proper question, sent to a real process: what comes back, and that it can be read."""

from __future__ import annotations

import random
import socket
import struct
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.faults.running import ADDRESS, Running, ask_tcp, ask_udp, question, running

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMERR, SERVFAIL, NOTIMP = 1, 2, 4
BARE = 12
"""Octets of a reply without a question."""
MOST_UDP = 1232

GOOD = question()
OPT = b"\0" + struct.pack("!HHIH", 41, 4096, 0, 0)
LABELS = GOOD[12:-4]


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("packets")) as started:
        yield started
        assert "Traceback" not in started.served.log


def counted(*counts: int) -> bytes:
    """The good question with other counts in its header."""
    return GOOD[:4] + struct.pack("!4H", *counts) + GOOD[12:]


def named(labels: bytes) -> bytes:
    return GOOD[:12] + labels + GOOD[-4:]


SILENT = {
    "nothing": b"",
    "one octet": b"\0",
    "eleven octets": GOOD[:11],
    "a reply": GOOD[:2] + b"\x81" + GOOD[3:],
    "a reply of garbage": b"\xff" * 40,
}
BAD = {
    "a header only": (GOOD[:12], FORMERR),
    "no question": (counted(0, 0, 0, 0), FORMERR),
    "two questions": (counted(2, 0, 0, 0), FORMERR),
    "65,535 questions": (counted(65_535, 0, 0, 0), FORMERR),
    "two answers": (counted(1, 2, 0, 0), FORMERR),
    "two authorities": (counted(1, 0, 2, 0), FORMERR),
    "three additionals": (counted(1, 0, 0, 3), FORMERR),
    "a name past the end": (GOOD[:12] + b"\x3fes", FORMERR),
    "a name without an end": (GOOD[:12] + b"\2es\3dev", FORMERR),
    "a pointer to itself": (named(b"\xc0\x0c"), FORMERR),
    "a pointer past the end": (named(b"\xff\xff"), FORMERR),
    "a pointer cut off": (GOOD[:12] + b"\xc0", FORMERR),
    "an unknown kind of label": (named(b"\x40es\0"), FORMERR),
    "a name of 256 octets": (named(b"\x3f" + b"a" * 63 + (b"\x3f" + b"b" * 63) * 3 + b"\0"), FORMERR),
    "no class": (GOOD[:-2], FORMERR),
    "no type": (GOOD[:-4], FORMERR),
    **{f"opcode {code}": (GOOD[:2] + bytes((code << 3 | 1,)) + GOOD[3:], NOTIMP) for code in range(1, 16)},
}
BAD_BEHIND = {
    "records that are not there": (counted(1, 1, 1, 2), FORMERR),
    "two OPT": (counted(1, 0, 0, 2) + OPT * 2, FORMERR),
    "an OPT with a name": (counted(1, 0, 0, 1) + b"\1a" + OPT, FORMERR),
    "an OPT cut off": (counted(1, 0, 0, 1) + OPT[:-1], FORMERR),
    "an OPT longer than the packet": (counted(1, 0, 0, 1) + OPT[:-2] + b"\xff\xff", FORMERR),
    "class CHAOS": (GOOD[:-1] + b"\3", 5),
}
ANSWERED = {
    "octets behind": GOOD + b"\xde\xad" * 100,
    "600 octets": counted(1, 0, 0, 1) + OPT[:-2] + b"\2\x58" + b"\0\xff\2\x54" + b"\0" * 596,
    "a record in the answer section": counted(1, 1, 0, 0) + b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 0),
    "all flags set": GOOD[:2] + b"\x07\xff" + GOOD[4:],
}
FORWARDED = {"a dot in a label": b"\6es.dev\0", "a space": b"\5e s x\0", "not ASCII": b"\4\xc3\xa9\0\xff\0"}


@pytest.mark.parametrize("packet", SILENT.values(), ids=SILENT)
def test_silence(resolver: Running, packet: bytes) -> None:
    """There is nobody to answer, or answering would make two resolvers talk for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(resolver.at)
        sock.send(packet)
        sock.send(question(ident=77))
        assert sock.recv(512)[:2] == b"\0\x4d", "the first reply is to the question behind it"


@pytest.mark.parametrize(("packet", "rcode"), BAD.values(), ids=BAD)
def test_a_bare_rcode(resolver: Running, packet: bytes, rcode: int) -> None:
    """The question could not be read: ID, opcode and rcode are all there is to say."""
    for reply in (ask_udp(resolver.at, packet), ask_tcp(resolver.at, packet)):
        assert (len(reply), reply[:2], reply[3] & 15) == (BARE, packet[:2], rcode)
        assert reply[2] & 0xF8 == 0x80 | packet[2] & 0x78
        dns.message.from_wire(reply)


@pytest.mark.parametrize(("packet", "rcode"), BAD_BEHIND.values(), ids=BAD_BEHIND)
def test_an_rcode_with_the_question(resolver: Running, packet: bytes, rcode: int) -> None:
    for reply in (ask_udp(resolver.at, packet), ask_tcp(resolver.at, packet)):
        assert dns.message.from_wire(reply).rcode() == rcode
        assert reply[12 : len(GOOD)] == packet[12 : len(GOOD)]


@pytest.mark.parametrize("packet", ANSWERED.values(), ids=ANSWERED)
def test_answered_all_the_same(resolver: Running, packet: bytes) -> None:
    for reply in (ask_udp(resolver.at, packet), ask_tcp(resolver.at, packet)):
        assert ADDRESS in reply
        dns.message.from_wire(reply)


@pytest.mark.parametrize("labels", FORWARDED.values(), ids=FORWARDED)
def test_a_name_that_no_container_has(resolver: Running, labels: bytes) -> None:
    """Its octets mean nothing here; nobody listens at the upstream, so it is SERVFAIL."""
    reply = ask_udp(resolver.at, named(labels))
    assert (reply[3] & 15, reply[12:]) == (SERVFAIL, named(labels)[12:])


def test_damaged_packets_by_the_thousand(resolver: Running) -> None:
    """Each reply parses in a strict second library, and is no longer than its question allows."""
    chance = random.Random(4)
    seeds = [GOOD, question("many"), counted(1, 0, 0, 1) + OPT, question("98.255.10.in-addr.arpa", qtype=12)]
    seeds.append(question("many")[:10] + b"\0\1" + question("many")[12:] + OPT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect(resolver.at)
        replies = 0
        for _ in range(60):
            sent = {ident: damaged(chance, seeds, ident) for ident in range(1, 51)}
            for packet in sent.values():
                sock.send(packet)
            sock.send(question(ident=0))
            while (reply := sock.recv(65_535))[:2] != b"\0\0":
                holds(sent[int.from_bytes(reply[:2], "big")], reply)
                replies += 1
    assert replies > 1000


def damaged(chance: random.Random, seeds: list[bytes], ident: int) -> bytes:
    packet = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(0, 3)):
        packet[chance.randrange(2, len(packet))] = chance.randrange(256)
    del packet[chance.choice((len(packet), chance.randint(2, len(packet)))) :]
    return ident.to_bytes(2, "big") + bytes(packet[2:])


def holds(packet: bytes, reply: bytes) -> None:
    dns.message.from_wire(reply)
    said = [
        packet[at + 3] << 8 | packet[at + 4]
        for at in range(len(packet) - 4)
        if packet[at : at + 3] == OPT[:3]
    ]
    assert len(reply) <= min(MOST_UDP, max([512, *said]))
