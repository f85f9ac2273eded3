"""``resolver why``: one name's way through the table, told to a person; reasoned in ``names.explain``."""

from __future__ import annotations

from dataclasses import asdict
from ipaddress import ip_address
from typing import TYPE_CHECKING

import click
from dnslib import QTYPE, RCODE

from resolver.names.explain import Explanation, explain
from resolver.names.keys import reverse_name
from resolver.show.picture import container, take_picture
from resolver.show.terminal import CommandError, coloured, json_line, printable

if TYPE_CHECKING:
    from resolver.settings import Settings

_PTR = 12


def print_why(settings: Settings, name: str, asker: str | None, qtype: str | None, *, as_json: bool) -> int:
    """Print what happens to a question for this name."""
    name, number = question_of(name, qtype)
    table = take_picture(settings)
    sandbox = container(table, asker) if asker else None
    try:
        told = explain(table, sandbox, name, number)
    except ValueError as error:
        raise CommandError(str(error), 2) from None
    if as_json:
        rcode = RCODE.get(told.rcode) if told.rcode is not None else None
        click.echo(json_line({"name": name, "type": _type_text(number), **asdict(told), "rcode": rcode}))
    else:
        click.echo("\n".join(lines_of(told, name, number)), color=coloured())
    return 0


def question_of(name: str, qtype: str | None) -> tuple[str, int]:
    """Name and type to ask for; an address without a type asks for its PTR, as ``dig -x`` does.

    Raises CommandError for a type that does not exist.
    """
    if qtype is None or qtype.upper() == "PTR":
        try:
            return reverse_name(ip_address(name).packed), _PTR
        except ValueError:
            pass
    return name, type_number(qtype or "A")


def type_number(text: str) -> int:
    """``A``, ``aaaa``, ``TYPE65`` or ``65``.

    Raises CommandError for anything else.
    """
    number = text.upper().removeprefix("TYPE")
    if number.isascii() and number.isdigit() and len(number) <= 5 and int(number) < 65536:
        return int(number)
    found = QTYPE.reverse.get(text.upper())
    if not isinstance(found, int):
        raise CommandError(f"{text} is no record type; for example A, AAAA, PTR, MX, TXT, or a number", 2)
    return found


def _type_text(number: int) -> str:
    found = QTYPE.forward.get(number)
    return found if isinstance(found, str) else f"TYPE{number}"


def _bold(text: str) -> str:
    return click.style(printable(text), bold=True)


def lines_of(told: Explanation, name: str, qtype: int) -> list[str]:
    """The explanation in lines, harmless on a terminal."""
    lines = [f"{_bold(name)} {_type_text(qtype)}, asked by {printable(told.asker)}"]
    networks = ", ".join(map(printable, told.networks)) or "none"
    lines.append(
        f"  searched: {networks}" + (f"  ({printable(told.order)})" if len(told.networks) > 1 else "")
    )
    where = [printable(f"{step.name} on {step.network}") for step in told.steps]
    width = min(max(map(len, where), default=0), 60)
    lines += [
        f"  {'+' if step.matched else '-'} {spot:{width}}  {printable(step.outcome)}"
        for spot, step in zip(where, told.steps, strict=True)
    ]
    if told.records:
        lines.append(f"  answer: {_bold(', '.join(told.records))}")
    lines.append(f"  {printable(told.conclusion)}")
    if told.upstreams:
        lines.append(f"  upstream: {', '.join(map(printable, told.upstreams))}")
    lines += [f"  hint: {printable(hint)}" for hint in told.hints]
    return lines
