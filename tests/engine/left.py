"""What a run of tests can leave behind on this machine: network namespaces, tables, descriptors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from lab import private

PATIENCE: Final = 30.0
"""Seconds for what is ending: an engine lets go of a container's namespace a little later."""
_SPARE: Final = 4
"""Descriptors of this process that may have come for good: what a library opens at its first use."""
_NAMESPACE: Final = re.compile(r"net:\[\d+\]")
_TABLE: Final = re.compile(r"^table (\w+ resolver\w*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Things:
    """What there is at one moment."""

    namespaces: frozenset[str]
    """Network namespaces that a process is in or holds open, or that are mounted."""
    tables: frozenset[str]
    """nftables of ours on the host."""
    descriptors: Counter[str]
    """How many of each kind this process has."""

    @classmethod
    def now(cls) -> Self:
        return cls(_namespaces(), _tables(), _descriptors())

    def added(self, before: Things) -> list[str]:
        """What was not there before, for people. Namespaces of others who use the engine are not ours."""
        words = [f"nft table {table}" for table in self.tables - before.tables]
        if not others():
            words += [f"network namespace {each}" for each in self.namespaces - before.namespaces]
        if self.descriptors.total() > before.descriptors.total() + _SPARE:
            words.append(f"descriptors {dict(self.descriptors - before.descriptors)}")
        return words


def await_nothing_added(before: Things) -> list[str]:
    """What is still there when patience is over; empty as soon as there is nothing."""
    deadline = time.monotonic() + PATIENCE
    while (added := Things.now().added(before)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return added


def others() -> set[int]:
    """Other runs that use the private engine at this moment: they hold its lock."""
    with suppress(FileNotFoundError):
        inode = (private.RUN / "users").stat().st_ino
        held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return {int(pid) for *_, pid, place, _, _ in held if place.endswith(f":{inode}")} - {os.getpid()}
    return set()


def _namespaces() -> frozenset[str]:
    found = set(_NAMESPACE.findall(Path("/proc/self/mountinfo").read_text()))
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.add(str((process / "ns/net").readlink()))
            for descriptor in (process / "fd").iterdir():
                with suppress(FileNotFoundError):
                    found.update(_NAMESPACE.findall(str(descriptor.readlink())))
    return frozenset(found)


def _tables() -> frozenset[str]:
    if shutil.which("nft") is None:
        return frozenset()
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    return frozenset(_TABLE.findall(done.stdout))


def _descriptors() -> Counter[str]:
    kinds: Counter[str] = Counter()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            kinds[re.sub(r"\d+", "N", str(descriptor.readlink()))] += 1
    return kinds
