import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from resolver.names.changes import Pending
from resolver.settings import Listen, Settings
from resolver.watch.book import Book
from resolver.watch.process import run
from resolver.watch.static import BadChanges, load_changes
from tests.watch.test_sockets import free_port

CHANGES = """\
# two networks

{"change": "network", "id": "n1", "name": "prod", "subnets": ["10.1.0.0/24"]}
{"change": "container", "id": "c1", "name": "es1", "endpoints": [{"network": "n1", "names": ["es1"]}]}
{"change": "settings", "ttl": 5}
"""

PROGRAM = """
import sys
from pathlib import Path
from resolver import log
from resolver.settings import Listen, Settings
from resolver.watch import child, process
child.Child.__init__.__kwdefaults__["module"] = "tests.watch.stub_child"
log.configure()
listen, changes = (Listen("127.0.0.1", int(sys.argv[1])),), Path(sys.argv[2])
settings = Settings(listen=listen, changes=changes, ttl=7)
sys.exit(process.run(settings, lambda: Settings(listen=listen, changes=changes, ttl=8)))
"""


@pytest.fixture
def changes(tmp_path: Path) -> Path:
    path = tmp_path / "changes"
    path.write_text(CHANGES)
    return path


def test_a_file_of_changes(changes: Path) -> None:
    book = Book()
    load_changes(changes, book)
    assert (list(book.networks), list(book.sandboxes), book.policy, book.pictured) == (
        ["n1"],
        ["c1"],
        None,
        True,
    )


def test_a_recording_is_played_to_its_end(changes: Path) -> None:
    with changes.open("a") as more:
        more.write('{"change": "sync", "at": "begin"}\n{"change": "sync", "at": "end"}\n')
        more.write('{"change": "pending", "container": "c2", "networks": []}\n')
    book = Book()
    load_changes(changes, book)
    assert (book.sandboxes, book.pending) == ({}, {"c2": Pending("c2")})


def test_a_bad_line_is_named(changes: Path, caplog: pytest.LogCaptureFixture) -> None:
    with changes.open("a") as more:
        more.write('{"change": "container"}\n')
    with pytest.raises(BadChanges, match=r"changes line 6: 'id' is missing"):
        load_changes(changes, Book())
    assert run(Settings(listen=(Listen("127.0.0.1", free_port()),), changes=changes)) == 2
    assert "line 6" in caplog.text


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BadChanges, match="cannot be read: No such file"):
        load_changes(tmp_path / "none", Book())


def test_an_address_that_cannot_be_had(changes: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(Settings(listen=(Listen("192.0.2.1", free_port()),), changes=changes)) == 1
    assert "cannot listen on UDP 192.0.2.1" in caplog.text


def until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_story_from_start_to_end(changes: Path, tmp_path: Path) -> None:
    log = tmp_path / "stub.log"
    environ = {**os.environ, "PYTHON_STUB_LOG": str(log), "PYTHONPATH": str(Path.cwd())}
    arguments = [sys.executable, "-c", PROGRAM, str(free_port()), str(changes)]

    def told() -> str:
        return log.read_text() if log.exists() else ""

    with subprocess.Popen(arguments, env=environ, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: '"at":"end"' in told())
        assert '"ttl":7' in told()
        assert '"name":"es1"' in told()
        changes.write_text(CHANGES.replace("es1", "es2"))
        process.send_signal(signal.SIGHUP)
        until(lambda: '"name":"es2"' in told() and '"ttl":8' in told())
        changes.write_text("nonsense\n")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        began = time.monotonic()
        process.terminate()
        _, complaints = process.communicate(timeout=5)
        assert process.returncode == 0
        assert time.monotonic() - began < 1
    assert told().endswith("end\n")
    assert "settings stay as they were" in complaints
