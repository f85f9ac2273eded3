"""A file of changes as the world: a static table, or recorded lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.names.changes import BadChange, Sync, read
from resolver.names.policy import Policy

if TYPE_CHECKING:
    from pathlib import Path

    from resolver.watch.book import Book


class BadChanges(Exception):
    """A file of changes that cannot be used; the text says which line and why."""


def load_changes(path: Path, book: Book) -> None:
    """Read a file of changes into the book: a static table, or recorded lines. Raises BadChanges.

    Blank lines and lines that begin with ``#`` are passed over. Settings in it are: the command line's count.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadChanges(f"changes: {path} cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            change = read(line)
        except BadChange as error:
            raise BadChanges(f"changes: {path} line {number}: {error}") from None
        if not isinstance(change, Policy):
            book.note(change)
    book.note(Sync("end"))
