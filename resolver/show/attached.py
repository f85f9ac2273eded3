"""``resolver attach``, ``detach`` and ``attached``: said to a running resolver, and what it replies."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import click

from resolver.show.check import NotReadyError, read_status
from resolver.show.terminal import CommandError, json_line, printable
from resolver.watch.control import PATIENCE, control_name, is_trusted

if TYPE_CHECKING:
    from resolver.settings import Listen

_LONGEST = 1 << 24


def attach(listen: Listen, container: str) -> int:
    """Have the running resolver answer in a container. Raises CommandError."""
    row = _say(listen, {"command": "attach", "container": container})
    click.echo(printable(f"attached: {row['container']}, in place of {', '.join(row['nameservers'])}"))
    return 0


def detach(listen: Listen, container: str) -> int:
    """Have it let a container go. Raises CommandError."""
    row = _say(listen, {"command": "detach", "container": container})
    click.echo(printable(f"detached: {row['container']}; its own nameserver answers"))
    return 0


def print_attached(listen: Listen, *, as_json: bool) -> int:
    """One line for each container: networks, since when, questions, last renewal. Raises CommandError."""
    rows = _say(listen, {"command": "attached"}).get("attached", [])
    asked = _asked(listen)
    for row in rows:
        row["queries"] = asked.get(row["id"], 0)
    if as_json:
        for row in rows:
            click.echo(json_line(row))
        return 0
    if not rows:
        click.echo("no container is attached")
        return 0
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("CONTAINER", "NETWORKS", "SINCE"):
        table.add_column(heading, no_wrap=heading != "NETWORKS")
    table.add_column("QUERIES", justify="right")
    table.add_column("LAST RENEWAL")
    for row in rows:
        table.add_row(*map(printable, _cells(row)))
    Console(highlight=False, markup=False).print(table)
    return 0


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    name, networks = row["container"], ", ".join(row["networks"])
    if "since" not in row:
        return name, networks, "not attached", "", row.get("why", "")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["since"]))
    ago = max(0.0, time.time() - row["renewed"])
    renewed = f"{ago:.0f} s ago" if row["renewed"] else "released"
    return name, networks, since, str(row["queries"]), renewed


def _asked(listen: Listen) -> dict[str, int]:
    """Questions by container id; none when the answering process does not tell."""
    try:
        found = read_status(listen).get("attached")
    except NotReadyError:
        return {}
    return found if isinstance(found, dict) else {}


def _say(listen: Listen, request: dict[str, str]) -> dict[str, Any]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(PATIENCE + 1)
            wire.connect(control_name(listen))
            if not is_trusted(wire):
                raise CommandError(
                    f"what hears commands for {listen} is another user's; not a word was said to it"
                )
            wire.sendall(json.dumps(request).encode() + b"\n")
            reply = json.loads(_line(wire))
            if not isinstance(reply, dict) or not isinstance(reply.get("attached", []), list):
                raise ValueError
    except TimeoutError:
        raise CommandError(f"the resolver at {listen} does not reply within {PATIENCE:g} s") from None
    except OSError:
        raise CommandError(
            f"no resolver that attaches runs at {listen} here; start one with resolver serve --attach none, "
            "or say where with --listen"
        ) from None
    except ValueError:
        raise CommandError(f"the resolver at {listen} replied what nobody can read") from None
    if "error" in reply:
        raise CommandError(str(reply["error"]))
    return reply


def _line(wire: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST and (more := wire.recv(65536)):
        line += more
    return line
