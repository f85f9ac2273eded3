"""What a service manager is told, where there is one: sd_notify(3), one datagram."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def tell(state: str) -> None:
    """Tell systemd, or whoever named a socket in ``NOTIFY_SOCKET``; nothing without one."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto(state.encode(), f"\0{name[1:]}" if name.startswith("@") else name)
