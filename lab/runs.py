"""The mark on everything a run makes, and telling a run that is over from one that goes on."""

import itertools
import os
from pathlib import Path

LABEL = "resolver.lab"


_counter = itertools.count(1)


def new_run() -> str:
    """A mark nobody else has: this process's id, its start in clock ticks since boot, and a count."""
    return f"{os.getpid()}.{_started(os.getpid())}.{next(_counter)}"


def is_over(run: str) -> bool:
    """Whether the process of that mark is gone."""
    pid, started, _ = run.split(".")
    return _started(int(pid)) != started


def _started(pid: int) -> str:
    """The start of a process (proc(5), stat, field 22); empty when there is none."""
    try:
        # The second field is a program's name in brackets, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
