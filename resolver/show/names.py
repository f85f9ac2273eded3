"""``resolver names``: the table of names, printed once or whenever it changes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from resolver.names.changes import spell_address
from resolver.show.picture import follow_picture, take_picture
from resolver.show.terminal import CommandError, coloured, json_line, printable

if TYPE_CHECKING:
    from typing import TextIO

    from resolver.names.model import Network
    from resolver.names.table import Table
    from resolver.settings import Settings

_PIPED_WIDTH = 4096
"""Columns where nobody looks: no line is folded for a program that reads it."""

_SHORT_ID = 12


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One name of one container on one network."""

    network: str
    name: str
    container: str
    id: str
    addresses: tuple[str, ...]

    @property
    def short_id(self) -> bool:
        """Whether the name is the short id, which the engine gives to every container."""
        return len(self.name) == _SHORT_ID and self.id.startswith(self.name)


def print_names(settings: Settings, network: str | None, *, everything: bool, as_json: bool) -> int:
    """Print the names there are now."""
    _print(take_picture(settings), network, everything=everything, as_json=as_json)
    return 0


def watch_names(settings: Settings, network: str | None, *, everything: bool, as_json: bool) -> int:
    """Print the names, and again after each change, until interrupted."""
    before: list[Row] | None = None
    for table in follow_picture(settings):
        # The network may come later, so its absence is no fault here.
        after = rows_of(table, network, must_exist=before is None)
        if after == before:
            continue
        if as_json:
            _print_difference(before or [], after)
        else:
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J\x1b[3J")
            elif before is not None:
                sys.stdout.write("\n")
            _print(table, network, everything=everything, as_json=False, must_exist=False)
        sys.stdout.flush()
        before = after
    return 0


def rows_of(table: Table, network: str | None = None, *, must_exist: bool = True) -> list[Row]:
    """What is answered, sorted; of one network where it is named.

    Raises CommandError for a network that does not exist, with the nearest one that does.
    """
    wanted = _named(table, network, must_exist=must_exist) if network else None
    return sorted(
        Row(held.name, name, sandbox.name, sandbox.id, _spelled(endpoint.ipv4, endpoint.ipv6))
        for held, name, sandbox, endpoint in table.rows()
        if (wanted is None or held.id in wanted) and _gives_names(held, table)
    )


def grid_of(rows: list[Row], *, plain: bool) -> Grid:
    """The rows as a grid. Names are text, never markup; a long one is folded, never cut."""
    grid = Grid(box=None if plain else SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for heading in ("NETWORK", "NAME", "ADDRESSES", "CONTAINER"):
        grid.add_column(heading, overflow="fold", no_wrap=plain)
    for row in rows:
        cells = (row.network, row.name, ", ".join(row.addresses), row.container)
        grid.add_row(*(Text(printable(cell)) for cell in cells))
    return grid


def _print(
    table: Table, network: str | None, *, everything: bool, as_json: bool, must_exist: bool = True
) -> None:
    rows = rows_of(table, network, must_exist=must_exist)
    if as_json:
        sys.stdout.writelines(json_line(_as_json(row)) + "\n" for row in rows)
        return
    shown = rows if everything else [row for row in rows if not row.short_id]
    _paint(shown, sys.stdout)
    for note in _notes(table, rows, shown):
        click.echo(note, err=True)


def _paint(rows: list[Row], out: TextIO) -> None:
    seen = out.isatty()
    console = Console(
        file=out,
        width=None if seen else _PIPED_WIDTH,
        no_color=not coloured(out),
        highlight=False,
        markup=False,
        emoji=False,
    )
    if seen:
        console.print(grid_of(rows, plain=False))
        return
    with console.capture() as painted:
        console.print(grid_of(rows, plain=True))
    out.write("".join(line.rstrip() + "\n" for line in painted.get().splitlines()))


def _notes(table: Table, rows: list[Row], shown: list[Row]) -> list[str]:
    """What is not in the table, for a person; on stderr, so that a pipe gets names only."""
    notes = []
    if hidden := len(rows) - len(shown):
        notes.append(f"{hidden} short {'id is' if hidden == 1 else 'ids are'} answered too: --all")
    unnamed = sum(
        1
        for sandbox in table.sandboxes.values()
        for endpoint in sandbox.endpoints
        if endpoint.alive and (held := table.networks.get(endpoint.network)) and not _gives_names(held, table)
    )
    if unnamed:
        noun = "container is" if unnamed == 1 else "containers are"
        notes.append(f"{unnamed} {noun} on the default bridge, without names: --names-on-default-bridge")
    if not rows:
        notes.append("no running container has a name on any network" + ("" if unnamed else " yet"))
    return notes


def _print_difference(before: list[Row], after: list[Row]) -> None:
    """What appeared and what went, a line each: easier to follow for a program than the whole table again."""
    for row in sorted(set(before) - set(after)):
        click.echo(json_line({"gone": True, **_as_json(row)}))
    for row in sorted(set(after) - set(before)):
        click.echo(json_line(_as_json(row)))


def _as_json(row: Row) -> dict[str, Any]:
    return {
        "network": row.network,
        "name": row.name,
        "addresses": list(row.addresses),
        "container": row.container,
        "id": row.id,
    }


def _named(table: Table, network: str, *, must_exist: bool) -> set[str]:
    """Ids of the networks of that name; names need not be unique, ids are."""
    found = {n.id for n in table.networks.values() if network in (n.name, n.id)}
    if not found and len(network) >= 4:
        found = {n.id for n in table.networks.values() if n.id.startswith(network)}
    if not found and must_exist:
        near = get_close_matches(network, [n.name for n in table.networks.values()], 1, 0.5)
        hint = f", did you mean {near[0]}?" if near else ""
        raise CommandError(f"there is no network {network}{hint}")
    return found


def _spelled(*packed: bytes) -> tuple[str, ...]:
    return tuple(spell_address(address) for address in packed if address)


def _gives_names(network: Network, table: Table) -> bool:
    return not network.default_bridge or table.policy.names_on_default_bridge
