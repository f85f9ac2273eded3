"""What may reach a terminal, and how a command that cannot do its work says so.

Names of containers, networks and aliases are chosen by whoever may start a container: none of their control
characters, escape sequences or direction marks goes out.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


class CommandError(Exception):
    """A command cannot do its work, for a reason a person can do something about, told in one line."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status
        """Exit code: 1 for a fault of the surroundings, 2 for a wrong word on the command line."""


def printable(text: str) -> str:
    """The text, with characters that could steer a terminal or cannot be seen written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def json_line(body: Any) -> str:
    """One line of JSON in ASCII, so that it is harmless on a terminal too."""
    return json.dumps(body, separators=(", ", ": ")).replace("\x7f", "\\u007f")


def coloured(stream: TextIO | None = None) -> bool:
    """Whether colours are wanted there: a terminal, and nobody said no."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return stream.isatty()
    except ValueError:
        return False
