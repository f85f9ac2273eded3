"""The corpus replayed: inputs of every shape told apart, and what once broke something; also damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_holds(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_inputs_of_the_corpus_damaged(name: str, data: st.DataObject) -> None:
    paths = sorted((CORPUS / name).iterdir())
    octets = bytearray(data.draw(st.sampled_from(paths)).read_bytes())
    for at, octet in data.draw(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4)):
        if at < len(octets):
            octets[at] = octet
    TARGETS[name](bytes(octets[: data.draw(st.integers(0, len(octets)))]))
