"""Who is asked about every other name: the given servers, or those of ``/etc/resolv.conf``, but never
ourselves."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resolver.watch.listening import ports_at

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from resolver.settings import Listen

RESOLV_CONF: Final = Path("/etc/resolv.conf")
ENGINES_OWN: Final = "127.0.0.11"
"""Where Docker's own resolver answers inside a container."""
DNS_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class Ourselves:
    """Where we answer: what must never be asked."""

    listen: tuple[Listen, ...]
    addresses: tuple[bytes, ...] = ()
    """Of our interfaces, packed; only a wildcard listener needs them."""
    take_over: bool = False

    def is_at(self, address: str, port: int) -> bool:
        """Whether a question to this address and port would reach ourselves."""
        if self.take_over and (address, port) == (ENGINES_OWN, DNS_PORT):
            return True
        return any(one.port == port and self._covers(one, address) for one in self.listen)

    def servers(self) -> tuple[str, ...]:
        """Addresses at which we answer on port 53, as a ``--dns`` would name them."""
        found = dict.fromkeys(one.address for one in self.listen if one.port == DNS_PORT and not one.wildcard)
        for one in self.listen:
            if one.port == DNS_PORT and one.wildcard:
                family = 16 if ":" in one.address else 4
                found |= dict.fromkeys(str(ip_address(a)) for a in self.addresses if len(a) == family)
        if self.take_over:
            found[ENGINES_OWN] = None
        return tuple(found)

    def _covers(self, one: Listen, address: str) -> bool:
        asked = ip_address(address.partition("%")[0])
        if not one.wildcard:
            return ip_address(one.address.partition("%")[0]) == asked
        return asked.version == ip_address(one.address).version and (
            asked.is_loopback or asked.packed in self.addresses
        )


def nameservers(text: str) -> tuple[str, ...]:
    """Addresses of a resolv.conf, in order, each once; lines that make no sense are passed over
    (resolv.conf(5))."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 2 or fields[0] != "nameserver":
            continue
        address, percent, scope = fields[1].partition("%")
        try:
            parsed = ip_address(address)
        except ValueError:
            continue
        if parsed.is_unspecified:  # the C library takes it for this machine
            parsed = IPv4Address("127.0.0.1") if parsed.version == 4 else type(parsed)(1)
        found[f"{parsed}{percent}{scope}"] = None
    return tuple(found)


def choose(
    given: Iterable[str], resolv_conf: str, ourselves: Ourselves, engines: str = ""
) -> tuple[str, ...]:
    """Servers in the order to ask, as ``Policy.upstreams`` spells them.

    ``given`` are the settings' servers (``ADDR:PORT``); where there are none, the text of resolv.conf counts.
    ``engines`` is where Docker's own resolver can be asked although its address leads to us
    (``engines_resolver``), or empty.
    """
    servers = tuple(given) or tuple(_spell(address) for address in nameservers(resolv_conf))
    return tuple(dict.fromkeys(_not_ourselves(servers, ourselves, engines)))


def engines_resolver(ours: Collection[int]) -> str:
    """``127.0.0.11:UDPPORT/TCPPORT`` of Docker's own resolver in the namespace this thread is in.

    It binds kernel-chosen ports on that address. ``ours`` are the ports we bound there ourselves. Empty when
    there is none.
    """
    udp, tcp = (
        [port for port in ports_at(ENGINES_OWN, kind) if port not in ours and port != DNS_PORT]
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    )
    if not udp:
        return ""
    return f"{ENGINES_OWN}:{udp[0]}" + (f"/{tcp[0]}" if tcp else "")


def grouped(forward: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """``DOMAIN=SERVER`` texts as (domain, servers) pairs, in the order given."""
    servers: dict[str, tuple[str, ...]] = {}
    for text in forward:
        domain, _, server = text.partition("=")
        servers[domain] = (*servers.get(domain, ()), server)
    return tuple(servers.items())


class Watched:
    """A file that is read again when it was changed, replaced, removed or came back."""

    def __init__(self, path: Path = RESOLV_CONF) -> None:
        self._path = path
        self._seen: object = self._state()

    def changed(self) -> bool:
        """Whether it is another one than at the last call. Costs one system call."""
        before, self._seen = self._seen, self._state()
        return before != self._seen

    def text(self) -> str:
        """Its text; empty when it cannot be read."""
        return read(self._path)

    def _state(self) -> object:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def read(path: Path) -> str:
    """A text file that may be missing: then it is empty."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _not_ourselves(servers: Iterable[str], ourselves: Ourselves, engines: str) -> Iterator[str]:
    for server in servers:
        host, _, ports = server.rpartition(":")
        address = host.strip("[]")
        if not ourselves.is_at(address, int(ports.partition("/")[0])):
            yield server
        elif address == ENGINES_OWN and engines:
            yield engines


def _spell(address: str) -> str:
    return f"[{address}]:{DNS_PORT}" if ":" in address else f"{address}:{DNS_PORT}"
