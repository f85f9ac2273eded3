"""What the operator can choose: one value, and for each setting how it is spelled, read and explained.

This module knows no command line. ``resolver.cli`` makes an option, an environment variable and a key of the
configuration file of each entry in ``SETTINGS``, so a setting that is added here is complete at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from resolver.names.policy import SearchOrder, Strangers

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

GROUPS = ("Listening", "Upstream", "Engine", "Answers", "Running")
"""The sections of ``resolver serve --help``, in order."""

DNS_PORT = 53
MAX_TTL = 2**31 - 1
"""RFC 2181, section 8."""


class SettingsError(ValueError):
    """A setting that cannot be used, told in one line: which, from where, what is wrong, what is allowed."""

    def __init__(self, setting: str, origin: str, problem: str, allowed: str = "") -> None:
        self.setting, self.origin, self.problem, self.allowed = setting, origin, problem, allowed
        where = f"{setting} ({origin})" if origin else setting
        super().__init__(f"{where}: {problem}" + (f"; allowed: {allowed}" if allowed else ""))


@dataclass(frozen=True, slots=True, order=True)
class Listen:
    """An address and port of ours; the text of it is also the name others find us by."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every address of the machine."""
        return ip_address(self.address).is_unspecified

    @property
    def reachable(self) -> Listen:
        """Where a program on this machine reaches it: loopback for a wildcard, else itself."""
        if not self.wildcard:
            return self
        return Listen("::1" if ":" in self.address else "127.0.0.1", self.port)


