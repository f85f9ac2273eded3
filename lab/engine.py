"""Which engine to use: one that answers, else a private one, else a message with the ways on."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lab import packages, private
from lab.probe import answers

WAYS_ON = """no container engine answers, and none can be started here. Three ways on:
  1. point at one:      export DOCKER_HOST=unix:///path/to/docker.sock
  2. start one:         for example  systemctl start docker
  3. be root on Debian or Ubuntu: a private engine is then installed, started and removed again"""


class NoEngineError(RuntimeError):
    """No engine answers and none can be started; the message says what to do."""


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """The URL of an engine: one that answers, or a private one.

    The first is left as found, the second is stopped after its last user. Raises NoEngineError when there is
    none, EngineStartError or MissingPackagesError when the private one cannot be had.
    """
    url = find()
    if url is not None and url != private.URL:
        yield url
        return
    if url is None and not packages.can_install():
        raise NoEngineError(WAYS_ON)
    with private.use() as url:
        yield url


def find() -> str | None:
    """The first engine that answers: DOCKER_HOST, the private one if it is up, the usual sockets."""
    named = os.environ.get("DOCKER_HOST")
    if named and not answers(named):
        packages.say(f"DOCKER_HOST={named} does not answer; looking elsewhere")
    return next((url for url in _candidates(named) if answers(url)), None)


def _candidates(named: str | None) -> list[str]:
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}"))
    sockets = [
        private.SOCKET,
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        Path.home() / ".docker/run/docker.sock",
    ]
    return ([named] if named else []) + [f"unix://{path}" for path in sockets if path.exists()]
