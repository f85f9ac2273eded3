"""A bad connection to a real engine: a unix socket, or a port, with the engine's socket behind it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

Fault = Literal["", "deaf", "drop", "half", "finish", "garble"]


class Between:
    """Passes octets both ways. ``fault`` says what becomes of what the engine sends:

    ``deaf``    nothing passes any more, in either direction, and nothing is closed
    ``drop``    the next event is left out
    ``half``    of the next event only a half passes, then the connection is cut
    ``finish``  instead of the next event the stream ends as if it were complete
    ``garble``  the next event's JSON is damaged
    """

    def __init__(self, engine: Path, place: Path | None = None) -> None:
        """Without a place it listens on a port of this machine."""
        self.engine, self.place = engine, place
        self.fault: Fault = ""
        self.left_out = 0
        self._open: set[socket.socket] = set()
        self._streams: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.url = ""
        self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.vanish()
        for thread in self._threads:
            thread.join()

    def listen(self) -> None:
        """Be there, for the first time or again."""
        if self.place:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.place))
            self.url = f"unix://{self.place}"
        else:
            self._listener = socket.socket()
            self._listener.bind(("127.0.0.1", 0))
            self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._listener.listen(64)
        self._begin(self._accept, self._listener)

    def vanish(self) -> None:
        """Nobody listens, there is no socket file, and nothing is connected."""
        if self._listener:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if self.place:
            self.place.unlink(missing_ok=True)
        self.cut()

    def cut(self) -> None:
        """End all connections, and only those."""
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _begin(self, story: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=story, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                self._begin(self._connected, caller)

    def _connected(self, caller: socket.socket) -> None:
        with caller, socket.socket(socket.AF_UNIX) as engine:
            self._open |= {caller, engine}
            if self._listener and self._listener.fileno() < 0:
                return  # accepted in the last moment
            with suppress(OSError):
                engine.connect(str(self.engine))
                back = threading.Thread(target=self._pump, args=(caller, engine, False), daemon=True)
                back.start()
                self._pump(engine, caller, True)
                back.join()
            self._open -= {caller, engine}

    def _pump(self, source: socket.socket, sink: socket.socket, from_engine: bool) -> None:
        with suppress(OSError):
            while octets := source.recv(65_536):
                if b"/events?" in octets and b"until=" not in octets:
                    self._streams |= {source, sink}
                if self.fault == "deaf":
                    continue
                spoilt = self.fault if from_engine and source in self._streams else ""
                if passed := self._spoilt(octets, spoilt):
                    sink.sendall(passed)
                if spoilt in ("half", "finish"):
                    break
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _spoilt(self, octets: bytes, fault: str) -> bytes:
        """An engine sends each event as one chunk, in one piece. Only one is spoilt."""
        if not fault:
            return octets
        self.fault = ""
        self.left_out += 1
        match fault:
            case "half":
                return octets[: len(octets) // 2]
            case "finish":
                return b"0\r\n\r\n"
            case "garble":
                return octets.replace(b'"Type"', b'"Type\\', 1)
            case _:
                return b""
