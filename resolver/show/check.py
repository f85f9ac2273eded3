"""``resolver check``: is the resolver at this address ready? For a container's HEALTHCHECK, and for people.

A running resolver tells its status on an abstract unix socket of its network namespace. That is not
believed alone: one question is asked the way a client asks.
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any

import click
from dnslib import QTYPE, RCODE, DNSError, DNSRecord

from resolver.show.terminal import coloured, json_line, printable
from resolver.watch.sockets import status_name

if TYPE_CHECKING:
    from resolver.settings import Listen

PATIENCE = 2.0
"""Seconds for the status, and again for the answer. Less than the 30 a HEALTHCHECK waits by default."""

_LONGEST_STATUS = 1 << 20


class NotReadyError(Exception):
    """Not ready, and why."""


def check_running(listen: Listen, *, as_json: bool = False, max_stale: float | None = None) -> int:
    """Print one line that says what is so or is not; 0 when ready, else 1.

    Without the engine the last table is served, and that is ready: to be started anew would lose it. Who
    wants to hear of it says after how many seconds, with ``max_stale``.
    """
    status: dict[str, Any] = {}
    try:
        status = read_status(listen)
        _judge(status)
        ask(listen)
        _judge_age(status, max_stale)
        why, ready = _summary(status, listen), True
    except NotReadyError as error:
        why, ready = str(error), False
    if as_json:
        click.echo(json_line({**status, "ready": ready, "why": why}))
    else:
        word = click.style("ready" if ready else "not ready", fg="green" if ready else "red", bold=True)
        click.echo(f"{word}: {printable(why)}", color=coloured())
    return 0 if ready else 1


def read_status(listen: Listen) -> dict[str, Any]:
    """What the resolver that listens there says of itself.

    Raises NotReadyError when none says anything.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(PATIENCE)
            door.connect(status_name(listen))
            status = json.loads(_read_line(door))
    except TimeoutError:
        raise NotReadyError(
            f"the resolver at {listen} does not tell its status within {PATIENCE:g} s"
        ) from None
    except OSError:
        raise NotReadyError(
            f"no resolver runs at {listen} here; start one, or say where with --listen"
        ) from None
    except ValueError:
        raise NotReadyError(f"the resolver at {listen} tells a status nobody can read") from None
    if not isinstance(status, dict):
        raise NotReadyError(f"the resolver at {listen} tells a status nobody can read")
    return status


def _read_line(door: socket.socket) -> bytes:
    """Up to the first newline or the end, in a bounded time however slowly it comes."""
    deadline, line = time.monotonic() + PATIENCE, b""
    while b"\n" not in line and len(line) < _LONGEST_STATUS:
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError
        door.settimeout(left)
        if not (more := door.recv(65536)):
            break
        line += more
    return line.partition(b"\n")[0]


def _judge(status: dict[str, Any]) -> None:
    if status.get("ready") is True:
        return
    if not status.get("listening"):
        raise NotReadyError("no socket is bound yet")
    if not status.get("picture"):
        raise NotReadyError(f"the engine's first picture is not in yet; {_engine(status)}")
    raise NotReadyError("the answering process is being started")


def _judge_age(status: dict[str, Any], most: float | None) -> None:
    seconds = _stale_seconds(status)
    if most is not None and seconds is not None and seconds > most:
        raise NotReadyError(
            f"the table may be {_spell(seconds)} old, more than {_spell(most)}; {_engine(status)}"
        )


def ask(listen: Listen) -> None:
    """Ask for ``localhost.`` as a client does.

    Raises NotReadyError when no right answer comes.
    """
    where = listen.reachable
    identity = secrets.randbits(16)
    question = DNSRecord.question("localhost.")
    question.header.id = identity
    family = socket.AF_INET6 if ":" in where.address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.connect((where.address, where.port))
            client.send(question.pack())
            reply = _receive(client, identity)
    except TimeoutError:
        raise NotReadyError(f"{where} does not answer within {PATIENCE:g} s") from None
    except OSError as error:
        raise NotReadyError(f"{where} cannot be asked: {error.strerror}") from None
    if reply.header.rcode != RCODE.NOERROR or not any(r.rtype == QTYPE.A for r in reply.rr):
        rcode = RCODE.get(reply.header.rcode)
        raise NotReadyError(
            f"{where} answers {rcode} where it should know localhost: is it another resolver?"
        )


def _receive(client: socket.socket, identity: int) -> DNSRecord:
    """The reply with our ID; what else comes is not for us."""
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        client.settimeout(left)
        try:
            reply = DNSRecord.parse(client.recv(4096))
        except DNSError:
            continue
        if reply.header.id == identity and reply.header.qr:
            return reply
    raise TimeoutError


def _summary(status: dict[str, Any], listen: Listen) -> str:
    def count(what: str, one: str) -> str:
        number = status.get(what, 0)
        return f"{number} {one}" + ("" if number == 1 else "s")

    amounts = (
        f"{count('names', 'name')} of {count('containers', 'container')} on {count('networks', 'network')}"
    )
    # Without an engine it serves a file of changes, and there is nothing to say about one.
    engine = f"; {_engine(status)}" if status.get("engine") else ""
    return f"answering at {listen}, {amounts}{engine}"


def _engine(status: dict[str, Any]) -> str:
    engine = status.get("engine")
    if not isinstance(engine, dict) or not engine:
        return "no engine was reached yet"
    url = engine.get("url") or "the engine"
    if engine.get("state") == "reached":
        return f"{url} reached"
    why = f": {engine['why']}" if engine.get("why") else ""
    seconds = _stale_seconds(status)
    if seconds is None:
        return f"{url} lost{_since(engine.get('since'))}{why}"
    return f"{url} lost, the table is stale{_since(time.time() - seconds)} ({_spell(seconds)}){why}"


def _stale_seconds(status: dict[str, Any]) -> float | None:
    stale = status.get("stale")
    seconds = stale.get("seconds") if isinstance(stale, dict) else None
    return seconds if isinstance(seconds, int | float) else None


def _spell(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _since(moment: object) -> str:
    if not isinstance(moment, int | float) or moment <= 0:
        return ""
    return f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(moment))}"
