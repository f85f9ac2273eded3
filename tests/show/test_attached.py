"""``resolver attach``, ``detach`` and ``attached``: what is said, and what is made of the reply."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from resolver.settings import Listen
from resolver.show import attached
from resolver.show.check import NotReadyError
from resolver.show.terminal import CommandError
from resolver.watch.control import control_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

HERE = Listen("127.0.0.1", 60_000 - os.getpid() % 20_000)
"""The name of a socket only."""
WEB = {
    "id": "aa" * 32,
    "container": "web",
    "networks": ["dev", "prod"],
    "nameservers": ["127.0.0.11", "::1"],
    "since": 1_700_000_000.0,
    "renewed": 1_700_000_001.0,
}
DB = {"id": "bb" * 32, "container": "db", "networks": ["dev"], "why": "it has no network"}


WE = nullcontext()


@contextmanager
def somebody_else() -> Iterator[None]:
    """For a moment we are not root; the kernel notes who it is that listens."""
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def resolver(*pieces: bytes, whoever: AbstractContextManager[None] = WE) -> Iterator[list[bytes]]:
    """One of ours, or whoever's, that replies so, in these pieces; what it was told."""
    told: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(control_name(HERE))
        with whoever:
            server.listen()

        def answer() -> None:
            wire, _ = server.accept()
            with wire:
                told.append(wire.recv(4096))
                for piece in pieces:
                    wire.sendall(piece)
                    time.sleep(0.001)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield told
        thread.join(20)


def line(reply: Any) -> bytes:
    return json.dumps(reply).encode() + b"\n"


@pytest.fixture(autouse=True)
def _status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answering process tells of one of them."""
    monkeypatch.setattr(attached, "read_status", lambda _: {"attached": {WEB["id"]: 4711}})


def test_attach(capsys: pytest.CaptureFixture[str]) -> None:
    with resolver(line({"done": "attach", **WEB})) as told:
        assert attached.attach(HERE, "web") == 0
    assert json.loads(told[0]) == {"command": "attach", "container": "web"}
    assert told[0].endswith(b"\n")
    assert capsys.readouterr().out == "attached: web, in place of 127.0.0.11, ::1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_another_user_hears_is_not_believed() -> None:
    with resolver(whoever=somebody_else()) as told, pytest.raises(CommandError, match="another user"):
        attached.attach(HERE, "web")
    assert told == [b""]


def test_detach(capsys: pytest.CaptureFixture[str]) -> None:
    with resolver(line({"done": "detach", **DB})) as told:
        assert attached.detach(HERE, "db") == 0
    assert json.loads(told[0]) == {"command": "detach", "container": "db"}
    assert capsys.readouterr().out == "detached: db; its own nameserver answers\n"


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: 1_700_000_003.4)
    with resolver(line({"attached": [WEB, {**WEB, "container": "let-go", "renewed": 0.0}, DB]})):
        assert attached.print_attached(HERE, as_json=False) == 0
    rows = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    assert rows == [
        "CONTAINER NETWORKS SINCE QUERIES LAST RENEWAL",
        "web dev, prod 2023-11-14 22:13:20 4711 2 s ago",
        "let-go dev, prod 2023-11-14 22:13:20 4711 released",
        "db dev not attached it has no network",
    ]


def test_a_name_cannot_draw_on_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with resolver(line({"attached": [{**WEB, "container": "\x1b[2J[red]x", "networks": ["a\nb"]}]})):
        attached.print_attached(HERE, as_json=False)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]x" in out
    assert len(out.splitlines()) == 2


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with resolver(line({"attached": [WEB, DB]})):
        assert attached.print_attached(HERE, as_json=True) == 0
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert rows == [{**WEB, "queries": 4711}, {**DB, "queries": 0}]


def test_nobody_is_attached(capsys: pytest.CaptureFixture[str]) -> None:
    with resolver(line({"attached": []})):
        assert attached.print_attached(HERE, as_json=False) == 0
    assert capsys.readouterr().out == "no container is attached\n"


@pytest.mark.parametrize("status", [{}, {"attached": None}, {"attached": [1]}, NotReadyError("gone")])
def test_without_word_of_questions_the_rest_is_shown(
    status: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: Listen) -> Any:
        if isinstance(status, Exception):
            raise status
        return status

    monkeypatch.setattr(attached, "read_status", read)
    with resolver(line({"attached": [WEB]})):
        attached.print_attached(HERE, as_json=True)
    assert json.loads(capsys.readouterr().out)["queries"] == 0


def test_a_long_reply_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    whole = line({"attached": [{**WEB, "container": f"c{n}"} for n in range(2000)]})
    with resolver(*(whole[at : at + 100_000] for at in range(0, len(whole), 100_000))):
        attached.print_attached(HERE, as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 2000


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        ((line({"error": "there is no container web"}),), "^there is no container web$"),
        ((b"{\n",), "nobody can read"),
        ((b"",), "nobody can read"),
        ((line([]),), "nobody can read"),
        ((line("error"),), "nobody can read"),
        ((line({"attached": 7}),), "nobody can read"),
    ],
)
def test_what_goes_wrong_is_one_sentence(pieces: tuple[bytes, ...], word: str) -> None:
    with resolver(*pieces), pytest.raises(CommandError, match=word):
        attached.print_attached(HERE, as_json=False)


def test_no_resolver() -> None:
    with pytest.raises(CommandError, match=r"no resolver that attaches runs at .* --attach none"):
        attached.attach(HERE, "web")


def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached, "PATIENCE", -0.99)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(control_name(HERE))
        server.listen()
        with pytest.raises(CommandError, match="does not reply"):
            attached.attach(HERE, "web")
