"""Which ports are taken at an address of a network namespace, by sockets without a peer.

sock_diag(7) is asked for them. /proc/net/tcp says the same, but to read it the kernel walks every bucket of
the machine's connections: 9 ms, where this takes 0.1.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_TCP_CLOSE: Final = 7
"""What the kernel says of a UDP socket without a peer."""
_TCP_LISTEN: Final = 10
_STATE: Final = {socket.SOCK_DGRAM: _TCP_CLOSE, socket.SOCK_STREAM: _TCP_LISTEN}
_PROTOCOL: Final = {socket.SOCK_DGRAM: socket.IPPROTO_UDP, socket.SOCK_STREAM: socket.IPPROTO_TCP}
_TABLE: Final = {socket.SOCK_DGRAM: "udp", socket.SOCK_STREAM: "tcp"}

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_ERROR, _DONE = 2, 3
_HEADER: Final = struct.Struct("=IHHII")
_QUESTION: Final = struct.Struct("=BBBBI48x")
_SOCKET: Final = struct.Struct(">4xH2x4s")
"""Of what is told of a socket: its port and its IPv4 address."""
_NUMBER: Final = struct.Struct("=i")
"""Behind an error, and behind the end: a kernel without the protocol's part says so there."""
_BUFFER: Final = 1 << 16
_PATIENCE: Final = 1.0
"""Seconds; the kernel replies before the call that asks returns."""


def ports_at(address: str, kind: socket.SocketKind) -> tuple[int, ...]:
    """Of the namespace this thread is in, for an IPv4 address, the lowest first.

    A kernel without sock_diag is read instead; none where that cannot be, either.
    """
    wanted = ip_address(address).packed
    try:
        found = [*_asked(wanted, kind)]
    except OSError:
        found = [*_listed(wanted, kind)]
    return tuple(sorted(found))


def _asked(wanted: bytes, kind: socket.SocketKind) -> Iterator[int]:
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    ) as kernel:
        kernel.settimeout(_PATIENCE)
        question = _QUESTION.pack(socket.AF_INET, _PROTOCOL[kind], 0, 0, 1 << _STATE[kind])
        kernel.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + question)
        while True:
            reply, at = kernel.recv(_BUFFER), 0
            while at + _HEADER.size <= len(reply):
                length, word, *_ = _HEADER.unpack_from(reply, at)
                if word in (_ERROR, _DONE):
                    number = -_NUMBER.unpack_from(reply, at + _HEADER.size)[0]
                    if word == _DONE and not number:
                        return
                    raise OSError(number or errno.EPROTO, os.strerror(number))
                port, bound = _SOCKET.unpack_from(reply, at + _HEADER.size)
                if bound == wanted:
                    yield port
                at += max(_HEADER.size, length + 3 & ~3)


def _listed(wanted: bytes, kind: socket.SocketKind) -> Iterator[int]:
    """``proc`` spells addresses as one number in the machine's order of octets."""
    number = int.from_bytes(wanted, sys.byteorder)
    try:
        table = Path("/proc/thread-self/net", _TABLE[kind]).read_text()
    except OSError:
        return
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and int(fields[3], 16) == _STATE[kind]:
            address, _, port = fields[1].partition(":")
            if int(address, 16) == number:
                yield int(port, 16)
