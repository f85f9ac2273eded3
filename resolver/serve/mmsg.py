"""Datagrams in batches: recvmmsg and sendmmsg through ctypes, with nothing allocated per packet by the
kernel's side.

One Batch serves every socket of its kind in turn. Its memory is laid out so that a packet needs no copying to
be answered: the kernel scatters the ID of question *i* straight into the first two octets of reply *i*, and
the rest into slot *i* of ``bodies``, where it is the key under which the reply is remembered. Sender address
and packet information stay where recvmmsg put them, and sendmmsg reads them from there.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import select
import socket
from typing import Final

SLOTS: Final = 64
"""Datagrams in one system call."""
SIZE: Final = 4096
"""The longest question read, in octets."""
LONGEST: Final = 1 << 16
"""Room for any reply that a datagram can carry."""

NAME_SIZE: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
ADDRESS: Final = {socket.AF_INET: (4, 8), socket.AF_INET6: (8, 24)}
"""Where the address lies in a sockaddr of that family."""
CONTROL_SIZE: Final = 64
"""Room for one in_pktinfo or in6_pktinfo and its header."""
MSG_DONTWAIT: Final = socket.MSG_DONTWAIT


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("hdr", _Msghdr), ("len", ctypes.c_uint))


_libc = ctypes.CDLL(None, use_errno=True)
available: Final = hasattr(_libc, "recvmmsg") and hasattr(_libc, "sendmmsg")
"""Whether this platform has both calls; elsewhere ``serve.udp`` reads one datagram at a time."""

_HEADER: Final = ctypes.sizeof(_Mmsghdr)
_WORDS: Final = _HEADER // 4
_LENGTH_WORD: Final = _Mmsghdr.len.offset // 4


class Batch:
    """Room for SLOTS datagrams in and their replies out, for sockets of one family.

    After ``receive`` the public views hold, for slot ``i``: ``lengths[i * stride + at]`` octets came in, ID
    included, of which those after the ID are ``bodies[i * SIZE:]``; the sender is ``names[i * name_size:]``.
    A reply goes, without its ID, to ``replies[i * SIZE + 2:]``, its whole length to ``sizes[i * 2 + 1]``, and
    leaves with ``send``.
    """

    stride: Final = _WORDS
    at: Final = _LENGTH_WORD

    def __init__(self, family: int, *, packet_info: bool = False) -> None:
        self.name_size = NAME_SIZE[socket.AddressFamily(family)]
        self.packet_info = packet_info
        self._names = bytearray(SLOTS * self.name_size)
        self._bodies = bytearray(SLOTS * SIZE)
        self._replies = bytearray(SLOTS * SIZE)
        self._control = bytearray(SLOTS * CONTROL_SIZE)
        self._received = (_Mmsghdr * SLOTS)()
        self._sent = (_Mmsghdr * SLOTS)()
        self._scatter = (_Iovec * (SLOTS * 2))()
        self._gather = (_Iovec * SLOTS)()
        self.names = memoryview(self._names)
        self.bodies = memoryview(self._bodies)
        self.replies = memoryview(self._replies)
        self.control = memoryview(self._control)
        self.lengths = memoryview(self._received).cast("B").cast("I")
        self.sizes = memoryview(self._gather).cast("B").cast("L")
        self._lay_out()

    def _lay_out(self) -> None:
        names, bodies, replies, control = map(
            _address, (self._names, self._bodies, self._replies, self._control)
        )
        scatter, gather = ctypes.addressof(self._scatter), ctypes.addressof(self._gather)
        iovec = ctypes.sizeof(_Iovec)
        for i in range(SLOTS):
            self._scatter[2 * i] = _Iovec(replies + i * SIZE, 2)
            self._scatter[2 * i + 1] = _Iovec(bodies + i * SIZE, SIZE - 2)
            self._gather[i] = _Iovec(replies + i * SIZE, 0)
            for header, iov, count in (
                (self._received[i].hdr, scatter + 2 * i * iovec, 2),
                (self._sent[i].hdr, gather + i * iovec, 1),
            ):
                header.name, header.namelen = names + i * self.name_size, self.name_size
                header.iov, header.iovlen = iov, count
                if self.packet_info:
                    header.control, header.controllen = control + i * CONTROL_SIZE, CONTROL_SIZE

    def receive(self, fd: int) -> int:
        """How many datagrams were read; 0 when none is waiting, or when the socket had an error to tell
        (ICMP)."""
        if self.packet_info:
            for header in self._received:
                header.hdr.controllen = CONTROL_SIZE
        count: int = _libc.recvmmsg(fd, self._received, SLOTS, MSG_DONTWAIT, None)
        if count < 0:
            return 0
        if self.packet_info:
            for i in range(count):
                self._sent[i].hdr.controllen = self._received[i].hdr.controllen
        return count

    def send(self, fd: int, first: int, count: int, *, wait: bool = True) -> None:
        """Send the replies of ``count`` slots from ``first`` on. What the socket will not take now is
        dropped, as the network may drop any datagram; a reply that cannot be sent does not hold up the
        others."""
        _send_all(fd, ctypes.addressof(self._sent) + first * _HEADER, count, wait)

    def sender(self, slot: int) -> tuple[bytes, bytes]:
        """(sockaddr, control message) of the datagram in a slot, for a reply that comes later."""
        name = self.names[slot * self.name_size : (slot + 1) * self.name_size].tobytes()
        if not self.packet_info:
            return name, b""
        at = slot * CONTROL_SIZE
        return name, self.control[at : at + self._received[slot].hdr.controllen].tobytes()


class Outbox:
    """Datagrams that leave later than the batch a question came in with: forwarded and held replies, and
    questions to upstream servers, which without a family go to a connected socket's peer.

    Gathered during one turn of the loop, sent with one call. All is copied into memory laid out beforehand:
    setting a ctypes field costs more than copying what it would point to.
    """

    def __init__(self, family: int | None = None, *, packet_info: bool = False) -> None:
        self._name_size = NAME_SIZE[socket.AddressFamily(family)] if family is not None else 0
        self._headers = (_Mmsghdr * SLOTS)()
        self._iovecs = (_Iovec * SLOTS)()
        packets = mmap.mmap(-1, SLOTS * LONGEST)  # only the pages that are written to take memory
        names, control = bytearray(SLOTS * self._name_size or 1), bytearray(SLOTS * CONTROL_SIZE)
        starts = [ctypes.addressof(ctypes.c_char.from_buffer(area)) for area in (packets, names, control)]
        for i in range(SLOTS):
            header = self._headers[i].hdr
            self._iovecs[i].base = starts[0] + i * LONGEST
            header.iov, header.iovlen = ctypes.addressof(self._iovecs[i]), 1
            if self._name_size:
                header.name, header.namelen = starts[1] + i * self._name_size, self._name_size
            header.control = starts[2] + i * CONTROL_SIZE if packet_info else None
        self._packets, self._names = memoryview(packets), memoryview(names)
        self._control = memoryview(control)
        self._sizes = memoryview(self._iovecs).cast("B").cast("L")
        self._packet_info = packet_info
        self._count = 0
        self.fd = -1
        """The socket that what is in it goes to."""

    def put(
        self, fd: int, packet: bytes, name: bytes = b"", control: bytes = b"", *, wait: bool = True
    ) -> int:
        """Add one; sends when full, and returns what ``flush`` returns."""
        if fd != self.fd:
            if self._count:  # shared by several sockets
                self.flush(self.fd, wait=wait)
            self.fd = fd
        i, size, name_size = self._count, len(packet), self._name_size
        self._packets[i * LONGEST : i * LONGEST + size] = packet
        self._sizes[2 * i + 1] = size
        self._names[i * name_size : (i + 1) * name_size] = name
        if self._packet_info:
            self._control[i * CONTROL_SIZE : i * CONTROL_SIZE + len(control)] = control
            self._headers[i].hdr.controllen = len(control)
        self._count = i + 1
        return self.flush(fd, wait=wait) if i + 1 == SLOTS else 0

    def add(self, packet: bytes) -> bool:
        """Add one for a connected socket's peer; whether it is full now, and must be flushed."""
        i, size = self._count, len(packet)
        self._packets[i * LONGEST : i * LONGEST + size] = packet
        self._sizes[2 * i + 1] = size
        self._count = i + 1
        return i + 1 == SLOTS

    def flush(self, fd: int, *, wait: bool = True) -> int:
        """Send what was put, in order. One that cannot be sent is skipped; the first such error's number, 0
        for none."""
        count, self._count = self._count, 0
        return _send_all(fd, ctypes.addressof(self._headers), count, wait)


