"""The words for nft and the octets for netlink, read back by another reader."""

from __future__ import annotations

import re
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.watch.attach import rules
from resolver.watch.attach.rules import Redirect
from tests.watch.attach.netlink import REQUEST, SAME_OR_NEW, Message, read_batch

OURS = "resolver_attached"

ports = st.integers(1, 65535)
redirects = st.builds(
    lambda server, udp, tcp: Redirect(server, rules.local_address(server), udp, tcp),
    st.ip_addresses().map(str),
    ports,
    ports,
)
some = st.lists(redirects, min_size=1, max_size=3, unique_by=lambda r: r.nameserver)


@pytest.mark.parametrize(
    ("nameserver", "local"),
    [
        ("127.0.0.11", "127.0.0.11"),
        ("10.0.0.53", "127.0.0.1"),
        ("fd00::53", "::1"),
    ],
)
def test_where_we_bind(nameserver: str, local: str) -> None:
    assert rules.local_address(nameserver) == local


@given(some)
def test_the_words_name_our_table_only(chosen: list[Redirect]) -> None:
    """Each command begins a line; none but ``table``, each of ours, and nothing is deleted or flushed: a
    deletion would have the first renewal wait for the kernel, and all the loop with it."""
    text = rules.table(chosen)
    commands = [line for line in text.splitlines() if not line.startswith((" ", "}"))]
    assert all(re.fullmatch(rf"table ip6? {OURS} {{", line) for line in commands)
    assert "delete" not in text
    assert "flush" not in text
    assert text.count("{") == text.count("}")
    assert rules.removal().splitlines() == [
        f"table ip {OURS}",
        f"delete table ip {OURS}",
        f"table ip6 {OURS}",
        f"delete table ip6 {OURS}",
    ]


@given(some)
def test_every_nameserver_has_its_rules_and_only_while_it_is_live(chosen: list[Redirect]) -> None:
    lines = rules.table(chosen).splitlines()
    for r in chosen:
        word = f"{r.family} daddr {r.nameserver} {r.family} daddr @live "
        there = [line for line in lines if word in line]
        assert [line for line in there if "udp dport 53 notrack" in line and f"udp dport set {r.udp}" in line]
        assert [line for line in there if "tcp dport 53 dnat to" in line and line.endswith(f":{r.tcp}")]
        assert len(there) == 2
    taking = [line for line in lines if "dport 53" in line]
    assert len(taking) == 2 * len(chosen)
    marked = [at for at, line in enumerate(lines) if line.strip() == f"meta mark {rules.MARK} return"]
    chains = [at for at, line in enumerate(lines) if "chain there" in line or "chain connections" in line]
    assert marked == [at + 1 for at in chains], "our own questions pass before anything else is looked at"


def expected(chosen: list[Redirect], word: str, flags: int, life: float) -> dict[str, Message]:
    found = {}
    for family in ("ip", "ip6"):
        keys = [ip_address(r.nameserver).packed for r in chosen if r.family == family]
        if keys:
            elements = tuple((key, round(life * 1000)) for key in keys)
            found[family] = Message(word, flags, family, OURS, "live", elements)
    return found


@given(some, st.floats(0.001, 3600))
def test_a_renewal_puts_in_takes_out_and_puts_in(chosen: list[Redirect], life: float) -> None:
    new = expected(chosen, "new element", REQUEST | SAME_OR_NEW, life)
    out = expected(chosen, "delete element", REQUEST, 0)
    read = read_batch(rules.renewal(chosen, life))
    assert read == [each for family in new for each in (new[family], out[family], new[family])]


@given(some)
def test_a_release_takes_out_what_may_not_be_there(chosen: list[Redirect]) -> None:
    new = expected(chosen, "new element", REQUEST | SAME_OR_NEW, 0)
    out = expected(chosen, "delete element", REQUEST, 0)
    assert read_batch(rules.release(chosen)) == [each for f in new for each in (new[f], out[f])]


@given(some)
def test_deletions_are_one_transaction_for_each_table(chosen: list[Redirect]) -> None:
    """The table of one family may be gone already; the other is deleted all the same."""
    read = [read_batch(batch) for batch in rules.deletions(chosen)]
    families = [f for f in ("ip", "ip6") if any(r.family == f for r in chosen)]
    assert read == [[Message("delete table", REQUEST, family, OURS)] for family in families]


def reply(number: int, padding: int = 0) -> bytes:
    body = struct.pack("=i", -number) + bytes(16 + padding)
    return struct.pack("=IHHII", 16 + len(body), 2, 0, 0, 0) + body + bytes(-len(body) % 4)


def test_errors_in_what_the_kernel_replies() -> None:
    assert rules.errors(reply(0)) == []
    assert rules.errors(reply(2)) == [2]
    assert rules.errors(reply(2, 7) + reply(0) + reply(17)) == [2, 17]
    assert rules.errors(struct.pack("=IHHII", 20, 3, 0, 0, 0) + b"\xff\xff\xff\xff") == [], "NLMSG_DONE"


@given(st.binary(max_size=80))
def test_anything_else_is_read_to_its_end(octets: bytes) -> None:
    assert all(number != 0 for number in rules.errors(octets))
