"""``--replace``: a new version gets the sockets of the one that runs, and that one ends when it answers.

The sockets stay open all the time, so no question is lost. The one that runs listens on an abstract unix
socket of its network namespace; only root and its own user are talked to, in both directions. One packet
each:

1. new → old: what it is to listen at, as JSON.
2. old → new: for each worker its sockets (SCM_RIGHTS), with the first also the one this talk began at and a
   nameless file with the order of connection, which no engine tells. Or why not.
3. new → old: ``ready``, once its answering processes have their first picture. The old one reads no further
   question, answers those it has, and ends. A new one that goes away before that has changed nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from resolver.watch.sockets import CannotListen, Sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resolver.settings import Listen, Settings

PATIENCE: Final = 5.0
"""Seconds the other side may take to say what is next."""
READY: Final = b"ready"

_MOST_DESCRIPTORS: Final = 253
"""SCM_MAX_FD: in one packet."""
_LONGEST: Final = 65_536
_CREDENTIALS: Final = struct.Struct("3i")

log = logging.getLogger(__name__)

Remembered = dict[str, dict[str, int]]
"""What ``Order.known`` says."""


def wanted(settings: Settings) -> dict[str, Any]:
    """What must be the same for sockets to be handed over."""
    listen = [str(one) for one in settings.listen]
    return {"listen": listen, "take_over": settings.take_over, "workers": settings.workers}


def open_offer(listen: Listen) -> socket.socket | None:
    """Where a new version can ask for our sockets; None where that place is taken: then it cannot."""
    sock = _packets()
    try:
        sock.bind(_name(listen))
    except OSError as error:
        sock.close()
        log.debug("sockets cannot be handed over later", extra={"why": error.strerror})
        return None
    sock.listen(4)
    return sock


class Offer:
    """The side of the one that runs."""

    def __init__(
        self,
        sock: socket.socket,
        settings: Settings,
        sockets: Sequence[Sockets],
        remembered: Callable[[], Remembered],
        replaced: Callable[[], None],
    ) -> None:
        """``replaced`` is called once another one answers on our sockets."""
        self._remembered = remembered
        self._loop = asyncio.get_running_loop()
        self._sock, self._settings, self._sockets, self._replaced = sock, settings, sockets, replaced
        self._talk: asyncio.Task[None] | None = None
        self._refusals: set[asyncio.Task[None]] = set()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Talk to nobody any more."""
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for talk in (*self._refusals, *((self._talk,) if self._talk else ())):
            talk.cancel()

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except OSError:
            return
        if not _is_friend(connection):
            connection.close()
            return
        if self._talk and not self._talk.done():
            refusal = self._loop.create_task(self._turn_away(connection))
            self._refusals.add(refusal)
            refusal.add_done_callback(self._refusals.discard)
            return
        self._talk = self._loop.create_task(self._converse(connection))

    async def _turn_away(self, connection: socket.socket) -> None:
        """Its request is read first: closed with something unread, a connection is reset, our word lost."""
        with connection, suppress(OSError, TimeoutError):
            connection.setblocking(False)
            async with asyncio.timeout(PATIENCE):
                await self._loop.sock_recv(connection, _LONGEST)
            connection.send(_packed({"busy": True}))

    async def _converse(self, connection: socket.socket) -> None:
        """A fault of the other side costs this talk and nothing else."""
        with connection, suppress(OSError, TimeoutError):
            connection.setblocking(False)
            async with asyncio.timeout(PATIENCE):
                request = await self._loop.sock_recv(connection, _LONGEST)
            mine = wanted(self._settings)
            if request != _packed(mine):
                connection.send(_packed({"refused": mine}))
                return
            for number, each in enumerate(self._sockets):
                self._give(connection, each, first=number == 0)
            if await self._loop.sock_recv(connection, _LONGEST) == READY:
                self._replaced()
            else:
                log.warning("the one that was to replace us went away; nothing has changed")

    def _give(self, connection: socket.socket, sockets: Sockets, *, first: bool) -> None:
        assert sockets.status is not None
        given = [sock.fileno() for sock in (*sockets.udp, *sockets.tcp, sockets.status)]
        told: dict[str, Any] = {"udp": len(sockets.udp), "tcp": len(sockets.tcp)}
        told |= {"redirected": sockets.redirected, "pid": os.getpid()}
        if not first:
            socket.send_fds(connection, [_packed(told)], given)
            return
        with os.fdopen(os.memfd_create("resolver"), "w+b") as file:
            file.write(_packed(self._remembered()))
            file.flush()
            socket.send_fds(connection, [_packed(told)], [*given, self._sock.fileno(), file.fileno()])


