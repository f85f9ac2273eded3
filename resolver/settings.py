"""What the operator can choose: one value, and for each setting how it is spelled, read and explained.

This module knows no command line. ``resolver.cli`` makes an option, an environment variable and a key of the
configuration file of each entry in ``SETTINGS``, so a setting that is added here is complete at once.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

from resolver.names.policy import SearchOrder, Strangers, UpstreamPolicy
from resolver.setting import SWITCH, Setting, SettingsError, about, choice
from resolver.spellings import (
    MAX_RATE,
    MAX_TTL,
    MAX_WORKERS,
    Listen,
    read_container,
    read_domain,
    read_engine,
    read_existing,
    read_forward,
    read_listen,
    read_rate,
    read_release,
    read_selector,
    read_size,
    read_switch,
    read_ttl,
    read_upstream,
    read_workers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

__all__ = ["BY_NAME", "GROUPS", "SETTINGS", "Listen", "Setting", "Settings", "SettingsError"]

GROUPS = ("Listening", "Attaching", "Upstream", "Engine", "Answers", "Running")
"""The sections of ``resolver serve --help``, in order."""


_LISTEN_ALLOWED = "ADDR or ADDR:PORT, IPv6 in brackets before a port"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the operator chose, checked and in normal form."""

    listen: tuple[Listen, ...] = field(
        default=(Listen("127.0.0.11"),),
        metadata=about(
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
        metadata=about(
            "Listening",
            "Receive what goes to 127.0.0.11:53 in this network namespace although the engine's own "
            "resolver is there; it is back within seconds of our end. Needs NET_ADMIN.",
            read_switch,
            SWITCH,
        ),
    )
    attach: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "Attaching",
            "Answer in these running containers in place of their own nameserver. Repeatable; with not: in "
            "front, not in those. The word none: only where a label or a command says so.",
            read_selector,
            "all, none, name=GLOB, network=NAME, label=KEY or label=KEY=VALUE, each also after not:",
            metavar="WHICH",
            many=True,
            reloads=True,
        ),
    )
    release_after: int = field(
        default=6,
        metadata=about(
            "Attaching",
            "Seconds after we were killed until a container's own nameserver is back; at once when stopped.",
            read_release,
            "3 to 3600 seconds",
            metavar="SECONDS",
            default="6",
        ),
    )
    fall_back_to_engine: bool = field(
        default=True,
        metadata=about(
            "Attaching",
            "Ask the engine's own resolver in the container for what only it may know.",
            read_switch,
            SWITCH,
        ),
    )
    replace: bool = field(
        default=False,
        metadata=about(
            "Listening",
            "Take the sockets of the resolver that runs here with the same --listen, --take-over and "
            "--workers, and end it once this one is ready: no question is lost. With none there, just start.",
            read_switch,
            SWITCH,
        ),
    )
    upstream: tuple[str, ...] = field(
        default=(),
        metadata=about(
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
        metadata=choice(
            "Upstream",
            "Which server is asked first: the first healthy one, the fastest, or strictly the first.",
            UpstreamPolicy,
            metavar="POLICY",
            default="ordered",
        ),
    )
    forward: tuple[str, ...] = field(
        default=(),
        metadata=about(
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
        metadata=about(
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
        metadata=about(
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
        metadata=about(
            "Engine",
            "Read the names from this file of changes instead of an engine.",
            read_existing,
            "a file of changes, one JSON object per line",
            metavar="FILE",
        ),
    )
    as_container: str = field(
        default="",
        metadata=about(
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
        metadata=choice(
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
        metadata=about(
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
        metadata=about(
            "Answers",
            "Answer names on the engine's default bridge too, which the engine itself does not.",
            read_switch,
            SWITCH,
            reloads=True,
        ),
    )
    strangers: Strangers = field(
        default="refuse",
        metadata=choice(
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
        metadata=about(
            "Answers",
            "Answers of upstreams with an address that is not the Internet's become empty, but for names "
            "below a --forward domain. Against DNS rebinding.",
            read_switch,
            SWITCH,
            reloads=True,
        ),
    )
    client_rate: int = field(
        default=0,
        metadata=about(
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
        metadata=about(
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
        metadata=choice(
            "Running", "How much to log.", LogLevel, metavar="LEVEL", default="info", reloads=True
        ),
    )
    log_format: LogFormat = field(
        default="text",
        metadata=choice("Running", "How a log line looks.", LogFormat, metavar="FORMAT", default="text"),
    )
    workers: int = field(
        default=1,
        metadata=about(
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
        metadata=about(
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
