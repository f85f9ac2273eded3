"""Every setting from every source: what is read, which source wins, what a wrong value is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from resolver import cli
from resolver.options import read_file, reload_of, settings_of
from resolver.settings import BY_NAME, GROUPS, SETTINGS, Listen, Setting, Settings, SettingsError
from resolver.spellings import read_listen

if TYPE_CHECKING:
    import click

HERE = Path(__file__)

RIGHT: dict[str, list[tuple[str, object]]] = {
    "attach": [
        ("all", ("all",)),
        ("none", ("none",)),
        ("not:name=db-*", ("not:name=db-*",)),
        ("label=tier=web", ("label=tier=web",)),
        ("label=tier", ("label=tier",)),
        ("network=dev", ("network=dev",)),
    ],
    "release-after": [("3", 3), ("3600", 3600)],
    "fall-back-to-engine": [("true", True), ("no", False)],
    "listen": [
        ("127.0.0.1", (Listen("127.0.0.1"),)),
        ("10.0.0.1:5353", (Listen("10.0.0.1", 5353),)),
        ("::1", (Listen("::1"),)),
        ("[::1]", (Listen("::1"),)),
        ("[0:0::1]:54", (Listen("::1", 54),)),
        ("0.0.0.0", (Listen("0.0.0.0"),)),
    ],
    "take-over": [("true", True), ("yes", True), ("1", True), ("off", False), ("No", False)],
    "upstream": [("9.9.9.9", ("9.9.9.9:53",)), ("[2620:fe::fe]:853", ("[2620:fe::fe]:853",))],
    "replace": [("true", True), ("no", False)],
    "upstream-policy": [("fastest", "fastest"), ("Sequential", "sequential")],
    "forward": [
        ("corp.test=10.0.0.1", ("corp.test=10.0.0.1:53",)),
        ("Corp.Test.=[fd00::1]:54", ("corp.test=[fd00::1]:54",)),
    ],
    "cache-size": [("0", 0), ("4096", 4096), ("16M", 16 << 20), ("1g", 1 << 30)],
    "engine": [
        ("unix:///run/docker.sock", "unix:///run/docker.sock"),
        ("/run/docker.sock", "unix:///run/docker.sock"),
        ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
    ],
    "changes": [(str(HERE), HERE)],
    "as": [("web", "web"), ("/web", "web")],
    "search-order": [("engine", "engine"), ("First-Connected", "first-connected")],
    "ttl": [("0", 0), ("60", 60), ("2147483647", 2**31 - 1)],
    "names-on-default-bridge": [("true", True), ("0", False)],
    "strangers": [("forward", "forward"), ("all-networks", "all-networks")],
    "block-private-answers": [("yes", True), ("off", False)],
    "client-rate": [("0", 0), ("1000", 1000)],
    "domain": [("docker", "docker"), (".Docker.Example.", "docker.example"), ("a_b-c.x", "a_b-c.x")],
    "log-level": [("debug", "debug"), ("WARNING", "warning")],
    "log-format": [("json", "json")],
    "workers": [("1", 1), ("4", 4)],
}

WRONG: dict[str, list[tuple[str, str]]] = {
    "attach": [
        ("everything", "begins with no kind of selector"),
        ("lable=a", "did you mean label"),
        ("name=", "does not say which name"),
        ("not:none", "says nothing"),
    ],
    "release-after": [("2", "is not from 3 to 3600"), ("soon", "not a whole number")],
    "fall-back-to-engine": [("perhaps", "neither yes nor no")],
    "listen": [
        ("localhost", "does not start with an IPv4 or IPv6 address"),
        ("127.0.0.1:0", "no port from 1 to 65535"),
        ("127.0.0.1:65536", "no port from 1 to 65535"),
        ("127.0.0.1:", "no port from 1 to 65535"),
        ("[::1", "bracket"),
        ("[::1]53", "bracket"),
        (":53", "does not start with"),
        ("224.0.0.1", "many hosts"),
        ("1.2.3", "does not start with"),
    ],
    "take-over": [("maybe", "neither yes nor no")],
    "replace": [("maybe", "neither yes nor no")],
    "upstream": [("dns.example", "does not start with"), ("0.0.0.0", "no address of a server")],
    "upstream-policy": [("quickest", "none of these")],
    "forward": [
        ("corp.test", "is not DOMAIN=ADDR"),
        ("=10.0.0.1", "is not DOMAIN=ADDR"),
        ("corp.test=dns.test", "does not start with"),
        ("a..b=10.0.0.1", "empty label"),
    ],
    "cache-size": [("-1", "no size"), ("M", "no size"), ("1.5M", "no size"), ("65G", "too large")],
    "engine": [
        ("ftp://x", "no address of an engine"),
        ("unix://docker.sock", "absolute path"),
        ("tcp://", "no host"),
        ("tcp://h:port", "ort could not be cast"),
    ],
    "changes": [("/does/not/exist", "does not exist"), ("/", "is a folder")],
    "as": [("two words", "no name of a container")],
    "search-order": [("enginee", "did you mean engine?")],
    "ttl": [
        ("-1", "whole number"),
        ("1.5", "whole number"),
        ("2147483648", "too large"),
        ("9" * 5000, "too large"),
    ],
    "names-on-default-bridge": [("2", "neither yes nor no")],
    "strangers": [("all", "none of these")],
    "block-private-answers": [("10.0.0.0/8", "neither yes nor no")],
    "client-rate": [
        ("-1", "not a number of questions"),
        ("1000001", "not a number"),
        ("5/s", "not a number"),
    ],
    "domain": [
        ("a..b", "empty label"),
        ("x" * 64, "63 characters"),
        ("a b", "do not belong"),
        ("arpa", "its own"),
    ],
    "log-level": [("loud", "none of these")],
    "log-format": [("xml", "none of these")],
    "workers": [("0", "not a number of processes"), ("65", "not a number"), ("two", "not a number")],
}

KEYS = [s for s in SETTINGS if s.name != "config"]
BY_KEY = {s.key: s for s in SETTINGS}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.environment, raising=False)


def load(*arguments: str) -> Settings:
    """The settings of ``resolver serve`` with these arguments, without serving."""
    return settings_of(cli.serve.make_context("serve", list(arguments)))


def by_flag(setting: Setting, text: str) -> list[str]:
    if not setting.switch:
        return [setting.flag, text]
    return [setting.flag if text.lower() in ("true", "yes", "1") else f"--no-{setting.key}"]


def by_file(folder: Path, values: dict[str, Any]) -> list[str]:
    path = folder / "resolver.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return ["--config", str(path)]


def test_defaults() -> None:
    assert load() == Settings()
    assert [str(own) for own in Settings().listen] == ["127.0.0.11:53"]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_no_setting_is_half_described(setting: Setting) -> None:
    assert setting.help.endswith(".")
    assert setting.group in GROUPS
    assert setting.allowed
    assert setting.metavar or setting.switch
    assert setting.environment.startswith("RESOLVER_")
    shown = cli.serve.get_help(cli.serve.make_context("serve", []))
    assert f"{setting.flag} {setting.metavar}".rstrip() in shown
    param = next(p for p in cli.serve.params if p.name == setting.name)
    assert param.envvar == setting.environment
    assert setting.name == "config" or (setting.key in RIGHT and setting.key in WRONG)
    assert len([p for p in cli.serve.params if setting.flag in p.opts]) == 1


def test_help_has_every_group_in_order() -> None:
    shown = cli.serve.get_help(cli.serve.make_context("serve", []))
    places = [shown.index(f"\n{group}:\n") for group in GROUPS]
    assert places == sorted(places)


@pytest.mark.parametrize(("key", "text", "value"), [(k, t, v) for k, r in RIGHT.items() for t, v in r])
def test_right_values_from_every_source(
    key: str, text: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = BY_KEY[key]
    assert getattr(load(*by_flag(setting, text)), setting.name) == value
    assert getattr(load(*by_file(tmp_path, {key: text})), setting.name) == value
    assert getattr(load(*by_file(tmp_path, {key.replace("-", "_"): text})), setting.name) == value
    monkeypatch.setenv(setting.environment, text)
    assert getattr(load(), setting.name) == value


@pytest.mark.parametrize(("key", "text", "problem"), [(k, t, p) for k, w in WRONG.items() for t, p in w])
def test_wrong_values_from_every_source(
    key: str, text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = BY_KEY[key]
    sources = {}
    if not setting.switch:
        sources[f"flag {setting.flag}"] = [setting.flag, text]
    file = by_file(tmp_path, {key: text})
    sources[f"{file[1]} key {key}"] = file
    for origin, arguments in sources.items():
        told = refused(*arguments)
        assert told.startswith(f"{key} ({origin}): ")
        assert problem in told
        assert told.endswith(f"; allowed: {setting.allowed}")
        assert "\n" not in told
    monkeypatch.setenv(setting.environment, text)
    if not (setting.many and " " in text):
        assert refused().startswith(f"{key} (environment {setting.environment}): ")


def refused(*arguments: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(*arguments)
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "toml", "problem"),
    [
        ("ttl", "1.5", "1.5 is not a whole number"),
        ("ttl", "true", "True is not a whole number"),
        ("ttl", "{a = 1}", "is not a whole number"),
        ("take-over", "1", "1 is not true or false"),
        ("domain", "5", "5 is not text"),
        ("engine", "1979-05-27", "is not text"),
        ("listen", "[]", "is an empty list"),
        ("listen", "[53]", "53 is not text"),
        ("listen", '[["127.0.0.1"]]', "is not text"),
    ],
)
def test_wrong_types_in_the_file(key: str, toml: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f"{key} = {toml}\n")
    told = refused("--config", str(path))
    assert told.startswith(f"{key} ({path} key {key}): ")
    assert problem in told


def test_types_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('listen = ["127.0.0.1", "[::1]:5353"]\nupstream = "9.9.9.9"\nttl = 5\ntake-over = true\n')
    settings = load("--config", str(path))
    assert settings.listen == (Listen("127.0.0.1"), Listen("::1", 5353))
    assert settings.upstream == ("9.9.9.9:53",)
    assert (settings.ttl, settings.take_over, settings.config) == (5, True, path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"tttl = 5\n", "there is no such setting, did you mean ttl?"),
        (b"config = 'x'\n", "there is no such setting"),
        (b"[resolver]\nttl = 5\n", "resolver ("),
        (b"ttl = 5\nttl =\n", "at line 2"),
        (b"take-over = true\ntake_over = true\n", "given twice"),
        (b"\xff\xfe", "not UTF-8"),
        (b'"a\\u001b[31m" = 1\n', "\\x1b"),
    ],
)
def test_files_that_cannot_be_used(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    text = refused("--config", str(path))
    assert told in text
    assert str(path) in text
    assert text.isprintable()


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("--config", "/nope.toml").startswith("config (flag --config): '/nope.toml' does not exist")
    monkeypatch.setenv("RESOLVER_CONFIG", "/nope.toml")
    assert refused().startswith("config (environment RESOLVER_CONFIG): '/nope.toml' does not exist")


def test_lists_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOLVER_LISTEN", "127.0.0.1, [::1]:54  127.0.0.1:53")
    assert load().listen == (Listen("127.0.0.1"), Listen("::1", 54))


def test_an_empty_environment_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in SETTINGS:
        monkeypatch.setenv(setting.environment, "")
    assert load() == Settings()


def test_a_wrong_value_that_is_overridden_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESOLVER_TTL", "wrong")
    assert load("--ttl", "5").ttl == 5


CHOSEN = [s for s in KEYS if s.key not in ("changes", "engine", "upstream")]


@effort(deadline=None)
@given(data=st.data())
def test_precedence(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Flag before environment before file before default, whatever is given where, each for itself."""
    arguments: list[str] = []
    file: dict[str, str] = {}
    expected: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        for setting in SETTINGS:
            patch.delenv(setting.environment, raising=False)
        for setting in CHOSEN:
            for source in data.draw(st.permutations(["file", "environment", "flag"]), "order")[
                : data.draw(st.integers(0, 3), setting.key)
            ]:
                text, value = data.draw(st.sampled_from(RIGHT[setting.key]))
                rank = {"file": 0, "environment": 1, "flag": 2}[source]
                if source == "flag":
                    arguments += by_flag(setting, text)
                elif source == "environment":
                    patch.setenv(setting.environment, text)
                else:
                    file[setting.key] = text
                held = expected.get(setting.name)
                if held is None or rank > held[0]:  # type: ignore[index]
                    expected[setting.name] = (rank, value)
        settings = load(*by_file(tmp_path_factory.getbasetemp(), file), *arguments)
    for setting in CHOSEN:
        wanted = expected.get(setting.name, (0, setting.default))[1]  # type: ignore[index]
        assert getattr(settings, setting.name) == wanted


