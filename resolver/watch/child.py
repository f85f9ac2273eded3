"""The answering process: started on our sockets, fed through the door, started again whenever it dies.

The door is a socket pair. Lines go one way; its end, seen from either side, is the end of the other. The
sockets stay open here, so what arrives between two lives of the child waits in them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import resolver
from resolver.names.changes import HANDED_OVER, READY, Change, write
from resolver.watch.capabilities import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from resolver.watch.attach.hatch import Hatch
    from resolver.watch.sockets import Sockets

GRACE: Final = 0.9
"""Seconds the child has to finish its answers when told to end."""
LONG_GRACE: Final = 6.0
"""The same when somebody else has its sockets: then it takes its time."""
LEAST_BACKLOG: Final = 8 << 20
"""Octets of lines that may wait for a child that does not read; a full picture twice over if that is more."""
SHORT_LIFE: Final = 1.0
"""A child that lived shorter died of something that will be there the next time too: it is not started again
at once."""
LONGEST_PAUSE: Final = 5.0

_KEPT_ENVIRONMENT: Final = ("PYTHON", "LANG", "LC_", "TZ", "NO_COLOR", "COVERAGE")

log = logging.getLogger(__name__)


class Child:
    """The answering process, as one that is always there."""

    def __init__(
        self,
        sockets: Sockets,
        picture: Callable[[], Iterable[Change]],
        *,
        log_level: str = "info",
        log_format: str = "text",
        cache_size: int | None = None,
        upstream_policy: str = "ordered",
        hatch: Hatch | None = None,
        module: str = "resolver.serve",
    ) -> None:
        """``picture`` gives everything a new child has to be told. ``hatch`` is for sockets of other network
        namespaces. ``module`` is what is run (``python -m``)."""
        self._sockets, self._picture, self._module = sockets, picture, module
        self._options: dict[str, object] = {"upstream_policy": upstream_policy}
        self._options |= {} if cache_size is None else {"cache_size": cache_size}
        self._hatch = hatch
        self._log_level, self._log_format = log_level, log_format
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None
        self._backlog = bytearray()
        self._limit = LEAST_BACKLOG
        self._writing = self._stopping = False
        self._born = self._pause = 0.0
        self._again: asyncio.TimerHandle | None = None
        self.ready = asyncio.Event()
        """The present one answers, from a full picture."""

    @property
    def pid(self) -> int | None:
        """Of the present one."""
        return self._process.pid if self._process else None

    @property
    def steady(self) -> bool:
        """Whether it is there, and not only between two deaths."""
        return self._process is not None and (not self._pause or self._loop.time() - self._born > SHORT_LIFE)

    def start(self) -> None:
        """Start it and tell it everything. Raises OSError where there is no room for it."""
        self._again = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs, self._hatch.open() if self._hatch else nullcontext() as hatch:
                self._process = self._spawn(theirs, hatch)
        except OSError:
            ours.close()
            raise
        ours.setblocking(False)
        self._door, self._born = ours, self._loop.time()
        self._loop.add_reader(ours.fileno(), self._ended)
        self._backlog.clear()
        self.ready.clear()
        picture = b"".join(_line(change) for change in self._picture())
        self._limit = max(LEAST_BACKLOG, 2 * len(picture))
        self._put(picture)

    def _start_again(self) -> None:
        try:
            self.start()
        except OSError as error:
            log.error("the answering process cannot be started now, and is tried again: %s", error)
            self._again = self._loop.call_later(LONGEST_PAUSE, self._start_again)

    def tell(self, changes: Iterable[Change]) -> None:
        """Send lines; never blocks. A child that does not read is replaced by one that is told everything
        anew."""
        if self._door is None:
            return  # the next one gets the whole picture
        self._put(b"".join(_line(change) for change in changes))
        if len(self._backlog) > self._limit and self._process:
            log.error(
                "the answering process does not read its changes; it is replaced", extra={"pid": self.pid}
            )
            _tell(self._process, signal.SIGKILL)
            self._ended()

    def send_signal(self, number: int) -> None:
        """Send the child a signal, if it is there."""
        if self._process:
            _tell(self._process, number)

    async def stop(self) -> None:
        """Close the door, so that it finishes its answers and ends; kill it if that takes longer than
        ``GRACE``."""
        self._stopping = True
        if self._again:
            self._again.cancel()
        process, self._process = self._process, None
        self._close_door()
        if process and not await _gone(process, GRACE):
            log.warning("the answering process did not end in time", extra={"pid": process.pid})
            _tell(process, signal.SIGKILL)
            await _gone(process, GRACE)

    async def hand_over(self) -> None:
        """Let it read no further question, answer those it has, and end: somebody else has its sockets."""
        self._stopping = True
        if self._again:
            self._again.cancel()
        process = self._process
        self._put(HANDED_OVER + b"\n")
        if process and not await _gone(process, LONG_GRACE):
            log.warning("the answering process did not end in time", extra={"pid": process.pid})
            _tell(process, signal.SIGKILL)

    def _spawn(self, door: socket.socket, hatch: socket.socket | None) -> subprocess.Popen[bytes]:
        """A process group of its own: Ctrl-C at the terminal is for us, and we tell the child."""
        assert self._sockets.status is not None
        passed = {
            "door": door.fileno(),
            "status": self._sockets.status.fileno(),
            "udp": [sock.fileno() for sock in self._sockets.udp],
            "tcp": [sock.fileno() for sock in self._sockets.tcp],
            "hatch": hatch.fileno() if hatch else None,
            "uid": NOBODY if os.geteuid() == 0 else None,
            "gid": NOBODY if os.geteuid() == 0 else None,
            "log_level": self._log_level,
            "log_format": self._log_format,
            **self._options,
        }
        descriptors = [
            passed["door"],
            passed["status"],
            *self._fds(self._sockets.udp),
            *self._fds(self._sockets.tcp),
            *self._fds([hatch] if hatch else []),
        ]
        # The child inherits the mask and lifts it when it has its handler: a signal before that must wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        try:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", self._module, json.dumps(passed)],
                pass_fds=descriptors,  # type: ignore[arg-type]
                stdin=subprocess.DEVNULL,
                env=_environment(),
                process_group=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})

    @staticmethod
    def _fds(sockets: Sequence[socket.socket]) -> list[int]:
        return [sock.fileno() for sock in sockets]

    def _put(self, octets: bytes) -> None:
        self._backlog += octets
        if not self._writing:
            self._write()

    def _write(self) -> None:
        if self._door is None:
            return
        try:
            while self._backlog:
                sent = self._door.send(memoryview(self._backlog)[: 1 << 18])
                del self._backlog[:sent]
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._door.fileno(), self._write)
            return
        except OSError:
            return  # it is dead: the other end of the door says so as well
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._door.fileno())

    def _ended(self) -> None:
        """The child's end of the door is closed: it is dead or as good as dead."""
        if self._door is not None:
            with suppress(OSError):  # nothing there, or cut off with lines unread
                if said := self._door.recv(4096):
                    if said == READY:
                        self.ready.set()
                    return  # it has nothing else to say to us, but may try
        process, self._process = self._process, None
        self._close_door()
        if process is None or self._stopping:
            return
        _tell(process, signal.SIGKILL)
        status = process.wait()  # killed: this is at once; else it ends by itself, its door being closed
        lived = self._loop.time() - self._born
        self._pause = 0.0 if lived > SHORT_LIFE else min(LONGEST_PAUSE, max(0.1, self._pause * 2))
        log.error(
            "the answering process died and is started again",
            extra={"pid": process.pid, "status": status, "lived": round(lived, 3), "pause": self._pause},
        )
        self._again = self._loop.call_later(self._pause, self._start_again)

    def _close_door(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            self._loop.remove_reader(door.fileno())
            self._loop.remove_writer(door.fileno())
            self._writing = False
            door.close()


def _tell(process: subprocess.Popen[bytes], number: int) -> None:
    """Root without the capability KILL may not signal nobody."""
    try:
        process.send_signal(number)
    except PermissionError:
        log.warning("no permission to signal the answering process; the capability KILL is missing")


def _line(change: Change) -> bytes:
    return write(change).encode() + b"\n"


def _environment() -> dict[str, str]:
    """What the child gets of our environment: nothing that names an engine or holds a secret.

    The package is found where this one was, also when it was started from a source tree.
    """
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT_ENVIRONMENT)}
    return {**kept, "PYTHONPATH": str(Path(resolver.__file__).resolve().parents[1])}


async def _gone(process: subprocess.Popen[bytes], patience: float) -> bool:
    """Whether it ended within so many seconds. Polls: this runs once, at our own end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while process.poll() is None:
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True
