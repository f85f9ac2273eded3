"""The door's lines."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resolver.names.changes import BadChange, Change, Engine, pack_address, read, spell_address, write
from resolver.names.model import Endpoint, Network, Sandbox
from resolver.names.policy import Policy
from tests import worlds

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WORDS = ("container", "network", "gone", "pending", "sync", "engine", "settings")
FIELDS = sorted(
    {f.name for kind in (Sandbox, Network, Endpoint, Engine, Policy) for f in fields(kind)}
    | {"container", "networks", "at"}
)
TYPICAL: tuple[object, ...] = (
    "n1",
    "10.1.0.2",
    "fd00::2",
    "10.1.0.0/24",
    "begin",
    "reached",
    "engine",
    [],
    {},
    [["a", "b"]],
    1,
)
lines_of_sorts = st.builds(
    lambda word, body: json.dumps({"change": word, **body}),
    st.sampled_from(WORDS),
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.sampled_from(TYPICAL)
        | json_values
        | st.lists(
            st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(TYPICAL) | json_values), max_size=2
        ),
        max_size=6,
    ),
)


@given(worlds.changes)
def test_write_and_read_are_each_others_inverse(change: Change) -> None:
    line = write(change)
    assert "\n" not in line
    assert read(line) == change
    assert read(line.encode()) == change
    assert write(read(line)) == line


@given(st.text() | st.binary() | json_values.map(json.dumps) | lines_of_sorts)
@example('{"change":"container","id":"c","endpoints":[{"network":"n","place":1e999}]}')
@example('{"change":"container","id":"c","endpoints":[{"network":"n","place":NaN}]}')
@example("[" * 100_000)
@example('{"change":' * 10_000)
@example('{"change":["container"]}')
@example('{"change":"network","id":"n","subnets":["10.0.0.0/33"]}')
@example('{"change":"settings","domain":5}')
@example('{"change":"settings","ttl":-1}')
@example('{"change":"settings","ttl":4294967296}')
@example('{"change":"settings","hold":"long"}')
@example('{"change":"settings","hold":NaN}')
@example('{"change":"settings","strangers":"welcome"}')
@example('{"change":"engine","state":"lost","url":"u","at":NaN}')
@example('{"change":"pending","container":"c","networks":"n1"}')
def test_any_text_is_a_change_or_bad(line: str | bytes) -> None:
    try:
        change = read(line)
    except BadChange:
        return
    assert read(write(change)) == change


@given(lines_of_sorts)
def test_what_was_read_can_be_applied_and_answered(line: str) -> None:
    """Nothing that gets through the door may be of another type than the rest of the house expects."""
    try:
        change = read(line)
    except BadChange:
        return
    if isinstance(change, Policy):
        for name, kind in (("ttl", int), ("domain", str), ("own", str), ("hold", float | int)):
            assert isinstance(getattr(change, name), kind)
        assert 0 <= change.ttl <= 0x7FFFFFFF
        assert math.isfinite(change.hold)
        assert change.strangers in ("refuse", "forward", "all-networks")
    if isinstance(change, Sandbox):
        for endpoint in change.endpoints:
            assert isinstance(endpoint.place, int)
            assert len(endpoint.ipv4) in (0, 4)
            assert len(endpoint.ipv6) in (0, 16)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{}", "change"),
        ('{"change":"teapot"}', "teapot"),
        ('{"change":"container"}', "id"),
        ('{"change":"container","id":1}', "id must be text"),
        ('{"change":"container","id":"c","endpoints":[{"network":"n","ipv4":"fd00::1"}]}', "other family"),
        ('{"change":"container","id":"c","endpoints":[{"network":"n","ipv4":"10.1"}]}', "10.1"),
        ('{"change":"container","id":"c","endpoints":[{"network":"n","names":"es"}]}', "list of texts"),
        ('{"change":"sync","at":"noon"}', "begin, end"),
        ('{"change":"settings","colour":"red"}', "colour"),
        ('{"change":"settings","search_order":"random"}', "first-connected, engine"),
        ("not json", "Expecting value"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: str, why: str) -> None:
    with pytest.raises(BadChange, match=why):
        read(line)


def test_what_people_leave_out() -> None:
    assert read('{"change":"network","id":"n1"}') == Network("n1", "n1")
    assert read('{"change":"container","id":"c1"}') == Sandbox("c1", "c1")
    assert write(Network("n1", "prod")) == '{"change":"network","id":"n1","name":"prod"}'


@pytest.mark.parametrize(
    ("text", "spelt"),
    [("10.1.0.2/16", "10.1.0.2"), ("fe80::1%eth0", "fe80::1"), ("", ""), ("FD00::0:1", "fd00::1")],
)
def test_addresses_as_the_engine_spells_them(text: str, spelt: str) -> None:
    assert spell_address(pack_address(text)) == spelt
