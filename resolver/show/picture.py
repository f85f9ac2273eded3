"""The names table for a command that runs without a resolver: from the engine, or from a file of changes."""

from __future__ import annotations

import time
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from resolver.names.changes import BadChange, Change, read
from resolver.names.policy import Policy
from resolver.names.table import Table
from resolver.show.terminal import CommandError, printable
from resolver.watch.own import mounted_container, own_addresses, own_container
from resolver.watch.upstreams import DNS_PORT, ENGINES_OWN, RESOLV_CONF, Ourselves, choose
from resolver.watch.upstreams import read as text_of_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from resolver.names.model import Sandbox
    from resolver.settings import Settings

_GLANCE = 0.5
"""Seconds between two looks at a file."""


def take_picture(settings: Settings) -> Table:
    """The table as it is now.

    Raises CommandError when there is neither an engine nor a readable file.
    """
    table = Table()
    for change in changes_of(settings.changes) if settings.changes else _from_engine(settings):
        table.apply(change)
    table.apply(policy_of(settings, table))
    return table


def follow_picture(settings: Settings) -> Iterator[Table]:
    """The table as it is now, and again whenever something may have changed.

    Raises CommandError as ``take_picture`` does, for the first one; later the last table stays.
    """
    before = _state(settings.changes) if settings.changes else ()
    yield take_picture(settings)
    for _ in _file_stirs(settings.changes, before) if settings.changes else _engine_stirs(settings):
        try:
            table = take_picture(settings)
        except CommandError as error:
            click.echo(f"resolver: {printable(str(error))}; what stands above is from before", err=True)
        else:
            yield table


def changes_of(path: Path) -> Iterator[Change]:
    """The changes in a file; empty lines and lines that begin with # say nothing.

    Raises CommandError naming the line that cannot be read.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip() and not line.lstrip().startswith(b"#"):
                    yield _read(line, path, number)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", 2) from None


def _read(line: bytes, path: Path, number: int) -> Change:
    try:
        return read(line)
    except BadChange as error:
        raise CommandError(f"{path} line {number} is no change: {error}", 2) from None


def policy_of(settings: Settings, table: Table) -> Policy:
    """The policy a resolver with these settings would answer by; a file of changes has no say in it."""
    ourselves = Ourselves(settings.listen, own_addresses(), settings.take_over)
    # Where the engine's own resolver is behind our address, it is asked there, at a port of its own.
    engines = f"{ENGINES_OWN}:{DNS_PORT}"
    return Policy(
        search_order=settings.search_order,
        ttl=settings.ttl,
        names_on_default_bridge=settings.names_on_default_bridge,
        strangers=settings.strangers,
        domain=settings.domain,
        own=_own(settings, table),
        upstreams=choose(settings.upstream, text_of_file(RESOLV_CONF), ourselves, engines),
        ourselves=ourselves.servers(),
    )


def _own(settings: Settings, table: Table) -> str:
    if settings.as_container:
        return container(table, settings.as_container).id
    return own_container(mounted_container(), own_addresses(), table.sandboxes)


def container(table: Table, name: str) -> Sandbox:
    """The container of that name or id.

    Raises CommandError with the nearest name there is.
    """
    if found := table.named(name.removeprefix("/")):
        return found
    near = get_close_matches(name, [s.name for s in table.sandboxes.values()], 1, 0.5)
    raise CommandError(f"there is no container {name}" + (f", did you mean {near[0]}?" if near else ""))


def _file_stirs(path: Path, before: tuple[int, ...]) -> Iterator[None]:
    """Comes back whenever the file was written to or replaced."""
    while True:
        time.sleep(_GLANCE)
        if (now := _state(path)) != before:
            before = now
            yield


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _from_engine(settings: Settings) -> Iterable[Change]:
    # The engine's SDK is large; a file of changes is read without it.
    from resolver.show.following import picture  # noqa: PLC0415

    return picture(settings)


def _engine_stirs(settings: Settings) -> Iterator[None]:
    from resolver.show.following import stirs  # noqa: PLC0415

    return stirs(settings)
