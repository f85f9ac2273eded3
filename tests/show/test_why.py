"""``resolver why``: each reason a name is or is not answered, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from resolver.names.explain import Explanation, Step
from resolver.settings import Settings
from resolver.show.terminal import CommandError
from resolver.show.why import lines_of, print_why, question_of, type_number

if TYPE_CHECKING:
    from pathlib import Path


def why(
    capsys: pytest.CaptureFixture[str],
    settings: Settings,
    name: str,
    asker: str | None = "web",
    qtype: str | None = None,
) -> str:
    assert print_why(settings, name, asker, qtype, as_json=False) == 0
    return capsys.readouterr().out


def test_a_match_and_the_order_of_the_search(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = why(capsys, Settings(changes=world), "web").splitlines()
    assert told[0] == "web A, asked by container web"
    assert told[1].startswith("  searched: prod, dev  (")
    assert told[2].startswith("  + web on prod  web (10.1.0.3)")
    assert "  answer: 10.1.0.3" in told
    engine = why(capsys, Settings(changes=world, search_order="engine"), "web")
    assert "searched: dev, prod" in engine


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("old", "old is exited"),
        ("loner", "--names-on-default-bridge"),
        ("safe", "safe is on vault, where the asker is not"),
        ("ess", "did you mean es?"),
    ],
)
def test_reasons_for_no_match(
    name: str, reason: str, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = why(capsys, Settings(changes=world), name)
    assert f"  - {name} on prod" in told
    assert reason in told


def test_what_goes_upstream_and_what_does_not(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(changes=world, upstream=("9.9.9.9:53",))
    assert "  upstream: 9.9.9.9:53\n" in why(capsys, settings, "example.org")
    closed = why(capsys, settings, "example.org", "safe")
    assert "SERVFAIL" in closed
    assert "9.9.9.9" not in closed


def test_domain(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = why(capsys, Settings(changes=world, domain="docker"), "es.prod.docker")
    assert "  answer: 10.1.0.2" in told


def test_an_address_asks_for_its_name(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "  answer: es1.prod." in why(capsys, Settings(changes=world), "10.1.0.2")
    assert question_of("10.1.0.2", "ptr") == ("2.0.1.10.in-addr.arpa", 12)
    assert question_of("10.1.0.2", "A") == ("10.1.0.2", 1)
    assert question_of("es", None) == ("es", 1)


def test_as_and_from(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "asked by the host" in why(capsys, Settings(changes=world), "es", None)
    assert "asked by container web" in why(capsys, Settings(changes=world, as_container="web"), "es", None)
    with pytest.raises(CommandError, match=r"there is no container wbe, did you mean web\?"):
        why(capsys, Settings(changes=world), "es", "wbe")
    with pytest.raises(CommandError, match="there is no container zzzzzz"):
        why(capsys, Settings(changes=world, as_container="zzzzzz"), "es", None)


def test_json(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_why(Settings(changes=world), "es", "web", None, as_json=True) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["name"], body["type"], body["rcode"], body["records"]) == (
        "es",
        "A",
        "NOERROR",
        ["10.1.0.2"],
    )
    assert body["steps"][0]["matched"] is True


@pytest.mark.parametrize(
    ("text", "number"), [("A", 1), ("aaaa", 28), ("TYPE65", 65), ("type0", 0), ("255", 255)]
)
def test_types(text: str, number: int) -> None:
    assert type_number(text) == number


@pytest.mark.parametrize("text", ["", "FOO", "TYPE65536", "-1", "1.5", "١"])
def test_no_types(text: str) -> None:
    with pytest.raises(CommandError) as error:
        type_number(text)
    assert error.value.status == 2


def test_a_name_no_question_can_carry(world: Path) -> None:
    with pytest.raises(CommandError, match="no name a question can carry"):
        print_why(Settings(changes=world), "a..b", None, None, as_json=False)


words = st.text(max_size=20)


@effort(deadline=None)
@given(words, words, words, st.lists(words, max_size=3))
def test_nothing_that_steers_a_terminal_gets_out(name: str, who: str, outcome: str, more: list[str]) -> None:
    told = Explanation(
        asker=who,
        order=who,
        networks=(*more, who),
        steps=tuple(Step(network, name, outcome) for network in more),
        conclusion=outcome,
        records=tuple(more),
        upstreams=tuple(more),
        hints=tuple(more),
    )
    for line in lines_of(told, name, 1):
        plain = line.replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert plain.isprintable()
