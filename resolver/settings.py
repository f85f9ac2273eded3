"""What the operator can choose: one value, and for each setting how it is spelled, read and explained.

This module knows no command line. ``resolver.cli`` makes an option, an environment variable and a key of the
configuration file of each entry in ``SETTINGS``, so a setting that is added here is complete at once.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from resolver.names.policy import SearchOrder, Strangers, UpstreamPolicy
from resolver.spellings import (
    MAX_RATE,
    MAX_TTL,
    MAX_WORKERS,
    Listen,
    one_of,
    quote,
    read_container,
    read_domain,
    read_engine,
    read_existing,
    read_forward,
    read_listen,
    read_rate,
    read_size,
    read_switch,
    read_ttl,
    read_upstream,
    read_workers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

__all__ = ["BY_NAME", "GROUPS", "SETTINGS", "Listen", "Setting", "Settings", "SettingsError"]

GROUPS = ("Listening", "Upstream", "Engine", "Answers", "Running")
"""The sections of ``resolver serve --help``, in order."""


class SettingsError(ValueError):
    """A setting that cannot be used, told in one line: which, from where, what is wrong, what is allowed."""

    def __init__(self, setting: str, origin: str, problem: str, allowed: str = "") -> None:
        self.setting, self.origin, self.problem, self.allowed = setting, origin, problem, allowed
        where = f"{setting} ({origin})" if origin else setting
        super().__init__(f"{where}: {problem}" + (f"; allowed: {allowed}" if allowed else ""))


_LISTEN_ALLOWED = "ADDR or ADDR:PORT, IPv6 in brackets before a port"
_SWITCH = "true or false"
_NUMBERS = (read_ttl, read_size, read_workers, read_rate)


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is spelled in its three places, read and explained."""

    name: str
    """The field of ``Settings``."""
    group: str
    help: str
    metavar: str
    read: Callable[[str], Any]
    allowed: str
    default: Any
    shown_default: str
    many: bool
    reloads: bool
    """Whether SIGHUP can change it. What needs another socket, engine or process cannot."""
    key: str
    """Its key in the configuration file, and with dashes in front its flag."""

    @property
    def flag(self) -> str:
        return f"--{self.key}"

    @property
    def environment(self) -> str:
        return "RESOLVER_" + self.key.upper().replace("-", "_")

    @property
    def switch(self) -> bool:
        """Whether it is on or off and takes no value on the command line."""
        return self.read is read_switch

    def value(self, given: object) -> Any:
        """The value of what one of the three places gave: text, or a TOML value.

        Raises ValueError when it is of the wrong type or not allowed.
        """
        if isinstance(given, bool) and self.switch:
            return given
        if isinstance(given, int) and not isinstance(given, bool) and self.read in _NUMBERS:
            given = str(given)
        if not isinstance(given, str):
            wanted = "text" if self.read not in _NUMBERS else "a whole number"
            raise ValueError(f"{quote(given)} is not {wanted if not self.switch else _SWITCH}")
        return self.read(given.strip())


def _about(
    group: str,
    help: str,
    read: Callable[[str], Any],
    allowed: str,
    *,
    metavar: str = "",
    default: str = "",
    many: bool = False,
    reloads: bool = False,
    key: str = "",
) -> dict[str, Any]:
    """What stands beside a field of ``Settings``; ``default`` is how help tells the default."""
    return {
        "group": group,
        "help": help,
        "read": read,
        "allowed": allowed,
        "metavar": metavar,
        "shown_default": default,
        "many": many,
        "reloads": reloads,
        "key": key,
    }


