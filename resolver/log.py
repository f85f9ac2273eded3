"""Log lines on stderr: one line per event, in text or JSON, few of a kind, and never a reason to stop.

Used as the standard library is: ``logging.getLogger(__name__).warning("engine lost", extra={"url": url})``.
The message names the kind of event and stays the same; what differs goes into ``extra``. Of one kind at most
one line is written in two seconds; the next one says how many were left out.
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
from typing import Any, NamedTuple

QUIET = 2.0
"""Seconds between two lines of one kind."""

MOST_KINDS = 512
"""Kinds remembered at once: messages that have names inside must not make the log a leak."""

LONGEST = 2000
"""Characters of one value. A pipe takes 4,096 octets without making the writer wait."""

Kind = tuple[str, int, str]
"""Logger, level, message before anything is put into it."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Kept(NamedTuple):
    """When a line of a kind was last written, and what was left out since."""

    since: float
    more: int = 0
    last: logging.LogRecord | None = None


def configure(level: str = "info", form: str = "text", fd: int = 2) -> None:
    """Log to this descriptor from now on. May be called again, at SIGHUP or after a fork."""
    lines = Lines(fd)
    lines.setFormatter(JsonForm() if form == "json" else TextForm())
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, Lines)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(lines)
    # The engine SDK's HTTP library tells of every request.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    root.setLevel(level.upper())


class TextForm(logging.Formatter):
    """``2026-01-31T12:00:00.123Z warning engine lost url=unix:///run/docker.sock``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        words = [_moment(record.created), record.levelname.lower(), _plain(record.getMessage())]
        words += [f"{key}={_value(value)}" for key, value in _extra(record).items()]
        return " ".join(words)


class JsonForm(logging.Formatter):
    """One JSON object per line: time, level, room, message, and the event's own keys."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        body = {
            "time": _moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        body.update({key: value for key, value in _extra(record).items() if key not in body})
        return json.dumps(body, default=str).replace("\x7f", "\\u007f")


class Lines(logging.Handler):
    """Writes whole lines straight to a descriptor.

    A reader that is slow or gone, a full disk, a closed descriptor: the line is lost and counted, and
    answering goes on. Nothing is buffered, so nothing is lost when the process ends.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._ready = select.poll()
        self._ready.register(fd, select.POLLOUT)
        self._lost = 0
        self._torn = False
        self._kinds: dict[Kind, Kept] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, unless one of its kind was written just now."""
        kind = (record.name, record.levelno, str(record.msg))
        kept = self._kinds.pop(kind, None)
        self._report_overdue(record.created)
        if record.levelno > logging.DEBUG:
            if kept and 0 <= record.created - kept.since < QUIET:
                self._kinds[kind] = Kept(kept.since, kept.more + 1, record)
                return
            if len(self._kinds) >= MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            self._kinds[kind] = Kept(record.created)
        self._write(record, kept.more if kept else 0)

    def close(self) -> None:
        """Say what was left out so far."""
        self.acquire()
        try:
            self._report_overdue(float("inf"))
        finally:
            self.release()
        super().close()

    def _report_overdue(self, now: float) -> None:
        """The last line of each kind of which some were left out and that fell silent since."""
        for kind, kept in list(self._kinds.items()):
            if kept.last and now - kept.since >= QUIET:
                del self._kinds[kind]
                self._write(kept.last, kept.more - 1)

    def _write(self, record: logging.LogRecord, more: int = 0) -> None:
        if more:
            record.more = more
        try:
            line = self.format(record)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            line = f"{_moment(record.created)} error a log message cannot be put together: {error!r}"
        if self._put(line) and self._lost:
            lost, self._lost = self._lost, 0
            told = {
                "msg": "log lines were lost",
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "lost": lost,
            }
            self._put(self.format(logging.makeLogRecord({"name": "resolver.log", **told})))

    def _put(self, line: str) -> bool:
        octets = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            # A reader that stopped reading would otherwise stop us at the next write.
            if any(event & select.POLLOUT for _, event in self._ready.poll(0)):
                written = os.write(self._fd, b"\n" + octets if self._torn else octets)
                self._torn = written < len(octets)
                return True
        except OSError:
            pass
        self._lost += 1
        return False


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """The event's own keys, and the exception it tells of."""
    extra = {key: value for key, value in vars(record).items() if key not in _OWN}
    if record.exc_info and record.exc_info[0]:
        trace = logging.Formatter().formatException(record.exc_info)
        extra["exception"] = trace[-LONGEST:]
    return extra


def _moment(created: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{whole}.{int(created * 1000) % 1000:03d}Z"


def _plain(text: str) -> str:
    """One line without anything that could steer a terminal: names in messages are chosen by strangers."""
    return _cut(text if text.isprintable() else json.dumps(text)[1:-1])


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    bare = text and text.isascii() and text.isprintable() and not set(text) & set(' "=\\')
    return _cut(json.dumps(text) if isinstance(value, str) and not bare else text)


def _cut(text: str) -> str:
    text = text.replace("\x7f", "\\u007f")
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
