"""Questions leave in batches: one sendmmsg, through ctypes, for all that one turn of the loop brought.

A call per datagram costs more than the call: each may wake the server, which on a busy machine takes our
processor. Measured there: a tenth less time per forwarded question.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from resolver.serve import mmsg

if TYPE_CHECKING:
    import asyncio

    from resolver.serve.upstream.udp import UdpExchange
    from resolver.serve.upstream.upstreams import Upstreams

_FULL: Final = (errno.EAGAIN, errno.ENOBUFS, errno.EINTR)
"""Errors that say nothing about the server: as if the network had lost the datagram."""


class Batch:
    """Datagrams of this turn, all for one socket; another socket's turn sends them first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Upstreams) -> None:
        self._loop = loop
        self._owner = owner
        self._exchange: UdpExchange | None = None
        self._outbox = mmsg.Outbox()

    def put(self, exchange: UdpExchange, packet: bytes) -> None:
        """Send this before the turn ends; at once where it does not fit or there is no such call."""
        if len(packet) > mmsg.LONGEST or not mmsg.available:
            self._send_alone(exchange, packet)
            return
        if exchange is not self._exchange:
            if self._exchange is None:
                self._loop.call_soon(self.flush)
            else:
                self._send()
            self._exchange = exchange
        if self._outbox.add(packet):
            self._send()

    def flush(self) -> None:
        """Send what there is; the loop does this at the end of the turn."""
        self._send()
        self._exchange = None
        self._owner.turn()

    def _send(self) -> None:
        exchange = self._exchange
        if exchange is not None:
            self._told(exchange, self._outbox.flush(exchange.fileno(), wait=not exchange.server.inside))

    def _send_alone(self, exchange: UdpExchange, packet: bytes) -> None:
        try:
            exchange.send(packet)
        except OSError as error:
            self._told(exchange, error.errno or errno.EIO)

    def _told(self, exchange: UdpExchange, failure: int) -> None:
        """What the kernel did not take is sent again in time; what it says of the server counts at once."""
        if failure and failure not in _FULL and exchange.fileno() >= 0:
            self._owner.broke(exchange, failure)
