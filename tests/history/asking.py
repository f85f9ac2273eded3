"""Clients that ask at random until told to stop, over UDP and TCP, and write down what they hear.

In a process of their own, so that they keep time while the engine is driven.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import dns.reversename

from tests.history.record import NEVER, Asked
from tests.oracle.message import Question
from tests.oracle.namespaces import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

Address = tuple[str, int]

_AFTER: Final = 5.0
"""Seconds in which the last replies may still come."""
_AGAIN: Final = 2.0
"""Seconds without reply after which a question is asked once more, as every stub resolver does: the network
may drop any datagram."""
_LOOKS: Final = 0.25
"""Seconds between two looks for such questions."""
_PER_CONNECTION: Final = 50
"""Questions over one connection; Docker's resolver closes it after 128."""


@dataclass(frozen=True, slots=True)
class Seat:
    """From where is asked, and whom."""

    asker: str
    namespace: str
    servers: tuple[tuple[str, Address], ...]
    """(Network it is reached over, address) pairs; the first network is home and has an empty name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who asks what, and how often."""

    seats: tuple[Seat, ...]
    names: tuple[str, ...]
    networks: tuple[str, ...]
    addresses: tuple[str, ...]
    """Those reverse lookups ask for."""
    seed: int
    rate: float
    """Questions a second, of all together."""


class Answers:
    """What came in while the process ran; there once the context is over."""

    asked: tuple[Asked, ...] = ()


@contextmanager
def asking(plan: Plan) -> Iterator[Answers]:
    """A process that asks while the context lasts."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_ask, args=(plan, theirs), daemon=True)
    process.start()
    theirs.close()
    answers = Answers()
    try:
        ours.recv()
        yield answers
        ours.send(None)
        answers.asked = tuple(ours.recv())
        process.join()
    finally:
        process.kill()
        ours.close()


def _ask(plan: Plan, parent: Connection[object, None]) -> None:
    random, asked = Random(plan.seed), list[Asked]()
    with selectors.DefaultSelector() as selector:
        lines: list[_Line] = [kind(seat, asked.append) for seat in plan.seats for kind in (_Udp, _Udp, _Tcp)]
        for line in lines:
            line.open(random)
        parent.send(None)
        due = look = time.monotonic()
        while not parent.poll():
            now = time.monotonic()
            if now >= due:
                random.choice(lines).send(random, _question(plan, random))
                due = max(due, now - 0.01) + random.expovariate(plan.rate)
            look = _ask_again(lines, look, now)
            _receive(selector, lines, max(0.0, min(due - now, 0.1)))
        last = time.monotonic() + _AFTER
        while (now := time.monotonic()) < last and any(line.waiting for line in lines):
            look = _ask_again(lines, look, now)
            _receive(selector, lines, 0.05)
    for line in lines:
        line.give_up()
    parent.send(asked)


def _ask_again(lines: list[_Line], look: float, now: float) -> float:
    """Now and then; when the next time is."""
    if now < look:
        return look
    for line in lines:
        line.ask_again(now)
    return now + _LOOKS


def _receive(selector: selectors.BaseSelector, lines: list[_Line], seconds: float) -> None:
    """Connections come and go: what is watched is looked over each time."""
    watched = {key.fileobj for key in selector.get_map().values()}
    current = {line.socket: line for line in lines if line.socket is not None}
    for gone in watched - current.keys():
        selector.unregister(gone)
    for sock in current.keys() - watched:
        selector.register(sock, selectors.EVENT_READ, current[sock])
    for key, _ in selector.select(seconds):
        key.data.receive()


def _question(plan: Plan, random: Random) -> Question:
    chance = random.random()
    if chance < 0.2:
        pointer = dns.reversename.from_address(random.choice(plan.addresses))
        return Question(pointer.to_text(omit_final_dot=True), "PTR")
    name = random.choice(plan.names)
    if chance < 0.4:
        name = f"{name}.{random.choice(plan.networks)}"
    return Question(name, "AAAA" if random.random() < 0.1 else "A")


@dataclass(slots=True)
class _Waiting:
    """A question that has no reply yet."""

    question: Question
    sent: float
    through: str = ""
    first: int = 0
    """The number of the question that this one repeats; 0 for none."""
    repeated: bool = False


class _Line:
    """One socket in an asker's namespace, and the questions that wait for a reply on it."""

    socket: socket.socket | None = None

    def __init__(self, seat: Seat, note: Callable[[Asked], object]) -> None:
        self._seat, self._note = seat, note
        self.waiting: dict[int, _Waiting] = {}
        self._number = 0

    def open(self, random: Random) -> None:
        raise NotImplementedError

    def send(self, random: Random, question: Question) -> None:
        raise NotImplementedError

    def ask_again(self, now: float) -> None:
        """Ask once more what got no reply."""

    def receive(self) -> None:
        raise NotImplementedError

    def give_up(self) -> None:
        """What was not answered is noted as such."""
        for one in self.waiting.values():
            if not one.first:
                self._unanswered(one, repeated=False)
        self.waiting.clear()
        if self.socket:
            self.socket.close()
            self.socket = None

    def _wait(self, question: Question, through: str = "", first: int = 0) -> bytes:
        self._number = self._number % 65_535 + 1
        packet = question.packet(self._number)
        self.waiting[self._number] = _Waiting(question, time.monotonic(), through, first)
        return packet

    def _heard(self, packet: bytes, now: float) -> None:
        one = self.waiting.pop(int.from_bytes(packet[:2], "big"), None)
        if one is None:
            return
        self._note(Asked(self._seat.asker, one.question, one.sent, now, packet, one.through))
        if first := self.waiting.pop(one.first, None):
            self._unanswered(first, repeated=True)

    def _unanswered(self, one: _Waiting, *, repeated: bool) -> None:
        self._note(Asked(self._seat.asker, one.question, one.sent, NEVER, b"", one.through, repeated))


