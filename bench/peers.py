"""The servers that are held against each other: how each starts, where it answers, and how it ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.question import await_answer
from bench.stage import AARDVARK, NAMES, SOURCES, UPSTREAM, Stage, end

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST: Final = "n0"
"""A name every server of container names knows."""
OUTSIDE: Final = "ready.example.com"
"""A name only the upstream knows."""


class Peer:
    """A server in the namespace of the stage, at an address of its own, port 53."""

    name: str
    address: str
    knows: str = FIRST
    """A name it answers for as soon as it is ready."""

    def __init__(self, place: Stage) -> None:
        self.place = place
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def version(self) -> str:
        """As it calls itself; empty for what has none."""
        return ""

    @property
    def folder(self) -> Path:
        """For its files; made when asked for."""
        folder = self.place.folder / self.name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        return folder

    @property
    def log(self) -> Path:
        """What it prints. Not in its folder, for one of them reads every file there."""
        return self.place.folder / f"{self.address}.log"

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [self._process.pid] if self._process else []

    def command(self) -> Sequence[str]:
        """What runs it, inside the namespace."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers. Raises MeasureError."""
        self.launch()
        await_answer(self.place.pid, self.address, self.knows)

    def launch(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("wb") as said:
            self._process = subprocess.Popen(
                [*self.place.inside, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it; once more does no harm."""
        process, self._process = self._process, None
        if process:
            end(process)


class DockersOwn(Peer):
    """The engine's embedded resolver, which is in the container's namespace already."""

    name, address = "Docker", "127.0.0.11"

    @property
    def version(self) -> str:
        return self.place.engine_version

    @property
    def pids(self) -> list[int]:
        return [self.place.engine_pid] if self.place.engine_pid else []

    def launch(self) -> None:
        """Nothing to do: it came with the container."""


class Echo(Peer):
    """A C program that sends every question back: what the sockets alone allow."""

    name, address = "C echo", "127.0.0.12"

    def command(self) -> Sequence[str]:
        return [str(self.place.folder / "echo"), self.address, "53"]


class Dnsmasq(Peer):
    """Names from a hosts file; forwards without a cache."""

    name, address, cache = "dnsmasq", "127.0.0.13", 0

    @property
    def version(self) -> str:
        return _version(["dnsmasq", "--version"], 2)

    def command(self) -> Sequence[str]:
        hosts, pid_file = self.folder / "hosts", self.folder / "pid"
        hosts.write_text("".join(f"{address} {' '.join(names)}\n" for address, names in entries(self.place)))
        return [
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            f"--addn-hosts={hosts}",
            f"--pid-file={pid_file}",
            f"--listen-address={self.address}",
            "--bind-interfaces",
            f"--server={UPSTREAM}",
            f"--cache-size={self.cache}",
            "--dns-forward-max=10000",
            "--local-ttl=600",
        ]


class CachingDnsmasq(Dnsmasq):
    """The same with its largest cache."""

    name, address, cache = "dnsmasq, cache", "127.0.0.14", 10_000


class Aardvark(Peer):
    """Podman's resolver, with the same containers in a network file as netavark writes it."""

    name, address = "aardvark-dns", "127.0.0.15"

    @property
    def version(self) -> str:
        return _version([AARDVARK, "--version"], 1)

    @property
    def pids(self) -> list[int]:
        """It goes into the background and says where in a file."""
        with contextlib.suppress(OSError, ValueError):
            return [int((self.folder / "aardvark.pid").read_text())]
        return []

    def command(self) -> Sequence[str]:
        # It answers only clients it takes for containers: ours ask from 127.0.0.1. Columns: id, IPv4, IPv6,
        # names, servers.
        lines = [self.address, f"asker 127.0.0.1  asker {UPSTREAM}"]
        for one in self.place.containers:
            names = [*one.names, *(f"{name}.{self.place.network}" for name in one.names)]
            lines.append(f"{one.id} {one.ipv4} {one.ipv6} {','.join(names)} {UPSTREAM}")
        (self.folder / "bench").write_text("\n".join(lines) + "\n")
        return [AARDVARK, "--config", str(self.folder), "--port", "53", "run"]

    def stop(self) -> None:
        pids = self.pids
        super().stop()
        for pid in pids:
            subprocess.run(["kill", str(pid)], check=False, capture_output=True)
        deadline = time.monotonic() + 3
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.02)
        (self.folder / "aardvark.pid").unlink(missing_ok=True)


class Unbound(Peer):
    """A caching forwarder, one thread."""

    name, address, knows = "unbound", "127.0.0.16", OUTSIDE

    @property
    def version(self) -> str:
        return _version(["unbound", "-V"], 1)

    def command(self) -> Sequence[str]:
        config = self.folder / "unbound.conf"
        config.write_text(
            f"""server:
  interface: {self.address}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  directory: "{self.folder}"
  pidfile: ""
  module-config: "iterator"
  num-threads: 1
  outgoing-range: 8192
  num-queries-per-thread: 4096
  msg-cache-size: 64m
  rrset-cache-size: 128m
forward-zone:
  name: "."
  forward-addr: {UPSTREAM}
remote-control:
  control-enable: no
"""
        )
        return ["unbound", "-d", "-c", str(config)]


class Plain(Peer):
    """One of the plain ways to write such a server in Python."""

    knows = OUTSIDE  # they answer anything

    def __init__(self, place: Stage, way: str, name: str, address: str) -> None:
        super().__init__(place)
        self.way, self.name, self.address = way, name, address

    def command(self) -> Sequence[str]:
        program = str(SOURCES / "plain_servers.py")
        return [sys.executable, program, self.way, self.address, "53"]


def plain(place: Stage) -> list[Plain]:
    """The three of them."""
    return [
        Plain(place, "stock", "asyncio datagram protocol", "127.0.0.17"),
        Plain(place, "dgram", "asyncio-dgram stream", "127.0.0.18"),
        Plain(place, "dnslib", "dnslib per query", "127.0.0.19"),
    ]


def entries(place: Stage) -> list[tuple[str, list[str]]]:
    """Address and names of a hosts file that answers as the engine's resolver does; PTR is the first name."""
    found = []
    for one in place.containers:
        names = [name for first in one.names for name in (f"{first}.{place.network}", first)]
        found += [(one.ipv4, names), (one.ipv6, names)]
    assert sum(len(names) for _, names in found) >= 4 * NAMES
    return found


def _version(command: Sequence[str], word: int) -> str:
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    words = (said.stdout or said.stderr).split()
    return words[word] if len(words) > word else "?"
