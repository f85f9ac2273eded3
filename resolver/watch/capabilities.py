"""Whether we may do what we are asked to do; found out before anything is opened.

The answering process must be able to give root away. Root without capabilities is still the owner of root's
files, and that is who owns the engine's socket: to answer packets as such is no alternative, nor is a process
that is started again and again to die.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

NEEDED: Final = {"SETGID": 6, "SETUID": 7}
"""capabilities(7), and their bits."""
STATUS: Final = Path("/proc/self/status")
MAPS: Final = (Path("/proc/self/uid_map"), Path("/proc/self/gid_map"))
NOBODY: Final = 65534


TO_ATTACH: Final = {"NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_ADMIN": 21}
"""For rules in another network namespace, for looking at another's process, and for entering."""


class CannotAttach(Exception):
    """Other network namespaces are closed to us; the text says what is missing, and what works without."""


def may_attach() -> None:
    """Raise CannotAttach where containers cannot be attached to."""
    effective = _effective()
    missing = [name for name, bit in TO_ATTACH.items() if effective is not None and not effective >> bit & 1]
    if missing:
        raise CannotAttach(
            "--attach enters the network namespaces of containers, and these capabilities are missing: "
            f"{', '.join(missing)}; run as root on the host, or give them with --cap-add (and --pid host); "
            "without them --take-over in a sidecar serves one container"
        )


class CannotDropRoot(Exception):
    """We are root and cannot become anybody else; the text says what to do."""


def may_drop_root() -> None:
    """Raise CannotDropRoot where the answering process would have to stay root."""
    if os.geteuid() != 0:
        return
    effective = _effective()
    missing = [name for name, bit in NEEDED.items() if effective is not None and not effective >> bit & 1]
    if missing:
        raise CannotDropRoot(
            f"root cannot be given away without the capabilities {' and '.join(missing)}; add them, or start "
            "this as another user, one who may use the engine's socket"
        )
    if not all(_mapped(path) for path in MAPS):
        raise CannotDropRoot(
            f"root cannot be given away: this user namespace has no user and group {NOBODY} (nobody); "
            "give it more of them (/etc/subuid, /etc/subgid), or start this outside"
        )


def _mapped(path: Path) -> bool:
    """Whether nobody exists in our user namespace; user_namespaces(7)."""
    try:
        ranges = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return True
    return any(int(first) <= NOBODY < int(first) + int(count) for first, _, count in ranges)


def _effective() -> int | None:
    """Our effective capabilities; None where the kernel does not say."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), None)