class _Udp(_Line):
    """Not connected: each question may go to another server."""

    def open(self, random: Random) -> None:
        self.socket = within(
            Path(self._seat.namespace), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        )
        self.socket.setblocking(False)

    def send(self, random: Random, question: Question) -> None:
        through, server = random.choice((self._seat.servers[0], *self._seat.servers))
        self._send_to(server, self._wait(question, through))

    def ask_again(self, now: float) -> None:
        """At home only: on a network that was left nobody would hear it."""
        _, home = self._seat.servers[0]
        for number, one in list(self.waiting.items()):
            if now - one.sent > _AGAIN and not (one.through or one.first or one.repeated):
                one.repeated = self._send_to(home, self._wait(one.question, first=number))

    def _send_to(self, server: Address, packet: bytes) -> bool:
        assert self.socket is not None
        try:
            self.socket.sendto(packet, server)
        except OSError:  # a network was just left or is being changed: nobody was asked
            del self.waiting[self._number]
            return False
        return True

    def receive(self) -> None:
        assert self.socket is not None
        with suppress(BlockingIOError):
            while True:
                packet = self.socket.recv(4096)
                self._heard(packet, time.monotonic())


class _Tcp(_Line):
    """One question at a time, a new connection after some."""

    def open(self, random: Random) -> None:
        self._rest, self._left = b"", _PER_CONNECTION
        _, home = self._seat.servers[0]
        self.socket = within(Path(self._seat.namespace), lambda: socket.create_connection(home, 5))

    def send(self, random: Random, question: Question) -> None:
        if self.waiting:
            return
        if self.socket is None or self._left == 0:
            self.give_up()
            self.open(random)
        assert self.socket is not None
        packet = self._wait(Question(question.name, question.qtype, tcp=True))
        self._left -= 1
        self.socket.sendall(struct.pack("!H", len(packet)) + packet)

    def receive(self) -> None:
        assert self.socket is not None
        try:
            received = self.socket.recv(65_535)
        except ConnectionError:
            received = b""
        if not received:
            self.give_up()
            return
        self._rest += received
        while len(self._rest) >= 2 and len(self._rest) >= (size := 2 + int.from_bytes(self._rest[:2], "big")):
            self._heard(self._rest[2:size], time.monotonic())
            self._rest = self._rest[size:]
