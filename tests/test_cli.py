"""The command line as people and service managers meet it: exit codes, one line a fault, what is loaded."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from resolver import __version__, log
from resolver.cli import cli
from resolver.settings import SETTINGS, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BARE = {k: v for k, v in os.environ.items() if not k.startswith(("RESOLVER_", "DOCKER_"))}
CONTAINER = (
    '{"change": "container", "id": "c1", "name": "es", '
    '"endpoints": [{"network": "n1", "names": ["es"], "ipv4": "192.0.2.2"}]}\n'
)
NETWORK = '{"change": "network", "id": "n1", "name": "prod"}\n'


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(os.environ) - set(BARE):
        monkeypatch.delenv(name)


@pytest.fixture
def changes(tmp_path: Path) -> str:
    path = tmp_path / "changes.jsonl"
    path.write_text(NETWORK + CONTAINER)
    return str(path)


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resolver", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**BARE, **more}, timeout=30, check=False
    )


def in_process(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, list(arguments), prog_name="resolver")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["serve", "--ttl", "x"],
            "resolver: ttl (flag --ttl): 'x' is not a whole number of seconds; allowed: 0 to ",
        ),
        (["serve", "--ttl"], "resolver: ttl (flag --ttl): needs a value; allowed: 0 to "),
        (["serve", "--take-over=1"], "resolver: take-over (flag --take-over): takes no value"),
        (["serve", "--tll", "5"], "resolver: --tll (flag): there is no such option, did you mean --ttl?"),
        (
            ["serve", "--qqqqqq"],
            "resolver: --qqqqqq (flag): there is no such option; see resolver serve --help",
        ),
        (["serve", "-t"], "resolver: -t (flag): there is no such option"),
        (["serve", "spare"], "resolver: Got unexpected extra argument (spare); see resolver serve --help"),
        (
            ["sevre"],
            "resolver: there is no command sevre, did you mean serve?; allowed: serve, check, names, why",
        ),
        (["--verbose"], "resolver: --verbose (flag): there is no such option"),
        (["why"], "resolver: Missing argument 'NAME'; see resolver why --help"),
        (["why", "a..b", "--changes", "/dev/null"], "resolver: 'a..b' is no name a question can carry"),
        (["why", "a", "--type", "X", "--changes", "/dev/null"], "resolver: X is no record type"),
        (
            ["names", "--changes", "/nope"],
            "resolver: changes (flag --changes): '/nope' does not exist; allowed: ",
        ),
        (["check", "--listen", "x"], "resolver: listen (flag --listen): 'x' does not start with"),
        (["serve", "--config", "/nope"], "resolver: config (flag --config): '/nope' does not exist"),
        (["serve", "--domain", "\x1b[31m\n"], "resolver: domain (flag --domain): '\\x1b[31m"),
        (["serve", "--\x1b[31m"], "resolver: --\\x1b[31m (flag): there is no such option"),
        (["\x1b[31m"], "resolver: there is no command \\x1b[31m; allowed: "),
    ],
)
def test_asked_wrongly_is_one_line_and_exit_code_2(arguments: list[str], told: str) -> None:
    status, out, err = in_process(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(told)
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()


def test_could_not_is_one_line_and_exit_code_1(changes: str) -> None:
    faults = {
        ("names", "--engine", "unix:///nope.sock"): "no engine at unix:///nope.sock",
        ("why", "es", "--engine", "tcp://127.0.0.1:1"): "connection refused",
        ("why", "es", "--from", "ess", "--changes", changes): "there is no container ess, did you mean es?",
        ("names", "--network", "prdo", "--changes", changes): "there is no network prdo, did you mean prod?",
    }
    for arguments, told in faults.items():
        ended = run(*arguments)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert told in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_settings_of_the_environment_and_the_file_reach_every_command(changes: str, tmp_path: Path) -> None:
    config = tmp_path / "r.toml"
    config.write_text(f"changes = '{changes}'\nttl = 5\nlisten = '127.0.0.77:5377'\n")
    assert "es" in run("names", RESOLVER_CONFIG=str(config)).stdout
    assert "answer: 192.0.2.2" in run("why", "es", RESOLVER_CHANGES=changes).stdout
    told = run("check", "--config", str(config))
    assert (told.returncode, told.stderr) == (1, "")
    assert "no resolver runs at 127.0.0.77:5377" in told.stdout
    wrong = run("names", RESOLVER_CONFIG=str(config), RESOLVER_ENGINE="x")
    assert wrong.returncode == 2
    assert "engine (environment RESOLVER_ENGINE)" in wrong.stderr


def test_version_and_help() -> None:
    assert in_process("--version") == (0, f"resolver {__version__}\n", "")
    status, out, _ = in_process("-h")
    assert status == 0
    assert all(f"\n  {name} " in out for name in ("serve", "check", "names", "why"))
    status, out, err = in_process()
    assert (status, out) == (2, "")
    assert "Commands:" in err


def test_help_of_serve_fits_and_names_every_setting() -> None:
    status, out, _ = in_process("serve", "--help")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 110
    assert all(f"\n  {setting.flag}" in out for setting in SETTINGS)
    on = [setting for setting in SETTINGS if setting.switch and setting.default]
    assert on
    unwrapped = "".join(out.split())
    assert all(f"off:--no-{setting.key}]" in unwrapped for setting in on)


def test_serve_hands_over_settings_and_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    configured: list[tuple[str, str]] = []

    def serve(settings: Settings, reload: Callable[[], Settings]) -> int:
        seen.append(settings)
        monkeypatch.setenv("RESOLVER_TTL", "7")
        seen.append(reload())
        monkeypatch.setenv("RESOLVER_TTL", "x")
        with pytest.raises(SettingsError, match="environment RESOLVER_TTL"):
            reload()
        return 3

    process = ModuleType("resolver.watch.process")
    process.run = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "resolver.watch.process", process)
    monkeypatch.setattr(log, "configure", lambda level, form: configured.append((level, form)))
    assert in_process("serve", "--log-level", "error", "--domain", "d")[0] == 3
    assert [(s.ttl, s.domain) for s in seen] == [(600, "d"), (7, "d")]
    assert configured == [("error", "text")]


def modules_of(*arguments: str) -> set[str]:
    program = (
        "import sys, atexit; atexit.register(lambda: print('MODULES', *sys.modules, file=sys.stderr));"
        f"sys.argv[1:] = {list(arguments)!r}; from resolver.cli import main; main()"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=BARE, check=False
    )
    return set(told.stderr.rpartition("MODULES ")[2].split())


HEAVY = {"docker", "rich", "dnslib", "asyncio", "requests", "urllib3", "logging", "http.client", "ssl"}


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["serve", "--help"], set[str]()),
        (["serve", "--ttl", "x"], set[str]()),
        (["--version"], set[str]()),
        (["check", "--listen", "127.0.0.99:1"], {"dnslib"}),
        (["names", "--changes", "/dev/null"], {"rich"}),
        (["why", "es", "--changes", "/dev/null"], {"dnslib"}),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(arguments: list[str], needed: set[str]) -> None:
    loaded = modules_of(*arguments)
    assert "click" in loaded
    assert needed <= loaded
    # rich and dnslib bring logging along.
    assert loaded & HEAVY <= needed | ({"logging"} if needed else set())


def test_a_reader_that_went_away_is_no_fault_of_ours(changes: str) -> None:
    command = f"{sys.executable} -m resolver names --json --changes {changes} | true; echo ${{PIPESTATUS[0]}}"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=BARE, check=False)
    assert told.stderr == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_started_without_standard_descriptors(closed: str, changes: str) -> None:
    command = f"{sys.executable} -m resolver names --changes {changes} {closed}"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=BARE, check=False)
    assert told.returncode == 0
    assert "Traceback" not in told.stderr


def test_coloured_on_a_terminal_only(changes: str) -> None:
    arguments = ["why", "es", "--changes", changes]
    assert "\x1b" not in run(*arguments).stdout
    assert "\x1b[1mes" in seen_on_a_terminal(*arguments)
    assert "\x1b" not in seen_on_a_terminal(*arguments, NO_COLOR="1")
    assert "\x1b" not in seen_on_a_terminal(*arguments, TERM="dumb")
    assert "\x1b[31mresolver: " in seen_on_a_terminal("serve", "--ttl", "x")


def seen_on_a_terminal(*arguments: str, **more: str) -> str:
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "resolver", *arguments]
    environment = {**BARE, "TERM": "xterm", **more}
    subprocess.run(command, stdout=secondary, stderr=secondary, env=environment, timeout=30, check=False)
    os.close(secondary)
    seen = b""
    try:
        while more_seen := os.read(primary, 65536):
            seen += more_seen
    except OSError:
        pass
    os.close(primary)
    return seen.decode()


def test_json_of_every_command_is_one_object_per_line(changes: str) -> None:
    for arguments in (["names", "--json"], ["why", "es", "--json"]):
        _, out, _ = in_process(*arguments, "--changes", changes)
        assert all(isinstance(json.loads(line), dict) for line in out.splitlines())
    assert json.loads(in_process("check", "--json", "--listen", "127.0.0.99:1")[1])["ready"] is False


def test_every_command_and_option_has_help() -> None:
    for command in cli.commands.values():
        assert command.help
        assert command.short_help
        for param in command.params:
            assert isinstance(param, click.Argument) or bool(getattr(param, "help", ""))


def test_logging_is_left_alone_by_commands_that_do_not_serve(changes: str) -> None:
    before = logging.getLogger().handlers[:]
    in_process("names", "--changes", changes)
    assert logging.getLogger().handlers == before
