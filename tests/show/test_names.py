"""``resolver names``: what is in the table, how it looks, and that no name can do harm."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from resolver.settings import Settings
from resolver.show.names import Row, _paint, print_names, rows_of
from resolver.show.picture import take_picture
from resolver.show.terminal import CommandError, json_line, printable
from tests.show.conftest import write_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def printed(
    capsys: pytest.CaptureFixture[str], settings: Settings, network: str | None = None, **how: bool
) -> tuple[list[str], str]:
    assert print_names(settings, network, **{"everything": False, "as_json": False, **how}) == 0
    out, err = capsys.readouterr()
    return out.splitlines(), err


def test_the_table(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(capsys, Settings(changes=world))
    assert out == [
        "NETWORK  NAME  ADDRESSES          CONTAINER",
        "dev      web   10.2.0.2           web",
        "prod     es    10.1.0.2, fd00::2  es1",
        "prod     es1   10.1.0.2, fd00::2  es1",
        "prod     web   10.1.0.3           web",
        "vault    safe  10.4.0.2           safe",
    ]
    assert err.splitlines() == [
        "1 short id is answered too: --all",
        "1 container is on the default bridge, without names: --names-on-default-bridge",
    ]


def test_all(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(changes=world, names_on_default_bridge=True)
    out, err = printed(capsys, settings, everything=True)
    assert [line.split()[1] for line in out[1:]] == [
        "loner",
        "web",
        "aaaaaaaaaaaa",
        "es",
        "es1",
        "web",
        "safe",
    ]
    assert err == ""


def test_json(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = printed(capsys, Settings(changes=world), "prod", as_json=True)
    rows = [json.loads(line) for line in out]
    assert [row["name"] for row in rows] == ["aaaaaaaaaaaa", "es", "es1", "web"]
    assert rows[1] == {
        "network": "prod",
        "name": "es",
        "addresses": ["10.1.0.2", "fd00::2"],
        "container": "es1",
        "id": "aaaaaaaaaaaabbbb",
    }


def test_one_network_by_name_id_and_short_id(world: Path) -> None:
    table = take_picture(Settings(changes=world))
    for name in ("dev", "n2" * 6, "n2n2"):
        assert [row.name for row in rows_of(table, name)] == ["web"]
    with pytest.raises(CommandError, match=r"there is no network prdo, did you mean prod\?"):
        rows_of(table, "prdo")
    assert rows_of(table, "prdo", must_exist=False) == []


def test_an_empty_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty"
    path.touch()
    out, err = printed(capsys, Settings(changes=path))
    assert out == ["NETWORK  NAME  ADDRESSES  CONTAINER"]
    assert err == "no running container has a name on any network yet\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 1 is no change"),
        ('{"change": "containr"}', "line 1 is no change"),
        ("[1]", "line 1 is no change"),
    ],
)
def test_a_file_that_cannot_be_read(line: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_text(line + "\n")
    with pytest.raises(CommandError, match=told):
        take_picture(Settings(changes=path))
    path.unlink()
    with pytest.raises(CommandError, match="cannot be read"):
        take_picture(Settings(changes=path))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def row(name: str, network: str = "n", container: str = "c") -> Row:
    return Row(network, name, container, "id", ("10.0.0.1",))


@effort(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_name_reaches_the_terminal_unescaped(name: str, network: str, container: str) -> None:
    for out in (io.StringIO(), Terminal()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_COLOR", "1")
            patch.setenv("TERM", "dumb")
            _paint([row(name, network, container)], out)
        assert all(line.isprintable() for line in out.getvalue().split("\n"))
    line = json_line({"name": name})
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"name": name}


@effort(deadline=None)
@given(st.text())
def test_printable_changes_only_what_is_not(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_markup_is_text() -> None:
    out = io.StringIO()
    _paint([row("[red]x[/red] :smile: [link=http://x]")], out)
    assert "[red]x[/red] :smile: [link=http://x]" in out.getvalue()


def test_a_thousand_rows_line_up_and_are_quick() -> None:
    rows = [row(f"name-{i}", f"network-{i % 7}", f"container-{i}") for i in range(1000)]
    out = io.StringIO()
    begin = time.monotonic()
    _paint(rows, out)
    assert time.monotonic() - begin < 5
    lines = out.getvalue().splitlines()
    assert len(lines) == 1001
    assert len({line.index("10.0.0.1") for line in lines[1:]}) == 1


def test_long_names_are_whole() -> None:
    name = "n" * 255
    piped, seen = io.StringIO(), Terminal()
    _paint([row(name)], piped)
    assert name in piped.getvalue().splitlines()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setenv("NO_COLOR", "1")
        patch.setenv("TERM", "dumb")
        _paint([row(name)], seen)
    assert seen.getvalue().count("n" * 30) >= 5
    assert sum(line.count("n") for line in seen.getvalue().splitlines()[2:]) == 255 + 1
    assert max(map(len, seen.getvalue().splitlines())) <= 80


@contextmanager
def begun(world: Path, *arguments: str, out: int) -> Iterator[subprocess.Popen[bytes]]:
    """A watching program, which does not outlive the test whatever comes of it."""
    command = [sys.executable, "-m", "resolver", "names", "--watch", "--changes", str(world), *arguments]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
    program = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, env=environment)
    os.close(out)
    try:
        yield program
    finally:
        program.kill()
        program.wait()


MORE: dict[str, Any] = {
    "change": "container",
    "id": "c6",
    "name": "fresh",
    "endpoints": [{"network": "n1" * 6, "names": ["fresh"], "ipv4": "10.1.0.9"}],
}


def test_watch_tells_what_came_and_went(world: Path) -> None:
    reader, writer = os.pipe()
    with begun(world, "--json", out=writer) as program:
        with os.fdopen(reader) as lines:
            first = [json.loads(next(lines)) for _ in range(6)]
            assert {row["name"] for row in first} == {"web", "es", "es1", "safe", "aaaaaaaaaaaa"}
            write_world(world, MORE)
            assert json.loads(next(lines))["name"] == "fresh"
            write_world(world, MORE, {"change": "gone", "container": "c6"})
            gone = json.loads(next(lines))
            assert (gone["gone"], gone["network"], gone["name"]) == (True, "prod", "fresh")
        # The reader went away: the next change ends it.
        write_world(world, MORE)
        assert program.wait(10) == 1


def test_watch_repaints_a_terminal(world: Path) -> None:
    primary, secondary = pty.openpty()
    with begun(world, out=secondary) as program:
        assert _until(primary, b"safe").startswith(b"\x1b[H\x1b[2J")
        write_world(world, MORE)
        assert b"\x1b[H\x1b[2J" in _until(primary, b"fresh")
        program.send_signal(signal.SIGINT)
        assert program.wait(10) == 130
    os.close(primary)


def _until(terminal: int, word: bytes) -> bytes:
    seen = b""
    deadline = time.monotonic() + 20
    while word not in seen and time.monotonic() < deadline:
        with suppress(OSError):
            seen += os.read(terminal, 65536)
    assert word in seen
    return seen
