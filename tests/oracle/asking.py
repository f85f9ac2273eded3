"""Many questions to one server at once, from inside a container's network namespace."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.oracle.message import Question, Reply, read_reply
from tests.oracle.namespaces import within

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

Address = tuple[str, int]

QUIET: Final = 0.5
"""Seconds without any reply after which those that are missing are taken for silence, and asked once more."""
LAST_QUIET: Final = 1.5
_MOST_AT_ONCE: Final = 100
"""Docker's resolver closes a TCP connection after 128 questions."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where questions are asked from and whom they are asked."""

    namespace: Path
    server: Address
    over_tcp: Address | None = None
    """Where the same server is asked over TCP, if that is elsewhere."""

    def ask(self, questions: Sequence[Question], *, once: Collection[Question] = ()) -> list[Reply]:
        """The replies, in the order of the questions; silence is a reply.

        What is not answered is asked again, but for those questions for which silence is no surprise.
        """
        found = self._both(dict(enumerate(questions)), QUIET)
        missing = {i: q for i, q in enumerate(questions) if i not in found and q not in once}
        found.update(self._both(missing, LAST_QUIET))
        return [found.get(i, Reply()) for i in range(len(questions))]

    def _both(self, questions: dict[int, Question], quiet: float) -> dict[int, Reply]:
        """Over UDP and over TCP at the same time."""
        if not questions:
            return {}
        with ThreadPoolExecutor(2) as pool:
            udp = pool.submit(self._transport, questions, tcp=False, quiet=quiet)
            tcp = pool.submit(self._transport, questions, tcp=True, quiet=quiet)
            return udp.result() | tcp.result()

    def _transport(self, questions: dict[int, Question], *, tcp: bool, quiet: float) -> dict[int, Reply]:
        some = [i for i, question in questions.items() if question.tcp is tcp]
        found: dict[int, Reply] = {}
        for begin in range(0, len(some), _MOST_AT_ONCE):
            batch = {i: questions[i] for i in some[begin : begin + _MOST_AT_ONCE]}
            found.update(self._batch(batch, tcp=tcp, quiet=quiet))
        return found

    def _batch(self, questions: dict[int, Question], *, tcp: bool, quiet: float) -> dict[int, Reply]:
        kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        server = (tcp and self.over_tcp) or self.server
        replies: dict[int, Reply] = {}
        try:
            with within(self.namespace, lambda: _connected(server, kind)) as sock:
                for number, question in questions.items():
                    packet = question.packet(number + 1)
                    sock.sendall(struct.pack("!H", len(packet)) + packet if tcp else packet)
                for packet in _packets(sock, len(questions), tcp=tcp, quiet=quiet):
                    number = int.from_bytes(packet[:2], "big") - 1
                    if number in questions:
                        replies[number] = read_reply(packet, questions[number])
        except ConnectionError as error:
            refused = Reply(f"no server: {error}")
            return {number: replies.get(number, refused) for number in questions}
        return replies


def _connected(server: Address, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.settimeout(2)
        sock.connect(server)
    except OSError:
        sock.close()
        raise
    return sock


def _packets(sock: socket.socket, wanted: int, *, tcp: bool, quiet: float) -> Iterator[bytes]:
    """Whole messages as they come, until there are enough or nothing more comes."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        while wanted and selector.select(quiet):
            received = sock.recv(65_535)
            if not tcp:
                wanted -= 1
                yield received
                continue
            if not received:
                return
            rest += received
            while len(rest) >= 2 and len(rest) >= (size := 2 + int.from_bytes(rest[:2], "big")):
                wanted -= 1
                yield rest[2:size]
                rest = rest[size:]


def await_answer(seat: Seat, question: Question, seconds: float) -> bool:
    """Whether the server answers the question with NOERROR within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):
            if seat.ask([question])[0].rcode == "NOERROR":
                return True
        time.sleep(0.05)
    return False
