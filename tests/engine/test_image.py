"""The files people start with: our Dockerfile built, our compose file brought up, for real; and what the
README says to type."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from lab import packages
from lab.compose import Compose
from lab.runs import LABEL
from lab.topology import Lab

_CHECKOUT = Path(__file__).resolve().parents[2]
_READY_SECONDS = 40.0
_FALL_BACK_SECONDS = 12.0


def _wait_healthy(lab: Lab, container: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while lab.inspect(container)["State"]["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, lab.api.logs(container).decode()
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_the_sidecar_of_the_compose_file(lab: Lab) -> None:
    environment = {
        "CLIENT_IMAGE": lab.images.client(),
        "RESOLVER_IMAGE": lab.images.resolver(),
        "DOCKER_SOCK": lab.url.removeprefix("unix://"),
        "PROD_NETWORK": "lab-prod",
        "DEV_NETWORK": "lab-dev",
    }
    with Compose(lab.url, "lab-sidecar", _CHECKOUT / "docker-compose.yml", environment) as compose:
        app, resolver = compose.container("app"), compose.container("resolver")
        _wait_healthy(lab, resolver)
        prod = {lab.address(compose.container(name), "lab-prod") for name in ("es1", "es2")}
        dev = lab.address(compose.container("es3"), "lab-dev")

        replies = [lab.dig(app, "es", inside=True) for _ in range(4)]
        assert {frozenset(reply.values) for reply in replies} == {frozenset(prod)}
        assert {reply.values[0] for reply in replies} == prod, "each address is first in turn"
        assert lab.dig(app, "es.lab-dev", tcp=True).values == [dev]
        assert set(lab.dig(app, "es.lab-prod").values) == prod
        # The size Docker's own resolver announces is another one: these replies are ours.
        assert all("udp: 1232" in (reply.edns or "") for reply in replies)

        lab.kill(resolver)
        deadline = time.monotonic() + _FALL_BACK_SECONDS
        while lab.dig(app, "hello").rcode != "NOERROR":
            assert time.monotonic() < deadline, "Docker's own resolver did not answer again"
            time.sleep(0.5)


@pytest.mark.timeout(600)
def test_the_image_without_an_engine(lab: Lab) -> None:
    """Nothing is mounted: it forwards, is not ready, and ends at once when told to."""
    resolver = lab.container(image=lab.images.resolver(), command=["serve", "--listen", "127.0.0.1:53"])
    code, said = lab.exec(resolver, ["resolver", "check", "--listen", "127.0.0.1:53"])
    assert code != 0, said
    lab.api.kill(resolver, "SIGTERM")
    assert lab.api.wait(resolver, timeout=10)["StatusCode"] == 0


_ATTACH_LISTEN = "127.0.0.79:53"
_OURS = "udp: 1232"
"""The size we announce; Docker's own resolver announces another one."""


def _await_answerer(lab: Lab, ours: bool) -> None:
    """Until the one or the other answers in the container, and rightly."""
    deadline = time.monotonic() + _FALL_BACK_SECONDS
    right = [lab.address("image-peer", "image-net")]
    while True:
        reply = lab.dig("image-asker", "image-peer", inside=True)
        if reply.values == right and (_OURS in (reply.edns or "")) is ours:
            return
        assert time.monotonic() < deadline, (ours, reply)
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_attaching_from_a_container(lab: Lab) -> None:
    """The compose file's: what runs is let go when it is stopped, and when it is killed."""
    lab.network("image-net")
    for name in ("image-peer", "image-asker"):
        lab.container(name, network="image-net")
    environment = {
        "RESOLVER_IMAGE": lab.images.resolver(),
        "RESOLVER_ATTACH": "name=image-*",
        "RESOLVER_LISTEN": _ATTACH_LISTEN,
        "DOCKER_SOCK": lab.url.removeprefix("unix://"),
    }
    file = _CHECKOUT / "docker-compose.attach.yml"
    with Compose(lab.url, "lab-attach", file, environment) as compose:
        resolver = compose.container("resolver")
        _wait_healthy(lab, resolver)
        _await_answerer(lab, ours=True)
        code, said = lab.exec(resolver, ["resolver", "attached", "--json"])
        rows = [json.loads(line) for line in said.splitlines()]
        assert code == 0, said
        assert {row["container"] for row in rows if "since" in row} == {"image-peer", "image-asker"}
        code, said = lab.exec(resolver, ["resolver", "detach", "image-asker"])
        assert code == 0, said
        _await_answerer(lab, ours=False)
        assert lab.exec(resolver, ["resolver", "attach", "image-asker"])[0] == 0
        _await_answerer(lab, ours=True)
        lab.kill(resolver)
        _await_answerer(lab, ours=False)
        lab.start(resolver)
        _await_answerer(lab, ours=True)
    _await_answerer(lab, ours=False)


