"""What is counted of the exchanges with upstream servers, for ``resolver check --json``."""

from __future__ import annotations

from typing import Final

COUNTERS: Final = (
    "asked",
    "joined",
    "replied",
    "failed",
    "refused_limit",
    "timeouts",
    "hedged",
    "unwilling",
    "malformed",
    "mismatched",
    "stray",
    "late",
    "unreachable",
    "tcp",
    "probes",
    "no_socket",
)
"""joined: waited with an identical question; unwilling: SERVFAIL and REFUSED; mismatched: right ID, another
question; stray: no question waits for that ID; late: another server's reply had been taken."""
