"""Replies at hand: bounded, and all of them forgettable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resolver.serve import memory
from resolver.serve.memory import Memory
from resolver.wire.query import Query, write_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "MOST", 12)
        patch.setattr(memory, "MOST_PER_CLIENT", 5)
        patch.setattr(memory, "MOST_OCTETS", 2_600)
        yield


def body(number: int) -> bytes:
    """A question about one of ten names."""
    return bytes(10) + bytes((97 + number, 0))


def held(kept: Memory) -> int:
    return sum(map(len, kept.clients.values()))


def octets(kept: Memory) -> int:
    return sum(memory._size(*one) for replies in kept.clients.values() for one in replies.items())


@pytest.mark.usefixtures("_small")
@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from((b"a", b"b", b"c", b"d")), st.integers(0, 9), st.integers(0, 500))
        | st.lists(st.integers(0, 9), min_size=1, max_size=3)
        | st.sampled_from((b"a", b"b"))
        | st.none()
    )
)
def test_it_never_holds_more_than_it_may(
    steps: list[tuple[bytes, int, int] | list[int] | bytes | None],
) -> None:
    kept = Memory()
    for step in steps:
        if step is None:
            kept.forget_all()
        elif isinstance(step, bytes):
            kept.forget(step)
            assert step not in kept.clients
        elif isinstance(step, list):
            kept.forget_names(b"a", [bytes((97 + number,)) for number in step])
        else:
            client, number, size = step
            kept.keep(client, body(number), bytes(size))
            assert kept.clients[client][body(number)] == bytes(size)
        assert held(kept) == kept._count <= 12
        assert octets(kept) == kept._octets < 2_600 + 256 + 13 + 500
        assert all(len(replies) <= 5 for replies in kept.clients.values())


@pytest.mark.usefixtures("_small")
def test_a_reply_made_again_takes_no_more_room() -> None:
    """A forwarded reply is made again each second; counted each time, it would push all others out."""
    kept = Memory()
    kept.keep(b"other", b"question", b"reply")
    for _ in range(100):
        kept.keep(b"client", b"question", b"reply")
    assert held(kept) == 2


def test_a_question_with_something_behind_it_is_not_kept() -> None:
    kept = Memory()
    kept.keep(b"client", bytes(memory.LONGEST), b"reply")
    kept.keep(b"client", bytes(memory.LONGEST + 1), b"reply")
    assert held(kept) == 1


@pytest.mark.usefixtures("_small")
def test_an_alias_of_many_in_many_spellings() -> None:
    """Each is a question of its own, with all records behind it."""
    query = Query(b"id", 0, b"db", 1, b"\x02db\0\0\x01\0\x01")
    many = write_addresses(query, tuple(bytes((10, 0, n >> 8, n & 255)) for n in range(1000)), 600, 1232)
    kept = Memory()
    for number in range(4_000):
        kept.keep(b"client", b"%010d" % number, many)
        assert kept._octets == octets(kept) < memory.MOST_OCTETS + 33_000
