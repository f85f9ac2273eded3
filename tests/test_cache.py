"""Remembered replies, under generated time."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.cache import (
    FAILURE_LIFETIME,
    LONGEST_NEGATIVE,
    LONGEST_POSITIVE,
    STALE_LIFETIME,
    STALE_TTL,
    Cache,
    Key,
    key_of,
)
from resolver.wire.reply import ReplyShape, read_reply

SERVERS = ("192.0.2.1:53",)
RD, AD, CD = 0x0100, 0x0020, 0x0010


def question(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"


def reply(
    name: str, ttl: int = 300, *, flags: int = 0x8180, count: int = 1, edns: bool = False
) -> ReplyShape:
    records = (b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, ttl, 4) + b"\xc0\0\2\1") * count
    if flags & 0xF == 3:
        soa = b"\0\0" + struct.pack("!5I", 1, 2, 3, 4, ttl)
        head = struct.pack("!6H", 7, flags, 1, 0, 1, 0)
        records = b"\0" + struct.pack("!HHIH", 6, 1, ttl, len(soa)) + soa
    else:
        head = struct.pack("!6H", 7, flags, 1, count, 0, int(edns))
        records += b"\0\0\x29\x04\xd0\0\0\0\0\0\0" if edns else b""
    shape = read_reply(head + question(name) + records)
    assert shape is not None
    return shape


def key(name: str, servers: tuple[str, ...] = SERVERS, flags: int = RD, *, do: bool = False) -> Key:
    return key_of(servers, question(name), flags, do)


def served_ttl(packet: bytes) -> int:
    shape = read_reply(packet)
    assert shape is not None
    return min(int.from_bytes(packet[at : at + 4], "big") for at in shape.ttls)


def test_counts_down_and_ends() -> None:
    cache = Cache()
    entry = cache.put(key("a.b"), reply("a.b", 10), 100.5)
    assert entry is not None
    for later, left in ((0, 10), (0.99, 10), (1, 9), (5.5, 5), (9.9, 1)):
        got = cache.get(key("a.b"), 100.5 + later)
        assert got is entry
        assert served_ttl(entry.packed(100.5 + later)) == left
    assert cache.get(key("a.b"), 110.5) is None


def test_same_bytes_until_the_second_changes() -> None:
    entry = Cache().put(key("a.b"), reply("a.b", 10), 100.25)
    assert entry is not None
    first = entry.packed(100.5)
    assert entry.until == 101.25
    assert entry.packed(101.2) is first
    assert entry.packed(101.25) != first


def test_stored_without_id_opt_and_aa() -> None:
    entry = Cache().put(key("a.b"), reply("a.b", flags=0x8580, edns=True), 0)
    assert entry is not None
    assert entry.packed(0) == b"\0\0" + reply("a.b").packet[2:]
    assert read_reply(entry.packed(0)) == entry.shape


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (reply("a.b", 0), "TTL 0"),
        (reply("a.b", flags=0x8380), "truncated"),
        (reply("a.b", flags=0x8182), "SERVFAIL"),
        (reply("a.b", flags=0x8185), "REFUSED"),
        (reply("c.d"), "another question"),
        (reply("a.b", flags=0x8180, count=0), "NODATA without SOA"),
    ],
)
def test_not_remembered(shape: ReplyShape, why: str) -> None:
    cache = Cache()
    assert cache.put(key("a.b"), shape, 0) is None, why
    assert cache.get(key("a.b"), 0) is None
    assert (len(cache), cache.bytes) == (0, 0)


def test_lives_are_capped() -> None:
    positive = Cache().put(key("a.b"), reply("a.b", 10**8), 0)
    negative = Cache().put(key("a.b"), reply("a.b", 10**8, flags=0x8183), 0)
    assert positive is not None
    assert negative is not None
    assert (positive.expires, negative.expires) == (LONGEST_POSITIVE, LONGEST_NEGATIVE)


def test_keys_keep_apart_what_may_differ() -> None:
    keys = {
        key("a.b"),
        key("a.b", ("192.0.2.2:53",)),
        key("a.b", (*SERVERS, "192.0.2.2:53")),
        key("a.b", flags=0),
        key("a.b", flags=RD | AD),
        key("a.b", flags=RD | CD),
        key("a.b", do=True),
        key("a.c"),
    }
    assert len(keys) == 8
    assert key("A.b") == key("a.B")


def test_letter_case_finds_the_same() -> None:
    cache = Cache()
    entry = cache.put(key("a.b"), reply("A.B"), 0)
    assert entry is not None
    assert cache.get(key("A.b"), 1) is entry


# When upstreams fail


def test_stale_is_served_for_a_day_with_a_short_ttl() -> None:
    cache = Cache()
    cache.put(key("a.b"), reply("a.b", 100), 0)
    assert cache.get(key("a.b"), 200) is None
    stale = cache.fail(key("a.b"), 200)
    assert stale is not None
    assert stale.stale
    assert served_ttl(stale.packed(200)) == STALE_TTL
    assert cache.get(key("a.b"), 200 + STALE_TTL - 0.1) is stale
    assert cache.get(key("a.b"), 200 + STALE_TTL) is None
    assert not cache.failed(key("a.b"), 200)
    assert cache.fail(key("a.b"), 99 + STALE_LIFETIME) is stale
    assert cache.get(key("a.b"), 100 + STALE_LIFETIME) is None
    assert cache.fail(key("a.b"), 100 + STALE_LIFETIME) is None


def test_a_small_ttl_is_not_raised_by_staleness() -> None:
    cache = Cache()
    cache.put(key("a.b"), reply("a.b", 2), 0)
    stale = cache.fail(key("a.b"), 10)
    assert stale is not None
    assert served_ttl(stale.packed(10)) == 2


def test_a_failure_is_remembered_for_a_moment() -> None:
    cache = Cache()
    assert not cache.failed(key("a.b"), 0)
    assert cache.fail(key("a.b"), 0) is None
    assert cache.failed(key("a.b"), FAILURE_LIFETIME - 0.01)
    assert not cache.failed(key("a.b"), FAILURE_LIFETIME)
    cache.fail(key("a.b"), 5)
    cache.put(key("a.b"), reply("a.b"), 5)
    assert not cache.failed(key("a.b"), 5)


def test_failures_of_random_names_are_bounded() -> None:
    cache = Cache()
    for number in range(10_000):
        cache.fail(key(f"n{number}.b"), 0)
    assert len(cache._failures) <= 2_048
    assert cache.failed(key("n9999.b"), 0.5)


def test_a_failed_refresh_leaves_the_fresh_entry() -> None:
    cache = Cache()
    entry = cache.put(key("a.b"), reply("a.b", 100), 0)
    assert cache.fail(key("a.b"), 95) is entry
    assert entry is not None
    assert not entry.stale
    assert served_ttl(entry.packed(95)) == 5


# Refresh


def test_refresh_is_due_once_late_in_the_life_of_what_is_used() -> None:
    cache = Cache()
    entry = cache.put(key("a.b"), reply("a.b", 100), 0)
    assert entry is not None
    assert not entry.refresh_due(95)
    cache.get(key("a.b"), 1)
    cache.get(key("a.b"), 2)
    assert not entry.refresh_due(89)
    assert entry.refresh_due(90)
    assert not entry.refresh_due(91)


def test_whoever_holds_an_entry_learns_of_its_successor() -> None:
    cache = Cache()
    old = cache.put(key("a.b"), reply("a.b", 100), 0)
    assert old is not None
    old.packed(90)
    new = cache.put(key("a.b"), reply("a.b", 100), 95)
    assert (old.until, old.expires) == (0, 0)
    assert cache.get(key("a.b"), 150) is new


# Room


def test_clear_tells_what_there_was_and_ends_what_is_held() -> None:
    cache = Cache()
    entry = cache.put(key("a.b"), reply("a.b"), 0)
    assert entry is not None
    was = cache.bytes
    assert cache.clear() == (1, was)
    assert cache.clear() == (0, 0)
    assert entry.expires == 0
    assert cache.get(key("a.b"), 0) is None


def test_size_zero_is_off() -> None:
    cache = Cache(0)
    assert cache.put(key("a.b"), reply("a.b"), 0) is None
    assert cache.fail(key("a.b"), 0) is None
    assert not cache.failed(key("a.b"), 0)


def test_a_flood_of_names_asked_once_leaves_what_is_used() -> None:
    cache = Cache(100_000)
    used = [f"used{number}.b" for number in range(20)]
    for name in used:
        cache.put(key(name), reply(name), 0)
        cache.get(key(name), 0)
    for number in range(5_000):
        cache.put(key(f"n{number}.b"), reply(f"n{number}.b"), 1)
    assert all(cache.get(key(name), 2) for name in used)
    assert cache.bytes <= 100_000


def test_bytes_counted_are_bytes_used() -> None:
    names = [f"n{number:05}.example" for number in range(4_000)]
    shapes = [reply(name) for name in names]
    tracemalloc.start()
    try:
        cache = Cache()
        before = tracemalloc.get_traced_memory()[0]
        for name, shape in zip(names, shapes, strict=True):
            entry = cache.put(key(name), shape, 0)
            assert entry is not None
            entry.packed(5)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 * cache.bytes < used < 1.3 * cache.bytes


def test_resize_shrinks_at_once() -> None:
    cache = Cache()
    for number in range(100):
        cache.put(key(f"n{number}.b"), reply(f"n{number}.b"), 0)
    cache.resize(5_000)
    assert 0 < cache.bytes <= 5_000


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "get", "get", "fail", "hold", "clear"]),
        st.integers(0, 12),
        st.integers(0, 400),
        st.floats(0, 200, allow_nan=False),
    ),
    max_size=60,
)


@given(steps, st.sampled_from([3_000, 8_000, 1 << 20]))
def test_under_generated_time(steps: list[tuple[str, int, int, float]], room: int) -> None:
    """Never beyond its TTL but as stale, never more TTL than is left, never more bytes than allowed."""
    cache, now = Cache(room), 1_000.0
    stored: dict[Key, tuple[float, int]] = {}
    for what, number, ttl, passing in steps:
        now += passing
        name = f"n{number}.b"
        k = key(name)
        if what == "put":
            if cache.put(k, reply(name, ttl), now):
                stored[k] = (now, ttl)
        elif what == "clear":
            was = len(cache), cache.bytes
            assert cache.clear() == was
        else:
            entry = cache.fail(k, now) if what == "fail" else cache.get(k, now)
            if entry is not None:
                since, life = stored[k]
                left = served_ttl(entry.packed(now))
                if entry.stale:
                    assert since + life <= now < since + life + STALE_LIFETIME
                    assert left <= STALE_TTL
                else:
                    assert now <= since + life
                    assert since + life - now <= left + 1e-6 <= since + life - now + 1
        assert 0 <= cache.bytes <= room
        everything = [*cache._new.values(), *cache._kept.values()]
        assert cache.bytes == sum(entry.cost for entry in everything)
        assert cache._new_bytes == sum(entry.cost for entry in cache._new.values())
