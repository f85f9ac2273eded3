"""One container we answer in: our sockets and our rules in its network namespace, and their renewal.

``open_in``, ``clean``, ``engine_in``, ``put_back`` and ``spare`` enter the namespace and are called in a
thread made for that. ``renew`` and ``release`` are one datagram to the kernel, and are called anywhere; so is
``remove``, for which the kernel takes its time.
"""

from __future__ import annotations

import errno
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from resolver.settings import Listen
from resolver.watch.attach import rules
from resolver.watch.attach.claim import AlreadyAnswered, Claim
from resolver.watch.attach.namespace import CannotEnter, Inside, entered, look_inside, our_namespace
from resolver.watch.nftables import Nftables, NftablesError, close_soon, lifted
from resolver.watch.sockets import CannotListen, bind
from resolver.watch.upstreams import ENGINES_OWN, engines_resolver, nameservers

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_NAMESERVERS: Final = 3
"""As many as the C library reads (MAXNS)."""
SPARE_UDP: Final = 4
SPARE_TCP: Final = 1
"""Sockets without a peer that ``serve`` gets in advance, for servers only this namespace reaches."""

_answering: dict[tuple[int, int], set[int]] = {}
"""The ports that are ours in each namespace, by its identity: at 127.0.0.11 the engine's are beside them."""

_NETLINK_NETFILTER: Final = 12
_BUFFER: Final = 1 << 16


@dataclass(slots=True)
class Attachment:
    """What is open in one namespace. ``close`` it; and ``remove`` first, where the container lives on."""

    pid: int
    inside: Inside
    nameservers: tuple[str, ...]
    """Of its resolv.conf, as far as we answer in their place."""
    redirects: tuple[rules.Redirect, ...]
    udp: list[socket.socket]
    tcp: list[socket.socket]
    netlink: socket.socket
    claim: Claim
    engine: str
    """``127.0.0.11:UDPPORT/TCPPORT`` of the engine's own resolver there, or empty."""
    since: float = field(default_factory=time.time)
    renewed: float = 0.0
    """When we last said that we are there, in seconds since the epoch; 0 for never."""

    def serves(self, inside: Inside) -> bool:
        """Whether the nameservers there are still those we answer for."""
        return _servers(inside) == self.nameservers

    def engine_in(self, inside: Inside) -> str:
        """Where the engine's own resolver is now; after a restart of the engine it has other ports. Raises
        CannotEnter."""
        with entered(inside.fd):
            return _engine(inside)

    def renew(self, life: float) -> bool:
        """Receive for ``life`` seconds from now; False when our table is not there any more."""
        if _transact(self.netlink, rules.renewal(self.redirects, life)):
            return False
        self.renewed = time.time()
        return True

    def release(self) -> None:
        """Take no new questions; replies to those taken still find their way."""
        _transact(self.netlink, rules.release(self.redirects))
        self.renewed = 0.0

    def put_back(self) -> None:
        """Our table anew, should somebody have removed it. Raises CannotEnter."""
        with entered(self.inside.fd):
            _run(rules.removal() + rules.table(self.redirects))

    def spare(self, kinds: Sequence[socket.SocketKind]) -> list[socket.socket]:
        """Sockets in the namespace without a peer, past our own rules. Raises CannotEnter, OSError."""
        with ExitStack() as undo:
            with entered(self.inside.fd):
                made = [undo.enter_context(_marked(kind, socket.AF_INET)) for kind in kinds]
            undo.pop_all()
        return made

    def remove(self) -> None:
        """Leave nothing behind."""
        for batch in rules.deletions(self.redirects):
            _transact(self.netlink, batch)

    def close(self) -> None:
        """Our descriptors; the namespace may end then."""
        for sock in (*self.udp, *self.tcp):
            sock.close()
        close_soon(self.netlink.close)
        for redirect in self.redirects:
            _answering.get(self.inside.identity, set()).difference_update((redirect.udp, redirect.tcp))
        if not _answering.get(self.inside.identity):
            _answering.pop(self.inside.identity, None)
        self.claim.close()
        self.inside.close()


