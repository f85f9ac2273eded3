"""Sockets from one version to the next: what comes with them. The rest: ``tests/faults/test_upgrade.py``."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from resolver.settings import Listen, Settings
from resolver.watch.handover import Offer, open_offer, receive
from resolver.watch.sockets import CannotListen, open_sockets
from tests.faults.running import free_port

KNOWN = {f"container{n}": {"a": n, "b": 0} for n in range(20_000)}
"""More than one packet holds."""


async def test_the_order_of_connection_comes_along() -> None:
    settings = Settings(listen=(Listen("127.0.0.1", free_port()), Listen("::1", free_port())), workers=3)
    sockets = open_sockets(settings.listen, workers=3)
    sock = open_offer(settings.listen[0])
    assert sock
    replaced = asyncio.Event()
    with closing(Offer(sock, settings, sockets, lambda: KNOWN, replaced.set)):
        former = await asyncio.to_thread(receive, settings)
        assert former
        assert former.remembered == KNOWN
        for ours, theirs in zip(former.sockets, sockets, strict=True):
            assert [s.getsockname() for s in ours.udp] == [s.getsockname() for s in theirs.udp]
            assert [s.getsockname() for s in ours.tcp] == [s.getsockname() for s in theirs.tcp]
            assert ours.status
            assert theirs.status
            assert ours.status.getsockname() == theirs.status.getsockname()
        with pytest.raises(CannotListen, match="another one"):
            await asyncio.to_thread(receive, settings)
        assert not replaced.is_set()
        former.end()
        async with asyncio.timeout(5):
            await replaced.wait()
    for each in (*former.sockets, *sockets):
        each.close()
    former.offer.close()


def test_nobody_there() -> None:
    assert receive(Settings(listen=(Listen("127.0.0.1", free_port()),))) is None
