"""Plays the walkthrough on an engine, with our resolver on the host and beside each asking container."""

import contextlib
import os
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import clients, packages
from lab.clients import Answer
from lab.compose import Compose
from lab.runs import LABEL
from lab.served import Served
from lab.topology import Lab
from lab.upstream import Upstream, zone
from lab.walkthrough import CHAPTERS, NETWORKS, OUTSIDE, OUTSIDE_ADDRESS, Ask, ComposeUp, Docker, Run, Step

HOST = "127.0.0.153"
"""Where the resolver on the host listens for the host itself."""
_BESIDE = "127.0.0.11"
_SETTLE_SECONDS = 3.0


class StageError(RuntimeError):
    """Something could not be set up; the message says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Played:
    """A question that was asked: how, what came back, and what should have."""

    command: str
    """As one would type it in the asker."""
    answer: Answer
    expected: str
    right: bool


class Stage:
    """Containers, networks and resolvers of the walkthrough; all are gone at the end of the context."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._environment = {**os.environ, "DOCKER_HOST": engine}
        self._called: dict[str, str] = {}
        self._beside: dict[int, Served] = {}
        self._end = contextlib.ExitStack()

    def __enter__(self) -> Self:
        packages.ensure({"docker": "docker-cli", "nsenter": "util-linux"})
        with contextlib.ExitStack() as stack:
            self._lab = stack.enter_context(Lab(self._engine))
            self._label = f"{LABEL}={self._lab.run}"
            self._image = self._lab.images.client()
            self._check_free()
            self._set_up(stack)
            self._end = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()

    @property
    def log(self) -> str:
        """What the resolver on the host has logged."""
        return self._host.log

    def do(self, step: Step) -> None:
        """Set something up. Raises StageError when the engine refuses."""
        match step:
            case Docker(words):
                self._docker(*self._labelled(shlex.split(words)))
            case Run(options, called):
                label = ("--label", self._label)
                identity = self._docker("run", "-d", *label, *shlex.split(options), self._image)
                self._called |= {called: identity} if called else {}
            case ComposeUp():
                self._compose(step)

    def ask(self, ask: Ask) -> Played:
        """Ask one question, until it is answered as expected where that may take a moment."""
        expected = [self._spelled(word) for word in ask.expect.split()]
        name = self._spelled(ask.name)
        typed = clients.question(
            ask.client, name, ask.type, self._server(ask), reverse=_is_address(name), tcp=ask.tcp
        )
        if ask.asker != "host" and ask.through == _BESIDE:
            self._serve_beside(ask.asker)
        inside = [] if ask.asker == "host" else ["docker", "--host", self._engine, "exec", ask.asker]
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            answer, right = _judged(ask, [*inside, *typed], expected)
            if right or not ask.settling or time.monotonic() > deadline:
                return Played(shlex.join(typed), answer, " ".join(expected), right)
            time.sleep(0.05)

    def _set_up(self, stack: contextlib.ExitStack) -> None:
        """The networks, an upstream that every one of them reaches, and the resolver on the host."""
        self._projects = stack.enter_context(contextlib.ExitStack())
        for name in NETWORKS:
            self.do(Docker(f"network create {name}"))
        gateways = [self._gateway(name) for name in NETWORKS]
        upstream = Upstream(zone(f"{OUTSIDE}. 60 IN A {OUTSIDE_ADDRESS}"), gateways[0])
        self._flags = [f"--engine={self._engine}", f"--upstream={stack.enter_context(upstream).address}"]
        listen = [f"--listen={address}" for address in (HOST, *gateways)]
        self._host = stack.enter_context(Served(*listen, *self._flags))
        # Those beside containers, ended before the one on the host.
        self._resolvers = stack.enter_context(contextlib.ExitStack())
        stack.callback(self._empty)

    def _empty(self) -> None:
        """All containers at once, which is faster, and everybody off our networks, also who is not ours."""
        marked = {"label": [self._label]}
        containers = [container["Id"] for container in self._lab.api.containers(all=True, filters=marked)]
        with contextlib.suppress(StageError):
            self._docker("rm", "--force", "--volumes", *containers)
        for network in self._lab.api.networks(filters=marked):
            for guest in self._lab.api.inspect_network(network["Id"])["Containers"]:
                self._lab.disconnect(network["Id"], guest)

    def _serve_beside(self, asker: str) -> None:
        """One for each network stack; a container that was restarted has another."""
        pid = self._lab.pid(asker)
        if pid in self._beside and self._beside[pid].status is None:
            return
        prefix = self._lab.namespace(asker)
        if prefix is None:
            raise StageError(
                f"the engine at {self._engine} runs on another machine: its containers cannot be entered"
            )
        served = Served("--take-over", *self._flags, prefix=prefix)
        self._beside[pid] = self._resolvers.enter_context(served)

    def _check_free(self) -> None:
        """The names of the walkthrough are its point, so it needs an engine where they are free."""
        containers = {name.lstrip("/") for c in self._lab.api.containers(all=True) for name in c["Names"]}
        networks = {network["Name"] for network in self._lab.api.networks()}
        taken = (containers & _containers()) | (networks & _networks())
        if taken:
            raise StageError(
                f"the engine at {self._engine} already has {', '.join(sorted(taken))}, names the walkthrough "
                "needs; end the walkthrough that runs there, or point DOCKER_HOST at another engine"
            )

    def _server(self, ask: Ask) -> str:
        """None to name beside the asker: the client finds 127.0.0.11 in the container's resolv.conf."""
        if ask.asker == "host":
            return HOST
        if ask.through == _BESIDE:
            return ""
        on = self._lab.inspect(ask.asker)["NetworkSettings"]["Networks"]
        return self._gateway(next(name for name in NETWORKS if name in on))

    def _gateway(self, network: str) -> str:
        told = self._lab.api.inspect_network(network)
        return str(told["IPAM"]["Config"][0]["Gateway"])

    def _spelled(self, word: str) -> str:
        """``t800@skynet`` as that container's address there; another word as it is."""
        container, at, network = word.partition("@")
        return self._lab.address(self._called.get(container, container), network) if at else word

    def _labelled(self, words: list[str]) -> list[str]:
        """What is created gets the label by which it is found and removed again."""
        return (
            [*words[:2], "--label", self._label, *words[2:]] if words[:2] == ["network", "create"] else words
        )

    def _compose(self, step: ComposeUp) -> None:
        folder = self._projects.enter_context(tempfile.TemporaryDirectory())
        file = Path(folder, "docker-compose.yml")
        file.write_text(step.services.replace("IMAGE", self._image).replace("LABEL", self._label))
        # Version 2 joins the parts of a container's name with dashes unless told to be compatible.
        settings = {"COMPOSE_COMPATIBILITY": "true"}
        self._projects.enter_context(Compose(self._engine, step.project, file, settings))

    def _docker(self, *words: str) -> str:
        done = subprocess.run(
            ["docker", *words], capture_output=True, text=True, check=False, env=self._environment
        )
        if done.returncode != 0:
            raise StageError(f"docker {shlex.join(words)}: {done.stderr.strip()[-600:]}")
        return done.stdout.strip()


def _judged(ask: Ask, command: list[str], expected: list[str]) -> tuple[Answer, bool]:
    answer = clients.ask(command, ask.client, ask.type)
    right = sorted(answer.values or [answer.word]) == sorted(expected)
    if not (right and ask.rotating):
        return answer, right
    others = [clients.ask(command, ask.client, ask.type) for _ in expected[1:]]
    return answer, {one.values[0] for one in (answer, *others) if one.values} == set(expected)


def _option(name: str) -> set[str]:
    """The values of one option in all ``docker run`` of the walkthrough."""
    runs = [shlex.split(s.options) for c in CHAPTERS for s in c.steps if isinstance(s, Run)]
    return {words[words.index(name) + 1] for words in runs if name in words}


def _containers() -> set[str]:
    return _option("--name")


def _networks() -> set[str]:
    return {network for network in _option("--network") if ":" not in network} | {*NETWORKS}


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True
