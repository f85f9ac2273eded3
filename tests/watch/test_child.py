import asyncio
import errno
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from resolver.names.changes import Change, Engine, Sync
from resolver.settings import Listen
from resolver.watch import child as child_module
from resolver.watch.child import Child
from resolver.watch.sockets import Sockets, open_sockets
from tests.watch.attach.stack import open_descriptors
from tests.watch.test_sockets import free_port

PICTURE = (Sync("begin"), Sync("end"))
Start = Callable[[Iterable[Change]], Child]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stub.log"
    monkeypatch.setenv("PYTHON_STUB_LOG", str(path))
    monkeypatch.setenv("DOCKER_HOST", "unix:///secret.sock")
    return path


@pytest.fixture
async def sockets() -> AsyncIterator[Sockets]:
    [opened] = open_sockets([Listen("127.0.0.1", free_port())])
    yield opened
    opened.close()


@pytest.fixture
async def start(sockets: Sockets, log: Path) -> AsyncIterator[Start]:
    made: list[Child] = []

    def begin(picture: Iterable[Change]) -> Child:
        made.append(Child(sockets, lambda: picture, module="tests.watch.stub_child"))
        made[0].start()
        return made[0]

    yield begin
    for child in made:
        await child.stop()


async def until(reached: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.005)


def written(log: Path) -> list[str]:
    """What the stub wrote, without the times."""
    found = log.read_text().splitlines() if log.exists() else []
    return [line.partition(" ")[2] for line in found]


async def lines(log: Path, count: int) -> list[str]:
    """What the stub wrote, once it is that much."""
    await until(lambda: len(written(log)) >= count)
    return written(log)


def environment(pid: int | None) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_it_is_told_the_picture_then_what_is_new(start: Start, log: Path, sockets: Sockets) -> None:
    child = start(PICTURE)
    child.tell([Engine("lost", "unix:///x")])
    born, *told = await lines(log, 4)
    argument = json.loads(born.split(" ", 2)[2])
    assert argument["udp"] == [sockets.udp[0].fileno()]
    assert argument["tcp"] == [sockets.tcp[0].fileno()]
    assert (argument["uid"] is None) == (os.geteuid() != 0)
    assert [json.loads(line)["change"] for line in told] == ["sync", "sync", "engine"]


async def test_the_environment_names_no_engine(start: Start, log: Path) -> None:
    child = start(PICTURE)
    await lines(log, 3)
    assert b"secret.sock" not in environment(child.pid)


async def test_killed_it_comes_back_and_is_told_everything(start: Start, log: Path) -> None:
    child = start(PICTURE)
    await lines(log, 3)
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    again = await lines(log, 6)
    assert again[3].startswith("born")
    assert child.pid not in (None, first)


async def test_where_there_is_no_room_for_it_it_is_tried_again(
    start: Start, log: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_module, "LONGEST_PAUSE", 0.01)
    child = start(PICTURE)
    await lines(log, 3)
    before = open_descriptors()
    spawn, faults = Child._spawn, [OSError(errno.EAGAIN, "no room"), OSError(errno.EMFILE, "no number")]

    def spawned(*given: Any) -> Any:
        if faults:
            raise faults.pop()
        return spawn(*given)

    monkeypatch.setattr(Child, "_spawn", spawned)
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    await lines(log, 6)
    assert not faults
    assert [record.message.rpartition("] ")[2] for record in caplog.records][-2:] == ["no number", "no room"]
    assert open_descriptors() <= before


async def test_one_that_keeps_dying_is_not_steady(start: Start, log: Path) -> None:
    child = start(PICTURE)
    assert child.steady
    pid = child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await lines(log, 3)
    await until(lambda: child.pid not in (pid, None))
    assert not child.steady


async def test_one_that_does_not_read_is_replaced(
    start: Start, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LEAST_BACKLOG", 1 << 16)
    child = start(PICTURE)
    await lines(log, 3)
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    for _ in range(200):
        child.tell([Engine("lost", "unix:///x", "y" * 5000)])
    await until(lambda: child.pid not in (first, None))


async def test_the_end_of_the_door_is_the_end_of_the_child(start: Start, log: Path) -> None:
    child = start(PICTURE)
    await lines(log, 3)
    await child.stop()
    assert (await lines(log, 4))[-1] == "end"
    assert child.pid is None


async def test_one_that_does_not_end_is_killed(
    start: Start, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "GRACE", 0.2)
    child = start(PICTURE)
    await lines(log, 3)
    pid = child.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await child.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
