"""Log lines: one per event, harmless, few of a kind, and never a reason to stop."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from resolver import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG = logging.getLogger("resolver.test")


class Written:
    """What came out of the descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    made = Written(tmp_path / "log")
    yield made
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    os.close(made.fd)


def said(name: str, at: float = 1000.0, level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "x",
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": name,
            "created": at,
            **extra,
        }
    )


def test_text(written: Written) -> None:
    log.configure("info", "text", written.fd)
    LOG.debug("too quiet")
    LOG.info(
        "engine reached",
        extra={"url": "unix:///run/x", "networks": 3, "why": "a b", "empty": "", "list": ["a"]},
    )
    (line,) = written.lines()
    moment, rest = line.split(" ", 1)
    assert moment.endswith("Z")
    assert rest == 'info engine reached url=unix:///run/x networks=3 why="a b" empty="" list=["a"]'


def test_json(written: Written) -> None:
    log.configure("debug", "json", written.fd)
    try:
        raise ValueError("bad\x1b")
    except ValueError:
        LOG.exception("a fault", extra={"url": "u", "level": "not taken"})
    (line,) = written.lines()
    body = json.loads(line)
    assert (body["level"], body["logger"], body["message"], body["url"]) == (
        "error",
        "resolver.test",
        "a fault",
        "u",
    )
    assert body["exception"].endswith("ValueError: bad\x1b")
    assert "\x1b" not in line


def test_configured_twice_writes_once(written: Written) -> None:
    log.configure("info", "text", written.fd)
    log.configure("error", "text", written.fd)
    LOG.warning("no")
    LOG.error("yes")
    assert len(written.lines()) == 1


def test_few_of_a_kind(written: Written) -> None:
    lines = log.Lines(written.fd)
    lines.setFormatter(log.TextForm())
    for count in range(5):
        lines.emit(said("lost", 1000.0 + count / 10, n=count))
    lines.emit(said("other", 1000.6))
    lines.emit(said("lost", 1002.1, n=5))
    assert [line.split(" ", 1)[1] for line in written.lines()] == [
        "warning lost n=0",
        "warning other",
        "warning lost n=5 more=4",
    ]


def test_what_fell_silent_is_told_by_the_next_line_of_any_kind_or_at_the_end(written: Written) -> None:
    lines = log.Lines(written.fd)
    lines.setFormatter(log.TextForm())
    for count in range(3):
        lines.emit(said("lost", 1000.0, n=count))
    lines.emit(said("other", 1003.0))
    lines.emit(said("other", 1003.1, n=1))
    lines.close()
    assert [line.split(" ", 1)[1] for line in written.lines()] == [
        "warning lost n=0",
        "warning lost n=2 more=1",
        "warning other",
        "warning other n=1",
    ]


def test_debug_lines_are_all_written(written: Written) -> None:
    lines = log.Lines(written.fd)
    for _ in range(5):
        lines.emit(said("query", level=logging.DEBUG))
    assert len(written.lines()) == 5


def test_a_clock_that_jumps_back_does_not_silence(written: Written) -> None:
    lines = log.Lines(written.fd)
    lines.emit(said("lost", 1000.0))
    lines.emit(said("lost", 10.0))
    assert len(written.lines()) == 2


def test_kinds_are_bounded(written: Written) -> None:
    lines = log.Lines(written.fd)
    for count in range(log.MOST_KINDS + 10):
        lines.emit(said(f"container {count}"))
    assert len(lines._kinds) == log.MOST_KINDS


@effort(deadline=None)
@given(
    st.text(), st.one_of(st.text(), st.binary(), st.floats(), st.lists(st.text()), st.none()), st.booleans()
)
def test_nothing_that_steers_a_terminal_gets_out(message: str, value: object, as_json: bool) -> None:
    form: logging.Formatter = log.JsonForm() if as_json else log.TextForm()
    line = form.format(said("%s", args=(message,), value=value))
    assert all(c.isprintable() for c in line)
    if as_json:
        assert json.loads(line)["message"] == message


def test_a_message_that_cannot_be_put_together(written: Written) -> None:
    log.Lines(written.fd).emit(said("%d containers", args=("no",)))
    assert "cannot be put together" in written.lines()[0]


def test_a_full_disk_is_survived() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    lines = log.Lines(fd)
    lines.emit(said("lost"))
    assert lines._lost == 1
    os.close(fd)
    lines.emit(said("other"))
    assert lines._lost == 2


def test_a_reader_that_stopped_reading_does_not_stop_us() -> None:
    reader, writer = os.pipe()
    lines = log.Lines(writer)
    lines.setFormatter(log.TextForm())
    begin = time.monotonic()
    for count in range(1000):
        lines.emit(said(f"kind {count}", text="x" * 200))
    assert time.monotonic() - begin < 5
    assert lines._lost
    while len(os.read(reader, 1 << 20)) > 1 << 16:
        pass
    lines.emit(said("again"))
    assert b"log lines were lost lost=" in os.read(reader, 1 << 20)
    os.close(reader)
    lines.emit(said("nobody reads"))
    os.close(writer)


def test_loads_nothing_heavy() -> None:
    program = "import sys, resolver.log; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"click", "rich", "docker", "dnslib", "asyncio", "tomllib", "urllib.parse"} & set(loaded)
