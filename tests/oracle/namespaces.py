"""Sockets made in another network namespace. A socket stays where it was made, whoever uses it later."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def namespace_of(pid: int) -> Path:
    """The network namespace of a process."""
    return Path(f"/proc/{pid}/ns/net")


def within(namespace: Path, make: Callable[[], T]) -> T:
    """Call ``make`` in the namespace, on a thread of its own which ends with it; raises what it raises."""
    made: list[T] = []
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with namespace.open("rb") as target:
                if _LIBC.setns(target.fileno(), _CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), str(namespace))
            made.append(make())
        except BaseException as error:  # noqa: BLE001 — raised again where it is waited for
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
