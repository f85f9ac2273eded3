"""Upstreams misbehave, all of them at once: an rcode within 5 s, and nobody else notices."""

from __future__ import annotations

import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import dns.flags
import dns.message
import pytest

from lab.served import Served
from tests.faults import faulty
from tests.faults.faulty import Faulty, answer, each
from tests.faults.running import ADDRESS, Beside, ask_udp, proc_field, question, running, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVFAIL: Final = 2
WITHIN: Final = 5.0
MOST_MEMORY: Final = 128 << 10
"""KiB."""
QUESTIONS: Final = 20
"""For each fault, at once."""

RIGHT = "right"
FAILED = "failed"


def other_name(packet: bytes) -> bytes:
    return answer(packet)[:13] + b"m" + answer(packet)[14:]


def other_id(packet: bytes) -> bytes:
    return bytes((packet[0] ^ 1,)) + answer(packet)[1:]


def flapping() -> Faulty:
    """Away for the first datagram about each name."""
    heard: set[bytes] = set()

    def over_udp(packet: bytes, send: faulty.Send, _: tuple[str, int]) -> None:
        if packet[12:] in heard:
            send(answer(packet))
        heard.add(packet[12:])

    return Faulty(over_udp)


FAULTS: dict[str, tuple[Callable[[], Faulty], str]] = {
    "dead": (Faulty, FAILED),
    "late": (lambda: Faulty(faulty.late), FAILED),
    "refusing": (lambda: Faulty(each(lambda p: answer(p, 0x8185, count=0))), FAILED),
    "failing": (lambda: Faulty(each(lambda p: answer(p, 0x8182, count=0))), FAILED),
    "garbage": (lambda: Faulty(each(lambda p: p[:2] + os.urandom(80))), FAILED),
    "empty": (lambda: Faulty(each(lambda _: b"")), FAILED),
    "header": (lambda: Faulty(each(lambda p: p[:2] + struct.pack("!5H", 0x8180, 0, 0, 0, 0))), FAILED),
    "wrongid": (lambda: Faulty(each(other_id)), FAILED),
    "wrongname": (lambda: Faulty(each(other_name)), FAILED),
    "elsewhere": (lambda: Faulty(faulty.from_elsewhere), FAILED),
    "loop": (lambda: Faulty(each(faulty.looping)), FAILED),
    "short": (lambda: Faulty(each(lambda p: answer(p)[:-3])), FAILED),
    "flapping": (flapping, RIGHT),
    "twice": (lambda: Faulty(each(answer, answer)), RIGHT),
    "after": (lambda: Faulty(each(other_id, other_name, lambda _: b"", answer)), RIGHT),
    "oversized": (lambda: Faulty(faulty.big), RIGHT),
    "silent": (lambda: Faulty(faulty.truncated, faulty.stay), "truncated"),
    "cut": (lambda: Faulty(faulty.truncated, faulty.cut), "truncated"),
    "endless": (lambda: Faulty(faulty.truncated, faulty.endless), "truncated"),
    "crawl": (lambda: Faulty(faulty.truncated, faulty.crawl), RIGHT),
}


def outcome(reply: bytes) -> str:
    """``right``: with the address; ``truncated``: nothing but word to come over TCP."""
    message = dns.message.from_wire(reply)
    if message.rcode() == SERVFAIL:
        return FAILED
    assert message.rcode() == 0
    if message.answer:
        return RIGHT
    assert message.flags & dns.flags.TC
    return "truncated"


def test_all_at_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = {name: stack.enter_context(make()) for name, (make, _) in FAULTS.items()}
        closed = stack.enter_context(faulty.closed_port())
        flags = [f"--forward={name}.test={server.address}" for name, server in servers.items()]
        resolver = stack.enter_context(running(tmp_path, *flags, f"--forward=closed.test={closed}"))
        expected = {name: wanted for name, (_, wanted) in FAULTS.items()} | {"closed": FAILED}

        def asked(job: tuple[str, int]) -> tuple[str, str, float]:
            began = time.monotonic()
            reply = ask_udp(resolver.at, question(f"n{job[1]}.{job[0]}.test"), WITHIN)
            return job[0], outcome(reply) if reply else "nothing", time.monotonic() - began

        jobs = [(name, number) for number in range(QUESTIONS) for name in expected]
        with Beside(resolver.at) as beside, ThreadPoolExecutor(len(jobs)) as pool:
            seen = list(pool.map(asked, jobs))
        wrong = {(name, came) for name, came, _ in seen if came != expected[name]}
        memory = int(proc_field(resolver.served.child, "VmRSS").split()[0])
        print(  # noqa: T201
            f"{len(expected)} kinds of upstreams, {len(jobs)} questions: "
            f"the slowest took {max(took for *_, took in seen):.1f} s; {memory >> 10} MiB"
        )
        assert not wrong
        assert memory < MOST_MEMORY
        assert "Traceback" not in resolver.served.log
        beside.judge("upstreams that misbehave")


# resolv.conf

OWN: Final = f"{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
"""Port 53 is the only one resolv.conf knows; two of these tests may run on one machine."""
OURS, SERVER = f"127.83.{OWN}", f"127.84.{OWN}"
BOUND = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0, reason="port 53, and a file system of its own, are root's")
def test_resolv_conf_is_anything(tmp_path: Path) -> None:
    """Empty, malformed, ourselves, and right in between. Containers' names go on."""
    inside = tmp_path / "resolv.conf"
    inside.write_text("")
    prefix = ("unshare", "--mount", "sh", "-ec", BOUND, str(inside))
    flags = (f"--listen={OURS}:53", f"--changes={table(tmp_path)}")
    at = OURS, 53
    with Faulty(each(answer), at=(SERVER, 53)), Served(*flags, prefix=prefix), Beside(at) as beside:
        names = iter(range(1 << 30))

        def becomes(rcode: int) -> None:
            deadline = time.monotonic() + 10
            while (reply := ask_udp(at, question(f"n{next(names)}.example")))[3] & 15 != rcode:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert reply.endswith(faulty.ADDRESS) or rcode

        becomes(SERVFAIL)
        right = f"nameserver {SERVER}\n"
        for text in ("", "nameserver\nnameserver x.y\n\0\xff nonsense" * 99, f"nameserver {OURS}\n"):
            for content, rcode in ((right, 0), (text, SERVFAIL)):
                inside.write_text(content)
                becomes(rcode)
        assert ask_udp(at, question()).endswith(ADDRESS)
    beside.judge("a resolv.conf that is anything")
