"""Which containers are attached to: from the engine's JSON, selectors and a container's own label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.watch.attach.candidate import LABEL, Candidate, obstacle, read_candidate, wanted

WEB = Candidate("c1", "web-1", 7, ("dev", "prod"), (("tier", "front"), ("bare", "")), "dev")

fitting = st.sampled_from(("all", "name=web-1", "name=w*", "network=prod", "label=tier", "label=tier=front"))
other = st.sampled_from(
    ("name=db*", "name=WEB-1", "name=web", "network=prodigy", "network=", "label=tie", "label=tier=",
     "label=tier=back", "label=", "label==front", "name=", "nothing", "al", "")
)  # fmt: skip
nots = st.lists(other.map("not:{}".format))


@given(st.lists(other), fitting, st.lists(other), nots)
def test_one_selector_that_fits_is_enough(
    before: list[str], fits: str, after: list[str], refused: list[str]
) -> None:
    assert wanted(WEB, (*before, *refused, fits, *after))


@given(st.lists(other, min_size=1), nots)
def test_where_none_fits_it_is_left_alone(selectors: list[str], refused: list[str]) -> None:
    assert not wanted(WEB, (*selectors, *refused))


@given(st.lists(fitting | other), fitting, st.randoms())
def test_not_wins_wherever_it_stands(selectors: list[str], fits: str, random: Any) -> None:
    together = [*selectors, f"not:{fits}"]
    random.shuffle(together)
    assert not wanted(WEB, tuple(together))


@given(nots.filter(bool))
def test_only_not_stands_for_all_but_those(refused: list[str]) -> None:
    assert wanted(WEB, tuple(refused))


def test_without_selectors_nobody_is_wanted() -> None:
    assert not wanted(WEB, ())


@given(
    st.lists(fitting | other | fitting.map("not:{}".format)), st.booleans(), st.sampled_from((str, str.upper))
)
def test_the_containers_own_label_counts_more(selectors: list[str], said: bool, spelt: Any) -> None:
    labelled = replace(WEB, labels=(*WEB.labels, (LABEL, spelt(str(said)))))
    assert wanted(labelled, tuple(selectors)) is said


@pytest.mark.parametrize("value", ["", "yes", "0", " true"])
def test_a_label_of_another_value_says_nothing(value: str) -> None:
    labelled = replace(WEB, labels=((LABEL, value),))
    assert wanted(labelled, ("all",))
    assert not wanted(labelled, ("name=db",))


def test_a_label_whose_value_has_an_equals_sign() -> None:
    labelled = replace(WEB, labels=(("args", "a=b=c"),))
    assert wanted(labelled, ("label=args=a=b=c",))
    assert not wanted(labelled, ("label=args=a=b",))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"pid": 0}, "not run"),
        ({"mode": "host"}, "never touched"),
        ({"mode": "none"}, "no network"),
        ({"mode": "container:" + "ab" * 32}, "abababababab; attach that"),
    ],
)
def test_what_can_never_be_attached_to_says_why(change: dict[str, Any], word: str) -> None:
    assert word in obstacle(replace(WEB, **change))


@pytest.mark.parametrize("mode", ["", "default", "bridge", "dev", "hostess", "containers"])
def test_the_rest_can(mode: str) -> None:
    assert obstacle(replace(WEB, mode=mode)) == ""


BODY = {
    "Id": "ab" * 32,
    "Name": "/web-1",
    "State": {"Status": "running", "Pid": 4711},
    "Config": {"Labels": {"tier": "front"}},
    "HostConfig": {"NetworkMode": "dev"},
    "NetworkSettings": {"Networks": {"dev": {}, "prod": None}},
}


def test_an_inspect_is_read() -> None:
    assert read_candidate(BODY) == Candidate(
        "ab" * 32, "web-1", 4711, ("dev", "prod"), (("tier", "front"),), "dev"
    )


@pytest.mark.parametrize(
    ("state", "pid"),
    [
        ({"Status": "paused", "Pid": 5}, 5),
        ({"Status": "exited", "Pid": 5}, 0),
        ({"Status": "created", "Pid": 0}, 0),
        ({"Status": "restarting", "Pid": 5}, 0),
        ({"Status": "running", "Pid": "5"}, 0),
        ({"Status": "running", "Pid": None}, 0),
        ({"Status": "running", "Pid": -5}, 0),
        ({"Status": "running", "Pid": True}, 0),
        ({"Status": ["running"], "Pid": 5}, 0),
        ({"Pid": 5}, 0),
    ],
)
def test_only_a_container_that_runs_has_a_process(state: dict[str, Any], pid: int) -> None:
    assert read_candidate({**BODY, "State": state}).pid == pid


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "Id": json_values,
        "Name": json_values,
        **{
            name: json_values | st.dictionaries(st.sampled_from(inside), json_values, max_size=3)
            for name, inside in (
                ("State", ("Status", "Pid")),
                ("Config", ("Labels",)),
                ("HostConfig", ("NetworkMode",)),
                ("NetworkSettings", ("Networks",)),
            )
        },
    },
)


@given(bodies, st.lists(fitting | other | nots.map("".join)))
def test_whatever_the_engine_says_is_survived(body: dict[str, Any], selectors: list[str]) -> None:
    """And a container of which nothing sensible is said is not touched."""
    candidate = read_candidate(body)
    wanted(candidate, tuple(selectors))
    assert candidate.pid >= 0
    assert obstacle(candidate) or candidate.pid > 0
    hash(candidate)
