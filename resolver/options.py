"""From flags, environment and configuration file to ``Settings``, in this order of precedence.

Click walks over the sources; what a setting is called and how it is read stands in ``resolver.settings``.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from resolver.settings import BY_NAME, GROUPS, SETTINGS, Listen, Setting, Settings, SettingsError
from resolver.spellings import quote, read_listen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_COLUMN = 25
"""Width of the column of flags: that of the longest, so that every section lines up."""
_ARGUMENTS = "resolver.arguments"
_FILE_KEYS = "resolver.file_keys"


class SettingType(click.ParamType[Any]):
    """Reads a value with its setting's own reader, and says where a wrong one came from."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.name = setting.key

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, or SettingsError."""
        return _read(self.setting, value, ctx)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Several values in one environment variable: commas or blanks between them."""
        return rv.replace(",", " ").split()


class SwitchType(click.types.BoolParamType):
    """The same for a setting that is on or off: click wants its own type behind ``--this/--no-this``."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """The value, or SettingsError."""
        return bool(_read(self.setting, value, ctx))


def _read(setting: Setting, value: object, ctx: click.Context | None) -> Any:
    try:
        return setting.value(value)
    except ValueError as error:
        where = origin(ctx, setting) if ctx else ""
        raise SettingsError(setting.key, where, str(error), setting.allowed) from None


class SettingOption(click.Option):
    """A setting as an option. Its default is left to ``Settings``: it has a source only if it was given."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        negative = f"/--no-{setting.key}" if setting.switch else ""
        super().__init__(
            [setting.name, setting.flag + negative],
            type=SwitchType(setting) if setting.switch else SettingType(setting),
            multiple=setting.many,
            metavar=setting.metavar or None,
            help=setting.help,
            envvar=setting.environment,
            is_flag=setting.switch or None,
            is_eager=setting.name == "config",
            callback=_read_config if setting.name == "config" else None,
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """The two columns of ``--help``."""
        flags = self.setting.flag + (f" {self.setting.metavar}" if self.setting.metavar else "")
        default = f"  [default: {self.setting.shown_default}]" if self.setting.shown_default else ""
        if self.setting.switch:
            default = f"  [on by default; off: --no-{self.setting.key}]" if self.setting.default else ""
        return flags, self.setting.help + default


class SettingsCommand(click.Command):
    """A command that uses some of the settings; its own options come last in ``--help``."""

    def __init__(self, *args: Any, uses: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        used = {*uses, "config"}
        self.params.extend(SettingOption(s) for s in SETTINGS if s.name in used)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words of the command line: a reload reads them again."""
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options under the headings of the settings, not in one long list."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        sections.update({group: [] for group in GROUPS})
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if isinstance(param, SettingOption):
                sections[param.setting.group].append(param.get_help_record(ctx))
            elif record:
                sections["Arguments" if isinstance(param, click.Argument) else "Options"].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl([(flags.ljust(_COLUMN), text) for flags, text in records])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """How the same is said elsewhere; once, not at each option."""
        formatter.write_paragraph()
        formatter.write_text(
            "Each setting is also an environment variable (--log-level: RESOLVER_LOG_LEVEL) and a key of the "
            "--config file (log-level). A flag wins over the environment, the environment over the file."
        )


def settings_of(ctx: click.Context) -> Settings:
    """The settings of a command that was parsed.

    Raises SettingsError when they contradict each other.
    """
    given = {s.name: s for s in SETTINGS if s.name in ctx.params and _source(ctx, s) is not None}
    settings = Settings(**{name: _value(ctx, s) for name, s in given.items()})
    check_together(settings, {name: origin(ctx, s) for name, s in given.items()})
    return settings


def reload_of(ctx: click.Context) -> Callable[[], Settings]:
    """What reads the settings anew with the same flags, for SIGHUP; it raises SettingsError."""
    command, parent, name = ctx.command, ctx.parent, ctx.info_name
    arguments: tuple[str, ...] = ctx.meta[_ARGUMENTS]

    def reload() -> Settings:
        return settings_of(command.make_context(name, list(arguments), parent=parent))

    return reload


def origin(ctx: click.Context, setting: Setting) -> str:
    """Where the value of a setting came from, in the words a person would look for."""
    match _source(ctx, setting):
        case ParameterSource.ENVIRONMENT:
            return f"environment {setting.environment}"
        case ParameterSource.DEFAULT_MAP:
            file, spelled = ctx.meta[_FILE_KEYS][setting.name]
            return f"{file} key {spelled}"
        case None:
            return "default"
        case _:
            return f"flag {setting.flag}"


def _source(ctx: click.Context, setting: Setting) -> ParameterSource | None:
    source = ctx.get_parameter_source(setting.name)
    return None if source in (None, ParameterSource.DEFAULT) else source


def _value(ctx: click.Context, setting: Setting) -> Any:
    value = ctx.params[setting.name]
    if not setting.many:
        return value
    if setting.default and not value:
        raise SettingsError(setting.key, origin(ctx, setting), "is an empty list", setting.allowed)
    return tuple(dict.fromkeys(value))


def _read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Click's callback for ``--config``: it is read first, and the others find their values in it."""
    if path is None:
        return None
    found = read_file(path, origin(ctx, BY_NAME["config"]))
    ctx.meta[_FILE_KEYS] = {name: (path, spelled) for name, (spelled, _) in found.items()}
    ctx.default_map = {name: value for name, (_, value) in found.items()}
    return path


def read_file(path: Path, where: str) -> dict[str, tuple[str, Any]]:
    """For each setting a configuration file gives, its key as spelled there and its value, not yet checked.

    Raises SettingsError when it cannot be read, is no TOML, or has keys we do not know.
    """
    keys = {s.key: s for s in SETTINGS if s.name != "config"}
    found: dict[str, tuple[str, Any]] = {}
    for spelled, value in _parse(path, where).items():
        setting = keys.get(spelled.replace("_", "-"))
        if setting is None:
            raise _unknown_key(spelled, path, list(keys))
        if setting.name in found:
            problem = "is given twice, with a dash and with an underscore"
            raise SettingsError(setting.key, f"{path} key {spelled}", problem, "one of the two")
        many = setting.many and not isinstance(value, list)
        found[setting.name] = spelled, [value] if many else value
    return found


def _parse(path: Path, where: str) -> dict[str, Any]:
    allowed = "a TOML file"
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SettingsError("config", where, f"{quote(str(path))}: {error.strerror}", allowed) from None
    except UnicodeDecodeError:
        raise SettingsError("config", where, f"{quote(str(path))} is not UTF-8 text", allowed) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problem = "no valid TOML: " + quote(str(error)).strip("\"'")
        raise SettingsError("config", f"{where}, file {path}", problem, "KEY = VALUE lines") from None


def _unknown_key(spelled: str, path: Path, keys: list[str]) -> SettingsError:
    near = get_close_matches(spelled.replace("_", "-"), keys, 1)
    hint = f", did you mean {near[0]}?" if near else ""
    shown = spelled if spelled.isascii() and spelled.isprintable() and len(spelled) < 40 else quote(spelled)
    return SettingsError(shown, f"{path} key {shown}", f"there is no such setting{hint}", ", ".join(keys))


def check_together(settings: Settings, origins: Mapping[str, str]) -> None:
    """Raise SettingsError for settings that are right alone and contradict each other.

    ``origins`` says for each setting that was given where it came from.
    """
    if settings.changes and settings.engine:
        other = f"engine ({origins.get('engine', 'default')})"
        problem = f"contradicts {other}: names come from a file or from an engine"
        raise SettingsError("changes", origins.get("changes", "default"), problem, "one of the two")
    for server in settings.upstream:
        if near := next((own for own in settings.listen if _meets(server, own)), None):
            problem = f"{server} is ourselves: listen ({origins.get('listen', 'default')}) is {near}"
            where = origins.get("upstream", "default")
            raise SettingsError("upstream", where, problem, "servers other than this one")


def _meets(server: str, own: Listen) -> bool:
    asked = read_listen(server)
    if asked == Settings().listen[0]:
        # The engine's own resolver is still there behind this address; ``watch`` finds its true port.
        return False
    if own.wildcard:
        return asked.port == own.port and ip_address(asked.address).is_loopback
    return asked == own