def open_in(pid: int, container: str) -> Attachment:
    """Sockets and rules in the namespace of a container; nothing is received before the first renewal.

    Raises CannotEnter, AlreadyAnswered.
    """
    with ExitStack() as undo:
        inside = look_inside(pid, container)
        undo.callback(inside.close)
        if inside.identity == our_namespace():
            raise CannotEnter("it shares the network stack we are in")
        servers = _servers(inside)
        if not servers:
            raise CannotEnter("its /etc/resolv.conf names no server but, perhaps, its own loopback")
        with entered(inside.fd):
            claim = undo.enter_context(Claim(inside))
            engine = _engine(inside)
            udp: list[socket.socket] = []
            tcp: list[socket.socket] = []
            redirects = []
            for server in servers:
                local = Listen(rules.local_address(server), 0)
                udp.append(undo.enter_context(_bound(local, socket.SOCK_DGRAM)))
                tcp.append(undo.enter_context(_bound(local, socket.SOCK_STREAM)))
                at = udp[-1].getsockname()[1], tcp[-1].getsockname()[1]
                redirects.append(rules.Redirect(server, local.address, *at))
            netlink = undo.enter_context(_netlink())
            nftables = _nftables()
            try:
                left = _there(netlink)
                if left and _live(_listed(nftables)):
                    raise AlreadyAnswered
                _run((rules.removal() if left else "") + rules.table(redirects), nftables)
            finally:
                nftables.close()
        undo.pop_all()
        ports = {port for r in redirects for port in (r.udp, r.tcp)}
        _answering.setdefault(inside.identity, set()).update(ports)
        udp, tcp = [list(map(_lifted, socks)) for socks in (udp, tcp)]
        inside.fd = lifted(inside.fd)
        return Attachment(pid, inside, servers, tuple(redirects), udp, tcp, _lifted(netlink), claim, engine)


def _lifted(sock: socket.socket) -> socket.socket:
    """It stays open for as long as the container runs, and there may be hundreds."""
    return socket.socket(fileno=lifted(sock.detach()))


def _engine(inside: Inside) -> str:
    """Where the engine's own resolver is in the namespace we have entered; empty where there is none."""
    return engines_resolver(_answering.get(inside.identity, ()))


def _servers(inside: Inside) -> tuple[str, ...]:
    """Those a redirect can stand for: without an interface in their address, and no server that the container
    runs for itself."""
    named = nameservers(inside.resolv_conf)[:MOST_NAMESERVERS]
    return tuple(s for s in named if s == ENGINES_OWN or not ("%" in s or ip_address(s).is_loopback))


def clean(pid: int, container: str) -> bool:
    """Remove what a resolver that was killed left in this container; whether there was something.

    What is live is another resolver's, or of one killed a moment ago, and stays. Raises CannotEnter,
    AlreadyAnswered.
    """
    inside = look_inside(pid, container)
    try:
        if inside.identity == our_namespace():
            return False
        with entered(inside.fd), Claim(inside):
            nftables = _nftables()
            try:
                found = _listed(nftables)
                if not found:
                    return False
                if _live(found):
                    raise AlreadyAnswered
                _run(rules.removal(), nftables)
                return True
            finally:
                nftables.close()
    finally:
        inside.close()


def _live(listed: list[str]) -> bool:
    return any("elements" in text for text in listed)


def _listed(nftables: Nftables) -> list[str]:
    """What our sets hold; none where there is no table of ours."""
    found = []
    for command in rules.listing():
        with suppress(NftablesError):
            found.append(nftables.run(command))
    return found


def _nftables() -> Nftables:
    try:
        return Nftables()
    except NftablesError as error:
        raise CannotEnter(str(error)) from None


def _run(commands: str, nftables: Nftables | None = None) -> None:
    own = nftables or _nftables()
    try:
        own.run(commands)
    except NftablesError as error:
        raise CannotEnter(str(error)) from None
    finally:
        if nftables is None:
            own.close()


def _bound(listen: Listen, kind: socket.SocketKind) -> socket.socket:
    try:
        return bind(listen, kind)
    except CannotListen as error:
        raise CannotEnter(str(error)) from None


def _marked(kind: socket.SocketKind, family: int) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, rules.MARK)
    except OSError:
        sock.close()
        raise
    return sock


def _netlink() -> socket.socket:
    sock = socket.socket(
        socket.AF_NETLINK,
        socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
        _NETLINK_NETFILTER,
    )
    sock.bind((0, 0))
    return sock


def _there(netlink: socket.socket) -> bool:
    """Whether a table of ours is there: asking is much faster than listing."""
    return any(not _transact(netlink, question) for question in rules.questions())


def _transact(netlink: socket.socket, batch: bytes) -> list[int]:
    """Send a transaction; the numbers of its errors, none when it is done.

    The kernel replies before the call that sends returns, with a datagram for each error: one left unread
    would pass for the next transaction's.
    """
    found: list[int] = []
    try:
        netlink.send(batch)
        while True:
            found += rules.errors(netlink.recv(_BUFFER))
    except BlockingIOError:
        return found
    except OSError as error:
        return [*found, error.errno or errno.EIO]