def test_contradictions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOLVER_ENGINE", "/run/docker.sock")
    told = refused("--changes", str(HERE))
    assert told.startswith("changes (flag --changes): contradicts engine (environment RESOLVER_ENGINE)")
    assert load("--changes", str(HERE), "--engine", "").engine == ""


@pytest.mark.parametrize(
    ("listen", "upstream", "meet"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1:54", False),
        ("127.0.0.11", "127.0.0.11", False),  # the engine's own resolver, behind us
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0:54", "127.0.0.1", False),
        ("0.0.0.0", "9.9.9.9", False),
        ("::", "[::1]:53", True),
    ],
)
def test_ourselves_as_upstream(listen: str, upstream: str, meet: bool) -> None:
    if meet:
        assert "is ourselves: listen (flag --listen)" in refused("--listen", listen, "--upstream", upstream)
    else:
        load("--listen", listen, "--upstream", upstream)


def context_of(*arguments: str) -> click.Context:
    return cli.serve.make_context("serve", list(arguments))


def test_reload_reads_file_and_environment_again_with_the_same_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = by_file(tmp_path, {"ttl": 5, "domain": "a"})
    context = context_of(*file, "--domain", "b")
    reload = reload_of(context)
    assert (settings_of(context).ttl, reload().ttl) == (5, 5)
    by_file(tmp_path, {"ttl": 6, "domain": "c"})
    monkeypatch.setenv("RESOLVER_STRANGERS", "forward")
    fresh = reload()
    assert (fresh.ttl, fresh.domain, fresh.strangers) == (6, "b", "forward")
    by_file(tmp_path, {"ttl": "six"})
    with pytest.raises(SettingsError, match="'six' is not a whole number"):
        reload()
    Path(file[1]).unlink()
    with pytest.raises(SettingsError, match="does not exist"):
        reload()


