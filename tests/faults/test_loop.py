"""Two resolvers that name each other as upstream: the loop is broken, and one question is a few packets."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lab.served import Served
from tests.faults.running import ADDRESS, HOST, ask_udp, free_port, question, table

if TYPE_CHECKING:
    from pathlib import Path

NAMES = 20
SERVFAIL = 2
MOST_PACKETS = 12
"""Datagrams for one name, of both resolvers together: what goes round waits for itself, and what is sent
again is sent by the clock, not by what comes in."""


def sent_upstream(served: Served) -> int:
    """Datagrams that went to its upstream: a question that waits with another is none."""
    status = json.loads(served.check("--json").stdout)
    (counts,) = [part for part in _parts(status) if "hedged" in part and "asked" in part]
    return counts["asked"] - counts["joined"] + counts["hedged"] + counts["probes"]


def _parts(status: object) -> list[dict[str, int]]:
    if not isinstance(status, dict):
        return []
    return [status, *(part for value in status.values() for part in _parts(value))]


def test_two_that_forward_to_each_other(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    with ExitStack() as stack:
        pair = [
            stack.enter_context(
                Served(f"--listen={HOST}:{a}", f"--upstream={HOST}:{b}", f"--changes={table(tmp_path)}")
            )
            for a, b in ((one, two), (two, one))
        ]
        for number in range(NAMES - 1):
            ask_udp((HOST, one), question(f"n{number}.example"), 0.02)
        began = time.monotonic()
        assert ask_udp((HOST, one), question("last.example"), 10.0)[3] & 15 == SERVFAIL
        assert time.monotonic() - began < 5
        assert ask_udp((HOST, one), question()).endswith(ADDRESS)
        time.sleep(0.5)
        sent = sum(sent_upstream(served) for served in pair)
        print(f"{NAMES} names went round as {sent} datagrams")  # noqa: T201
        assert 2 * NAMES <= sent <= MOST_PACKETS * NAMES
        time.sleep(0.5)
        assert sum(sent_upstream(served) for served in pair) <= sent + 4, "it has come to an end"
