"""When questions come faster than they are answered, it is the one who floods that loses some of them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from resolver.serve import mmsg, udp
from tests.house import House, container, joined, network, question
from tests.sockets import answering_udp, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not mmsg.available, reason="no recvmmsg")

DEV = network("dev", "10.1.0.0/24")
ES = container("es", joined(DEV, "10.1.0.2"))
FLOOD = 300


@pytest.fixture
def flooder() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.66", 0))
        yield sock


@pytest.mark.parametrize(("pressure", "fair"), [(1, True), (1 << 30, False)])
async def test_under_pressure_clients_get_their_share(
    flooder: socket.socket, pressure: int, fair: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp, "PRESSURE", pressure)
    house = House(DEV, ES)
    async with answering_udp(house) as (listener, port):
        assert isinstance(listener, udp.BatchListener)
        listener._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            for number in range(FLOOD):
                flooder.sendto(question("es", "A", id=number).to_wire(), ("127.0.0.1", port))
            sock.sendto(question("es", "A", id=7).to_wire(), ("127.0.0.1", port))

            def answered() -> bool:
                try:
                    return sock.recv(512)[:2] == b"\0\x07"
                except BlockingIOError:
                    return False

            await until(answered)
        assert (listener.shed > FLOOD // 2) is fair
