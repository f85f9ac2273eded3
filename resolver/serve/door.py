"""The door as the answering process sees it: change lines come in, and are applied between two packets.

A full picture of thousands of containers arrives at once; it is applied in small pieces, so that no question
waits for it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from resolver.names.changes import HANDED_OVER, READY, BadChange, Change, read

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

CHUNK: Final = 1 << 16
PATIENCE: Final = 0.002
"""Seconds of applying in a row before packets get their turn."""

log = logging.getLogger(__name__)


class Door:
    """Reads lines from a stream socket; calls ``apply`` for each change and ``closed`` at the end of the
    stream."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        apply: Callable[[Change], None],
        closed: Callable[[], None],
        handed_over: Callable[[], None] | None = None,
    ) -> None:
        """``handed_over``: somebody else reads our sockets now."""
        self._loop, self._sock, self._apply, self._closed = loop, sock, apply, closed
        self._handed_over = handed_over
        self._rest = b""
        self._lines: list[bytes] = []
        """Whole lines not applied yet, last first."""
        sock.setblocking(False)
        loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Stop reading."""
        self._loop.remove_reader(self._sock.fileno())

    def say_ready(self) -> None:
        """The one thing that is said in the other direction."""
        with suppress(OSError):
            self._sock.send(READY)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._closed()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines = lines[::-1]
        if lines:
            self.close()  # nothing more is read until these are applied
            self._some()

    def _some(self) -> None:
        until = self._loop.time() + PATIENCE
        while self._lines:
            self._one(self._lines.pop())
            if self._loop.time() > until:
                self._loop.call_soon(self._some)
                return
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def _one(self, line: bytes) -> None:
        if not line.strip():
            return
        if line == HANDED_OVER and self._handed_over:
            self._handed_over()
            return
        try:
            self._apply(read(line))
        except BadChange as error:
            log.error(
                "a change that cannot be read was skipped", extra={"why": str(error), "line": line[:200]}
            )
