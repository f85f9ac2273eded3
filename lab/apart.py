"""An engine apart: in network, mount and process namespaces of its own, to be killed, stopped, started again.

Its bridges and rules are in a network that nobody else sees; when the first process of its namespaces ends,
all of its processes and mounts are gone with it. Only its socket is reached from outside.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import packages
from lab.private import EngineStartError
from lab.probe import answers

_START_SECONDS = 60.0
_KEY_FOLDER = Path("/etc/docker")
_FIRST = """ip link set lo up
for at in /run /opt /etc/docker; do mount -t tmpfs tmpfs $at; done
echo
exec 3<&0
cat <&3 & wait $!"""
"""What the first process does. The fixed places where engines leave files become its own. Then it waits until
we let go of its input, by ending if need be, and reaps whoever is left to it: an engine whose killed
containerd stays a zombie takes it for alive."""


class Apart:
    """As a context it runs from the beginning to the end, unless it is killed in between."""

    def __init__(self) -> None:
        packages.ensure({**packages.ENGINE, "unshare": "util-linux"})
        self._folder = Path(tempfile.mkdtemp(prefix="resolver-apart-"))
        self.socket = self._folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self._groups = f"resolver-apart-{os.getpid()}"
        self._first: subprocess.Popen[bytes] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None
        self._made_key_folder = False

    def __enter__(self) -> Self:
        if not _KEY_FOLDER.exists():
            _KEY_FOLDER.mkdir()
            self._made_key_folder = True
        self._first = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                _FIRST,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._first.stdout is not None
        self._first.stdout.readline()
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, *, live_restore: bool = False) -> None:
        """Start the engine and wait until it answers. Raises EngineStartError."""
        self.begin(live_restore=live_restore)
        deadline = time.monotonic() + _START_SECONDS
        while not answers(self.url):
            if time.monotonic() > deadline or (self._dockerd and self._dockerd.poll() is not None):
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])
                raise EngineStartError(f"the engine apart does not answer; the end of its log:\n{tail}")
            time.sleep(0.05)

    def begin(self, *, live_restore: bool = False) -> None:
        """Start the engine, and do not wait."""
        assert self._first is not None
        places = ("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")
        options = [f"--{name}={self._folder / place}" for name, place in places]
        options += [f"--host={self.url}", f"--cgroup-parent=/{self._groups}"]
        options += ["--live-restore"] if live_restore else []
        (self._folder / "pid").unlink(missing_ok=True)  # of one that was killed
        enter = ["nsenter", f"--target={_child(self._first.pid)}", "--net", "--mount", "--pid"]
        with self._log.open("ab") as log:
            self._dockerd = subprocess.Popen(
                [*enter, "dockerd", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """As the kernel does when memory runs out. Containers run on until an engine is there again."""
        self._tell(signal.SIGKILL)
        assert self._dockerd is not None
        self._dockerd.wait()

    def stop(self) -> None:
        """As an init system does."""
        self._tell(signal.SIGTERM)
        assert self._dockerd is not None
        self._dockerd.wait()

    def hang(self) -> None:
        """It exists, and does nothing."""
        self._tell(signal.SIGSTOP)

    def go_on(self) -> None:
        """After ``hang``. nsenter stops itself with its child."""
        self._tell(signal.SIGCONT)
        assert self._dockerd is not None
        self._dockerd.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End everything in it."""
        for process in (self._first, self._dockerd):
            if process is not None:
                process.kill()
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe:
                        pipe.close()
        for group in Path("/sys/fs/cgroup").glob(f"**/{self._groups}"):
            _remove_group(group)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._made_key_folder:
            with contextlib.suppress(OSError):
                _KEY_FOLDER.rmdir()

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _tell(self, number: signal.Signals) -> None:
        assert self._dockerd is not None
        os.kill(_child(self._dockerd.pid), number)


def _child(pid: int) -> int:
    """unshare and nsenter fork: the one that matters is their child."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _remove_group(group: Path) -> None:
    """Its processes were killed, and may take a moment to be gone."""
    deadline = time.monotonic() + 5
    while group.exists() and time.monotonic() < deadline:
        for folder in [*sorted(group.glob("**/"), reverse=True), group]:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if group.exists():
            time.sleep(0.05)
