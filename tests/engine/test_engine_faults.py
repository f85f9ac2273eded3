"""A real engine, our own, that is killed, hangs, goes away and comes back; and a bad connection to it.

What was known goes on being answered, ``check`` says since when it is old, and once the engine is back one
picture makes it right.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import pytest

from lab.apart import Apart
from lab.packages import can_install
from lab.served import Served
from lab.topology import Lab
from resolver.names.changes import Engine as EngineLine
from resolver.names.changes import Gone
from resolver.settings import Listen
from resolver.show.check import NotReadyError, read_status
from resolver.watch import audit, follow, session
from resolver.watch.engine import Engine
from tests.engine.between import Between, Fault
from tests.faults.running import HOST, ask_udp, free_port, question
from tests.watch.followed import Followed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

NETWORK = "net"
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


class World:
    """An engine apart with a container ``es`` on a network."""

    def __init__(self, engine: Apart) -> None:
        self.engine, self.lab = engine, Lab(engine.url)
        self.lab.network(NETWORK)
        self._named = {self.lab.container(name, network=NETWORK): name for name in ("es", "other")}

    def as_it_was(self) -> None:
        """Both run, under their names."""
        for identity, name in self._named.items():
            if self.lab.name(identity) != name:
                self.lab.rename(identity, name)
            self.lab.start(identity)

    def address(self, name: str) -> str:
        """On the network."""
        return self.lab.address(name, NETWORK)

    def running(self) -> set[str]:
        """Names of the containers that run, as the engine says."""
        return {each["Names"][0].removeprefix("/") for each in self.lab.api.containers()}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if not can_install():
        pytest.skip("an engine to be killed is started by root on Debian or Ubuntu only")
    with Apart() as engine:
        one = World(engine)
        yield one
        one.lab.api.close()


@pytest.fixture(autouse=True)
def as_it_was(world: World) -> None:
    """Whatever the last test did."""
    world.as_it_was()


class Resolver:
    """Ours as a process, and a client that asks for ``es`` all the time."""

    def __init__(self, engine: str) -> None:
        self.port = free_port()
        flags = (f"--listen={HOST}:{self.port}", f"--engine={engine}", "--upstream=127.0.0.1:9")
        self.served = Served(*flags, prefix=UNPRIVILEGED)
        self.said: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)

    def __enter__(self) -> Self:
        self.served.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self.served.__exit__(kind, error, trace)

    def _ask_on(self) -> None:
        while not self._done.is_set():
            self.said.append(self.ask("es"))
            time.sleep(0.02)

    def ask(self, name: str) -> str:
        """The address, else the rcode."""
        reply = ask_udp((HOST, self.port), question(f"{name}.{NETWORK}"))
        return socket.inet_ntoa(reply[-4:]) if reply[6:8] == b"\0\1" else f"rcode {reply[3] & 15}"

    def stale(self) -> dict[str, float] | None:
        """What the status says of it; raises NotReadyError where there is none."""
        status = read_status(Listen(HOST, self.port))
        assert status["ready"] is True
        stale: dict[str, float] | None = status["stale"]
        return stale

    def why(self) -> str:
        """What the status says of the engine."""
        return str(read_status(Listen(HOST, self.port))["engine"]["why"])

    def until(self, reached: Callable[[], object], seconds: float = 25.0) -> None:
        """Wait for it."""
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, self.served.log[-2000:]
            time.sleep(0.02)

    def becomes_stale(self, since: float) -> None:
        """The engine was taken away after that moment."""
        self.until(self.stale)
        stale = self.stale()
        assert stale is not None
        assert since - 0.1 <= stale["since"] <= time.time() - stale["seconds"] + 0.1
        assert "the table is stale since" in (line := self.served.check().stdout)
        assert line.startswith("ready")


def in_order(said: list[str]) -> list[str]:
    """What was said, one after the other, each once."""
    return [said[0], *(now for before, now in pairwise(said) if now != before)] if said else []


@pytest.fixture(scope="module")
def direct(world: World) -> Iterator[Resolver]:
    with Resolver(world.engine.url) as one:
        yield one


# The engine goes away


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_with_live_restore_nothing_changes(world: World, direct: Resolver, how: str) -> None:
    """Containers go on running without their engine, and being answered."""
    if how == "stop":
        world.engine.kill()
        world.engine.start(live_restore=True)
        direct.until(lambda: direct.stale() is None)
    address = world.address("es")
    direct.said.clear()
    began = time.time()
    world.engine.kill() if how == "kill" else world.engine.stop()
    direct.becomes_stale(began)
    time.sleep(1)
    world.engine.start(live_restore=True)
    direct.until(lambda: direct.stale() is None)
    name = f"after-{how}"
    world.lab.container(name, network=NETWORK)
    direct.until(lambda: direct.ask(name) == world.address(name))
    assert in_order(direct.said) == [address]
    assert direct.served.log.count("the answering process died") == 0


def test_killed_and_started_again(world: World, direct: Resolver) -> None:
    """Without live-restore the engine ends its containers when it comes back: until then they are there."""
    address = world.address("es")
    direct.said.clear()
    began = time.time()
    world.engine.kill()
    direct.becomes_stale(began)
    assert set(direct.said) == {address}
    world.engine.start()
    direct.until(lambda: direct.stale() is None)
    assert world.running() == set()
    direct.until(lambda: direct.said[-1] != address)
    world.lab.start("es")
    address_now = world.address("es")
    direct.until(lambda: direct.said[-1] == address_now)
    gone = in_order(direct.said)[1]
    assert in_order(direct.said) == [address, gone, address_now], "and nothing in between"
    assert gone.startswith("rcode")


def test_a_socket_that_is_gone_and_comes_back(world: World, tmp_path: Path) -> None:
    """And one we may no longer open, until we may again. What happens meanwhile is seen afterwards."""
    with Between(world.engine.socket, tmp_path / "s") as between, Resolver(between.url) as ours:
        address = world.address("es")
        began = time.time()
        between.vanish()
        ours.becomes_stale(began)
        ours.until(lambda: "there is no such socket" in ours.why())
        world.lab.kill("other")
        between.listen()
        ours.until(lambda: ours.stale() is None)
        ours.until(lambda: ours.ask("other").startswith("rcode"))
        assert between.place
        between.place.chmod(0)
        began = time.time()
        between.cut()
        ours.becomes_stale(began)
        ours.until(lambda: "permission denied" in ours.why())
        world.lab.start("other")
        between.place.chmod(0o600)
        ours.until(lambda: ours.stale() is None)
        ours.until(lambda: ours.ask("other") == world.address("other"))
        assert in_order(ours.said) == [address]
        with pytest.raises(NotReadyError):
            read_status(Listen(HOST, 1))


# The connection to it; in this process, and faster than usual


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(session, "AUDIT", 0.3)
    monkeypatch.setattr(audit, "UNDER_WAY", 0.3)
    monkeypatch.setattr(Engine, "reach", partial(Engine.reach, timeout=2))


def alive(followed: Followed) -> set[str]:
    """Names of the containers with an address."""
    sandboxes = followed.book.sandboxes.values()
    return {one.name for one in sandboxes if any(e.alive for e in one.endpoints)}


async def away(followed: Followed, world: World, end: Callable[[], None]) -> None:
    """The engine has just been taken away, and comes back with ``end``."""
    before = alive(followed)
    hung = time.time()
    await followed.until(lambda: followed.states()[-1] == "lost")
    lost = [c for c in followed.told if isinstance(c, EngineLine)][-1]
    assert lost.at <= hung + 0.1
    await asyncio.sleep(0.5)
    assert alive(followed) == before
    followed.told.clear()
    end()
    await followed.until(lambda: followed.states() and followed.states()[-1] == "reached")
    assert alive(followed) == before
    assert not [change for change in followed.told if isinstance(change, Gone)]


@pytest.mark.usefixtures("quick")
async def test_an_engine_that_hangs(world: World) -> None:
    async with Followed(world.engine.url) as followed:
        await followed.until(lambda: followed.pictures)
        world.engine.hang()
        try:
            await away(followed, world, world.engine.go_on)
        finally:
            world.engine.go_on()


@pytest.mark.usefixtures("quick")
async def test_a_link_that_is_cut_without_a_word(world: World) -> None:
    with Between(world.engine.socket) as between:
        async with Followed(between.url) as followed:
            await followed.until(lambda: followed.pictures)
            between.fault = "deaf"

            def end() -> None:
                between.fault = ""
                between.cut()

            await away(followed, world, end)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", ["drop", "half", "finish", "garble"])
async def test_a_stream_that_is_spoilt(world: World, fault: Fault) -> None:
    """The engine is there all the time: nobody is told of a loss."""
    with Between(world.engine.socket) as between:
        async with Followed(between.url) as followed:
            await followed.until(lambda: followed.pictures)
            await asyncio.sleep(0.2)  # a stream that lives no longer than that is a loss
            between.fault = fault
            name = f"spoilt-{fault}"
            await asyncio.to_thread(world.lab.rename, "other", name)
            await followed.until(lambda: between.left_out)
            await followed.until(lambda: name in alive(followed))
            await asyncio.to_thread(world.lab.rename, name, "other")
            await followed.until(lambda: "other" in alive(followed))
            assert set(followed.states()) == {"reached"}


@pytest.mark.usefixtures("quick")
async def test_a_gap(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """More events than the engine keeps (256) while nobody listens."""
    with Between(world.engine.socket, tmp_path / "s") as between:
        async with Followed(between.url) as followed:
            await followed.until(lambda: followed.pictures)
            between.vanish()
            await followed.until(lambda: followed.states()[-1] == "lost")
            for n in range(130):
                await asyncio.to_thread(world.lab.rename, "other", f"other-{n}")
                await asyncio.to_thread(world.lab.rename, f"other-{n}", "other")
            await asyncio.to_thread(world.lab.rename, "other", "another")
            between.listen()
            await followed.until(lambda: followed.pictures == 2)
            assert "another" in alive(followed)
            assert "other" not in alive(followed)
            assert [r for r in caplog.records if "events were lost" in r.message]
            await asyncio.to_thread(world.lab.rename, "another", "other")


# What is on it


@pytest.mark.usefixtures("quick")
async def test_names_no_dns_can_carry(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Reported once each; the others of the same container are names."""
    odd = ["a..b", "x" * 64, "b\u00fccher", "with space", "y" * 300, ".dot"]
    async with Followed(world.engine.url) as followed:
        await followed.until(lambda: followed.pictures)
        c = await asyncio.to_thread(
            partial(
                world.lab.container,
                "odd",
                network=NETWORK,
                aliases=[*odd, "-x", "plain"],
                hostname="h\u00f6st",
            )
        )
        await followed.until(lambda: "odd" in alive(followed))
        await asyncio.to_thread(world.lab.restart, c)
        await followed.until(lambda: not followed.book.pending and "odd" in alive(followed))
        names = followed.book.sandboxes[c].endpoints[0].names
        assert {"odd", "-x", "plain", *odd} <= set(names)
        reported = [r.__dict__["name_"] for r in caplog.records if "no DNS question can carry" in r.message]
        assert sorted(reported) == sorted([*odd, "h\u00f6st"])
        assert set(followed.states()) == {"reached"}


@pytest.mark.usefixtures("quick")
async def test_many_started_in_a_burst(world: World) -> None:
    """As many as a test can wait for; 500 on a fake engine are in tests/watch/test_faults.py."""
    names = [f"burst-{n}" for n in range(12)]
    start = partial(world.lab.container, network=NETWORK)
    async with Followed(world.engine.url) as followed:
        await followed.until(lambda: followed.pictures)
        with ThreadPoolExecutor(4) as four:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(four, start, name) for name in names))
        returned = time.monotonic()
        await followed.until(lambda: alive(followed) >= set(names))
        print(f"all known {1000 * (time.monotonic() - returned):.0f} ms after the last call")  # noqa: T201 - with -rP
        assert followed.pictures == 1
        await followed.until(lambda: not followed.book.pending)
