"""Whose network stack is this? Found without being told.

The engine mounts a container's own ``resolv.conf``, ``hostname`` and ``hosts`` over ``/etc``, and a container
that joins another's network gets that other's files. So the id in the source of these mounts is the id of the
container whose stack it is, also with ``--network container:X``. Where there are no such mounts (a namespace
entered by hand), our own addresses tell.
"""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from resolver.names.model import Sandbox

MOUNTINFO: Final = Path("/proc/self/mountinfo")
IF_INET6: Final = Path("/proc/net/if_inet6")
MOUNTS: Final = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts")

_SOURCE: Final = re.compile(
    r"/containers/(?P<docker>[0-9a-f]{64})/(?:resolv\.conf|hostname|hosts)"
    r"|/[a-z0-9]+-containers/(?P<podman>[0-9a-f]{64})/userdata/(?:resolv\.conf|hostname|hosts)"
)
_SIOCGIFADDR: Final = 0x8915


def container_in(mountinfo: str) -> str:
    """Id of the container whose files are mounted over ours; empty on a host. Fields as in proc(5)."""
    found = {}
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 5 and fields[4] in MOUNTS and (source := _SOURCE.search(fields[3])):
            found[fields[4]] = source["docker"] or source["podman"]
    return next((found[mount] for mount in MOUNTS if mount in found), "")


def own_container(mounted: str, addresses: Collection[bytes], sandboxes: Mapping[str, Sandbox]) -> str:
    """Id of the container whose view loopback clients have, or empty for the host.

    ``mounted`` is what ``container_in`` found, ``addresses`` are our interfaces'. A container that joins
    another's network stands for that other; one on the host's network stack, or unknown to this engine, is
    the host.
    """
    found = sandboxes.get(mounted) or _with_address(addresses, sandboxes.values())
    for _ in range(4):
        if found and found.joins:
            found = sandboxes.get(found.joins)
    return found.id if found and not found.on_host and not found.joins else ""


def named(name: str, sandboxes: Mapping[str, Sandbox]) -> Sandbox | None:
    """The container of that name or id, or of an id that begins so when only one does."""
    for sandbox in sandboxes.values():
        if name in (sandbox.id, sandbox.name):
            return sandbox
    begins = [s for s in sandboxes.values() if len(name) >= 4 and s.id.startswith(name)]
    return begins[0] if len(begins) == 1 else None


def interfaces_of(sandbox: Sandbox, addresses: Sequence[bytes]) -> dict[str, int]:
    """Network id → index of our interface in it; empty unless the container's addresses are ours."""
    index = {address: place for place, address in enumerate(addresses)}
    return {
        endpoint.network: place
        for endpoint in sandbox.endpoints
        if (place := index.get(endpoint.ipv4, index.get(endpoint.ipv6, -1))) >= 0
    }


def mounted_container() -> str:
    """``container_in`` of this process."""
    try:
        return container_in(MOUNTINFO.read_text(errors="replace"))
    except OSError:
        return ""


def own_addresses() -> tuple[bytes, ...]:
    """The addresses of our interfaces, packed, in the order of the interfaces; IPv6 ones last. Loopback is
    left out."""
    return (*_ipv4_addresses(), *_ipv6_addresses())


def _with_address(addresses: Collection[bytes], sandboxes: Iterable[Sandbox]) -> Sandbox | None:
    for sandbox in sandboxes:
        if not sandbox.on_host and any(
            (e.ipv4 and e.ipv4 in addresses) or (e.ipv6 and e.ipv6 in addresses) for e in sandbox.endpoints
        ):
            return sandbox
    return None


def _ipv4_addresses() -> list[bytes]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in sorted(socket.if_nameindex()):
            with suppress(OSError):  # an interface without an IPv4 address
                answer = fcntl.ioctl(asker, _SIOCGIFADDR, struct.pack("16s16x8x", name.encode()[:15]))
                found.append(answer[20:24])
    return [address for address in found if address[0] != 127]


def _ipv6_addresses() -> list[bytes]:
    try:
        lines = IF_INET6.read_text().splitlines()
    except OSError:
        return []
    rows = sorted((int(f[1], 16), bytes.fromhex(f[0])) for f in map(str.split, lines) if len(f) >= 6)
    return [address for _, address in rows if not ip_address(address).is_loopback]
