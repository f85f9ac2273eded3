"""``resolver attach``, ``detach`` and ``attached`` as the running resolver hears them: one line of JSON each
way, on an abstract unix socket of its network namespace.

Such a socket has no owner and no permissions, so each side asks the kernel who the other is: root, or whoever
we run as.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from resolver.settings import Listen
    from resolver.watch.attach.attacher import Attacher, Case

PATIENCE: Final = 10.0
"""Seconds a command may take: a container is attached to in some 20 ms, several one after the other."""
AGAIN: Final = 1.0
"""Seconds between two tries to get the socket."""
_LONGEST: Final = 1 << 12
_CREDENTIALS: Final = struct.Struct("3i")
"""SO_PEERCRED, unix(7): process, user, group."""

log = logging.getLogger(__name__)


def control_name(listen: Listen) -> str:
    """The abstract name of the control socket of a resolver whose first address this is."""
    return f"\0resolver/{listen}/attach"


def is_trusted(sock: Any) -> bool:
    """Whether the other end of a connected unix socket is root's, or ours."""
    told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(told)
    return user in (0, os.geteuid())


async def serve(attacher: Attacher, listen: Listen) -> None:
    """Answer commands until cancelled."""

    callers: set[asyncio.StreamWriter] = set()

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.add(writer)
        try:
            writer.write(json.dumps(await _reply(attacher, reader, writer)).encode() + b"\n")
            await writer.drain()
        except OSError:
            log.debug("who asked did not wait for the reply", exc_info=True)
        finally:
            callers.discard(writer)
            writer.close()

    sock = await _bound(listen)
    server = await asyncio.start_unix_server(called, sock=sock, limit=_LONGEST)
    try:
        await asyncio.Event().wait()
    finally:  # not serve_forever, which from Python 3.12 on waits for whoever called and says nothing
        server.close()
        for writer in callers:
            writer.transport.abort()


async def _bound(listen: Listen) -> socket.socket:
    """The control socket, as soon as nobody else has it: whom we replace keeps it until his end."""
    told = False
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.bind(control_name(listen))
        except OSError as error:
            sock.close()
            if not told:
                log.warning("resolver attach and detach go to another resolver until it ends (%s)", error)
            told = True
        else:
            return sock
        await asyncio.sleep(AGAIN)


async def _reply(
    attacher: Attacher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> dict[str, Any]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await _answer(attacher, reader, writer)
    except TimeoutError:
        return {"error": f"not done within {PATIENCE:g} s; what was begun goes on"}
    except (OSError, ValueError) as error:
        log.debug("a command was not carried out", exc_info=True)  # anybody can send what nobody can read
        return {"error": f"not done: {error}"}


async def _answer(
    attacher: Attacher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> dict[str, Any]:
    said = _read(await reader.readline())  # first: who closes with something unread resets his own reply
    if not is_trusted(writer.get_extra_info("socket")):
        return {"error": "only root may ask this"}
    command, name = said.get("command"), str(said.get("container", ""))
    if command == "attached":
        return {"attached": [_row(case) for case in _shown(attacher)]}
    if command not in ("attach", "detach"):
        return {"error": f"there is no command {command!r}"}
    case = await attacher.say(name, command == "attach")
    if case is None:
        return {"error": f"there is no container {name}, or more than one"}
    if command == "attach" and case.attachment is None:
        return {"error": f"{case.candidate.name} is not attached: {case.why or 'it is being let go'}"}
    return {"done": command, **_row(case)}


def _read(line: bytes) -> dict[str, Any]:
    """What was said; nothing where it is no JSON object."""
    with suppress(ValueError, RecursionError):
        said = json.loads(line)
        if isinstance(said, dict):
            return said
    return {}


def _shown(attacher: Attacher) -> list[Case]:
    """Those attached to, and those that should be."""
    cases = [c for c in attacher.cases.values() if c.attachment or attacher.wants(c)]
    return sorted(cases, key=lambda case: case.candidate.name)


def _row(case: Case) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": case.candidate.id,
        "container": case.candidate.name,
        "networks": list(case.candidate.networks),
    }
    if case.attachment:
        row["nameservers"] = list(case.attachment.nameservers)
        row["since"] = round(case.attachment.since, 3)
        row["renewed"] = round(case.attachment.renewed, 3)
    if case.why:
        row["why"] = case.why
    return row
