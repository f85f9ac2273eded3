"""The counters door: whoever connects to the status socket gets one line of JSON and is sent away.

An abstract unix socket belongs to a network namespace and to no file system, so it works on a read-only root,
vanishes with the process, and is reached exactly by those who are inside.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable


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
