"""Our resolver as a person runs it: ``resolver serve …``, on the host or inside a container's network."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PROGRAM = Path(sys.executable).with_name("resolver")
_READY_SECONDS = 20.0
_STOP_SECONDS = 5.0


class NotServingError(RuntimeError):
    """The resolver ended or did not become ready in time; the message carries the end of its log."""


def inside(pid: int) -> list[str]:
    """What to put in front of a command, so that it runs in the network namespace of this process."""
    return ["nsenter", f"--target={pid}", "--net"]


class Served:
    """One running ``resolver serve``; as a context it is ready inside, and stopped at the end."""

    def __init__(
        self,
        *flags: str,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (str(PROGRAM),),
    ) -> None:
        """``prefix`` is put in front of the command, ``environment`` is added to ours."""
        self._prefix, self._program, self._flags = list(prefix), list(program), list(flags)
        self._environment = {**os.environ, **(environment or {})}
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 — closed by stop
        self._process: subprocess.Popen[bytes] | None = None
        self._said = ""

    def __enter__(self) -> Self:
        self.start()
        try:
            self.await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @contextlib.contextmanager
    def started(self) -> Iterator[Self]:
        """A context in which it was started, ready or not."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    @property
    def pid(self) -> int:
        """Of the parent, the one that follows the engine."""
        assert self._process is not None
        return self._process.pid

    @property
    def child(self) -> int:
        """Of the process that answers. Raises NotServingError when there is none now."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        if not children:
            raise NotServingError("the resolver has no answering process now")
        return int(children[0])

    @property
    def log(self) -> str:
        """All it has written so far."""
        if not self._log.closed:
            self._said = os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")
        return self._said

    @property
    def status(self) -> int | None:
        """Its exit code; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def start(self) -> None:
        """Start it, and do not wait. In a session of its own: a Ctrl-C at our terminal is ours to pass on."""
        self._process = subprocess.Popen(
            [*self._prefix, *self._program, "serve", *self._flags],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=self._environment,
            start_new_session=True,
        )

    def await_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until ``resolver check`` says that it is ready. Raises NotServingError."""
        deadline = time.monotonic() + seconds
        while self.check().returncode != 0:
            if self.status is not None or time.monotonic() > deadline:
                why = (
                    f"ended with {self.status}"
                    if self.status is not None
                    else f"not ready within {seconds:g} s"
                )
                raise NotServingError(f"resolver serve {' '.join(self._flags)}: {why}\n{self.log[-2000:]}")
            time.sleep(0.05)

    def check(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """``resolver check`` beside it: in the same namespace, for the address it listens at first."""
        listen = [f"--listen={first}"] if (first := self._first_listen()) else []
        command = [*self._prefix, *self._program, "check", *listen, *flags]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment)

    def tell(self, number: signal.Signals) -> None:
        """Send the parent a signal."""
        os.kill(self.pid, number)

    def await_log(self, text: str, seconds: float = 10.0) -> None:
        """Wait until it has logged this text. Raises NotServingError."""
        deadline = time.monotonic() + seconds
        while text not in self.log:
            if time.monotonic() > deadline:
                raise NotServingError(f"{text!r} was not logged within {seconds:g} s:\n{self.log[-2000:]}")
            time.sleep(0.02)

    def await_end(self, seconds: float = _STOP_SECONDS) -> int:
        """Its exit code. Raises NotServingError when it does not end."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotServingError(
                f"the resolver did not end within {seconds:g} s:\n{self.log[-2000:]}"
            ) from None

    def stop(self) -> int:
        """End it as an init system does; its exit code. Once more does no harm."""
        try:
            return self._stop(self._process) if self._process else 0
        finally:
            self._said = self.log
            self._log.close()

    def _stop(self, process: subprocess.Popen[bytes]) -> int:
        process.terminate()
        try:
            return process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _first_listen(self) -> str:
        for flag, value in zip(self._flags, [*self._flags[1:], ""], strict=False):
            if flag == "--listen":
                return value
            if flag.startswith("--listen="):
                return flag.partition("=")[2]
        return self._environment.get("RESOLVER_LISTEN", "").replace(",", " ").partition(" ")[0]
