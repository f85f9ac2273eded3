"""The door between the rooms: one change of the world is one line of JSON that carries the whole truth about
one thing.

Applying a line twice does no harm, so lines can be recorded, replayed, written by hand, or sent again after a
restart. ``read`` and ``write`` are each other's inverse. A line that cannot be read raises ``BadChange`` and
says why.

    {"change": "network", "id": "n1", "name": "prod", "subnets": ["10.1.0.0/24"]}
    {"change": "container", "id": "c1", "name": "es1", "endpoints": [
        {"network": "n1", "names": ["es1", "es"], "ipv4": "10.1.0.2"}]}
    {"change": "pending", "container": "c2", "networks": ["n1"]}
    {"change": "gone", "container": "c1"}
    {"change": "sync", "at": "begin"}
    {"change": "engine", "state": "lost", "url": "unix:///var/run/docker.sock", "why": "connection refused"}
    {"change": "settings", "ttl": 600, "upstreams": ["192.0.2.53:53"]}
"""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from ipaddress import ip_address, ip_network
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, get_args

from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy, SearchOrder, Strangers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class BadChange(ValueError):
    """A line of the door that cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """That container or network is no more."""

    kind: Literal["container", "network"]
    id: str


@dataclass(frozen=True, slots=True)
class Pending:
    """This container is being started or connected: what it is called is not known yet.

    Ends with the next line about the same container.
    """

    container: str
    networks: tuple[str, ...] = ()
    """Ids of the networks it is known to be coming to; empty: it may be any."""


@dataclass(frozen=True, slots=True)
class Sync:
    """Begin or end of a full picture: whatever was not named in between is gone."""

    at: Literal["begin", "end"]


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine was reached or lost."""

    state: Literal["reached", "lost"]
    url: str
    why: str = ""
    at: float = 0.0
    """Seconds since the epoch."""


HANDED_OVER = b'"handed over"'
"""A line of the door that is no change: another process reads the sockets from now on."""

READY = b"ready"
"""What the answering process says back, once: it answers, and has a full picture."""

Change = Sandbox | Network | Gone | Pending | Sync | Engine | Policy


def write(change: Change) -> str:
    """One line, without the newline. Fields that hold their default are left out."""
    if isinstance(change, Gone):
        body: dict[str, Any] = {change.kind: change.id}
    else:
        body = {
            f.name: value
            for f in fields(change)
            if (value := getattr(change, f.name)) != (f.default if f.default is not MISSING else None)
        }
        for name, spell in _SPELLINGS.items():
            if name in body:
                body[name] = spell(body[name])
    return json.dumps({"change": _WORD_OF[type(change)], **body}, separators=(",", ":"))


def read(line: str | bytes) -> Change:
    """The change a line tells of.

    Raises BadChange for anything that is not such a line.
    """
    try:
        body = json.loads(line)
        reader = _READERS[body.pop("change")]
        change = reader(body)
    except BadChange:
        raise
    except KeyError as error:
        raise BadChange(f"{error.args[0]!r} is missing or is no word of this door") from None
    except RecursionError:
        raise BadChange("nested too deeply") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadChange(str(error)) from None
    return change


def pack_address(text: str) -> bytes:
    """Packed octets of an address; a prefix length or zone is dropped; empty stays empty.

    Raises ValueError for text that is no address.
    """
    return ip_address(text.partition("/")[0].partition("%")[0]).packed if text else b""


def spell_address(packed: bytes) -> str:
    """The usual text of packed octets; empty stays empty."""
    return str(ip_address(packed)) if packed else ""


def _spell_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    said = {k: v for k, v in asdict(endpoint).items() if v not in ((), b"", 0)}
    for family in ("ipv4", "ipv6"):
        if family in said:
            said[family] = spell_address(said[family])
    return said


_SPELLINGS: Mapping[str, Callable[[Any], Any]] = {
    "endpoints": lambda value: [_spell_endpoint(e) for e in value],
    "subnets": lambda value: [str(s) for s in value],
    "gateways": lambda value: [spell_address(g) for g in value],
}


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body[name] if default is None else body.get(name, default)
    if not isinstance(value, str):
        raise BadChange(f"{name} must be text, not {value!r}")
    return value


def _number(body: Mapping[str, Any], name: str, default: float = 0) -> float:
    value = body.get(name, default)
    if not isinstance(value, int | float) or not isfinite(value):
        raise BadChange(f"{name} must be a number, not {value!r}")
    return value


