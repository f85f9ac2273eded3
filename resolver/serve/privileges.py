"""Giving root away, for good: another user, no groups, no capabilities, and no way to gain any."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_LAST_CAP: Final = 63


def drop(uid: int | None, gid: int | None) -> None:
    """Become this user and group; None for both where we are not root and can only promise to gain nothing.

    Raises OSError when the kernel refuses: answering packets as root is no alternative.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if uid is not None and gid is not None:
        for capability in range(_LAST_CAP + 1):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # those this kernel does not know are refused
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"no_new_privs: {os.strerror(code)}")
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
