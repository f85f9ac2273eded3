"""Ports that are taken, asked of this machine's own kernel, and read where it does not tell."""

import errno
import socket
from collections.abc import Callable, Iterator

import pytest

from resolver.watch import listening
from resolver.watch.listening import ports_at

HERE = "127.0.0.11"
Bound = Callable[[str, socket.SocketKind], int]


@pytest.fixture
def bound() -> Iterator[Bound]:
    """A socket without a peer at this address; its port."""
    opened = []

    def bind(address: str, kind: socket.SocketKind) -> int:
        sock = socket.socket(socket.AF_INET, kind)
        opened.append(sock)
        sock.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        port: int = sock.getsockname()[1]
        return port

    yield bind
    for sock in opened:
        sock.close()


@pytest.fixture(params=["asked", "no such question", "no such protocol"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells; or has no word for the question, or lacks a part, and is read."""
    if request.param == "asked":
        monkeypatch.setattr(listening, "_listed", lambda *_: pytest.fail("it was read"))
    elif request.param == "no such question":
        monkeypatch.setattr(listening, "_BY_FAMILY", 0x1F)
    else:
        monkeypatch.setattr(listening, "_PROTOCOL", dict.fromkeys(listening._PROTOCOL, 200))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_ports_at_an_address(bound: Bound, kind: socket.SocketKind) -> None:
    other = {socket.SOCK_DGRAM: socket.SOCK_STREAM, socket.SOCK_STREAM: socket.SOCK_DGRAM}[kind]
    some = [bound(HERE, kind) for _ in range(200)]
    elsewhere = {bound("127.0.0.12", kind), bound("0.0.0.0", kind), bound(HERE, other)} - set(some)
    found = ports_at(HERE, kind)
    assert set(some) <= set(found)
    assert list(found) == sorted(found)
    assert elsewhere.isdisjoint(found)


@pytest.mark.usefixtures("way")
def test_a_socket_with_a_peer_is_nobody_who_waits(bound: Bound) -> None:
    port, udp = bound(HERE, socket.SOCK_STREAM), bound(HERE, socket.SOCK_DGRAM)
    with (
        socket.create_connection((HERE, port), source_address=(HERE, 0)) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind((HERE, 0))
        datagrams.connect((HERE, udp))
        assert stream.getsockname()[1] not in ports_at(HERE, socket.SOCK_STREAM)
        assert datagrams.getsockname()[1] not in ports_at(HERE, socket.SOCK_DGRAM)


def test_a_machine_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Iterator[int]:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(listening, "_asked", refuse)
    monkeypatch.setitem(listening._TABLE, socket.SOCK_STREAM, "no such table")
    assert ports_at(HERE, socket.SOCK_STREAM) == ()
