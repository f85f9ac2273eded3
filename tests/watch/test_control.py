"""``resolver attach``, ``detach`` and ``attached`` as the running resolver hears them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from resolver.settings import Listen
from resolver.watch import control
from resolver.watch.attach.attacher import Attacher, Case
from resolver.watch.attach.candidate import Candidate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resolver.watch.attach.attachment import Attachment

WEB, DB = "aa" * 32, "bb" * 32


@dataclass
class Attached:
    """What is told of an attachment."""

    nameservers: tuple[str, ...] = ("127.0.0.11",)
    since: float = 1700000000.12345
    renewed: float = 1700000001.0


@dataclass
class Told:
    """Stands for the attacher: does what it is told, at once."""

    cases: dict[str, Case] = field(default_factory=dict)
    obstacle: str = ""
    hangs: bool = False

    def add(self, identity: str, name: str, *, wanted: bool, attached: bool) -> None:
        candidate = Candidate(identity, name, 7, ("dev", "prod"))
        self.cases[identity] = Case(candidate, wanted, cast("Attachment", Attached()) if attached else None)

    def wants(self, case: Case) -> bool:
        return bool(case.said)

    async def say(self, name: str, attach: bool) -> Case | None:
        if self.hangs:
            await asyncio.Event().wait()
        case = next((c for c in self.cases.values() if c.candidate.name == name), None)
        if case:
            case.attachment = cast("Attachment", Attached()) if attach and not self.obstacle else None
            case.why = self.obstacle if attach else ""
        return case


class Heard:
    """A control socket at work."""

    def __init__(self) -> None:
        self.told = Told()
        self.serving: asyncio.Task[None]
        self.listen = Listen("127.0.0.1", 20_000 + os.getpid() % 40_000)
        """The name of the socket only; nobody listens there."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(20):
            while True:
                try:
                    return await asyncio.open_unix_connection(control.control_name(self.listen))
                except ConnectionRefusedError:
                    await asyncio.sleep(0)

    async def say(self, line: bytes) -> Any:
        """What is replied to a line; None when nothing is."""
        reader, writer = await self.connect()
        writer.write(line)
        async with asyncio.timeout(20):
            reply = await reader.read()
        writer.close()
        return json.loads(reply) if reply else None

    async def command(self, command: str, name: str = "") -> Any:
        return await self.say(json.dumps({"command": command, "container": name}).encode() + b"\n")


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    heard = Heard()
    heard.told.add(WEB, "web", wanted=True, attached=True)
    heard.told.add(DB, "db", wanted=False, attached=False)
    heard.serving = asyncio.create_task(control.serve(cast(Attacher, heard.told), heard.listen))
    yield heard
    heard.serving.cancel()
    await asyncio.wait([heard.serving])
    assert failures == []


ROW = {
    "id": WEB,
    "container": "web",
    "networks": ["dev", "prod"],
    "nameservers": ["127.0.0.11"],
    "since": 1700000000.123,
    "renewed": 1700000001.0,
}


async def test_those_attached_and_those_that_should_be(heard: Heard) -> None:
    heard.told.add("cc" * 32, "api", wanted=True, attached=False)
    heard.told.cases["cc" * 32].why = "it is odd"
    row = {"id": "cc" * 32, "container": "api", "networks": ["dev", "prod"], "why": "it is odd"}
    assert await heard.command("attached") == {"attached": [row, ROW]}


async def test_attach_and_detach(heard: Heard) -> None:
    assert await heard.command("attach", "db") == {"done": "attach", **ROW, "id": DB, "container": "db"}
    done = await heard.command("detach", "db")
    assert done == {"done": "detach", "id": DB, "container": "db", "networks": ["dev", "prod"]}


async def test_what_cannot_be_done_says_why(heard: Heard) -> None:
    heard.told.obstacle = "it has no network"
    assert await heard.command("attach", "db") == {"error": "db is not attached: it has no network"}
    heard.told.obstacle = ""
    for command in ("attach", "detach"):
        said = await heard.command(command, "nobody")
        assert said == {"error": "there is no container nobody, or more than one"}


@pytest.mark.parametrize("command", ["", "stop", "Attach", None, ["attach"], {"attach": 1}])
async def test_unknown_commands(heard: Heard, command: Any) -> None:
    said = await heard.say(json.dumps({"command": command, "container": "web"}).encode() + b"\n")
    assert list(said) == ["error"]
    assert "no command" in said["error"]
    assert heard.told.cases[WEB].attachment