class Former:
    """The one that ran before us, from our side; its sockets are ours as well now."""

    def __init__(self, link: socket.socket, sockets: list[Sockets], legacy: Legacy) -> None:
        self._link, self.sockets = link, sockets
        self.offer, self.remembered, self.pid = legacy

    def end(self) -> None:
        """We answer: it may end. It may be gone already, which is as well."""
        with self._link, suppress(OSError):
            self._link.send(READY)
        log.info("took over from the one that ran before", extra={"pid": self.pid})


class Legacy(NamedTuple):
    """What comes with the first worker's sockets."""

    offer: socket.socket
    remembered: Remembered
    pid: int


def receive(settings: Settings) -> Former | None:
    """The sockets of the one that runs; None when there is none. Raises CannotListen when it gives none."""
    link = _packets()
    link.settimeout(PATIENCE)
    try:
        link.connect(_name(settings.listen[0]))
    except OSError:
        link.close()
        return None
    received: list[Sockets] = []
    try:
        if not _is_friend(link):
            raise CannotListen("cannot replace what runs here: it is another user's")
        link.send(_packed(wanted(settings)))
        legacy = _taken(link, received, first=True)
        for _ in range(settings.workers - 1):
            _taken(link, received, first=False)
    except BaseException as error:
        link.close()
        for each in received:
            each.close()
        if isinstance(error, OSError):
            raise CannotListen(f"cannot replace what runs here: it does not answer ({error})") from None
        raise
    assert legacy is not None
    return Former(link, received, legacy)


def _taken(link: socket.socket, received: list[Sockets], *, first: bool) -> Legacy | None:
    """Add one worker's sockets to those received; with the first one's comes the rest."""
    packet, descriptors, _, _ = socket.recv_fds(link, _LONGEST, _MOST_DESCRIPTORS)
    told = json.loads(packet or b"{}")
    if told.get("busy"):
        raise CannotListen("cannot replace what runs here: another one is doing so")
    if mine := told.get("refused"):
        raise CannotListen(f"cannot replace what runs here with other settings; its own: {_spelt(mine)}")
    if not told:
        raise CannotListen(
            "cannot replace what runs here: it gives its sockets to root and its own user only"
        )
    udp, tcp = told["udp"], told["udp"] + told["tcp"]
    opened = [socket.socket(fileno=number) for number in descriptors[: tcp + 1 + first]]
    received.append(Sockets(opened[:udp], opened[udp:tcp], opened[tcp], tuple(told["redirected"])))
    if not first:
        return None
    with os.fdopen(descriptors[-1], "rb") as file:
        file.seek(0)
        return Legacy(opened[-1], json.load(file), told["pid"])


def _spelt(mine: dict[str, Any]) -> str:
    words = [f"--listen {one}" for one in mine["listen"]] + ["--take-over"] * mine["take_over"]
    return " ".join([*words, f"--workers {mine['workers']}"])


def _packed(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True).encode()


def _name(listen: Listen) -> str:
    return f"\0resolver/{listen}/handover"


def _packets() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def _is_friend(peer: socket.socket) -> bool:
    """Whether root or our own user is at the other end: anybody could have bound that name, or may ask."""
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(raw)[1] in (0, os.geteuid())