@pytest.mark.timeout(600)
def test_attaching_without_the_hosts_processes(lab: Lab) -> None:
    """One line for each container says what is missing; the container keeps its own resolver."""
    lab.network("image-net")
    for name in ("image-peer", "image-asker"):
        lab.container(name, network="image-net")
    resolver = lab.container(
        image=lab.images.resolver(),
        command=["serve", "--attach=name=image-asker", f"--listen={_ATTACH_LISTEN}"],
        cap_add=["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"],
        binds=[f"{lab.url.removeprefix('unix://')}:/var/run/docker.sock"],
    )
    deadline = time.monotonic() + _READY_SECONDS
    while "--pid host" not in (said := lab.api.logs(resolver).decode()):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    assert _OURS not in (lab.dig("image-asker", "image-peer").edns or "")


def _typed() -> list[list[str]]:
    """Every ``docker run`` of the README that starts a resolver, word by word."""
    text = (_CHECKOUT / "README.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in re.findall(r"^\$ (docker run .*)$", text, re.MULTILINE)]
    return [words for words in commands if "serve" in words]


def _docker(lab: Lab, *words: str) -> str:
    packages.ensure({"docker": "docker-cli"})
    environment = {**os.environ, "DOCKER_HOST": lab.url}
    done = subprocess.run(["docker", *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@pytest.fixture
def here(lab: Lab) -> dict[str, str]:
    """Two containers on a network; and what stands here for the words of the README."""
    lab.network("image-net", subnet="10.255.9.0/24")
    for name in ("image-peer", "image-asker"):
        lab.container(name, network="image-net")
    return {
        "container:web": "container:image-asker",
        "prod": "image-net",
        "10.1.0.53": "10.255.9.53",
        "all": "name=image-*",
        "/var/run/docker.sock:/var/run/docker.sock:ro": (
            f"{lab.url.removeprefix('unix://')}:/var/run/docker.sock:ro"
        ),
    }


def _run(lab: Lab, here: dict[str, str], mark: str) -> str:
    """Start the one command with this word as it is written; the id of its container.

    Nothing is added but what tells the laboratory to remove it, and an address that nobody else listens at.
    """
    (typed,) = [words for words in _typed() if mark in words]
    at = typed.index("serve")
    assert typed[:3] == ["docker", "run", "-d"]
    assert typed[at - 1] == "resolver", "the image"
    words = [here.get(word, word) for word in typed]
    words[at - 1] = lab.images.resolver()
    if "--name" in words:
        words[words.index("--name") + 1] = "image-resolver"
    own = ["--label", f"{LABEL}={lab.run}"]
    if "host" in words:
        own += ["--env", f"RESOLVER_LISTEN={_ATTACH_LISTEN}"]
    return _docker(lab, "run", *own, *words[2:]).strip()


@pytest.mark.timeout(600)
def test_attached_as_the_readme_says(lab: Lab, here: dict[str, str]) -> None:
    _wait_healthy(lab, _run(lab, here, "--attach"))
    _await_answerer(lab, ours=True)
    shown = _docker(lab, "exec", "image-resolver", "resolver", "attached")
    assert {line.split()[0] for line in shown.splitlines()[1:]} == {"image-peer", "image-asker"}


@pytest.mark.timeout(600)
def test_the_sidecar_of_the_readme(lab: Lab, here: dict[str, str]) -> None:
    _wait_healthy(lab, _run(lab, here, "--take-over"))
    _await_answerer(lab, ours=True)


@pytest.mark.timeout(600)
def test_the_server_of_a_network_of_the_readme(lab: Lab, here: dict[str, str]) -> None:
    _wait_healthy(lab, _run(lab, here, "--ip"))
    right = [lab.address("image-peer", "image-net")]
    deadline = time.monotonic() + _READY_SECONDS
    while (reply := lab.dig("image-asker", "image-peer", server="10.255.9.53")).values != right:
        assert time.monotonic() < deadline, reply
        time.sleep(0.2)


def test_these_are_all_that_the_readme_has() -> None:
    """A command that is added to the README needs a test."""
    assert len(_typed()) == 3