@pytest.mark.parametrize(
    "line", [b"\n", b"{\n", b"[]\n", b'"attach"\n', b"7\n", b"null\n", b"\xff\xfe\n", b"[" * 3000 + b"\n"]
)
async def test_a_line_that_is_none(heard: Heard, line: bytes) -> None:
    assert "no command" in (await heard.say(line))["error"]
    assert (await heard.command("attached"))["attached"] == [ROW]


async def test_a_line_without_end(heard: Heard) -> None:
    """Is not read on and on."""
    reader, writer = await heard.connect()
    writer.write(b"x" * (1 << 16))
    with suppress(ConnectionError):
        async with asyncio.timeout(20):
            assert b"not done" in await reader.read()
    writer.close()
    assert (await heard.command("attached"))["attached"] == [ROW]


async def test_a_caller_who_says_nothing_holds_nobody_up(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await heard.connect()
    assert (await heard.command("attached"))["attached"] == [ROW]
    monkeypatch.setattr(control, "PATIENCE", 0.01)
    other, others = await heard.connect()
    async with asyncio.timeout(20):
        assert b"not done within" in await other.read()
    others.close()
    writer.write(b'{"command": "attached"}\n')
    async with asyncio.timeout(20):
        assert json.loads(await reader.read())["attached"] == [ROW]
    writer.close()


async def test_a_caller_who_says_nothing_is_not_waited_for_at_the_end(heard: Heard) -> None:
    reader, writer = await heard.connect()
    assert await heard.command("attached")
    heard.serving.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([heard.serving])
        assert await reader.read() == b""
    writer.close()


async def test_a_caller_who_leaves(heard: Heard) -> None:
    _, writer = await heard.connect()
    writer.write(b'{"command": "attac')
    writer.close()
    await writer.wait_closed()
    assert (await heard.command("attached"))["attached"] == [ROW]


async def test_a_command_that_takes_too_long(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.05)
    heard.told.hangs = True
    assert await heard.command("attach", "db") == {"error": "not done within 0.05 s; what was begun goes on"}


async def test_a_command_that_fails(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def say(name: str, attach: bool) -> Case | None:
        raise OSError(errno.EMFILE, "no descriptor is left")

    monkeypatch.setattr(heard.told, "say", say)
    said = await heard.command("attach", "db")
    assert list(said) == ["error"]
    assert "no descriptor is left" in said["error"]


async def test_a_second_resolver_waits_for_the_end_of_the_first(
    heard: Heard, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await heard.command("attached")
    monkeypatch.setattr(control, "AGAIN", 0.001)
    second = asyncio.create_task(control.serve(cast(Attacher, Told()), heard.listen))
    await asyncio.sleep(0.05)
    assert [record.message.partition(" until")[0] for record in caplog.records] == [
        "resolver attach and detach go to another resolver"
    ]
    assert (await heard.command("attached"))["attached"] == [ROW]
    heard.serving.cancel()
    await asyncio.wait([heard.serving])
    assert (await heard.command("attached"))["attached"] == []
    second.cancel()
    await asyncio.wait([second])


PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else ""
"""One that nobody may run: ours may lie in root's home."""
PROGRAM = """
import socket, sys
wire = socket.socket(socket.AF_UNIX)
wire.connect("\\0" + sys.argv[1])
wire.sendall(b'{"command": "detach", "container": "web"}\\n')
print(wire.makefile().read())
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not PYTHON or not shutil.which("setpriv"), reason="only root can be somebody else"
)
async def test_another_user_may_not_ask(heard: Heard) -> None:
    assert await heard.command("attached")
    name = control.control_name(heard.listen).removeprefix("\0")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    caller = await asyncio.create_subprocess_exec(
        *nobody, PYTHON, "-IS", "-c", PROGRAM, name, stdout=subprocess.PIPE
    )
    out, _ = await caller.communicate()
    assert json.loads(out) == {"error": "only root may ask this"}
    assert heard.told.cases[WEB].attachment


def test_the_same_user_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs us without being root; and root himself."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for user, may in ((os.geteuid(), True), (65_534, os.geteuid() == 0)):
            monkeypatch.setattr(os, "geteuid", lambda user=user: user)
            assert control.is_trusted(ours) is may
