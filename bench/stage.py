"""Where everything runs: one container's network namespace, the containers asked for, and an upstream.

All servers answer inside that one namespace, on loopback addresses of their own, and dnsperf asks from there:
the same way in and out for Docker's resolver, which lives there anyway, and for everybody else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import docker
from docker.errors import APIError

from lab import packages
from lab.engine import engine
from lab.images import Images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UPSTREAM: Final = "127.0.0.53"
TTL: Final = 600
LABEL: Final = "resolver-bench"
NAMES: Final = 1000
POOL: Final = 8
"""Containers that hold the alias ``pool``."""
SOURCES: Final = Path(__file__).parent

AARDVARK: Final = "/usr/lib/podman/aardvark-dns"

PROGRAMS: Final = {
    AARDVARK: "aardvark-dns",
    "dnsperf": "dnsperf",
    "dnsmasq": "dnsmasq-base",
    "unbound": "unbound",
    "gcc": "gcc",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}


@dataclass(frozen=True, slots=True)
class Named:
    """A container whose names are asked."""

    id: str
    name: str
    names: tuple[str, ...]
    ipv4: str
    ipv6: str


@dataclass(slots=True)
class Stage:
    """The namespace, who is in it, and how to get in."""

    url: str
    api: docker.APIClient
    image: str
    folder: Path
    network: str
    asker: str = ""
    pid: int = 0
    """A process in the namespace: the asking container's first."""
    containers: tuple[Named, ...] = ()
    engine_version: str = ""
    engine_pid: int = 0

    @property
    def inside(self) -> list[str]:
        """What to put in front of a command so that it runs in the namespace, and ends when we die."""
        return ["nsenter", f"--target={self.pid}", "--net", "setpriv", "--pdeathsig", "TERM", "--"]

    def addresses(self, name: str) -> set[str]:
        """The IPv4 addresses a name of ours stands for."""
        return {one.ipv4 for one in self.containers if name in (one.name, *one.names)}

    def create(self, name: str, aliases: Sequence[str] = (), **more: Any) -> str:
        """A container on the network, not yet started."""
        endpoint = self.api.create_endpoint_config(aliases=list(aliases))
        made = self.api.create_container(
            self.image,
            ["sleep", "86400"],
            name=name,
            labels={LABEL: str(os.getpid())},
            networking_config={"EndpointsConfig": {self.network: endpoint}},
            host_config=self.api.create_host_config(network_mode=self.network, **more),
        )
        return str(made["Id"])

    def look(self, container: str, names: Sequence[str]) -> Named:
        """A running container as the engine tells it."""
        found = self.api.inspect_container(container)
        endpoint = found["NetworkSettings"]["Networks"][self.network]
        return Named(
            id=found["Id"],
            name=found["Name"].lstrip("/"),
            names=tuple(names),
            ipv4=endpoint["IPAddress"],
            ipv6=endpoint["GlobalIPv6Address"],
        )


@contextlib.contextmanager
def stage(containers: int) -> Iterator[Stage]:
    """Everything up; gone again at the end, however that comes. Needs root.

    Raises lab.packages.MissingPackagesError, lab.engine.NoEngineError.
    """
    packages.ensure(PROGRAMS)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(engine())
        images = Images(url)
        stack.callback(images.remove)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resolver-bench-")))
        folder.chmod(0o755)  # servers that drop root read their files here
        api = docker.APIClient(base_url=url, version="auto", timeout=120)
        stack.callback(api.close)
        place = Stage(url, api, images.client(), folder, network=f"bench{os.getpid()}")
        place.engine_version, place.engine_pid = api.version()["Version"], _listener(url)
        _sweep(api)
        stack.callback(_remove, api, str(os.getpid()))
        _populate(place, containers)
        _compile(folder, "echo", "upstream")
        stack.enter_context(
            running(
                [*place.inside, str(folder / "upstream"), UPSTREAM, "53", str(TTL)], folder / "upstream.log"
            )
        )
        _forget_flows_soon(place)
        yield place


@contextlib.contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that a Ctrl-C is ours to pass on."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], patience: float = 3.0) -> None:
    """Stop a process of ours as an init system would."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _populate(place: Stage, count: int) -> None:
    """The network, the asking container, and the named ones with NAMES aliases between them."""
    third = os.getpid() & 0xFFFF
    pool = docker.types.IPAMPool(subnet=f"fd00:be:{third:x}::/64")
    labels = {LABEL: str(os.getpid())}
    config = docker.types.IPAMConfig(pool_configs=[pool])
    place.api.create_network(place.network, driver="bridge", enable_ipv6=True, ipam=config, labels=labels)
    place.asker = place.create(f"bench{os.getpid()}-asker", dns=[UPSTREAM])
    place.api.start(place.asker)
    place.pid = place.api.inspect_container(place.asker)["State"]["Pid"]

    def one(number: int) -> Named:
        names = [f"n{n}" for n in range(number, NAMES, count)] + ["pool"] * (number < POOL)
        made = place.create(f"bench{os.getpid()}-{number}", names)
        place.api.start(made)
        return place.look(made, names)

    packages.say(f"starting {count} containers with {NAMES} names")
    with ThreadPoolExecutor(4) as several:
        place.containers = tuple(several.map(one, range(count)))


def _compile(folder: Path, *programs: str) -> None:
    for program in programs:
        subprocess.run(
            ["gcc", "-O2", "-o", str(folder / program), str(SOURCES / f"{program}.c")],
            check=True,
            timeout=60,
        )


def _forget_flows_soon(place: Stage) -> None:
    """A container's namespace tracks flows. With thousands of source ports a second, as in forwarding, the
    kernel's table would fill, and one server's flows be in the way of the next one's: so they are forgotten
    after a second."""
    for name in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
        setting = f"echo 1 2>/dev/null >/proc/sys/net/netfilter/{name} || true"
        subprocess.run([*place.inside, "sh", "-c", setting], check=False, timeout=10)


def _listener(url: str) -> int:
    """The process behind a unix socket: the engine, whose time its resolver takes. 0 if unknown."""
    if not url.startswith("unix://"):
        return 0
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(url.removeprefix("unix://"))
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def _sweep(api: docker.APIClient) -> None:
    """Remove what a run that was killed left behind."""
    for container in api.containers(all=True, filters={"label": LABEL}):
        owner = container["Labels"][LABEL]
        if not Path(f"/proc/{owner}").exists():
            _remove(api, owner)


def _remove(api: docker.APIClient, owner: str) -> None:
    label = {"label": f"{LABEL}={owner}"}
    found = [container["Id"] for container in api.containers(all=True, filters=label)]

    def remove(container: str) -> None:
        with contextlib.suppress(APIError):
            api.remove_container(container, force=True, v=True)

    with ThreadPoolExecutor(4) as several:
        list(several.map(remove, found))
    deadline = time.monotonic() + 10
    for network in api.networks(filters=label):
        while time.monotonic() < deadline:
            with contextlib.suppress(APIError):
                api.remove_network(network["Id"])
                break
            time.sleep(0.2)
