import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from resolver.settings import Listen
from resolver.watch.sockets import CannotListen, Sockets, open_sockets, status_name


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def opened(*listen: Listen, take_over: bool = False) -> Iterator[Sockets]:
    """The sockets of a single worker."""
    [sockets] = open_sockets(listen, take_over=take_over)
    with closing(sockets):
        yield sockets


@pytest.fixture
def port() -> int:
    return free_port()


def test_both_protocols_and_the_status_socket(port: int) -> None:
    listen = Listen("127.0.0.1", port)
    with opened(listen) as sockets:
        assert [sock.getsockname() for sock in (*sockets.udp, *sockets.tcp)] == [("127.0.0.1", port)] * 2
        with closing(socket.socket(socket.AF_UNIX)) as asker:
            asker.connect(status_name(listen))
        with closing(socket.create_connection(("127.0.0.1", port), 1)):
            pass
        assert sockets.redirected == (0, 0)


def test_ipv6_only(port: int) -> None:
    with opened(Listen("::1", port), Listen("127.0.0.1", port)) as sockets:
        assert sockets.udp[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        assert sockets.udp[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) == 0


def test_a_wildcard_learns_the_address_a_question_came_to(port: int) -> None:
    with opened(Listen("0.0.0.0", port), Listen("::", port)) as sockets:
        assert sockets.udp[0].getsockopt(socket.IPPROTO_IP, 8) == 1
        assert sockets.udp[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) == 1


def test_a_port_that_is_taken_names_its_holder(port: int) -> None:
    with (
        opened(Listen("127.0.0.1", port)),
        pytest.raises(CannotListen, match=rf"UDP 127\.0\.0\.1:{port}.*already in use by .*pid {os.getpid()}"),
    ):
        open_sockets([Listen("127.0.0.1", port)])


def test_all_or_nothing(port: int) -> None:
    with pytest.raises(CannotListen, match="no interface here has this address"):
        open_sockets([Listen("127.0.0.1", port), Listen("192.0.2.1", port)])
    with opened(Listen("127.0.0.1", port)):
        pass


def test_a_status_name_held_by_another_does_not_keep_us_from_starting(port: int) -> None:
    listen = Listen("127.0.0.1", port)
    with closing(socket.socket(socket.AF_UNIX)) as squatter:
        squatter.bind(status_name(listen))
        with opened(listen) as sockets:
            assert sockets.status is not None


def test_take_over_binds_ports_of_its_own(port: int) -> None:
    with opened(Listen("127.0.0.1", port), take_over=True) as sockets:
        assert sockets.redirected == (sockets.udp[1].getsockname()[1], sockets.tcp[1].getsockname()[1])
        assert sockets.udp[1].getsockname()[0] == "127.0.0.11"


def test_nothing_to_close() -> None:
    Sockets().close()


def test_workers_share_the_ports(port: int) -> None:
    listen = Listen("127.0.0.1", port)
    sockets = open_sockets([listen], take_over=True, workers=3)
    assert {tuple(sock.getsockname() for sock in each.udp) for each in sockets} == {
        (("127.0.0.1", port), ("127.0.0.11", sockets[0].redirected[0]))
    }
    assert len({each.redirected for each in sockets}) == 1
    for each in sockets:
        each.close()
