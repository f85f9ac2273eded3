"""One question by hand, from inside a namespace: for moments dnsperf cannot tell, as the first answer."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
import time
from typing import Final

from bench.measure import MeasureError

A: Final = 1
_CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def socket_in(pid: int) -> socket.socket:
    """A UDP socket in the network namespace of that process. A thread of its own goes there and ends."""
    made: list[socket.socket] = []

    def visit() -> None:
        place = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(place, _CLONE_NEWNET) == 0:
                made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        finally:
            os.close(place)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    if not made:
        raise MeasureError(f"no way into the network namespace of process {pid}")
    return made[0]


def question(name: str, qtype: int = A, identity: int = 0x4242) -> bytes:
    """The packet that asks for a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", identity, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", qtype, 1)


def addresses(reply: bytes) -> set[str]:
    """IPv4 addresses in the answer section of a reply whose names are all compressed or short."""
    rcode, answers = reply[3] & 15, int.from_bytes(reply[6:8])
    if rcode:
        return set()
    at, found = _after_name(reply, 12) + 4, set()
    for _ in range(answers):
        at = _after_name(reply, at)
        kind, size = int.from_bytes(reply[at : at + 2]), int.from_bytes(reply[at + 8 : at + 10])
        at += 10
        if kind == A and size == 4:
            found.add(socket.inet_ntoa(reply[at : at + 4]))
        at += size
    return found


def _after_name(packet: bytes, at: int) -> int:
    while packet[at]:
        if packet[at] >= 0xC0:
            return at + 2
        at += packet[at] + 1
    return at + 1


def ask(sock: socket.socket, address: str, name: str, patience: float) -> bytes:
    """The reply, or nothing when none came in time. A closed port is asked again until then."""
    packet, deadline = question(name), time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        try:
            sock.settimeout(left)
            sock.sendto(packet, (address, 53))
            while (reply := sock.recv(4096))[:2] != packet[:2]:
                pass
        except TimeoutError:
            return b""
        except OSError:
            time.sleep(0.001)
            continue
        return reply
    return b""


def await_answer(pid: int, address: str, name: str, patience: float = 20.0) -> float:
    """Seconds until a server in the namespace of ``pid`` answered for a name. Raises MeasureError.

    Asked anew every 50 ms, for a server that starts may lose questions.
    """
    begun = time.monotonic()
    with socket_in(pid) as sock:
        sock.connect((address, 53))  # so that a closed port is told
        while time.monotonic() - begun < patience:
            reply = ask(sock, address, name, 0.05)
            if reply and not reply[3] & 15:
                return time.monotonic() - begun
    raise MeasureError(f"nobody at {address} answered for {name} within {patience:g} s")
