"""Names as they are compared."""

from __future__ import annotations

from ipaddress import ip_address

import dns.name
import dns.reversename
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.names.keys import (
    LOCALHOST,
    MAX_KEY,
    cuts_of,
    key_of,
    reverse_name,
    reversed_address,
    text_of,
)

labels = st.lists(st.binary(min_size=1, max_size=12), max_size=8)
plain = st.text("abzABZ019-_*", min_size=1, max_size=12)


def wire(parts: list[bytes]) -> bytes:
    return b"".join(bytes((len(part),)) + part for part in parts)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("es", b"\x02es"),
        ("Es.DEV", b"\x02es\x03dev"),
        ("under_score", b"\x0bunder_score"),
        ("*.wild", b"\x01*\x04wild"),
        ("l" * 63, b"\x3f" + b"l" * 63),
        ("l" * 64, None),
        ("trail.", None),
        (".lead", None),
        ("a..b", None),
        ("", None),
        ("bücher", None),
        ("a b", None),
        ("a\nb", None),
        ("es\n", None),
        ("semi;colon", None),
        ("back\\slash", None),
        ("\u212a", None),  # the Kelvin sign, which lower() makes a k
        ("\udc80", None),
    ],
)
def test_names_as_people_write_them(name: str, key: bytes | None) -> None:
    assert key_of(name) == key


def test_the_longest_name_is_255_octets_with_the_root() -> None:
    fits = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(key_of(fits) or b"") == MAX_KEY
    assert key_of(fits + "d") is None


@given(st.text(max_size=300))
def test_any_text_is_a_key_or_none(text: str) -> None:
    key = key_of(text)
    assert key is None or 0 < len(key) <= MAX_KEY


@given(st.lists(plain, min_size=1, max_size=8))
def test_a_key_is_the_wire_form_in_lower_case(parts: list[str]) -> None:
    name = ".".join(parts)
    key = key_of(name)
    assert key is not None
    assert key == b"".join(bytes((len(part),)) + part.lower().encode() for part in parts)
    assert key_of(text_of(key)) == key


@given(labels)
def test_text_is_what_other_programs_read(parts: list[bytes]) -> None:
    """RFC 1035 section 5.1 escapes, whatever the octets."""
    again = dns.name.from_text(text_of(wire(parts)))
    assert again == dns.name.Name((*parts, b""))


@given(labels)
def test_cuts_are_where_labels_begin(parts: list[bytes]) -> None:
    key = wire(parts)
    cuts = cuts_of(key)
    assert len(cuts) == max(0, len(parts) - 1)
    for number, cut in enumerate(cuts, 1):
        assert key[:cut] == wire(parts[:number])
        assert key[cut:] == wire(parts[number:])


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6, network="fd00::/8"))
def test_reverse_names_and_addresses_are_each_others_inverse(address: object) -> None:
    packed = ip_address(str(address)).packed
    name = reverse_name(packed)
    assert dns.name.from_text(name) == dns.reversename.from_address(str(address))
    for spelling in (name, name.upper()):
        key = key_of(spelling)
        assert key is not None
        assert reversed_address(key) == packed


@pytest.mark.parametrize(
    "name",
    [
        "in-addr.arpa",
        "ip6.arpa",
        "1.201.10.in-addr.arpa",
        "02.1.201.10.in-addr.arpa",
        "x.2.1.201.10.in-addr.arpa",
        "0.2.1.201.10.in-addr.arpa",
        "256.1.201.10.in-addr.arpa",
        "1.1.1.1.notin-addr.arpa",
        "+1.1.1.1.in-addr.arpa",
        "1.1.1.1.in-addr.arpa.test",
        ".".join("0" * 31) + ".ip6.arpa",
        ".".join("0" * 33) + ".ip6.arpa",
        ".".join("g" * 32) + ".ip6.arpa",
        "00." + ".".join("0" * 30) + ".ip6.arpa",
    ],
)
def test_what_is_no_whole_address(name: str) -> None:
    key = key_of(name)
    assert key is not None
    assert reversed_address(key) is None


@given(st.binary(max_size=80))
def test_any_labels_in_front_of_arpa(octets: bytes) -> None:
    """Wire labels may hold anything; only digits are an address."""
    parts = [octets[i : i + 7] for i in range(0, len(octets), 7)]
    for suffix in (b"\x07in-addr\x04arpa", b"\x03ip6\x04arpa"):
        address = reversed_address(wire(parts) + suffix)
        assert address is None or len(address) in (4, 16)


def test_blanks_are_no_digits() -> None:
    """Eight digits and 24 blanks are no IPv4 address either."""
    assert reversed_address(wire([b" "] * 24 + [b"1"] * 8) + b"\x03ip6\x04arpa") is None


def test_localhost_is_one_label() -> None:
    assert key_of("LocalHost") == LOCALHOST
