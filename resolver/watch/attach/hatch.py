"""How sockets of other network namespaces reach the answering process, and go from it.

Beside the door, whose lines are text and can be recorded, there is a second socket pair: one packet tells of
one container, with its sockets as ancillary data (unix(7), SCM_RIGHTS). The answering process writes back
when it needs more.

    {"attached": ID, "engine": "127.0.0.11:41234/35555", "udp": 1, "tcp": 1, "spare_udp": 4, "spare_tcp": 1}
    {"spare": ID, "spare_udp": 1, "spare_tcp": 0}
    {"moved": ID, "engine": "127.0.0.11:41235/35556"}
    {"detached": ID}
    {"wants": ID, "kind": "udp"}                                      from the answering process
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from resolver.watch.nftables import lifted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_WAITING: Final = 1024
"""Packets waiting above which nothing more is asked of us: whoever reads hostile packets must not be able to
use up our descriptors."""
_LONGEST: Final = 4096

log = logging.getLogger(__name__)


class Hatch:
    """Our end. What cannot be sent now waits; what was for a process that died is dropped."""

    def __init__(self, opened: Callable[[Hatch], None], wants: Callable[[Hatch, str, str], None]) -> None:
        """``opened`` is called whenever a new answering process has to be told everything."""
        self._opened, self._wants = opened, wants
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None
        self._backlog: deque[tuple[bytes, list[int]]] = deque()
        self._writing = False

    def open(self) -> socket.socket:
        """A new pair; the end for the answering process. ``opened`` is called soon."""
        self.close()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock.fileno(), self._readable)
        self._loop.call_soon(self._opened, self)
        return theirs

    def send(self, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
        """Tell the answering process; never blocks. Descriptors are duplicated by the kernel when the packet
        leaves, so the sockets must stay open until then: copies are kept."""
        if self._sock is None:
            return
        copies = [lifted(sock.dup().detach()) for sock in sockets]
        self._backlog.append((json.dumps(message, separators=(",", ":")).encode(), copies))
        if not self._writing:
            self._write()

    def close(self) -> None:
        """Drop the pair and what waits."""
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
            sock.close()
        self._writing = False
        while self._backlog:
            _drop(self._backlog.popleft()[1])

    def _write(self) -> None:
        assert self._sock is not None
        while self._backlog:
            octets, descriptors = self._backlog[0]
            try:
                socket.send_fds(self._sock, [octets], descriptors)
            except (BlockingIOError, InterruptedError):
                if not self._writing:
                    self._writing = True
                    self._loop.add_writer(self._sock.fileno(), self._write)
                return
            except OSError as error:
                if error.errno == _TOO_MANY:  # descriptors under way: wait until some have arrived
                    self._loop.call_later(0.01, self._again)
                    return
                self.close()  # it is dead; the door says so as well
                return
            _drop(descriptors)
            self._backlog.popleft()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())

    def _again(self) -> None:
        if self._sock is not None and not self._writing:
            self._write()

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            octets = self._sock.recv(_LONGEST)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            octets = b""
        if not octets:
            self.close()
            return
        if len(self._backlog) >= MOST_WAITING:
            return
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            said = json.loads(octets)
            self._wants(self, str(said["wants"]), str(said["kind"]))


def _drop(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        socket.close(descriptor)


_TOO_MANY: Final = 109
"""ETOOMANYREFS."""
