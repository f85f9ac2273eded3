"""Sockets of other network namespaces come in: one packet tells of one attached container
(``watch/attach/hatch.py`` says how).

Whoever asks at such a socket is that container, whatever address the question comes from.
"""

from __future__ import annotations

import errno
import json
import logging
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from resolver.serve import udp

if TYPE_CHECKING:
    import asyncio

    from resolver.serve.memory import Memory
    from resolver.serve.queries import Queries
    from resolver.serve.rates import Rates
    from resolver.serve.tcp import Service
    from resolver.serve.udp import Listener

_LONGEST: Final = 4096
_MOST_DESCRIPTORS: Final = 32

log = logging.getLogger(__name__)


class Answering(Protocol):
    """The parts of the answering process that a container's sockets are given to."""

    memory: Memory
    rates: Rates
    queries: Queries
    tcp: Service

    def left(self, identity: str) -> None:
        """A container is not attached any more: sockets to servers in its namespace are to be closed."""


@dataclass(slots=True)
class Attached:
    """One container we answer in."""

    identity: str
    sockets: list[socket.socket]
    listeners: list[Listener]
    servers: list[asyncio.Server] = field(default_factory=list)
    spare: dict[str, deque[socket.socket]] = field(default_factory=lambda: {"udp": deque(), "tcp": deque()})
    """Sockets in its namespace that have no peer yet."""
    closed: bool = False

    def put_by(self, said: dict[str, Any], sockets: list[socket.socket]) -> None:
        """Spare sockets came with a message."""
        count = int(said["spare_udp"])
        self.spare["udp"].extend(sockets[:count])
        self.spare["tcp"].extend(sockets[count:])

    def close(self, service: Service) -> None:
        """Stop answering there; our descriptors are closed."""
        self.closed = True
        for listener in self.listeners:
            listener.close()
        while self.servers:
            service.unlisten(self.servers.pop())
        for sock in (*self.sockets, *self.spare["udp"], *self.spare["tcp"]):
            sock.close()


class Hatch:
    """All attached containers, and where they come in."""

    def __init__(self, loop: asyncio.AbstractEventLoop, process: Answering) -> None:
        self._loop, self._process = loop, process
        self._sock: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.attached: dict[str, Attached] = {}

    def listen(self, sock: socket.socket) -> None:
        """Take in what comes, until ``close``."""
        self._sock = sock
        self._loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        """Nothing more comes in; those attached are answered on."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())

    def close_listeners(self) -> None:
        """Stop answering in every container."""
        for one in self.attached.values():
            one.close(self._process.tcp)
        self.attached.clear()

    def status(self) -> dict[str, int]:
        """Container id → questions it asked over UDP and TCP."""
        asked = self._process.tcp.asked
        return {
            identity: sum(listener.hits + listener.cold for listener in one.listeners)
            + asked.get(udp.asker_of(identity), 0)
            for identity, one in self.attached.items()
        }

    def take(self, identity: str, kind: socket.SocketKind) -> socket.socket:
        """A socket in that container's namespace; another one is sent for. Raises OSError when none is
        left."""
        word = "udp" if kind == socket.SOCK_DGRAM else "tcp"
        one = self.attached.get(identity)
        if one is None or self._sock is None:
            raise OSError(errno.ENETDOWN, "the container is not attached")
        self._wants(identity, word)
        if not one.spare[word]:
            raise OSError(errno.EAGAIN, "no socket of its namespace is left")
        return one.spare[word].popleft()

    def _wants(self, identity: str, kind: str) -> None:
        assert self._sock is not None
        try:
            self._sock.send(json.dumps({"wants": identity, "kind": kind}).encode())
        except OSError:
            return  # asked for again with the next

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            octets, descriptors, _, _ = socket.recv_fds(self._sock, _LONGEST, _MOST_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            octets, descriptors = b"", []
        if not octets:
            self.close()
            return
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for sock in sockets:
            sock.setblocking(False)
        said: dict[str, Any] = json.loads(octets)
        if "attached" in said:
            self._attach(said, sockets)
        elif "spare" in said:
            self._put_by(said, sockets)
        elif "moved" in said:
            self._moved(str(said["moved"]), str(said["engine"]))
        else:
            self._detach(str(said["detached"]))
            self._process.tcp.forget(udp.asker_of(str(said["detached"])))

    def _attach(self, said: dict[str, Any], sockets: list[socket.socket]) -> None:
        identity, count = str(said["attached"]), int(said["udp"])
        listening = count + int(said["tcp"])
        self._detach(identity)
        process, asker = self._process, udp.asker_of(identity)
        process.queries.attach(asker, identity, str(said["engine"]))
        listeners = [
            udp.listen(self._loop, sock, process.memory, process.queries.ask, process.rates, asker)
            for sock in sockets[:count]
        ]
        one = self.attached[identity] = Attached(identity, sockets[:count], listeners)
        one.put_by(said, sockets[listening:])
        task = self._loop.create_task(self._accept(one, sockets[count:listening], asker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, one: Attached, sockets: list[socket.socket], asker: bytes) -> None:
        for sock in sockets:
            server = await self._process.tcp.listen(sock, asker)
            if one.closed:  # while this was being set up
                self._process.tcp.unlisten(server)
            else:
                one.servers.append(server)

    def _moved(self, identity: str, engine: str) -> None:
        """The engine's own resolver is elsewhere there; nothing is begun for who is not attached."""
        if identity in self.attached:
            self._process.queries.attach(udp.asker_of(identity), identity, engine)

    def _put_by(self, said: dict[str, Any], sockets: list[socket.socket]) -> None:
        one = self.attached.get(str(said["spare"]))
        if one is None:
            for sock in sockets:
                sock.close()
            return
        one.put_by(said, sockets)

    def _detach(self, identity: str) -> None:
        one = self.attached.pop(identity, None)
        if one is not None:
            one.close(self._process.tcp)
            self._process.queries.detach(udp.asker_of(identity))
            self._process.left(identity)
