"""No file, no folder, no program, no new listener: what the answering process gives away for good once it
runs (Landlock, Linux 5.13).

Whatever user a fault in a packet reader would act as, there is nothing left to open: rules would name
exceptions, and there are none. Sockets that are open stay so, and TCP to upstream servers is allowed.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_CREATE_RULESET: Final = 444
_RESTRICT_SELF: Final = 446
"""The same numbers on every architecture."""
_VERSION: Final = 1
_FILES: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""Interface version → how many rights on files it knows: all of them are given up."""
_BIND_TCP: Final = 1
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 3
"""Neither can reach a process outside any more: some engines listen on abstract sockets (CVE-2020-15257)."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


def restrict() -> int:
    """Give it away. The version of the kernel's interface; 0 where it has none, and nothing has changed.

    Raises OSError when the kernel has it and refuses. Needs no_new_privs.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version: int = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    if version <= 0:
        return 0
    rights = max(count for since, count in _FILES.items() if since <= version)
    net, scoped = _BIND_TCP if version >= 4 else 0, _ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    rules = _Ruleset((1 << rights) - 1, net, scoped)
    size = 24 if scoped else 16 if net else 8
    fd: int = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    _checked(fd)
    try:
        _checked(libc.syscall(_RESTRICT_SELF, ctypes.c_int(fd), ctypes.c_uint32(0)))
    finally:
        os.close(fd)
    return version


def _checked(result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock: {os.strerror(code)}")
