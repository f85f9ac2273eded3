"""``--client-rate``: how many questions a client may ask in a second. Off, it costs one look per batch.

Counted in whole seconds: everything is forgotten when the next one begins, so nothing needs to be remembered
of clients that went away. A question too many is refused, not dropped: a client that is told stops waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resolver.wire.query import REFUSED, Refused, read_query, write_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.serve.udp import Ask, Client

MOST: Final = 65_536
"""Addresses counted in one second; beyond, counting begins anew."""


class Rates:
    """Questions of each client in the present second."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = 0
        self._asked: dict[bytes, int] = {}
        self.limit = 0
        """Questions per second of one client; 0: not counted."""
        self.refused = 0

    def over(self, address: bytes) -> bool:
        """Count a question of this client; whether it is one too many."""
        second = int(self._now())
        if second != self._second or len(self._asked) >= MOST:
            self._second = second
            self._asked.clear()
        asked = self._asked.get(address, 0) + 1
        self._asked[address] = asked
        if asked <= self.limit:
            return False
        self.refused += 1
        return True

    def before(self, ask: Ask) -> Ask:
        """The same way in, but closed to who has asked too much."""

        def counted(packet: bytes, client: Client) -> bytes | None:
            if self.limit and self.over(client.address):
                return refusal(packet)
            return ask(packet, client)

        return counted


def refusal(packet: bytes) -> bytes | None:
    """REFUSED; for what is no proper question what it gets anyway."""
    try:
        return write_reply(read_query(packet), REFUSED)
    except Refused as refused:
        return refused.reply
