"""The command line: ``serve``, ``check``, ``names``, ``why``.

Each command imports what it needs when it runs: ``serve`` starts fast and stays small, and nobody who only
asks for the version waits for a table printer.
"""

from __future__ import annotations

import os
import signal
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

import click

from resolver import __version__
from resolver.options import SettingsCommand, reload_of, settings_of
from resolver.settings import BY_NAME, SETTINGS, SettingsError
from resolver.show.terminal import CommandError, coloured, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_PICTURE = ("engine", "changes", "names_on_default_bridge")


class Program(click.Group):
    """The group of commands. Every known fault becomes one line on stderr and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run and exit: 0 done, 1 could not, 2 was asked wrongly."""
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = error.exit_code
        except click.UsageError as error:
            status = _complain(_usage(error), 2)
        except SettingsError as error:
            status = _complain(str(error), 2)
        except CommandError as error:
            status = _complain(str(error), error.status)
        except (KeyboardInterrupt, click.Abort):
            status = 130
        except BrokenPipeError:
            # The reader (head, less) went away; click says 1 too. Python would complain at closing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        sys.exit(status if isinstance(status, int) else 0)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command for one that does not exist."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            near = get_close_matches(args[0], self.commands, 1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise click.UsageError(
                f"there is no command {args[0]}{hint}; allowed: {', '.join(self.commands)}", ctx
            )
        return super().resolve_command(ctx, args)


def _usage(error: click.UsageError) -> str:
    """A wrong command line in one line."""
    where = error.ctx.command_path if error.ctx else "resolver"
    if isinstance(error, click.NoSuchOption):
        near = f", did you mean {error.possibilities[0]}?" if error.possibilities else ""
        return f"{error.option_name} (flag): there is no such option{near}; see {where} --help"
    if isinstance(error, click.BadOptionUsage):
        setting = BY_NAME.get(error.option_name.lstrip("-").replace("-", "_"))
        wrong = "takes no value" if setting and setting.switch else "needs a value"
        allowed = f"; allowed: {setting.allowed}" if setting and not setting.switch else ""
        return f"{error.option_name.lstrip('-')} (flag {error.option_name}): {wrong}{allowed}"
    text = error.format_message().replace("\n", " ").rstrip(".")
    return f"{text}; see {where} --help" if "allowed:" not in text else text


def _complain(text: str, status: int) -> int:
    line = printable(" ".join(text.split()))
    click.secho("resolver: ", nl=False, err=True, fg="red", color=coloured(sys.stderr))
    click.echo(line, err=True, color=False)
    return status


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="resolver", message="%(prog)s %(version)s")
def cli() -> None:
    """Names of containers, answered from the engine; every other name, from upstream."""


@cli.command(cls=SettingsCommand, uses=[s.name for s in SETTINGS], short_help="Answer DNS questions.")
@click.pass_context
def serve(ctx: click.Context, /, **_: Any) -> int:
    """Answer DNS questions until SIGTERM. SIGHUP rereads what can change while running."""
    # The first process of a container is deaf to signals without a handler, and serving begins a bit later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings, reload = settings_of(ctx), reload_of(ctx)
    from resolver import log  # noqa: PLC0415
    from resolver.watch.process import run  # noqa: PLC0415

    log.configure(settings.log_level, settings.log_format)
    return run(settings, reload)


@cli.command(cls=SettingsCommand, uses=["listen"], short_help="Exit 0 only if a running resolver is ready.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole status as JSON.")
@click.option(
    "--max-stale",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Exit 1 also when the engine has been lost for longer.  [default: any time]",
)
@click.pass_context
def check(ctx: click.Context, /, as_json: bool, max_stale: float | None, **_: Any) -> int:
    """Exit 0 only if the resolver at --listen is ready: sockets bound, first picture applied, answering.

    While the engine is away the last table is served: ready, and the line says since when it is stale.
    """
    settings = settings_of(ctx)
    from resolver.show.check import check_running  # noqa: PLC0415

    return check_running(settings.listen[0], as_json=as_json, max_stale=max_stale)


@cli.command(cls=SettingsCommand, uses=[*_PICTURE], short_help="Print the names there are.")
@click.option("--network", metavar="NETWORK", help="Only the names on this network.")
@click.option("--watch", is_flag=True, help="Stay, and print anew whenever something changes.")
@click.option(
    "--all", "everything", is_flag=True, help="Short ids too, which every container has for a name."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one name per line, short ids too.")
@click.pass_context
def names(
    ctx: click.Context, /, network: str | None, watch: bool, everything: bool, as_json: bool, **_: Any
) -> int:
    """Print the table of names: network, name, addresses, container. Needs no running resolver."""
    settings = settings_of(ctx)
    from resolver.show.names import print_names, watch_names  # noqa: PLC0415

    run = watch_names if watch else print_names
    return run(settings, network, everything=everything, as_json=as_json)


@cli.command(
    cls=SettingsCommand,
    uses=[
        *_PICTURE,
        "as_container",
        "search_order",
        "strangers",
        "domain",
        "listen",
        "take_over",
        "upstream",
    ],
    short_help="Say why a name is answered as it is.",
)
@click.argument("name", metavar="NAME")
@click.option("--from", "asker", metavar="CONTAINER", help="Ask as this container.  [default: as --as says]")
@click.option(
    "--type", "qtype", metavar="TYPE", help="Ask for this record type.  [default: A; PTR for an address]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def why(
    ctx: click.Context, /, name: str, asker: str | None, qtype: str | None, as_json: bool, **_: Any
) -> int:
    """Say where NAME is looked for and where it matches, or why it does not. Needs no running resolver."""
    settings = settings_of(ctx)
    from resolver.show.why import print_why  # noqa: PLC0415

    return print_why(settings, name, asker, qtype, as_json=as_json)


@cli.command(cls=SettingsCommand, uses=["listen"], short_help="Answer in a running container.")
@click.argument("container", metavar="CONTAINER")
@click.pass_context
def attach(ctx: click.Context, /, container: str, **_: Any) -> int:
    """Have the resolver that runs at --listen answer in CONTAINER, whatever its --attach says."""
    settings = settings_of(ctx)
    from resolver.show import attached as show  # noqa: PLC0415

    return show.attach(settings.listen[0], container)


@cli.command(cls=SettingsCommand, uses=["listen"], short_help="Let a container go.")
@click.argument("container", metavar="CONTAINER")
@click.pass_context
def detach(ctx: click.Context, /, container: str, **_: Any) -> int:
    """Have the resolver that runs at --listen let CONTAINER go: its own nameserver answers there again."""
    settings = settings_of(ctx)
    from resolver.show import attached as show  # noqa: PLC0415

    return show.detach(settings.listen[0], container)


@cli.command(cls=SettingsCommand, uses=["listen"], short_help="Print the containers we answer in.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one container per line.")
@click.pass_context
def attached(ctx: click.Context, /, as_json: bool, **_: Any) -> int:
    """Print container, networks, since when, questions, and when we last said that we are there."""
    settings = settings_of(ctx)
    from resolver.show import attached as show  # noqa: PLC0415

    return show.print_attached(settings.listen[0], as_json=as_json)


def main() -> None:
    """Entry point of the console script."""
    _open_standard_descriptors()
    cli(prog_name="resolver")


def _open_standard_descriptors() -> None:
    """Where stderr is closed, a socket would get its number, and log lines would go to clients."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - open as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
