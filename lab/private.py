"""A private engine: dockerd with its own socket, data, exec root, pid file and log.

All runs share one. Two locks in the run folder keep them apart. *Gate* is held, alone, while somebody starts
or stops the engine. *Users* is held, shared, by everybody who uses it; whoever leaves last (gets it alone)
stops the engine, unless it is marked to be kept. Both are flock(2) locks, so a killed run lets go of them by
dying.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from lab import packages
from lab.host import Before
from lab.probe import answers, remove_everything

RUN = Path("/run/resolver-lab")
DATA = Path("/var/lib/resolver-lab")
SOCKET = RUN / "docker.sock"
URL = f"unix://{SOCKET}"

# dockerd mounts its data root over itself: a folder below ours, so that ours is never a mount point.
_DATA = DATA / "data"
_EXEC = RUN / "exec"
_PID = RUN / "docker.pid"
_LOG = RUN / "dockerd.log"
_KEEP = RUN / "keep"
_BEFORE = RUN / "before.json"
_GATE = RUN / "gate"
_USERS = RUN / "users"

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class EngineStartError(RuntimeError):
    """dockerd ended or never answered; the message carries the end of its log."""


@contextlib.contextmanager
def use() -> Iterator[str]:
    """Start the private engine, or join the one that is up; yields its URL. The last to leave stops it.

    Raises EngineStartError, packages.MissingPackagesError.
    """
    with _gate():
        users = _open(_USERS)
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            _start()
        except BaseException:
            os.close(users)
            raise
    try:
        yield URL
    finally:
        with _gate():
            os.close(users)
            if not _KEEP.exists() and not in_use():
                _stop()


def up() -> None:
    """Start the private engine and leave it running until ``down``."""
    with _gate():
        _start()
        _KEEP.touch()


def down() -> bool:
    """Stop the private engine and remove what it made.

    False when somebody still uses it: then whoever leaves last stops it.
    """
    if not RUN.exists():
        return True
    with _gate():
        _KEEP.unlink(missing_ok=True)
        if in_use():
            return False
        _stop()
        return True


def is_up() -> bool:
    """Whether the private engine answers."""
    return answers(URL)


def is_kept() -> bool:
    """Whether ``up`` marked the engine to stay."""
    return _KEEP.exists()


def in_use() -> bool:
    """Whether a run holds the engine now."""
    users = _open(_USERS)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(users)
    return False


@contextlib.contextmanager
def _gate() -> Iterator[None]:
    """Hold the start-and-stop lock.

    The folder may be removed by the one we wait for, so what was locked is compared with what is there.
    """
    while True:
        RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            gate = _open(_GATE)
            fcntl.flock(gate, fcntl.LOCK_EX)
            if _is_same_file(gate, _GATE):
                break
            os.close(gate)
    try:
        yield
    finally:
        os.close(gate)


def _is_same_file(opened: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(opened).st_ino
    except FileNotFoundError:
        return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _start() -> None:
    if is_up():
        return
    packages.ensure(packages.ENGINE)
    if not _BEFORE.exists():
        # Still there when an earlier run was killed: then that is the true state before.
        _BEFORE.write_text(json.dumps(Before.note().to_json()))
    _end_all()
    _PID.unlink(missing_ok=True)
    packages.say(f"starting a private engine at {URL}")
    with _LOG.open("wb") as log:
        # setsid --fork: the engine outlives the run that started it and is nobody's child to reap.
        subprocess.run(
            ["setsid", "--fork", *_command()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
        )
    _await_answer()


def _command() -> list[str]:
    options = ["--data-root", str(_DATA), "--exec-root", str(_EXEC), "--pidfile", str(_PID), "--host", URL]
    return ["dockerd", *options]


def _await_answer() -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers(URL):
        # The pid file comes within moments; a process that has one and is gone has failed.
        if time.monotonic() > deadline or (_PID.exists() and _pid() is None):
            tail = "\n".join(_LOG.read_text(errors="replace").splitlines()[-8:])
            raise EngineStartError(f"dockerd does not answer at {URL}; the end of {_LOG}:\n{tail}")
        time.sleep(0.1)


def _pid() -> int | None:
    """The process id of our dockerd; None when it is gone (or a zombie nobody reaps)."""
    try:
        pid = int(_PID.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if str(DATA).encode() in command else None


def _end_all() -> None:
    """End dockerd, wait until it is gone, then what outlives one that was killed: containerd, its shims."""
    pid = _pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while _pid() is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                deadline += _STOP_SECONDS
            time.sleep(0.05)
    for orphan in _orphans():
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)


def _orphans() -> list[int]:
    """containerd and shims of our exec root, each after its children (a shim's are the container's)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program, _, rest = (process / "cmdline").read_bytes().partition(b"\0")
            if Path(os.fsdecode(program)).name.startswith("containerd") and os.fsencode(_EXEC) in rest:
                children = (process / f"task/{process.name}/children").read_text()
                found += [*map(int, children.split()), int(process.name)]
    return found


def _stop() -> None:
    """Remove every container and network, end the engine, and put the host back as it was."""
    if is_up():
        remove_everything(URL)
    _end_all()
    _unmount(RUN, DATA)
    if _BEFORE.exists():
        Before.from_json(json.loads(_BEFORE.read_text())).restore()
    shutil.rmtree(DATA, ignore_errors=True)
    # The gate last: whoever waits for it finds it gone and begins anew.
    for path in sorted(RUN.iterdir(), key=lambda path: path == _GATE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    with contextlib.suppress(OSError):
        RUN.rmdir()


def _unmount(*folders: Path) -> None:
    """Unmount everything below the folders, the innermost first.

    Not the folders themselves: one that is a mount point was mounted by somebody else, over something else.
    """
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in reversed(points):
        if any(folder in Path(point).parents for folder in folders):
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
