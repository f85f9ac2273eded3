"""One setting: how it is spelled in its three places, read and explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from resolver.spellings import (
    one_of,
    quote,
    read_rate,
    read_release,
    read_size,
    read_switch,
    read_ttl,
    read_workers,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class SettingsError(ValueError):
    """A setting that cannot be used, told in one line: which, from where, what is wrong, what is allowed."""

    def __init__(self, setting: str, origin: str, problem: str, allowed: str = "") -> None:
        self.setting, self.origin, self.problem, self.allowed = setting, origin, problem, allowed
        where = f"{setting} ({origin})" if origin else setting
        super().__init__(f"{where}: {problem}" + (f"; allowed: {allowed}" if allowed else ""))


SWITCH = "true or false"
_NUMBERS = (read_ttl, read_size, read_workers, read_rate, read_release)


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
            raise ValueError(f"{quote(given)} is not {wanted if not self.switch else SWITCH}")
        return self.read(given.strip())


def about(
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


def choice(
    group: str, help: str, literal: Any, *, metavar: str, default: str, reloads: bool = False
) -> dict[str, Any]:
    words = ", ".join(get_args(literal))
    read = one_of(literal)
    told = f"{help} One of {words}."
    return about(group, told, read, words, metavar=metavar, default=default, reloads=reloads)
