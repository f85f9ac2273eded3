"""The counters door: whoever connects to the status socket gets one line of JSON and is sent away.

An abstract unix socket belongs to a network namespace and to no file system, so it works on a read-only root,
vanishes with the process, and is reached exactly by those who are inside.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from resolver.names.changes import Engine


class Staleness:
    """Since when nobody follows the engine, so that the table may be old.

    The door tells it in wall-clock time. From then on the monotonic clock counts, whatever is done to the
    other one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self._clock = clock
        self._from: float | None = None

    def heard(self, engine: Engine) -> None:
        """The engine was reached or lost. Told again with another reason, a loss is still the same one."""
        if engine.state == "reached":
            self._from = None
        elif self._from is None:
            self._from = self._clock() - max(0.0, time.time() - engine.at)

    def told(self) -> dict[str, float] | None:
        """``since``, seconds since the epoch, and ``seconds``; None while the engine is followed."""
        if self._from is None:
            return None
        seconds = self._clock() - self._from
        return {"since": round(time.time() - seconds, 3), "seconds": round(seconds, 3)}


class StatusSocket:
    """Tells how it goes. Read-only: nothing that is sent to it is read."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, tell: Callable[[], dict[str, Any]]
    ) -> None:
        """``tell`` gives what is to be told, at the moment somebody asks."""
        self._loop, self._sock, self._tell = loop, sock, tell
        loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Stop telling."""
        self._loop.remove_reader(self._sock.fileno())

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except OSError:
            return
        with connection:
            connection.setblocking(False)
            try:
                connection.send(json.dumps(self._tell(), separators=(",", ":")).encode() + b"\n")
            except OSError:
                return  # whoever asked did not wait
