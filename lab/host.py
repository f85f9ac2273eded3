"""What an engine changes on the host, noted before it starts and put back after it is gone.

An engine that stops leaves its bridges, its iptables chains, the FORWARD policy, ip_forward, its control
groups and a few folders behind, whatever paths of its own it was given.
"""

import contextlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

_COMMANDS = ("iptables", "ip6tables")
_FORWARD = {
    "iptables": Path("/proc/sys/net/ipv4/ip_forward"),
    "ip6tables": Path("/proc/sys/net/ipv6/conf/all/forwarding"),
}
# Made by dockerd and containerd at fixed places.
_PLACES = ("/etc/docker/key.json", "/opt/containerd", "/run/containerd", "/run/docker")
_OURS = re.compile(r"\b(docker0|docker_gwbridge|br-[0-9a-f]{12}|DOCKER[A-Z0-9-]*)\b")


@dataclass(frozen=True, slots=True)
class Before:
    """The host before the engine.

    Link names; saved rules and forwarding switch per iptables command; nft tables as ``table FAMILY NAME``;
    files and folders of an engine that were there.
    """

    links: list[str]
    rules: dict[str, list[str]]
    forwarding: dict[str, str]
    tables: list[str]
    places: list[str]

    @classmethod
    def note(cls) -> "Before":
        """Read the host's state now."""
        tables = _lines("nft", "list", "tables")
        rules = {command: _saved(command) for command in _COMMANDS}
        forwarding = {
            command: path.read_text().strip() for command, path in _FORWARD.items() if path.exists()
        }
        places = [place for place in _PLACES if Path(place).exists()]
        return cls(_links(), rules, forwarding, tables, places)

    @classmethod
    def from_json(cls, fields: dict[str, object]) -> "Before":
        """The inverse of ``to_json``; raises TypeError when a field is missing."""
        return cls(**fields)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, object]:
        """A dict of plain values."""
        return asdict(self)

    def restore(self) -> None:
        """Take away what an engine added since; leave alone what others did."""
        for link in sorted(set(_links()) - set(self.links)):
            if _OURS.fullmatch(link):
                _run("ip", "link", "delete", link)
        for command in _COMMANDS:
            self._restore_rules(command)
        for command, value in self.forwarding.items():
            _FORWARD[command].write_text(value)
        for table in _lines("nft", "list", "tables"):
            if table not in self.tables and _is_empty(table):
                _run("nft", "delete", *table.split())
        _remove(Path(place) for place in _PLACES if place not in self.places)
        _remove_control_groups()

    def _restore_rules(self, command: str) -> None:
        before = self.rules.get(command, [])
        added = [line for line in _saved(command) if line not in before and _OURS.search(line)]
        for line in added:
            table, rule = line.split(" ", 1)
            if rule.startswith("-A"):
                _run(command, "-w", "-t", table, *f"-D{rule[2:]}".split())
        for line in added:
            table, rule = line.split(" ", 1)
            if rule.startswith(":"):
                _run(command, "-w", "-t", table, "-X", rule[1:].split()[0])
        # An engine sets the policy once and never back.
        if "filter :FORWARD DROP" in _saved(command) and "filter :FORWARD DROP" not in before:
            _run(command, "-w", "-P", "FORWARD", "ACCEPT")


def _saved(command: str) -> list[str]:
    """The rules as ``table rule`` lines, counters left out: ``filter :FORWARD DROP``, ``nat -A OUTPUT …``."""
    table, found = "", []
    for line in _lines(f"{command}-save"):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            found.append(f"{table} {line.rsplit(' ', 1)[0]}")
        elif line.startswith("-A"):
            found.append(f"{table} {line}")
    return found


def _links() -> list[str]:
    # Not from /sys/class/net, which shows the network namespace it was mounted in.
    return sorted(name for _, name in socket.if_nameindex())


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _remove_control_groups() -> None:
    """Remove the engine's empty control groups; one with a process in it cannot be removed and stays."""
    root = Path("/sys/fs/cgroup")
    for group in [*root.glob("docker"), *root.glob("*/docker")]:
        for folder in [*sorted(group.glob("**/"), reverse=True), group]:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _is_empty(table: str) -> bool:
    """Whether an nft table, named as ``table FAMILY NAME``, holds base chains only and no rule."""
    inside = _lines("nft", "list", *table.split())[1:]
    return all(line.strip().startswith(("chain ", "type ", "}")) or not line.strip() for line in inside)


def _lines(*argv: str) -> list[str]:
    """What a command printed, a line each; none when it is missing or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return done.stdout.splitlines()


def _run(*argv: str) -> None:
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
