"""UDP: drain the socket in batches, answer from memory what is at hand, hand the rest to the cold path.

A stock asyncio datagram transport reads one datagram per turn of the loop; here up to 64 are read with one
system call and up to 64 replies leave with one. Where the platform has no such calls they are read and sent
one by one.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from resolver.serve import mmsg
from resolver.serve.rates import refusal

if TYPE_CHECKING:
    import asyncio

    from resolver.serve.memory import Kept, Memory
    from resolver.serve.rates import Rates

MOST_TURNS: Final = 8
"""Batches read in a row before other sockets get their turn."""
PRESSURE: Final = 1 << 20
"""Octets waiting in a socket (the kernel's count: some 1,300 questions) above which clients get their share
only; three quarters of its room where that is less."""
SHARE: Final = 4
"""Questions of one client in a batch under pressure; of all together that have had no answer yet as well."""


class Client(Protocol):
    """Where a question came from and where its reply goes."""

    address: bytes
    """Packed source address."""
    body: bytes
    """The question without its ID, as the memory knows it; empty where nothing is to be remembered."""
    tcp: bool

    def send(self, reply: bytes) -> None:
        """Send the reply, later than the call that brought the question."""


Ask = Callable[[bytes, Client], bytes | None]
"""The cold path: a packet and who sent it → the reply with its ID, or None when it comes later or never."""


class Listener(Protocol):
    """One UDP socket that answers."""

    hits: int
    """Questions answered from memory."""
    cold: int
    """Other ones."""

    def close(self) -> None:
        """Stop reading; the socket stays open for whoever else holds it."""


def listen(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    memory: Memory,
    ask: Ask,
    rates: Rates,
    asker: bytes = b"",
) -> Listener:
    """Answer on a bound, non-blocking UDP socket until closed.

    ``asker``: whoever asks here is known, wherever the question comes from (``asker_of``).
    """
    kind = BatchListener if mmsg.available else PlainListener
    return kind(loop, sock, memory, ask, rates, asker)


def asker_of(container: str) -> bytes:
    """What stands for the source address of questions that come from an attached container. Longer than any
    address."""
    return b"container " + container.encode()


class BatchClient:
    """A sender whose reply leaves through the listener's outbox."""

    __slots__ = ("_control", "_listener", "_name", "address", "body", "tcp")

    def __init__(
        self, listener: BatchListener, name: bytes, control: bytes, address: bytes, body: bytes
    ) -> None:
        self._listener, self._name, self._control = listener, name, control
        self.address, self.body, self.tcp = address, body, False

    def send(self, reply: bytes) -> None:
        self._listener.send_later(reply, self._name, self._control)


_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("2I")
"""socket(7): octets waiting in the socket, and how many may."""

_NOBODY: Final[dict[bytes, Kept]] = {b"": b""}
"""An attached container nothing is at hand for. True in a condition, and holds no question."""

_outboxes: dict[tuple[int, bool], mmsg.Outbox] = {}
"""Shared by the sockets of attached containers: each of its own would be tens of thousands of octets."""


def _outbox(kind: tuple[int, bool]) -> mmsg.Outbox:
    if kind not in _outboxes:
        _outboxes[kind] = mmsg.Outbox(kind[0], packet_info=kind[1])
    return _outboxes[kind]


_EMPTY: Final = 2
"""Octets of a slot whose question is not answered here: an ID, and nothing behind it."""

_batches: dict[tuple[int, bool], mmsg.Batch] = {}
"""Shared by all sockets of a kind: they are drained one after the other."""


class BatchListener:
    """A socket drained with recvmmsg and answered with sendmmsg."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        memory: Memory,
        ask: Ask,
        rates: Rates,
        asker: bytes = b"",
    ) -> None:
        self._loop, self._sock, self._fd = loop, sock, sock.fileno()
        self._memory, self._ask, self._rates, self._asker = memory, ask, rates, asker
        self.hits = self.cold = self.shed = 0
        kind = (int(sock.family), _tells_destination(sock))
        if kind not in _batches:
            _batches[kind] = mmsg.Batch(kind[0], packet_info=kind[1])
        self._batch = _batches[kind]
        self._first, self._last = mmsg.ADDRESS[sock.family]
        self._outbox = _outbox(kind) if asker else mmsg.Outbox(kind[0], packet_info=kind[1])
        self._flushing = False
        loop.add_reader(self._fd, self._drain)

    def send_later(self, reply: bytes, name: bytes, control: bytes) -> None:
        """Put a reply into this turn's outbox.

        Not once the socket is closed: its number may be another container's by now.
        """
        if self._sock.fileno() < 0:
            return
        self._outbox.put(self._fd, reply, name, control, wait=not self._asker)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        self._flush()

    def _flush(self) -> None:
        self._flushing = False
        if (
            self._sock.fileno() >= 0 and self._outbox.fd == self._fd
        ):  # else another socket that shares it was in between, and sent ours
            self._outbox.flush(self._fd, wait=not self._asker)

    def _drain(self) -> None:
        for _ in range(MOST_TURNS):
            count = self._batch.receive(self._fd)
            if count == mmsg.SLOTS and not self._asker and self._pressed():
                self._shed(count)
            if self._rates.limit:
                self._refuse(count)
            if count:
                self._answer(count)
            if count < mmsg.SLOTS:
                return

    def _pressed(self) -> bool:
        """Whether questions come faster than they are answered: soon the kernel would drop anybody's."""
        try:
            told = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return False  # before Linux 4.12
        waiting, room = _MEMINFO.unpack(told)
        return bool(waiting > min(PRESSURE, room // 4 * 3))

    def _shed(self, count: int) -> None:
        """Empty the slots of those who ask more than their share: others shall not be dropped for them."""
        batch, clients = self._batch, self._memory.clients
        taken: dict[bytes, int] = {}
        for i in range(count):
            at = i * batch.name_size
            address = batch.names[at + self._first : at + self._last].tobytes()
            key = address if address in clients else b""
            taken[key] = taken.get(key, 0) + 1
            if taken[key] > SHARE:
                batch.lengths[i * batch.stride + batch.at] = _EMPTY
                self.shed += 1

    def _refuse(self, count: int) -> None:
        """Empty the slots of those who ask more than they may, and tell them."""
        batch = self._batch
        for i in range(count):
            at, length = i * mmsg.SIZE, batch.lengths[i * batch.stride + batch.at]
            name = batch.names[i * batch.name_size :]
            address = self._asker or name[self._first : self._last].tobytes()
            if length > _EMPTY and self._rates.over(address):
                packet = batch.replies[at : at + 2].tobytes() + batch.bodies[at : at + length - 2].tobytes()
                reply = refusal(packet)
                if reply is not None:
                    self.send_later(reply, *batch.sender(i))
                batch.lengths[i * batch.stride + batch.at] = _EMPTY

    def _answer(self, count: int) -> None:
        """The hot loop. A slot left without a reply splits the batch into runs."""
        batch, clients, size = self._batch, self._memory.clients, mmsg.SIZE
        names, bodies, replies, lengths, sizes = (
            batch.names,
            batch.bodies,
            batch.replies,
            batch.lengths,
            batch.sizes,
        )
        stride, length_at, name_size = batch.stride, batch.at, batch.name_size
        first, last = self._first, self._last
        alone = clients.get(self._asker, _NOBODY) if self._asker else None
        hits = start = 0
        for i in range(count):
            at, name = i * size, i * name_size
            body = bodies[at : at + lengths[i * stride + length_at] - 2].tobytes()
            known = alone or clients.get(names[name + first : name + last].tobytes())
            reply = known.get(body) if known is not None else None
            if reply.__class__ is not bytes and reply is not None:
                reply = reply.next()  # type: ignore[union-attr]
            if reply:
                hits += 1
            else:
                reply = self._cold(i, body)
                if reply is None:
                    if i > start:
                        batch.send(self._fd, start, i - start, wait=not self._asker)
                    start = i + 1
                    continue
            replies[at + 2 : at + 2 + len(reply)] = reply
            sizes[i * 2 + 1] = len(reply) + 2
        if count > start:
            batch.send(self._fd, start, count - start, wait=not self._asker)
        self.hits += hits
        self.cold += count - hits

    def _cold(self, slot: int, body: bytes) -> bytes | None:
        """A question not at hand. The reply without its ID, or None when there is none now."""
        batch, at = self._batch, slot * mmsg.SIZE
        if batch.lengths[slot * batch.stride + batch.at] < 12:
            return None
        name, control = batch.sender(slot)
        address = self._asker or name[self._first : self._last]
        client = BatchClient(self, name, control, address, body)
        reply = self._ask(batch.replies[at : at + 2].tobytes() + body, client)
        if reply is None or len(reply) > mmsg.SIZE:
            if reply is not None:
                client.send(reply)
            return None
        return reply[2:]


class PlainClient:
    """A sender known by the address Python gives."""

    __slots__ = ("_ancillary", "_sock", "_to", "address", "body", "tcp")

    def __init__(
        self,
        sock: socket.socket,
        to: tuple[Any, ...],
        ancillary: list[tuple[int, int, bytes]],
        address: bytes,
        body: bytes,
    ) -> None:
        self._sock, self._to, self._ancillary = sock, to, ancillary
        self.address, self.body, self.tcp = address, body, False

    def send(self, reply: bytes) -> None:
        try:
            self._sock.sendmsg([reply], self._ancillary, 0, self._to)
        except OSError:
            return  # the network may drop any datagram


class PlainListener:
    """A socket read and answered one datagram at a time, several in a row."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        memory: Memory,
        ask: Ask,
        rates: Rates,
        asker: bytes = b"",
    ) -> None:
        self._loop, self._sock, self._memory, self._ask = loop, sock, memory, ask
        self._rates, self._asker = rates, asker
        self.hits = self.cold = 0
        loop.add_reader(sock.fileno(), self._drain)

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())

    def _drain(self) -> None:
        for _ in range(MOST_TURNS * mmsg.SLOTS):
            try:
                packet, ancillary, _, to = self._sock.recvmsg(mmsg.SIZE, mmsg.CONTROL_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error about an earlier reply; it is told once
            if len(packet) < 12:
                continue
            address = self._asker or socket.inet_pton(self._sock.family, to[0].partition("%")[0])
            client = PlainClient(self._sock, to, ancillary, address, packet[2:])
            hits = self.hits
            if self._rates.limit and self._rates.over(address):
                reply = refusal(packet)
            else:
                reply = self._at_hand(client) or self._ask(packet, client)
            self.cold += self.hits == hits
            if reply:
                client.send(packet[:2] + reply[2:])

    def _at_hand(self, client: PlainClient) -> bytes | None:
        kept = self._memory.clients.get(client.address, {}).get(client.body)
        reply = kept if kept is None or isinstance(kept, bytes) else kept.next()
        if not reply:
            return None
        self.hits += 1
        return b"\x00\x00" + reply


def _tells_destination(sock: socket.socket) -> bool:
    """Whether it is bound to a wildcard, so that replies must say from which address they go."""
    return sock.getsockname()[0] in ("0.0.0.0", "::")
