"""A container as attaching sees it: from the engine's JSON, and whether it is wanted. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LABEL: Final = "resolver.attach"
"""A container's own word, which counts more than the selectors: ``true`` or ``false``."""

_RUNNING: Final = ("running", "paused")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is asked of a container before it is attached to."""

    id: str
    name: str
    pid: int = 0
    """Of its first process, as the host counts; 0 when it does not run."""
    networks: tuple[str, ...] = ()
    """Names."""
    labels: tuple[tuple[str, str], ...] = ()
    mode: str = ""
    """The engine's word for its network stack: a network, ``host``, ``none`` or ``container:ID``."""


def read_candidate(body: Mapping[str, Any]) -> Candidate:
    """From an inspect. What is not as it should be is taken as missing."""
    state, config = _object(body, "State"), _object(body, "Config")
    pid = state.get("Pid")
    running = state.get("Status") in _RUNNING
    labels = _object(config, "Labels")
    return Candidate(
        id=str(body.get("Id", "")),
        name=str(body.get("Name", "")).removeprefix("/"),
        pid=pid if running and type(pid) is int and pid > 0 else 0,
        networks=tuple(_object(_object(body, "NetworkSettings"), "Networks")),
        labels=tuple((str(key), str(value)) for key, value in labels.items()),
        mode=str(_object(body, "HostConfig").get("NetworkMode", "")),
    )


def obstacle(candidate: Candidate) -> str:
    """Why this container can never be attached to, as it is; empty when it can."""
    if not candidate.pid:
        return "it does not run"
    if candidate.mode == "host":
        return "it is on the host's network stack, which is never touched"
    if candidate.mode == "none":
        return "it has no network"
    if candidate.mode.startswith("container:"):
        return f"it shares the network stack of {candidate.mode.removeprefix('container:')[:12]}; attach that"
    return ""


def wanted(candidate: Candidate, selectors: tuple[str, ...]) -> bool:
    """Whether the selectors, or the container's own label, name it.

    Any selector that fits is enough, none with ``not:`` may fit; only such ones stand for all but those.
    """
    said = dict(candidate.labels).get(LABEL, "").lower()
    if said in ("true", "false"):
        return said == "true"
    refused = [s.removeprefix("not:") for s in selectors if s.startswith("not:")]
    chosen = [s for s in selectors if not s.startswith("not:")]
    if any(_fits(candidate, selector) for selector in refused):
        return False
    return any(_fits(candidate, selector) for selector in chosen) or (bool(refused) and not chosen)


def _fits(candidate: Candidate, selector: str) -> bool:
    kind, _, value = selector.partition("=")
    match kind:
        case "all":
            return True
        case "name":
            return fnmatchcase(candidate.name, value)
        case "network":
            return value in candidate.networks
        case "label":
            key, equals, wanted_value = value.partition("=")
            labels = dict(candidate.labels)
            return key in labels and (not equals or labels[key] == wanted_value)
        case _:
            return False


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}
