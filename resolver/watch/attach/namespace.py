"""Into a container's network namespace and back, and what its files say there.

A thread enters a namespace alone (setns(2)); sockets it makes there stay there, whoever uses them later. What
is read below ``/proc/PID`` goes through one descriptor of that folder, so that a process number that is given
to another program in between is noticed; and no link inside a container's file system is followed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from resolver.watch.own import container_in

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET: Final = 0x40000000
_LONGEST: Final = 1 << 16
"""Octets read of any file."""

_libc = ctypes.CDLL(None, use_errno=True)


class CannotEnter(Exception):
    """A container cannot be attached to; the text says why, and what to do where there is something."""


@dataclass(slots=True)
class Inside:
    """A container's network namespace, held open, and what was found there. ``close`` it."""

    fd: int
    """Of the namespace. It lives as long as this is open, also when nobody is in it any more."""
    identity: tuple[int, int]
    """Device and inode: another one is another namespace."""
    resolv_conf: str

    def close(self) -> None:
        """Twice does no harm."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def look_inside(pid: int, container: str) -> Inside:
    """What is in the namespace of this process of this container.

    Raises CannotEnter: it has ended, belongs to somebody else, or may not be looked at.
    """
    try:
        folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise CannotEnter(_NOT_SEEN) from None
    try:
        if container_in(_text(folder, "mountinfo")) != container:
            raise CannotEnter(_NOT_SEEN)
        fd = os.open("ns/net", os.O_RDONLY, dir_fd=folder)
        try:
            state = os.fstat(fd)
            return Inside(fd, (state.st_dev, state.st_ino), _resolv_conf(folder))
        except BaseException:
            os.close(fd)
            raise
    except PermissionError:
        raise CannotEnter(_NOT_ALLOWED) from None
    except OSError as error:
        raise CannotEnter(f"its process could not be looked at: {error.strerror}") from None
    finally:
        os.close(folder)


_NOT_SEEN: Final = (
    "its process cannot be seen from here; run on the host, or in a container with --pid host, "
    "beside the engine that runs it; elsewhere --take-over in a sidecar serves one container"
)
_NOT_ALLOWED: Final = (
    "not permitted; attaching needs root with the capabilities SYS_ADMIN, SYS_PTRACE and NET_ADMIN "
    "(docker run --cap-add each of them and --security-opt apparmor=unconfined), in the engine's own user "
    "namespace (rootless: in a container of that engine); "
    "without them --take-over in a sidecar serves one container"
)


def our_namespace() -> tuple[int, int]:
    """Device and inode of the namespace of this process."""
    state = Path("/proc/self/ns/net").stat()
    return state.st_dev, state.st_ino


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """This thread is in that namespace, and back in the process's own afterwards.

    Raises CannotEnter. A thread that cannot come back raises OSError, and must not be used again.
    """
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if _libc.setns(fd, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise CannotEnter(_NOT_ALLOWED if number == errno.EPERM else os.strerror(number))
        try:
            yield
        finally:
            if _libc.setns(home, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot leave a network namespace")
    finally:
        os.close(home)


def _resolv_conf(process: int) -> str:
    """The container's own file, as its programs see it; empty where there is none that is a plain file.

    Whoever is root in the container chose what is there: a link may lead to any file of ours, and a pipe
    would never end.
    """
    with suppress(OSError):
        root = os.open("root", os.O_RDONLY | os.O_DIRECTORY, dir_fd=process)
        try:
            etc = os.open("etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
        finally:
            os.close(root)
        try:
            return _text(etc, "resolv.conf", os.O_NOFOLLOW | os.O_NONBLOCK)
        finally:
            os.close(etc)
    return ""


def _text(folder: int, name: str, flags: int = 0) -> str:
    fd = os.open(name, os.O_RDONLY | flags, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, f"{name} is no plain file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(_LONGEST if flags else -1).decode(errors="replace")
    finally:
        os.close(fd)
