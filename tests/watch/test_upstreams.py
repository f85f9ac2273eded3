import os
import socket
from pathlib import Path

import pytest

from resolver.names.changes import pack_address
from resolver.settings import Listen
from resolver.watch import upstreams
from resolver.watch.upstreams import Ourselves, Watched, choose, engines_resolver, nameservers

LOOPBACK = Ourselves((Listen("127.0.0.1", 53),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 10.0.0.1\nnameserver 10.0.0.2\n", ("10.0.0.1", "10.0.0.2")),
        ("  nameserver\t10.0.0.1 trailing\n", ("10.0.0.1",)),
        ("nameserver 10.0.0.1\nnameserver 10.0.0.1\n", ("10.0.0.1",)),
        ("nameserver fe80::1%eth0\n", ("fe80::1%eth0",)),
        ("nameserver 2001:DB8::0:1\n", ("2001:db8::1",)),
        ("nameserver 0.0.0.0\nnameserver ::\n", ("127.0.0.1", "::1")),
        ("# nameserver 10.0.0.1\n;nameserver 10.0.0.2\n", ()),
        ("nameserver\nnameserver x\nnameserver 300.1.1.1\nsearch a b\noptions ndots:0\n", ()),
        ("nameservers 10.0.0.1\nNameserver 10.0.0.2\n", ()),
        ("", ()),
        ("\x00\xff\nnameserver 10.0.0.1", ("10.0.0.1",)),
    ],
)
def test_nameservers(text: str, expected: tuple[str, ...]) -> None:
    assert nameservers(text) == expected


def test_given_servers_come_instead_of_the_file() -> None:
    assert choose(("10.9.9.9:5353",), "nameserver 10.0.0.1", LOOPBACK) == ("10.9.9.9:5353",)
    assert choose((), "nameserver 10.0.0.1\nnameserver fd00::1", LOOPBACK) == ("10.0.0.1:53", "[fd00::1]:53")


@pytest.mark.parametrize(
    ("ourselves", "server", "kept"),
    [
        (LOOPBACK, "127.0.0.1:53", False),
        (LOOPBACK, "127.0.0.1:5353", True),
        (LOOPBACK, "127.0.0.53:53", True),
        (Ourselves((Listen("127.0.0.1", 5353),)), "127.0.0.1:53", True),
        (Ourselves((Listen("0.0.0.0", 53),), (pack_address("10.0.0.2"),)), "10.0.0.2:53", False),
        (Ourselves((Listen("0.0.0.0", 53),), (pack_address("10.0.0.2"),)), "127.0.0.53:53", False),
        (Ourselves((Listen("0.0.0.0", 53),), (pack_address("10.0.0.2"),)), "10.0.0.3:53", True),
        (Ourselves((Listen("0.0.0.0", 53),)), "[::1]:53", True),
        (Ourselves((Listen("::", 53),), (pack_address("fd00::2"),)), "[fd00::2]:53", False),
        (Ourselves((Listen("fe80::1", 53),)), "[fe80::1%eth0]:53", False),
        (Ourselves((), take_over=True), "127.0.0.11:53", False),
        (Ourselves(()), "127.0.0.11:53", True),
    ],
)
def test_never_ourselves(ourselves: Ourselves, server: str, kept: bool) -> None:
    assert choose((server,), "", ourselves) == ((server,) if kept else ())


def test_the_engines_resolver_stands_in_for_its_address_that_leads_to_us() -> None:
    text = "nameserver 127.0.0.11\nnameserver 10.0.0.1\n"
    engines = "127.0.0.11:50000/50001"
    assert choose((), text, Ourselves((), take_over=True), engines) == (engines, "10.0.0.1:53")
    assert choose((), text, Ourselves((Listen("127.0.0.11", 53),)), engines) == (engines, "10.0.0.1:53")
    assert choose((), text, LOOPBACK, engines) == ("127.0.0.11:53", "10.0.0.1:53")


def test_addresses_a_container_may_name_us_by() -> None:
    listen = (Listen("0.0.0.0", 53), Listen("10.0.0.9", 5353))
    ourselves = Ourselves(listen, (pack_address("10.0.0.2"),), take_over=True)
    assert ourselves.servers() == ("10.0.0.2", "127.0.0.11")
    assert LOOPBACK.servers() == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("udp", "tcp", "ours", "expected"),
    [
        ((44724, 55125), (41763,), (44724, 0), "127.0.0.11:55125/41763"),
        ((53, 44724, 55125), (53,), (44724,), "127.0.0.11:55125"),
        ((44724, 55125), (41763,), (44724, 55125), ""),
        ((), (), (), ""),
    ],
)
def test_the_engines_resolver_is_what_is_not_ours(
    monkeypatch: pytest.MonkeyPatch,
    udp: tuple[int, ...],
    tcp: tuple[int, ...],
    ours: tuple[int, ...],
    expected: str,
) -> None:
    there = {socket.SOCK_DGRAM: udp, socket.SOCK_STREAM: tcp}
    monkeypatch.setattr(upstreams, "ports_at", lambda _, kind: there[kind])
    assert engines_resolver(ours) == expected


def test_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    watched = Watched(path)
    assert (watched.changed(), watched.text()) == (False, "")
    path.write_text("nameserver 10.0.0.1\n")
    assert watched.changed()
    assert not watched.changed()
    other = tmp_path / "other"
    other.write_text("nameserver 10.0.0.2\n")
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.rename(path)
    assert watched.changed()
    assert watched.text() == "nameserver 10.0.0.2\n"
    path.unlink()
    assert watched.changed()