class Inbox:
    """Datagrams of a connected socket, read in batches: replies of an upstream server."""

    def __init__(self) -> None:
        self._headers = (_Mmsghdr * SLOTS)()
        self._iovecs = (_Iovec * SLOTS)()
        packets = mmap.mmap(-1, SLOTS * LONGEST)  # only the pages that are written to take memory
        start = ctypes.addressof(ctypes.c_char.from_buffer(packets))
        for i in range(SLOTS):
            self._iovecs[i] = _Iovec(start + i * LONGEST, LONGEST)
            header = self._headers[i].hdr
            header.iov, header.iovlen = ctypes.addressof(self._iovecs[i]), 1
        self._packets = memoryview(packets)
        self._lengths = memoryview(self._headers).cast("B").cast("I")[_LENGTH_WORD::_WORDS]

    def receive(self, fd: int) -> list[bytes]:
        """Up to SLOTS datagrams, as many as are there.

        Raises OSError for what the socket has to tell instead (ICMP), BlockingIOError for none there.
        """
        count: int = _libc.recvmmsg(fd, self._headers, SLOTS, MSG_DONTWAIT, None)
        if count < 0:
            failure = ctypes.get_errno()
            raise OSError(failure, errno.errorcode.get(failure, ""))
        packets, lengths = self._packets, self._lengths
        return [packets[i * LONGEST : i * LONGEST + lengths[i]].tobytes() for i in range(count)]


def _address(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _send_all(fd: int, headers: int, count: int, wait: bool) -> int:
    """Send the datagrams of ``count`` headers at this address; the first error's number, 0 for none.

    A datagram that cannot be sent is skipped. Where the socket is full it is waited for, once and if
    ``wait``; whatever it will not take then is dropped: somebody may have made its network a slow one.
    """
    done = failure = 0
    while done < count:
        sent: int = _libc.sendmmsg(fd, ctypes.c_void_p(headers + done * _HEADER), count - done, MSG_DONTWAIT)
        if sent < 0:
            error = ctypes.get_errno()
            if error == errno.EINTR:
                continue
            if error == errno.EAGAIN and wait:
                wait = False
                _wait_writable(fd)
                continue
            failure = failure or error
            if error == errno.EAGAIN:
                break
        done += max(1, sent)
    return failure


def _wait_writable(fd: int) -> None:
    """A full send buffer drains within microseconds; wait for it at most 5 ms rather than lose a batch of
    replies."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll(5)