def test_what_can_change_while_running() -> None:
    assert {s.name for s in SETTINGS if s.reloads} == {
        "upstream",
        "forward",
        "ttl",
        "search_order",
        "attach",
        "names_on_default_bridge",
        "strangers",
        "block_private_answers",
        "client_rate",
        "domain",
        "log_level",
    }
    old = Settings(engine="unix:///a", ttl=5)
    fresh = dataclasses.replace(old, ttl=6, engine="unix:///b", listen=(Listen("127.0.0.1"),))
    assert old.after_reload(fresh) == (dataclasses.replace(old, ttl=6), ("listen", "engine"))
    assert old.after_reload(old) == (old, ())


@effort(deadline=None)
@given(st.ip_addresses(), st.integers(1, 65535))
def test_listen_reads_what_it_writes(address: Any, port: int) -> None:
    listen = Listen(str(address), port)
    try:
        assert read_listen(str(listen)) == listen
    except ValueError:
        assert address.is_multicast or str(address) == "255.255.255.255"


@effort(deadline=None)
@given(st.text(max_size=80), st.sampled_from([s for s in KEYS if s.key != "changes"]))
def test_any_text_is_a_value_or_one_harmless_line(text: str, setting: Setting) -> None:
    told = ""
    try:
        setting.value(text)
    except ValueError as error:
        told = str(error)
    assert told.isprintable()


@effort(deadline=None)
@given(st.binary(max_size=200))
def test_any_file_is_settings_or_one_harmless_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    told = ""
    try:
        read_file(path, "flag --config")
    except SettingsError as error:
        told = str(error)
    assert told.isprintable()


def test_wildcards_are_reached_by_loopback() -> None:
    assert Listen("0.0.0.0", 54).reachable == Listen("127.0.0.1", 54)
    assert Listen("::", 54).reachable == Listen("::1", 54)
    assert Listen("127.0.0.11").reachable == Listen("127.0.0.11")


def test_names_and_keys_agree() -> None:
    assert list(BY_NAME) == [f.name for f in dataclasses.fields(Settings)]
