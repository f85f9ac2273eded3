"""A container as far as attaching can tell: a process in network and mount namespaces of its own, with a
container's files mounted over its ``/etc``."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from lab import packages
from resolver.watch.attach.namespace import entered

if TYPE_CHECKING:
    from collections.abc import Iterator

IDENTITY: Final = "5a" * 32
PATIENCE: Final = 20.0

TOOLS: Final = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "nft": "nftables"}

root = pytest.mark.skipif(
    not packages.can_install() and (os.geteuid() != 0 or not all(map(shutil.which, TOOLS))),
    reason="needs root, and unshare, ip and nft",
)

_WORLD: Final = """
mount --bind {etc} /etc && mount --bind {file} /etc/hostname || exit 1
ip link set lo up
{more}
echo ready
exec sleep 600
"""


class Stack:
    """The container; ``pid`` is its process."""

    def __init__(self, process: subprocess.Popen[str], etc: Path) -> None:
        self.process, self.pid, self.etc = process, process.pid, etc

    def say(self, *nameservers: str) -> None:
        """Write its resolv.conf."""
        text = "".join(f"nameserver {server}\n" for server in nameservers)
        self.etc.joinpath("resolv.conf").write_text(text)

    def run(self, *command: str, stdin: str = "") -> str:
        """A program of ours in its network namespace; what it prints."""
        enter = ("nsenter", f"--net=/proc/{self.pid}/ns/net")
        done = subprocess.run((*enter, *command), input=stdin, capture_output=True, text=True, check=True)
        return done.stdout

    def ruleset(self) -> str:
        """All rules there, without counters."""
        return self.run("nft", "-s", "list", "ruleset")

    def open(self, family: int, kind: int, mark: int = 0) -> socket.socket:
        """A socket of its own."""
        fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            with entered(fd):
                sock = socket.socket(family, kind)
        finally:
            os.close(fd)
        sock.settimeout(PATIENCE)
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        return sock

    def bound(self, host: str, port: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        """A server's socket there."""
        sock = self.open(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def end(self) -> None:
        """Kill its process; twice does no harm."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@contextmanager
def stack(folder: Path, *nameservers: str, identity: str = IDENTITY, more: str = "") -> Iterator[Stack]:
    """A container with these nameservers; ``more`` is run in it at the start.

    Its ``/etc`` is ``folder/etc``.
    """
    if packages.can_install():
        packages.ensure(TOOLS)
    etc = folder / "etc"
    file = folder / "containers" / identity / "hostname"
    for made in (etc, file.parent):
        made.mkdir(parents=True)
    for made in (etc / "hostname", file):
        made.touch()
    script = _WORLD.format(etc=etc, file=file, more=more)
    command = ("unshare", "--net", "--mount", "--propagation=private", "sh", "-c", script)
    found = Stack(subprocess.Popen(command, stdout=subprocess.PIPE, text=True), etc)
    try:
        found.say(*nameservers)
        assert found.process.stdout is not None
        assert found.process.stdout.readline() == "ready\n"
        yield found
    finally:
        found.end()


def open_descriptors() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def given_back(before: int) -> bool:
    """Whether there are as many again; sockets of nftables are closed a moment later, in another thread."""
    deadline = time.monotonic() + PATIENCE
    while open_descriptors() != before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