def _choice(
    group: str, help: str, literal: Any, *, metavar: str, default: str, reloads: bool = False
) -> dict[str, Any]:
    words = ", ".join(get_args(literal))
    read = one_of(literal)
    told = f"{help} One of {words}."
    return _about(group, told, read, words, metavar=metavar, default=default, reloads=reloads)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the operator chose, checked and in normal form."""

    listen: tuple[Listen, ...] = field(
        default=(Listen("127.0.0.11"),),
        metadata=_about(
            "Listening",
            "Answer here, over UDP and TCP. Repeatable.",
            read_listen,
            _LISTEN_ALLOWED,
            metavar="ADDR[:PORT]",
            default="127.0.0.11:53",
            many=True,
        ),
    )
    take_over: bool = field(
        default=False,
        metadata=_about(
            "Listening",
            "Receive what goes to 127.0.0.11:53 in this network namespace although the engine's own "
            "resolver is there; it is back within seconds of our end. Needs NET_ADMIN.",
            read_switch,
            _SWITCH,
        ),
    )
    replace: bool = field(
        default=False,
        metadata=_about(
            "Listening",
            "Take the sockets of the resolver that runs here with the same --listen, --take-over and "
            "--workers, and end it once this one is ready: no question is lost. With none there, just start.",
            read_switch,
            _SWITCH,
        ),
    )
    upstream: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "Upstream",
            "Forward other names to this server. Repeatable; tried in this order.",
            read_upstream,
            _LISTEN_ALLOWED,
            metavar="ADDR[:PORT]",
            default="the nameservers of /etc/resolv.conf",
            many=True,
            reloads=True,
        ),
    )
    upstream_policy: UpstreamPolicy = field(
        default="ordered",
        metadata=_choice(
            "Upstream",
            "Which server is asked first: the first healthy one, the fastest, or strictly the first.",
            UpstreamPolicy,
            metavar="POLICY",
            default="ordered",
        ),
    )
    forward: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "Upstream",
            "Forward names at and below DOMAIN to this server instead. Repeatable; the longest domain wins.",
            read_forward,
            "DOMAIN=ADDR or DOMAIN=ADDR:PORT",
            metavar="DOMAIN=ADDR[:PORT]",
            many=True,
            reloads=True,
        ),
    )
    cache_size: int = field(
        default=16 << 20,
        metadata=_about(
            "Upstream",
            "Memory for replies of upstream servers; 0 turns the cache off.",
            read_size,
            "octets, or a number followed by K, M or G, up to 64G",
            metavar="SIZE",
            default="16M",
        ),
    )
    engine: str = field(
        default="",
        metadata=_about(
            "Engine",
            "The container engine.",
            read_engine,
            "unix:///PATH, tcp://HOST:PORT, http://HOST:PORT, https://HOST:PORT",
            metavar="URL",
            default="found as the docker command finds it",
        ),
    )
    changes: Path | None = field(
        default=None,
        metadata=_about(
            "Engine",
            "Read the names from this file of changes instead of an engine.",
            read_existing,
            "a file of changes, one JSON object per line",
            metavar="FILE",
        ),
    )
    as_container: str = field(
        default="",
        metadata=_about(
            "Engine",
            "The container whose view clients on loopback have.",
            read_container,
            "the name or id of a container",
            metavar="CONTAINER",
            default="the one whose network namespace this is",
            key="as",
        ),
    )
    search_order: SearchOrder = field(
        default="first-connected",
        metadata=_choice(
            "Answers",
            "Which network of a container is searched first: the one connected first, or the engine's.",
            SearchOrder,
            metavar="ORDER",
            default="first-connected",
            reloads=True,
        ),
    )
    ttl: int = field(
        default=600,
        metadata=_about(
            "Answers",
            "Time to live of container names.",
            read_ttl,
            f"0 to {MAX_TTL} seconds",
            metavar="SECONDS",
            default="600",
            reloads=True,
        ),
    )
    names_on_default_bridge: bool = field(
        default=False,
        metadata=_about(
            "Answers",
            "Answer names on the engine's default bridge too, which the engine itself does not.",
            read_switch,
            _SWITCH,
            reloads=True,
        ),
    )
    strangers: Strangers = field(
        default="refuse",
        metadata=_choice(
            "Answers",
            "What a client gets that is on no network we know.",
            Strangers,
            metavar="WHAT",
            default="refuse",
            reloads=True,
        ),
    )
    block_private_answers: bool = field(
        default=False,
        metadata=_about(
            "Answers",
            "Answers of upstreams with an address that is not the Internet's become empty, but for names "
            "below a --forward domain. Against DNS rebinding.",
            read_switch,
            _SWITCH,
            reloads=True,
        ),
    )
    client_rate: int = field(
        default=0,
        metadata=_about(
            "Answers",
            "Questions a client may ask in a second; more are refused. 0 sets no limit.",
            read_rate,
            f"0 to {MAX_RATE}",
            metavar="NUMBER",
            default="0",
            reloads=True,
        ),
    )
    domain: str = field(
        default="",
        metadata=_about(
            "Answers",
            "Also answer NAME.DOMAIN and NAME.NETWORK.DOMAIN; names below DOMAIN are never forwarded.",
            read_domain,
            "a domain name such as docker.example",
            metavar="DOMAIN",
            reloads=True,
        ),
    )
    log_level: LogLevel = field(
        default="info",
        metadata=_choice(
            "Running", "How much to log.", LogLevel, metavar="LEVEL", default="info", reloads=True
        ),
    )
    log_format: LogFormat = field(
        default="text",
        metadata=_choice("Running", "How a log line looks.", LogFormat, metavar="FORMAT", default="text"),
    )
    workers: int = field(
        default=1,
        metadata=_about(
            "Running",
            "Answering processes, each with a whole table and cache of its own.",
            read_workers,
            f"1 to {MAX_WORKERS}",
            metavar="NUMBER",
            default="1",
        ),
    )
    config: Path | None = field(
        default=None,
        metadata=_about(
            "Running",
            "Read settings from this TOML file.",
            read_existing,
            "a TOML file",
            metavar="FILE",
        ),
    )

    def after_reload(self, fresh: Settings) -> tuple[Settings, tuple[str, ...]]:
        """What to go on with when ``fresh`` was read at SIGHUP, and the keys whose change needs a restart."""
        stay = {s.name: getattr(self, s.name) for s in SETTINGS if not s.reloads}
        changed = tuple(s.key for s in SETTINGS if s.name in stay and getattr(fresh, s.name) != stay[s.name])
        return replace(fresh, **stay), changed


def _described() -> tuple[Setting, ...]:
    made = []
    for f in fields(Settings):
        said = dict(f.metadata)
        said["key"] = said["key"] or f.name.replace("_", "-")
        assert f.default is not MISSING
        made.append(Setting(name=f.name, default=f.default, **said))
    return tuple(made)


SETTINGS: tuple[Setting, ...] = _described()
BY_NAME: Mapping[str, Setting] = {s.name: s for s in SETTINGS}
