"""Replies at hand: bounded, and all of them forgettable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.serve import memory
from resolver.serve.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "MOST", 12)
        patch.setattr(memory, "MOST_PER_CLIENT", 5)
        yield


def held(kept: Memory) -> int:
    return sum(map(len, kept.clients.values()))


@pytest.mark.usefixtures("_small")
@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from((b"a", b"b", b"c", b"d")), st.integers(0, 9))
        | st.sampled_from((b"a", b"b"))
        | st.none()
    )
)
def test_it_never_holds_more_than_it_may(steps: list[tuple[bytes, int] | bytes | None]) -> None:
    kept = Memory()
    for step in steps:
        if step is None:
            kept.forget_all()
        elif isinstance(step, bytes):
            kept.forget(step)
            assert step not in kept.clients
        else:
            client, number = step
            kept.keep(client, bytes((number,)), b"reply")
            assert kept.clients[client][bytes((number,))] == b"reply"
        assert held(kept) == kept._count <= 12
        assert all(len(replies) <= 5 for replies in kept.clients.values())


@pytest.mark.usefixtures("_small")
def test_a_reply_made_again_takes_no_more_room() -> None:
    """A forwarded reply is made again each second; counted each time, it would push all others out."""
    kept = Memory()
    kept.keep(b"other", b"question", b"reply")
    for _ in range(100):
        kept.keep(b"client", b"question", b"reply")
    assert held(kept) == 2