def quote(value: object) -> str:
    """A value as an error line shows it: on one line, without control characters, cut when long."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:56] + "…" + text[-1]


def read_listen(text: str) -> Listen:
    """``ADDR``, ``ADDR:PORT``, ``[V6]`` or ``[V6]:PORT``.

    Raises ValueError saying which part is wrong.
    """
    address, port = text, str(DNS_PORT)
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{quote(text)} has a bracket that does not close before the port")
        port = rest[1:] if rest else port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise ValueError(f"{quote(text)} has no port from 1 to 65535 after its last colon")
    try:
        parsed = ip_address(address)
    except ValueError:
        raise ValueError(f"{quote(text)} does not start with an IPv4 or IPv6 address") from None
    if parsed.is_multicast or address == "255.255.255.255":
        raise ValueError(f"{quote(text)} is an address for many hosts, not for one")
    return Listen(str(parsed), int(port))


def _read_upstream(text: str) -> str:
    server = read_listen(text)
    if server.wildcard:
        raise ValueError(f"{quote(text)} is no address of a server")
    return str(server)


def _read_engine(text: str) -> str:
    if not text:
        return ""
    url = f"unix://{text}" if text.startswith("/") else text
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError(f"{quote(text)} needs an absolute path (three slashes)")
    elif parts.scheme not in ("tcp", "http", "https"):
        raise ValueError(f"{quote(text)} is no address of an engine")
    elif not parts.hostname:
        raise ValueError(f"{quote(text)} names no host")
    return url


def _read_ttl(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{quote(text)} is not a whole number of seconds")
    if len(text.lstrip("0")) > 10 or int(text) > MAX_TTL:
        raise ValueError(f"{quote(text)} is too large")
    return int(text)


def _read_domain(text: str) -> str:
    domain = text.strip(".").lower()
    labels = domain.split(".") if domain else []
    for label in labels:
        if not label or len(label) > 63:
            raise ValueError(f"{quote(text)} has an empty label or one of more than 63 characters")
        if not (label.isascii() and label.replace("-", "").replace("_", "").isalnum()):
            raise ValueError(f"{quote(text)} has characters that do not belong in a domain")
    if len(domain) > 200:
        raise ValueError(f"{quote(text)} leaves no room for names below it")
    if labels and (labels[-1] == "localhost" or domain in ("in-addr.arpa", "ip6.arpa", "arpa")):
        raise ValueError(f"{quote(text)} has a meaning of its own in DNS")
    return domain


def _read_container(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise ValueError(f"{quote(text)} is no name of a container")
    return text.removeprefix("/")


def _read_path(text: str) -> Path | None:
    return Path(text) if text else None


def _read_existing(text: str) -> Path | None:
    path = _read_path(text)
    try:
        if path and path.is_dir():
            raise ValueError(f"{quote(text)} is a folder")
        if path and not path.exists():
            raise ValueError(f"{quote(text)} does not exist")
    except OSError as error:
        raise ValueError(f"{quote(text)}: {error.strerror}") from None
    return path


def _one_of(literal: Any) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in get_args(literal):
            near = get_close_matches(text.lower(), get_args(literal), 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{quote(text)} is none of these{hint}")
        return text.lower()

    return read


def _read_switch(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{quote(text)} is neither yes nor no")


_LISTEN_ALLOWED = "ADDR or ADDR:PORT, IPv6 in brackets before a port"
_SWITCH = "true or false"


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
        return self.read is _read_switch

    def value(self, given: object) -> Any:
        """The value of what one of the three places gave: text, or a TOML value.

        Raises ValueError when it is of the wrong type or not allowed.
        """
        if isinstance(given, bool) and self.switch:
            return given
        if isinstance(given, int) and not isinstance(given, bool) and self.read is _read_ttl:
            given = str(given)
        if not isinstance(given, str):
            wanted = "text" if self.read is not _read_ttl else "a whole number"
            raise ValueError(f"{quote(given)} is not {wanted if not self.switch else _SWITCH}")
        return self.read(given.strip())


def _setting(
    default: Any,
    group: str,
    help: str,
    read: Callable[[str], Any],
    allowed: str,
    *,
    metavar: str = "",
    shown: str | None = None,
    many: bool = False,
    reloads: bool = False,
    key: str = "",
) -> Any:
    said = dict(group=group, help=help, read=read, allowed=allowed, metavar=metavar, many=many, key=key)
    shown_default = shown if shown is not None else str(default).lower()
    return field(default=default, metadata={**said, "reloads": reloads, "shown_default": shown_default})


def _choice(default: str, group: str, help: str, literal: Any, *, reloads: bool = False) -> Any:
    words = get_args(literal)
    return _setting(
        default, group, help, _one_of(literal), ", ".join(words), metavar="|".join(words), reloads=reloads
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the operator chose, checked and in normal form."""

    listen: tuple[Listen, ...] = _setting(
        (Listen("127.0.0.11"),),
        "Listening",
        "Answer here, over UDP and TCP. Repeatable.",
        read_listen,
        _LISTEN_ALLOWED,
        metavar="ADDR[:PORT]",
        shown="127.0.0.11:53",
        many=True,
    )
    take_over: bool = _setting(
        False,
        "Listening",
        "Receive what goes to 127.0.0.11:53 in this network namespace although the engine's own resolver is "
        "there; it is back within seconds of our end. Needs NET_ADMIN.",
        _read_switch,
        _SWITCH,
    )
    upstream: tuple[str, ...] = _setting(
        (),
        "Upstream",
        "Forward other names to this server. Repeatable; tried in this order.",
        _read_upstream,
        _LISTEN_ALLOWED,
        metavar="ADDR[:PORT]",
        shown="the nameservers of /etc/resolv.conf",
        many=True,
        reloads=True,
    )
    engine: str = _setting(
        "",
        "Engine",
        "The container engine.",
        _read_engine,
        "unix:///PATH, tcp://HOST:PORT, http://HOST:PORT, https://HOST:PORT",
        metavar="URL",
        shown="found as the docker command finds it",
    )
    changes: Path | None = _setting(
        None,
        "Engine",
        "Read the names from this file of changes instead of an engine.",
        _read_existing,
        "a file of changes, one JSON object per line",
        metavar="FILE",
        shown="",
    )
    as_container: str = _setting(
        "",
        "Engine",
        "The container whose view clients on loopback have.",
        _read_container,
        "the name or id of a container",
        metavar="CONTAINER",
        shown="the one whose network namespace this is",
        key="as",
    )
    search_order: SearchOrder = _choice(
        "first-connected",
        "Answers",
        "Which network of a container is searched first: the one connected first, or by the engine's rule.",
        SearchOrder,
        reloads=True,
    )
    ttl: int = _setting(
        600,
        "Answers",
        "Time to live of container names.",
        _read_ttl,
        f"0 to {MAX_TTL} seconds",
        metavar="SECONDS",
        reloads=True,
    )
    names_on_default_bridge: bool = _setting(
        False,
        "Answers",
        "Answer names on the engine's default bridge too, which the engine itself does not.",
        _read_switch,
        _SWITCH,
        reloads=True,
    )
    strangers: Strangers = _choice(
        "refuse",
        "Answers",
        "What a client on no network we know gets: nothing, forwarding only, or every network's names.",
        Strangers,
        reloads=True,
    )
    domain: str = _setting(
        "",
        "Answers",
        "Also answer NAME.DOMAIN and NAME.NETWORK.DOMAIN; names below DOMAIN are never forwarded.",
        _read_domain,
        "a domain name such as docker.example",
        metavar="DOMAIN",
        shown="",
        reloads=True,
    )
    log_level: LogLevel = _choice("info", "Running", "How much to log.", LogLevel, reloads=True)
    log_format: LogFormat = _choice("text", "Running", "How a log line looks.", LogFormat)
    config: Path | None = _setting(
        None,
        "Running",
        "Read settings from this TOML file. Flags and environment variables win over it.",
        _read_existing,
        "a TOML file",
        metavar="FILE",
        shown="",
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
