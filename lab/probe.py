"""Short calls to an engine whose address may be wrong: does it answer, and empty it."""

import contextlib
from collections.abc import Callable

import docker
import requests
from docker.errors import APIError, DockerException

_SECONDS = 5
_BUILT_IN = frozenset({"bridge", "host", "none", "ingress", "docker_gwbridge"})


def answers(url: str) -> bool:
    """Whether an engine answers a ping at the URL within five seconds."""
    try:
        # The version is asked for here, which is a round trip that proves more than a ping.
        client = docker.APIClient(base_url=url, version="auto", timeout=_SECONDS)
    except (DockerException, requests.RequestException, OSError, ValueError):
        return False
    client.close()
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
