"""A compose file brought up on the laboratory's engine, and taken down with all it made."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import packages


class ComposeError(RuntimeError):
    """A compose command failed; the message is what it said."""


class Compose:
    """One project; a context manager that is up inside. Works with Compose 1.29 and 2."""

    def __init__(
        self, url: str, project: str, file: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """``environment`` fills the file's variables. Raises packages.MissingPackagesError."""
        self.project = project
        self._command = [*_program(), "--project-name", project, "--file", str(file)]
        self._environment = {**os.environ, **(environment or {}), "DOCKER_HOST": url}

    def __enter__(self) -> Self:
        try:
            self("up", "--detach", "--no-build")
        except ComposeError:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def __call__(self, *words: str) -> str:
        """Run one compose command, such as ``("logs", "resolver")``; what it printed. Raises ComposeError."""
        done = subprocess.run(
            [*self._command, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ComposeError(f"compose {' '.join(words)}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def container(self, service: str) -> str:
        """The id of a service's first container. Raises ComposeError when there is none."""
        found = self("ps", "--quiet", service).split()
        if not found:
            raise ComposeError(f"no container of the service {service}")
        return found[0]

    def down(self) -> None:
        """Remove the project's containers, networks and volumes."""
        self("down", "--volumes", "--timeout", "2")


def _program() -> list[str]:
    """The plugin where it is installed, else the program of its own; installed where neither is."""
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    ):
        return [docker, "compose"]
    if shutil.which("docker-compose") is None:
        packages.ensure(packages.COMPOSE)
    return ["docker-compose"]
