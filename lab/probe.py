"""Short calls to an engine whose address may be wrong: does it answer, and empty it."""

import contextlib
import socket
from collections.abc import Callable

import docker
import requests
from docker.errors import APIError, DockerException

_SECONDS = 5
_VERSION = "1.41"
_BUILT_IN = frozenset({"bridge", "host", "none", "ingress", "docker_gwbridge"})


def answers(url: str) -> bool:
    """Whether an engine answers a ping at the URL within five seconds."""
    if url.startswith("unix://") and not _connects(url.removeprefix("unix://")):
        return False
    try:
        # With the version given, nothing is sent before the ping.
        client = docker.APIClient(base_url=url, version=_VERSION, timeout=_SECONDS)
        with contextlib.closing(client):
            client.ping()
    except APIError:
        # It answers, if only that it is too old or too new for this version.
        return True
    except (DockerException, requests.RequestException, OSError, ValueError):
        return False
    return True


def _connects(path: str) -> bool:
    """Whether somebody listens at a unix socket; where nobody does the SDK would leave its own open."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.settimeout(_SECONDS)
        try:
            attempt.connect(path)
        except OSError:
            return False
    return True


def remove_everything(url: str) -> None:
    """Remove all containers and all networks of an engine that is ours alone."""
    client = docker.APIClient(base_url=url, version="auto", timeout=60)
    try:
        for container in client.containers(all=True):
            _quietly(client.remove_container, container["Id"], force=True, v=True)
        for network in client.networks():
            if network["Name"] not in _BUILT_IN:
                _quietly(client.remove_network, network["Id"])
    finally:
        client.close()


def _quietly(call: Callable[..., object], *arguments: object, **options: object) -> None:
    with contextlib.suppress(APIError):
        call(*arguments, **options)
