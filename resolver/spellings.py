"""How the values of settings are written, and what they become.

Every reader takes text and returns the value in its normal form, or raises ValueError saying what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

DNS_PORT = 53
MAX_TTL = 2**31 - 1
"""RFC 2181, section 8."""
MAX_SIZE = 1 << 36
MAX_WORKERS = 64
MAX_RATE = 1_000_000
_UNITS = {"K": 10, "M": 20, "G": 30}


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
    return text if len(text) <= 200 else text[:196] + "…" + text[-1]


def read_listen(text: str) -> Listen:
    """``ADDR``, ``ADDR:PORT``, ``[V6]`` or ``[V6]:PORT``."""
    address, port = text, str(DNS_PORT)
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{quote(text)} has a bracket that does not close before the port")
        port = rest[1:] if rest else port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{quote(text)} has no port from 1 to 65535 after its last colon")
    try:
        parsed = ip_address(address)
    except ValueError:
        raise ValueError(f"{quote(text)} does not start with an IPv4 or IPv6 address") from None
    if parsed.is_multicast or address == "255.255.255.255":
        raise ValueError(f"{quote(text)} is an address for many hosts, not for one")
    return Listen(str(parsed), int(port))


def read_upstream(text: str) -> str:
    """A server to ask: ``ADDR`` or ``ADDR:PORT``, in the form ``ADDR:PORT``."""
    server = read_listen(text)
    if server.wildcard:
        raise ValueError(f"{quote(text)} is no address of a server")
    return str(server)


def read_forward(text: str) -> str:
    """A domain and a server for its names, in the form ``DOMAIN=ADDR:PORT``."""
    domain, equals, server = text.partition("=")
    if not equals or not read_domain(domain):
        raise ValueError(f"{quote(text)} is not DOMAIN=ADDR")
    return f"{read_domain(domain)}={read_upstream(server)}"


def read_size(text: str) -> int:
    """Octets, with ``K``, ``M`` or ``G`` for powers of 1,024; 0 is off."""
    digits, unit = (text[:-1], text[-1]) if text[-1:].upper() in _UNITS else (text, "")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise ValueError(f"{quote(text)} is no size")
    size = int(digits) << _UNITS.get(unit.upper(), 0)
    if size > MAX_SIZE:
        raise ValueError(f"{quote(text)} is too large")
    return size


def read_workers(text: str) -> int:
    """How many answering processes."""
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_WORKERS):
        raise ValueError(f"{quote(text)} is not a number of processes")
    return int(text)


def read_engine(text: str) -> str:
    """The URL of an engine; a path stands for its unix socket, nothing for: find it."""
    if not text:
        return ""
    if not text.isprintable():
        raise ValueError(f"{quote(text)} has characters that do not belong in a URL")
    url = f"unix://{text}" if text.startswith("/") else text
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError(f"{quote(text)} needs an absolute path (three slashes)")
    elif parts.scheme not in ("tcp", "http", "https"):
        raise ValueError(f"{quote(text)} is no address of an engine")
    elif not parts.hostname or parts.port == 0:
        raise ValueError(f"{quote(text)} names no host or no port")
    return url


def read_ttl(text: str) -> int:
    """Whole seconds that fit the field of a record."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{quote(text)} is not a whole number of seconds")
    if len(text.lstrip("0")) > 10 or int(text) > MAX_TTL:
        raise ValueError(f"{quote(text)} is too large")
    return int(text)


def read_release(text: str) -> int:
    """Seconds a redirect outlives us: long enough for three renewals, and no longer than a person waits."""
    seconds = read_ttl(text)
    if not 3 <= seconds <= 3600:
        raise ValueError(f"{quote(text)} is not from 3 to 3600 seconds")
    return seconds


def read_selector(text: str) -> str:
    """Which containers: a word, or a kind and what it must be; ``not:`` in front turns it round."""
    kind, equals, value = text.removeprefix("not:").partition("=")
    if kind in ("all", "none") and not equals:
        if kind == "none" and text != kind:
            raise ValueError(f"{quote(text)} says nothing; leave it out")
        return text
    if kind not in _SELECTORS:
        near = get_close_matches(kind, (*_SELECTORS, "all", "none"), 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"{quote(text)} begins with no kind of selector{hint}")
    if not value:
        raise ValueError(f"{quote(text)} does not say which {kind}")
    return text


_SELECTORS = ("name", "network", "label")


def read_domain(text: str) -> str:
    """A domain in lower case without dots around it; nothing for none."""
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


def read_rate(text: str) -> int:
    """Questions per second; 0 for any number."""
    if not text.isdecimal() or len(text) > 7 or int(text) > MAX_RATE:
        raise ValueError(f"{quote(text)} is not a number of questions from 0 to {MAX_RATE}")
    return int(text)


def read_container(text: str) -> str:
    """The name or id of a container; the engine's leading slash is dropped."""
    if not text.isprintable() or " " in text:
        raise ValueError(f"{quote(text)} is no name of a container")
    return text.removeprefix("/")


def read_existing(text: str) -> Path | None:
    """The path of a file that is there; nothing for none."""
    path = Path(text) if text else None
    try:
        if path and path.is_dir():
            raise ValueError(f"{quote(text)} is a folder")
        if path and not path.exists():
            raise ValueError(f"{quote(text)} does not exist")
    except OSError as error:
        raise ValueError(f"{quote(text)}: {error.strerror}") from None
    return path


def one_of(literal: Any) -> Callable[[str], str]:
    """A reader for the words of a Literal type."""

    def read(text: str) -> str:
        if text.lower() not in get_args(literal):
            near = get_close_matches(text.lower(), get_args(literal), 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{quote(text)} is none of these{hint}")
        return text.lower()

    return read


def read_switch(text: str) -> bool:
    """On or off, in the words people use."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{quote(text)} is neither yes nor no")
