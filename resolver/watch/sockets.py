"""The sockets, bound here because this process still may, and handed to the answering one; they outlive it.

UDP and TCP for each ``--listen``, and an abstract unix socket on which the answering process tells its state.
Its name is made of the first address, so that ``resolver check`` finds it without a path, a file or a
permission.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resolver.settings import Listen
from resolver.watch.upstreams import ENGINES_OWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

IP_PKTINFO: Final = 8
"""ip(7). Python has no constant for it before 3.14."""
RECEIVE_BUFFER: Final = 4 << 20
"""Octets. Questions wait here while the answering process is started again."""
BACKLOG: Final = 1024


class CannotListen(Exception):
    """A socket could not be bound; the text says which, why, and what to do."""


@dataclass(slots=True)
class Sockets:
    """What is open."""

    udp: list[socket.socket] = field(default_factory=list)
    tcp: list[socket.socket] = field(default_factory=list)
    status: socket.socket | None = None
    redirected: tuple[int, int] = (0, 0)
    """UDP and TCP port on 127.0.0.11 to which ``--take-over`` leads what goes to its port 53; 0 without
    it."""

    def close(self) -> None:
        """Close all of them."""
        for sock in (*self.udp, *self.tcp, *([self.status] if self.status else ())):
            sock.close()


def open_sockets(listen: Sequence[Listen], *, take_over: bool = False, workers: int = 1) -> list[Sockets]:
    """Bind everything, once for each worker, or nothing: raises CannotListen.

    The kernel spreads questions over the sockets of several workers (SO_REUSEPORT). The status of the first
    is the status of all.
    """
    opened: list[Sockets] = []
    try:
        for number in range(workers):
            opened.append(Sockets())
            shared = opened[0].redirected if number else (0, 0)
            _open(opened[-1], listen, shared if take_over else None, reuse=workers > 1)
            opened[-1].status = _status_socket(listen[0] if number == 0 else None)
    except BaseException:
        for sockets in opened:
            sockets.close()
        raise
    return opened


def _open(
    sockets: Sockets, listen: Sequence[Listen], redirected: tuple[int, int] | None, *, reuse: bool
) -> None:
    """One worker's sockets; ``redirected`` are the take-over's ports of the first one, 0 for it to choose."""
    for one in listen:
        sockets.udp.append(bind(one, socket.SOCK_DGRAM, reuse=reuse))
        sockets.tcp.append(bind(one, socket.SOCK_STREAM, reuse=reuse))
    if redirected is not None:
        sockets.udp.append(bind(Listen(ENGINES_OWN, redirected[0]), socket.SOCK_DGRAM, reuse=reuse))
        sockets.tcp.append(bind(Listen(ENGINES_OWN, redirected[1]), socket.SOCK_STREAM, reuse=reuse))
        sockets.redirected = sockets.udp[-1].getsockname()[1], sockets.tcp[-1].getsockname()[1]


def status_name(listen: Listen) -> str:
    """The abstract name of the status socket of a resolver whose first address this is."""
    return f"\0resolver/{listen}"


def bind(listen: Listen, kind: socket.SocketKind, *, reuse: bool = False) -> socket.socket:
    """A socket that answers, in the network namespace of this thread. Raises CannotListen.

    Not with SO_REUSEADDR on UDP: there it would let two processes share a port, and each lose what the
    other gets. ``reuse`` shares it on purpose, among processes of one user."""
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    try:
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise _told(listen, kind, error) from None
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _prepare_datagrams(sock, wildcard=listen.wildcard)
        [*_, (*_, address)] = socket.getaddrinfo(
            listen.address, listen.port, family, kind, 0, socket.AI_NUMERICHOST
        )
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _told(listen, kind, error) from None
    return sock


def _prepare_datagrams(sock: socket.socket, *, wildcard: bool) -> None:
    """Room for a burst, and on a wildcard the address each question came to: the reply must come from
    there."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    if wildcard and sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    elif wildcard:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


_SO_RCVBUFFORCE: Final = 33
"""socket(7): as SO_RCVBUF, past the system's limit, for root."""


def _status_socket(listen: Listen | None) -> socket.socket:
    """Without it the resolver still answers; another program that holds the name must not keep us from
    starting. None: a worker nobody asks."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(status_name(listen) if listen else "")
    except OSError:
        sock.bind("")  # the kernel picks a name nobody knows
    sock.listen(16)
    sock.setblocking(False)
    return sock


def _told(listen: Listen, kind: socket.SocketKind, error: OSError) -> CannotListen:
    where = f"{'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} {listen}"
    advice = {
        errno.EACCES: "ports below 1024 need root or the capability NET_BIND_SERVICE; "
        "choose another port with --listen ADDR:PORT",
        errno.EPERM: "not permitted here; run as root or choose another port with --listen ADDR:PORT",
        errno.EADDRNOTAVAIL: "no interface here has this address; choose one that exists with --listen",
        errno.EAFNOSUPPORT: "this machine has no IPv6; choose an IPv4 address with --listen",
    }
    why = _in_use(listen, kind) if error.errno == errno.EADDRINUSE else advice.get(error.errno or 0, "")
    return CannotListen(f"cannot listen on {where}: {why or error.strerror or error}")


def _in_use(listen: Listen, kind: socket.SocketKind) -> str:
    holder = _holder(listen, kind)
    if listen.address in ("127.0.0.53", "127.0.0.54"):
        return (
            f"{holder or 'systemd-resolved'} is there; choose another address such as 127.0.0.1 with --listen"
        )
    return f"already in use{f' by {holder}' if holder else ''}; stop that or choose another with --listen"


def _holder(listen: Listen, kind: socket.SocketKind) -> str:
    """``NAME (pid N)`` of the process that has the port, where we may see it."""
    inodes = set(_inodes(listen, kind))
    if not inodes:
        return ""
    for link in _descriptors():
        with suppress(OSError):
            if str(link.readlink()) in inodes:
                process = link.parent.parent
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def _inodes(listen: Listen, kind: socket.SocketKind) -> Iterator[str]:
    wanted = ip_address(listen.address.partition("%")[0]).packed
    for table in ("udp", "udp6") if kind == socket.SOCK_DGRAM else ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                address, _, port = fields[1].partition(":")
                if int(port, 16) != listen.port or fields[3] not in ("0A", "07"):
                    continue
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                held = b"".join(words)
                if listen.wildcard or held == wanted or not any(held):
                    yield f"socket:[{fields[9]}]"


def _descriptors() -> Iterable[Path]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                yield from (process / "fd").iterdir()
