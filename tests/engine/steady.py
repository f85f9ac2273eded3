"""Somebody in a container who goes on asking, over UDP, and notes every answer."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from dnslib import DNSRecord

from tests.oracle.namespaces import namespace_of, within

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE: Final = 5.0
"""Seconds until a question counts as lost: as long as libc waits."""
KEPT: Final = 4
"""Sockets that are used again and again; every other question is sent from a fresh one."""


@dataclass(slots=True)
class Asked:
    """One question, and what came of it."""

    sent: float
    """time.monotonic()."""
    values: list[str] | None = None
    """The addresses; None while there is no reply."""
    ttl: int = 0
    took: float = 0.0


@dataclass(slots=True)
class Steady:
    """A context: inside it, ``rate`` questions a second are asked."""

    pid: int
    """A process in the container."""
    name: str
    rate: float = 1000.0
    server: str = "127.0.0.11"
    asked: list[Asked] = field(default_factory=list)
    took: float = 0.0
    """Seconds it asked for."""
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _fresh: deque[socket.socket] = field(default_factory=deque)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._run)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        for thread in self._threads:
            thread.join()

    def end(self) -> None:
        """Ask no more, and do not wait for what is missing: so several can be ended at once."""
        self._over.set()

    @property
    def reached(self) -> float:
        """Questions a second that were asked: a busy machine does not always come to ``rate``."""
        return len(self.asked) / self.took

    @property
    def lost(self) -> list[Asked]:
        """Those without a reply."""
        return [one for one in self.asked if one.values is None]

    def wrong(self, right: list[str]) -> list[Asked]:
        """Those with another answer."""
        return [one for one in self.asked if one.values is not None and one.values != right]

    def _run(self) -> None:
        within(namespace_of(self.pid), self._ask)

    def _ask(self) -> None:
        """In the namespace: its sockets are made all the time."""
        packet = DNSRecord.question(self.name).pack()
        kept = [self._socket() for _ in range(KEPT)]
        waiting: dict[tuple[int, int], Asked] = {}
        fresh: deque[tuple[float, socket.socket]] = deque()
        number, began = 0, time.monotonic()
        try:
            while not self._over.is_set():
                sock = kept[number // 2 % KEPT] if number % 2 else self._socket()
                if not number % 2:
                    fresh.append((time.monotonic(), sock))
                ident = number % 65_536
                one = Asked(time.monotonic())
                self.asked.append(one)
                waiting[sock.fileno(), ident] = one
                sock.send(ident.to_bytes(2, "big") + packet[2:])
                number += 1
                pause = began + number / self.rate - time.monotonic()
                self._hear([*kept, *(s for _, s in fresh)] if number % 16 == 0 else kept, waiting)
                while fresh and fresh[0][0] < time.monotonic() - 0.5:
                    self._hear([fresh[0][1]], waiting)
                    fresh.popleft()[1].close()
                if pause > 0:
                    time.sleep(pause)
            self.took = time.monotonic() - began
            print(f"{self.reached:.0f} questions a second for {self.took:.1f} s")  # noqa: T201
            deadline = time.monotonic() + PATIENCE
            while waiting and time.monotonic() < deadline:
                self._hear([*kept, *(s for _, s in fresh)], waiting)
                time.sleep(0.01)
        finally:
            for sock in (*kept, *(s for _, s in fresh)):
                sock.close()

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((self.server, 53))
        sock.setblocking(False)
        return sock

    def _hear(self, sockets: list[socket.socket], waiting: dict[tuple[int, int], Asked]) -> None:
        for sock in sockets:
            while True:
                try:
                    reply = sock.recv(4096)
                except OSError:
                    break  # nothing there, or a word of ICMP about an earlier question
                one = waiting.pop((sock.fileno(), int.from_bytes(reply[:2], "big")), None)
                if one is not None:
                    record = DNSRecord.parse(reply)
                    one.values = sorted(str(rr.rdata) for rr in record.rr)
                    one.ttl = record.rr[0].ttl if record.rr else 0
                    one.took = time.monotonic() - one.sent
