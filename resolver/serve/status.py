"""The counters door: whoever connects to the status socket gets one line of JSON and is sent away.

An abstract unix socket belongs to a network namespace and to no file system, so it works on a read-only root,
vanishes with the process, and is reached exactly by those who are inside.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import socket

    from resolver.serve.process import Process


class StatusSocket:
    """Tells how it goes. Read-only: nothing that is sent to it is read."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, process: Process) -> None:
        self._loop, self._sock, self._process = loop, sock, process
        loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Stop telling."""
        self._loop.remove_reader(self._sock.fileno())

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except OSError:
            return
        with connection:
            connection.setblocking(False)
            try:
                connection.send(json.dumps(status(self._process), separators=(",", ":")).encode() + b"\n")
            except OSError:
                return  # whoever asked did not wait


def status(process: Process) -> dict[str, Any]:
    """What ``resolver check --json`` prints: readiness, the engine, sizes and counters."""
    table, engine = process.table, process.table.engine
    hits = sum(listener.hits for listener in process.listeners)
    queries = process.queries
    return {
        "ready": process.ready,
        "picture": table.pictured,
        "engine": {"state": engine.state, "url": engine.url, "since": engine.at, "why": engine.why}
        if engine
        else None,
        "listening": process.listening,
        "networks": len(table.networks),
        "containers": len(table.sandboxes),
        "names": sum(len(zone.names) for zone in table.zones.values()),
        "pending": len(table.pending),
        "waiting": len(queries.waiting),
        "own": table.policy.own,
        "upstreams": list(table.policy.upstreams),
        "counters": {
            "queries": hits + queries.counts["cold"],
            "at_hand": hits,
            **queries.counts,
            **process.forwarder.counts,
            "tcp_queries": process.tcp.queries,
        },
        "upstream": process.upstreams.status(),
    }
