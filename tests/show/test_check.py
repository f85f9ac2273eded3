"""``resolver check`` against resolvers that are ready, not ready, silent, broken and not there."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from dnslib import RR, A, DNSRecord

from resolver.settings import Listen
from resolver.show import check
from resolver.show.check import check_running
from resolver.watch.sockets import status_name

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = {
    "ready": True,
    "picture": True,
    "engine": {"state": "reached", "url": "unix:///run/x.sock", "since": 1.0, "why": ""},
    "listening": ["udp 127.0.0.1:1", "tcp 127.0.0.1:1"],
    "networks": 3,
    "containers": 7,
    "names": 1,
    "upstreams": [],
    "counters": {"queries": 5},
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "PATIENCE", 0.3)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().out.splitlines()
    return line


@contextmanager
def running(status: bytes | dict[str, Any], answer: str = "right", *, held: bool = False) -> Iterator[Listen]:
    """Something that tells this status and answers like that; ``held``: the status line never ends."""
    with ExitStack() as stack:
        dns = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        dns.bind(("127.0.0.1", 0))
        listen = Listen("127.0.0.1", dns.getsockname()[1])
        door = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        door.bind(status_name(listen))
        door.listen()
        line = status if isinstance(status, bytes) else json.dumps(status).encode() + b"\n"
        done = threading.Event()
        threads = [
            threading.Thread(target=_tell, args=(door, line, held, done), daemon=True),
            threading.Thread(target=_answer, args=(dns, answer, done), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield listen
        finally:
            done.set()
            for thread in threads:
                thread.join()


def _tell(door: socket.socket, line: bytes, held: bool, done: threading.Event) -> None:
    door.settimeout(0.02)
    while not done.is_set():
        try:
            client, _ = door.accept()
        except TimeoutError:
            continue
        with client:
            client.sendall(line)
            while held and not done.is_set():
                time.sleep(0.02)


def _answer(dns: socket.socket, how: str, done: threading.Event) -> None:
    dns.settimeout(0.02)
    while not done.is_set():
        try:
            question, client = dns.recvfrom(4096)
        except TimeoutError:
            continue
        reply = DNSRecord.parse(question).reply()
        if how == "right":
            reply.add_answer(RR(reply.q.qname, rdata=A("127.0.0.1")))
        if how == "refused":
            reply.header.rcode = 5
        if how == "silent":
            continue
        stranger = DNSRecord.parse(reply.pack())
        stranger.header.id ^= 1
        dns.sendto(b"\xff" * 3, client)
        dns.sendto(stranger.pack(), client)
        dns.sendto(reply.pack(), client)


def test_ready(capsys: pytest.CaptureFixture[str]) -> None:
    with running(READY) as listen:
        assert check_running(listen) == 0
        line = told(capsys)
        assert line == (
            f"ready: answering at {listen}, 1 name of 7 containers on 3 networks; unix:///run/x.sock reached"
        )
        assert check_running(listen, as_json=True) == 0
        body = json.loads(told(capsys))
    assert body["ready"] is True
    assert body["counters"] == {"queries": 5}


def test_ready_with_a_file_of_changes(capsys: pytest.CaptureFixture[str]) -> None:
    with running({**READY, "engine": None}) as listen:
        assert check_running(listen) == 0
    assert told(capsys).endswith("on 3 networks")


def test_ready_without_the_engine(capsys: pytest.CaptureFixture[str]) -> None:
    lost = {"state": "lost", "url": "unix:///run/x.sock", "since": 1000000000.0, "why": "refused \x1b[31m"}
    with running({**READY, "engine": lost}) as listen:
        assert check_running(listen) == 0
    assert " lost since 2001-09-" in (line := told(capsys))
    assert line.endswith("refused \\x1b[31m")


def test_stale(capsys: pytest.CaptureFixture[str]) -> None:
    """Ready, and since when nobody follows the engine; not ready for who says that this is too long."""
    lost = {"state": "lost", "url": "unix:///run/x.sock", "since": 1.0, "why": "refused"}
    status = {**READY, "engine": lost, "stale": {"since": time.time() - 35, "seconds": 35.2}}
    with running(status) as listen:
        assert check_running(listen) == 0
        line = told(capsys)
        assert line.startswith("ready: ")
        assert " lost, the table is stale since 20" in line
        assert line.endswith(" (35 s): refused")
        assert check_running(listen, max_stale=36) == 0
        told(capsys)
        assert check_running(listen, max_stale=35) == 1
        assert told(capsys).startswith("not ready: the table may be 35 s old, more than 35 s; unix:")
        assert check_running(listen, as_json=True, max_stale=0) == 1
        body = json.loads(told(capsys))
    assert (body["ready"], body["stale"]["seconds"]) == (False, 35.2)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({**READY, "ready": False, "listening": []}, "no socket is bound yet"),
        (
            {**READY, "ready": False, "picture": False},
            "first picture is not in yet; unix:///run/x.sock reached",
        ),
        ({**READY, "ready": False, "picture": False, "engine": None}, "no engine was reached yet"),
        ({**READY, "ready": False}, "being started"),
        ({}, "no socket is bound yet"),
        (b"", "nobody can read"),
        (b"[]\n", "nobody can read"),
        (b"{" * 10000 + b"\n", "nobody can read"),
    ],
)
def test_not_ready(status: bytes | dict[str, Any], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with running(status) as listen:
        assert check_running(listen) == 1
        assert (line := told(capsys)).startswith("not ready: ")
        assert why in line
        assert check_running(listen, as_json=True) == 1
        assert json.loads(told(capsys))["ready"] is False


@pytest.mark.parametrize(
    ("answer", "why"),
    [("silent", "does not answer within"), ("refused", "answers REFUSED"), ("empty", "answers NOERROR")],
)
def test_says_ready_but_does_not_answer(answer: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with running(READY, answer) as listen:
        assert check_running(listen) == 1
    assert why in told(capsys)


def test_a_status_that_never_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with running(b'{"ready": true', held=True) as listen:
        assert check_running(listen) == 1
    assert "does not tell its status" in told(capsys)


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_running(Listen("127.0.0.99", 1)) == 1
    assert told(capsys) == (
        "not ready: no resolver runs at 127.0.0.99:1 here; start one, or say where with --listen"
    )


def test_the_socket_is_named_after_the_address_as_given() -> None:
    assert status_name(Listen("0.0.0.0")) == "\0resolver/0.0.0.0:53"
    assert status_name(Listen("::1", 54)) == "\0resolver/[::1]:54"
