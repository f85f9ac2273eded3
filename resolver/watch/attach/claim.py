"""One resolver at a time in a network namespace: who answers there holds an abstract unix name of it.

The kernel gives the name back when its holder ends, however it does. So whoever gets it knows that rules
found there are a dead one's, and that no port there is another one's.
"""

from __future__ import annotations

import errno
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resolver.watch.attach.namespace import CannotEnter
from resolver.watch.nftables import lifted

if TYPE_CHECKING:
    from types import TracebackType

    from resolver.watch.attach.namespace import Inside

NAME: Final = "\0resolver_attached"

_guard = threading.Lock()


class AlreadyAnswered(CannotEnter):
    """Another resolver is there, or rules that have not run out yet: one died a moment ago."""

    def __init__(self) -> None:
        super().__init__("another resolver answers there, or did until a moment ago")


@dataclass(slots=True)
class _Held:
    name: socket.socket
    claims: int


_held: dict[tuple[int, int], _Held] = {}
"""By the identity of the namespace."""


class Claim:
    """Ours until ``close``; another one of this process may be there beside it, as one attachment follows
    another."""

    __slots__ = ("_identity",)

    def __init__(self, inside: Inside) -> None:
        """To be made in that namespace. Raises AlreadyAnswered, CannotEnter."""
        self._identity: tuple[int, int] | None = None
        with _guard:
            held = _held.get(inside.identity)
            if held is None:
                held = _held[inside.identity] = _Held(_named(), 0)
            held.claims += 1
        self._identity = inside.identity

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another resolver in, unless there are more claims of ours; twice does no harm."""
        identity, self._identity = self._identity, None
        if identity is None:
            return
        with _guard:
            held = _held[identity]
            held.claims -= 1
            if not held.claims:
                del _held[identity]
                held.name.close()


def _named() -> socket.socket:
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        name.bind(NAME)
    except OSError as error:
        name.close()
        if error.errno == errno.EADDRINUSE:
            raise AlreadyAnswered from None
        raise CannotEnter(f"no name can be had there: {error.strerror}") from None
    return socket.socket(fileno=lifted(name.detach()))