def _texts(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = body.get(name, ())
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise BadChange(f"{name} must be a list of texts, not {value!r}")
    return tuple(value)


def _one_of(body: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> Any:
    if (value := body[name]) not in allowed:
        raise BadChange(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _links(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    pairs = tuple((alias, target) for alias, target in body.get("links", ()))
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise BadChange("links must be a list of [alias, target] texts")
    return pairs


def _read_endpoint(body: Mapping[str, Any]) -> Endpoint:
    ipv4, ipv6 = pack_address(_text(body, "ipv4", "")), pack_address(_text(body, "ipv6", ""))
    if len(ipv4) not in (0, 4) or len(ipv6) not in (0, 16):
        raise BadChange("ipv4 or ipv6 holds an address of the other family")
    return Endpoint(
        network=_text(body, "network"),
        names=_texts(body, "names"),
        ipv4=ipv4,
        ipv6=ipv6,
        links=_links(body),
        place=int(_number(body, "place")),
        priority=int(_number(body, "priority")),
    )


def _read_container(body: Mapping[str, Any]) -> Sandbox:
    identity = _text(body, "id")
    return Sandbox(
        id=identity,
        name=_text(body, "name", identity),
        endpoints=tuple(_read_endpoint(e) for e in body.get("endpoints", ())),
        dns=_texts(body, "dns"),
        state=_text(body, "state", "running"),
        joins=_text(body, "joins", ""),
        on_host=bool(body.get("on_host", False)),
    )


def _read_network(body: Mapping[str, Any]) -> Network:
    identity = _text(body, "id")
    return Network(
        id=identity,
        name=_text(body, "name", identity),
        driver=_text(body, "driver", "bridge"),
        scope=_text(body, "scope", "local"),
        internal=bool(body.get("internal", False)),
        default_bridge=bool(body.get("default_bridge", False)),
        subnets=tuple(ip_network(s, strict=False) for s in _texts(body, "subnets")),
        gateways=tuple(pack_address(g) for g in _texts(body, "gateways")),
    )


def _read_gone(body: Mapping[str, Any]) -> Gone:
    kind: Literal["container", "network"] = "container" if "container" in body else "network"
    return Gone(kind, _text(body, kind))


def _read_policy(body: Mapping[str, Any]) -> Policy:
    """Strictly: a value of another type would be found out only by the questions it breaks."""
    usual = {f.name: f.default for f in fields(Policy)}
    if unknown := set(body) - set(usual):
        raise BadChange(f"unknown setting {', '.join(sorted(unknown))}")
    return Policy(**{name: _setting(body, name, usual[name]) for name in body})


def _setting(body: Mapping[str, Any], name: str, usual: object) -> Any:
    """A value of the type of the usual one."""
    if name == "forwards":
        return tuple(
            (_text({"domain": domain}, "domain"), _texts({"servers": servers}, "servers"))
            for domain, servers in body[name]
        )
    if name in _CHOICES:
        return _one_of(body, name, _CHOICES[name])
    if isinstance(usual, tuple):
        return _texts(body, name)
    if isinstance(usual, str):
        return _text(body, name)
    value = body[name]
    if isinstance(usual, bool) != isinstance(value, bool):
        raise BadChange(f"{name} cannot be {value!r}")
    if isinstance(usual, int) and not isinstance(value, int):
        raise BadChange(f"{name} must be a whole number, not {value!r}")
    if not 0 <= _number(body, name) <= _MOST_SECONDS:
        raise BadChange(f"{name} must be from 0 to {_MOST_SECONDS}, not {value!r}")
    return value


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "search_order": get_args(SearchOrder),
    "strangers": get_args(Strangers),
}
_MOST_SECONDS = 0x7FFFFFFF
"""The longest TTL (RFC 2181 section 8), and longer than anything waits."""

_READERS: Mapping[str, Callable[[dict[str, Any]], Change]] = {
    "container": _read_container,
    "network": _read_network,
    "gone": _read_gone,
    "pending": lambda body: Pending(_text(body, "container"), _texts(body, "networks")),
    "sync": lambda body: Sync(_one_of(body, "at", ("begin", "end"))),
    "engine": lambda body: Engine(
        _one_of(body, "state", ("reached", "lost")),
        _text(body, "url"),
        _text(body, "why", ""),
        _number(body, "at"),
    ),
    "settings": _read_policy,
}

_WORD_OF: Mapping[type, str] = {
    Sandbox: "container",
    Network: "network",
    Gone: "gone",
    Pending: "pending",
    Sync: "sync",
    Engine: "engine",
    Policy: "settings",
}
