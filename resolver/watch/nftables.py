"""libnftables through ctypes: no program is started, and a small transaction costs half a millisecond."""

from __future__ import annotations

import ctypes
import ctypes.util
import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FD_SETSIZE: Final = 1024
"""The library waits with select(2), which knows no descriptor from this number on: it ends the process."""
_IN_A_CALL: Final = 16
"""Descriptors that the library, and other threads meanwhile, may open."""
_CAP_NET_ADMIN: Final = 12


class NftablesError(Exception):
    """Rules could not be set; the text says why."""


class NetAdminMissing(NftablesError):
    """This process may not set rules in this network namespace."""

    def __init__(self) -> None:
        super().__init__("the capability NET_ADMIN is missing in this network namespace")


class LibraryMissing(NftablesError):
    """libnftables is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the library libnftables.so.1 is missing; install it "
            "(Debian, Ubuntu: libnftables1; Alpine: nftables)"
        )


class Nftables:
    """A context of the library. It belongs to the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        """Raises NftablesError without the library, or without the capability: the library would write a
        line of its own on stderr."""
        if not has_net_admin():
            raise NetAdminMissing
        self._library = _load()
        if _next_descriptor() > FD_SETSIZE - _IN_A_CALL:
            raise NftablesError("too many descriptors are open for libnftables")
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise NftablesError("libnftables could not be started")
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, commands: str) -> str:
        """All of them or none; what they print. Raises NftablesError."""
        done = self._library.nft_run_cmd_from_buffer(self._context, commands.encode()) == 0
        printed: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        said: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if done:
            return printed.decode(errors="replace")
        why = said.decode(errors="replace").strip().partition("\n")[0].removeprefix("Error: ")
        if "not permitted" in why or "ermission denied" in why:
            raise NetAdminMissing
        raise NftablesError(f"nftables refused: {why or 'no reason given'}")

    def close(self) -> None:
        """Give its memory and its socket back, soon; twice does no harm."""
        context, self._context = self._context, None
        if context:
            close_soon(lambda: self._library.nft_ctx_free(context))


def lifted(fd: int) -> int:
    """The same descriptor under a number of ``FD_SETSIZE`` or above, where it is in nobody's way; the old one
    is closed. As it was, where the process may not have such numbers."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FD_SETSIZE)
    except OSError:
        return fd
    os.close(fd)
    return high


def _next_descriptor() -> int:
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    os.close(fd)
    return fd


def close_soon(close: Callable[[], object]) -> None:
    """Close a socket of this family in a thread kept for that: after a change the kernel lets go of one only
    when every processor is done with the old rules, which takes 15 to 30 ms."""
    start_closing().put(close)


def start_closing() -> SimpleQueue[Callable[[], object]]:
    """Start that thread, unless it runs; what it is to close goes in here.

    It stays in the network namespace it is started in, and keeps that alive: whoever enters others starts it
    before.
    """
    with _closing_lock:
        if not _closing:
            _closing.append(SimpleQueue())
            threading.Thread(target=_close_all, args=(_closing[0],), name=CLOSING, daemon=True).start()
        return _closing[0]


CLOSING: Final = "resolver-nft"
_closing: list[SimpleQueue[Callable[[], object]]] = []
_closing_lock = threading.Lock()


def _close_all(queue: SimpleQueue[Callable[[], object]]) -> None:
    while True:
        with suppress(OSError):
            queue.get()()


def has_net_admin() -> bool:
    """Whether this process has the capability; where that cannot be read, the library will tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return True


_loaded: list[ctypes.CDLL] = []


def _load() -> ctypes.CDLL:
    """The library, found once: looking for it starts programs on some systems."""
    if _loaded:
        return _loaded[0]
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        try:
            library = ctypes.CDLL(ctypes.util.find_library("nftables") or "libnftables.so")
        except OSError:
            raise LibraryMissing from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output", "nft_ctx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_free.restype = None
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    _loaded.append(library)
    return library
