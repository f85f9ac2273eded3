"""Whom we answer in, and when: with namespaces that only note what is done to them."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from resolver.names.changes import Change, Gone
from resolver.names.model import Network, Sandbox
from resolver.watch import nftables
from resolver.watch.attach import attacher as module
from resolver.watch.attach.attacher import Attacher, Case
from resolver.watch.attach.attachment import SPARE_TCP, SPARE_UDP, Attachment
from resolver.watch.attach.candidate import LABEL, read_candidate
from resolver.watch.attach.claim import AlreadyAnswered, Claim
from resolver.watch.attach.hatch import Hatch
from resolver.watch.attach.namespace import CannotEnter, Inside
from tests.sockets import until
from tests.watch.attach.stack import given_back, open_descriptors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

WEB, DB = "aa" * 32, "bb" * 32
LIFE = 6.0


class NoClaim(Claim):
    """The namespaces here are none."""

    def __init__(self) -> None:
        self._identity = None


@dataclass(slots=True)
class Seen(Inside):
    """What is inside, and where the engine's resolver is."""

    engine: str = ""


class FakeAttachment(Attachment):
    """Notes what happens to it; its sockets are real."""

    __slots__ = ("fault", "gone", "life", "notes")
    notes: list[str]
    gone: bool
    """Its table is not there any more."""
    fault: CannotEnter | None
    life: float

    @classmethod
    def open(cls, inside: Inside, notes: list[str]) -> FakeAttachment:
        kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_DGRAM)
        udp, tcp, netlink = (socket.socket(socket.AF_INET, kind) for kind in kinds)
        made = cls(7, inside, _servers(inside), (), [udp], [tcp], netlink, NoClaim(), "127.0.0.11:4/5")
        made.notes, made.gone, made.life, made.fault = notes, False, 0.0, None
        return made

    def serves(self, inside: Inside) -> bool:
        return _servers(inside) == self.nameservers

    def engine_in(self, inside: Inside) -> str:
        assert isinstance(inside, Seen)
        return inside.engine

    def renew(self, life: float) -> bool:
        self.notes.append("renewed" if not self.gone else "not renewed")
        self.life = life
        return not self.gone

    def release(self) -> None:
        self.notes.append("released")

    def put_back(self) -> None:
        self.notes.append("put back")
        if self.fault:
            raise self.fault
        self.gone = False

    def spare(self, kinds: Sequence[socket.SocketKind]) -> list[socket.socket]:
        if self.fault:
            raise self.fault
        return [socket.socket(socket.AF_INET, kind) for kind in kinds]

    def remove(self) -> None:
        self.notes.append("removed")

    def close(self) -> None:
        self.notes.append("closed")
        super().close()


def _servers(inside: Inside) -> tuple[str, ...]:
    return tuple(inside.resolv_conf.split())


class World:
    """The namespaces of this host, as ``attacher`` opens them."""

    def __init__(self) -> None:
        self.namespace, self.resolv_conf, self.engine = 1, "127.0.0.11", "127.0.0.11:4/5"
        self.notes: list[str] = []
        self.opened: list[FakeAttachment] = []
        self.cleaned: list[int] = []
        self.left: list[BaseException | bool] = []
        """What cleaning comes to, one after the other."""
        self.failures: list[CannotEnter] = []
        self.gate = threading.Event()
        self.gate.set()

    def look_inside(self, pid: int, container: str) -> Inside:
        del pid, container
        return Seen(-1, (4, self.namespace), self.resolv_conf, self.engine)

    def open_in(self, pid: int, container: str) -> FakeAttachment:
        self.gate.wait(20)
        if self.failures:
            raise self.failures.pop(0)
        self.opened.append(FakeAttachment.open(self.look_inside(pid, container), self.notes))
        self.notes.append("opened")
        return self.opened[-1]

    def clean(self, pid: int, container: str) -> bool:
        del container
        self.cleaned.append(pid)
        outcome = self.left.pop(0) if self.left else False
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Told(Hatch):
    """A hatch that notes what is sent, and how many sockets with it."""

    def __init__(self) -> None:
        super().__init__(lambda _: None, lambda *_: None)
        self.said: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
        assert all(sock.fileno() >= 0 for sock in sockets)
        counted = ("udp", "tcp", "spare_udp", "spare_tcp")
        assert len(sockets) == sum(message.get(kind, 0) for kind in counted)
        self.said.append(message)

    def words(self) -> list[str]:
        return [next(iter(message)) for message in self.said]


class Host:
    """An attacher in this world."""

    def __init__(self, world: World, *selectors: str, workers: int = 1) -> None:
        self.world, self.ready = world, True
        self.attacher = Attacher(selectors, LIFE, workers, ready=lambda: self.ready, fall_back=True)
        self.told = [Told() for _ in range(workers)]
        self.attacher.hatches[:] = self.told

    @property
    def notes(self) -> list[str]:
        """What was done since this was last asked."""
        notes, self.world.notes[:] = self.world.notes[:], []
        return notes

    def case(self, identity: str = WEB) -> Case:
        return self.attacher.cases[identity]

    async def rest(self) -> None:
        """Until nothing is being done, but for what lingers."""
        for _ in range(3):
            await until(lambda: all("_close_later" in repr(task) for task in self.attacher._tasks))
            await asyncio.sleep(0)

    async def seen(self, identity: str = WEB, name: str = "web", pid: int = 7, **said: Any) -> None:
        self.attacher.seen(inspect(identity, name, pid, **said))
        await self.rest()

    async def heard(self, *changes: Change) -> None:
        self.attacher.heard(changes)
        await self.rest()


def inspect(identity: str, name: str, pid: int, label: str = "", mode: str = "dev") -> dict[str, Any]:
    return {
        "Id": identity,
        "Name": f"/{name}",
        "State": {"Status": "running" if pid else "exited", "Pid": pid},
        "Config": {"Labels": {LABEL: label} if label else {}},
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"Networks": {"dev": {}}},
    }


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    for name in ("look_inside", "open_in", "clean"):
        monkeypatch.setattr(module, name, getattr(world, name))
    monkeypatch.setattr(module, "RETRY", 0.001)
    return world


@pytest.fixture
async def host(world: World) -> AsyncIterator[Host]:
    """Attached to all; at the end no task, no descriptor and no rule is left."""
    before = open_descriptors()
    host = Host(world, "all")
    yield host
    world.gate.set()
    await end(host)
    gc.collect()
    assert given_back(before)


async def end(host: Host) -> None:
    """As the watching process ends it."""
    host.attacher.release()
    await host.attacher.close()
    await until(lambda: not host.attacher._tasks)
    assert host.world.notes.count("closed") <= len(host.world.opened)
    await until(lambda: all(attachment.netlink.fileno() == -1 for attachment in host.world.opened))


ATTACHED = ["opened", "renewed"]
GONE = ["released", "removed", "closed"]


async def test_what_closes_sockets_is_begun_before_any_namespace_is_entered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nftables, "_closing", [])
    host = Host(world, "none")
    assert nftables._closing
    await end(host)


async def test_a_container_that_runs_is_attached_to(host: Host) -> None:
    await host.seen()
    assert host.notes == ATTACHED
    assert host.world.opened[0].life == LIFE
    assert host.told[0].said == [
        {
            "attached": WEB,
            "engine": "127.0.0.11:4/5",
            "udp": 1,
            "tcp": 1,
            "spare_udp": SPARE_UDP,
            "spare_tcp": SPARE_TCP,
        }
    ]
    await host.seen()
    assert host.notes == [], "once is enough"
    assert len(host.told[0].said) == 1


async def test_nothing_is_received_before_somebody_answers(host: Host) -> None:
    host.ready = False
    await host.seen()
    assert host.notes == ["opened"]
    renewing = asyncio.create_task(host.attacher.renew())
    await asyncio.sleep(0.1)
    assert host.notes == []
    host.ready = True
    await until(lambda: "renewed" in host.world.notes)
    renewing.cancel()
    await asyncio.wait([renewing])


async def test_without_falling_back_the_engine_is_not_told_of(host: Host) -> None:
    host.attacher._fall_back = False
    await host.seen()
    assert host.told[0].said[0]["engine"] == ""


async def test_a_restarted_container_is_attached_to_anew(host: Host) -> None:
    await host.seen()
    await host.heard(Sandbox(WEB, "web", state="exited"))
    host.world.namespace = 2
    await host.seen(pid=8)
    assert host.notes == [*ATTACHED, *GONE, *ATTACHED]
    assert host.told[0].words() == ["attached", "detached", "attached"]


async def test_another_namespace_is_noticed_without_word_of_the_end(host: Host) -> None:
    """And what lingers of the old one does not remove what is the new one's."""
    await host.seen()
    host.world.namespace = 2
    await host.seen(pid=8)
    assert host.notes == [*ATTACHED, "released", *ATTACHED]
    host.attacher._closing.set()
    await until(lambda: not host.attacher._tasks)
    assert host.notes == ["closed"]
    assert host.told[0].words() == ["attached", "attached"]


async def test_an_engine_that_was_restarted_has_other_ports(host: Host) -> None:
    """It is told of, and nothing is opened anew."""
    await host.seen()
    host.world.engine = "127.0.0.11:6/7"
    for _ in range(2):
        await host.seen()
    assert len(host.world.opened) == 1
    assert host.told[0].said[1:] == [{"moved": WEB, "engine": "127.0.0.11:6/7"}]
    host.attacher.opened(host.told[0])
    await until(lambda: len(host.told[0].said) == 3)
    assert host.told[0].said[2]["engine"] == "127.0.0.11:6/7"


async def test_other_nameservers_are_noticed(host: Host) -> None:
    await host.seen()
    host.world.resolv_conf = "127.0.0.11 192.0.2.1"
    await host.seen()
    assert host.notes == [*ATTACHED, "released", *ATTACHED]
    attachment = host.case().attachment
    assert attachment is not None
    assert attachment.nameservers == ("127.0.0.11", "192.0.2.1")


@pytest.mark.parametrize(
    "change", [Gone("container", WEB), *(Sandbox(WEB, "web", state=s) for s in ("exited", "dead", "created"))]
)
async def test_a_container_that_ends_is_let_go_at_once(host: Host, change: Change) -> None:
    await host.seen()
    await host.heard(change)
    assert host.notes == [*ATTACHED, *GONE]
    assert host.told[0].words()[-1] == "detached"
    assert (WEB in host.attacher.cases) == isinstance(change, Sandbox)
    await host.heard(change)
    assert host.notes == []


async def test_what_is_said_of_others_changes_nothing(host: Host) -> None:
    await host.seen()
    await host.heard(
        Gone("network", WEB), Gone("container", DB), Sandbox(DB, "db", state="exited"), Network("n", "dev"),
        Sandbox(WEB, "web", state="running"), Sandbox(WEB, "web", state="paused"),
    )  # fmt: skip
    assert host.notes == ATTACHED


async def test_replies_under_way_find_our_sockets_open(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    await host.seen()
    assert await host.attacher.say("web", attach=False) is host.case()
    assert host.notes == [*ATTACHED, "released"]
    assert host.told[0].words() == ["attached"], "the answering process still has them"
    assert host.world.opened[0].netlink.fileno() >= 0
    monkeypatch.setattr(module, "LINGER", 0.0)
    await host.attacher.say("web", attach=True)
    await host.attacher.say("web", attach=False)
    await until(lambda: "removed" in host.world.notes)
    assert host.told[0].words()[-1] == "detached"


async def test_what_lingers_is_removed_when_we_end(host: Host) -> None:
    await host.seen()
    await host.attacher.say("web", attach=False)
    await end(host)
    assert host.notes == [*ATTACHED, *GONE]


async def test_what_is_being_opened_when_we_end_is_removed(host: Host) -> None:
    host.world.gate.clear()
    host.attacher.seen(inspect(WEB, "web", 7))
    for _ in range(5):
        await asyncio.sleep(0)
    host.attacher.release()
    closing = asyncio.create_task(host.attacher.close())
    await asyncio.sleep(0)
    host.world.gate.set()
    await closing
    assert host.notes == ["opened", *GONE], "and never made live"


async def test_who_asks_and_goes_away_does_not_break_it_off(host: Host) -> None:
    await host.seen(label="false")
    host.world.gate.clear()
    asking = asyncio.create_task(host.attacher.say("web", attach=True))
    for _ in range(5):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    host.world.gate.set()
    await host.rest()
    assert host.notes == ATTACHED
    assert host.case().attachment


async def test_another_resolver_is_waited_for(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """However long it takes, and told once."""
    host.world.failures = [AlreadyAnswered() for _ in range(5)]
    host.attacher.seen(inspect(WEB, "web", 7))
    await until(lambda: bool(host.world.opened))
    await host.rest()
    assert host.notes == ATTACHED
    assert host.case().why == ""
    assert warnings(caplog) == [
        "web is not attached: another resolver answers there, or did until a moment ago"
    ]


async def test_a_failure_that_passes_is_not_told(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """A container that is just being started, or ending."""
    host.world.failures = [CannotEnter("it is odd")]
    host.attacher.seen(inspect(WEB, "web", 7))
    await until(lambda: bool(host.world.opened))
    await host.rest()
    assert host.notes == ATTACHED
    assert warnings(caplog) == []


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_the_second_failure_is_told_and_no_third_try_made(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.world.failures = [CannotEnter("it is odd") for _ in range(3)]
    host.attacher.seen(inspect(WEB, "web", 7))
    await until(lambda: len(host.world.failures) == 1)
    await host.rest()
    await asyncio.sleep(0.02)
    assert len(host.world.failures) == 1
    assert warnings(caplog) == ["web is not attached: it is odd"]
    assert host.case().why == "it is odd"
    host.world.failures.clear()
    await host.seen()
    assert host.notes == ATTACHED, "what the engine says next is a reason to try again"


async def test_a_table_that_is_gone_is_put_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    await host.seen()
    await host.seen(DB, "db", 9)
    monkeypatch.setattr(host.attacher, "_life", 0.01)
    host.world.opened[0].gone = True
    host.world.notes.clear()
    renewing = asyncio.create_task(host.attacher.renew())
    await until(lambda: host.world.notes.count("renewed") > 4)
    renewing.cancel()
    await asyncio.wait([renewing])
    await host.rest()
    assert host.notes.count("put back") == 1


async def test_one_whose_table_cannot_be_put_back_does_not_hold_up_others(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.seen()
    await host.seen(DB, "db", 9)
    monkeypatch.setattr(host.attacher, "_life", 0.01)
    host.world.opened[0].gone, host.world.opened[0].fault = True, CannotEnter("it is odd")
    turn = host.case().turn
    await turn.acquire()
    before = host.world.notes.count("renewed")
    renewing = asyncio.create_task(host.attacher.renew())
    await until(lambda: host.world.notes.count("renewed") > before + 2)
    turn.release()
    await until(lambda: host.case().why == "it is odd")
    renewing.cancel()
    await asyncio.wait([renewing])
    await host.rest()


async def test_a_new_answering_process_is_given_everything_again(world: World) -> None:
    """Each container to the one of them that answers in it."""
    host = Host(world, "all", workers=2)
    for identity in (WEB, DB, "ab" * 32):
        await host.seen(identity, identity[:2], 7)
    asked = [[m["attached"] for m in told.said if "attached" in m] for told in host.told]
    assert sorted(i for each in asked for i in each) == sorted((WEB, DB, "ab" * 32))
    assert all(asked)
    for told in host.told:
        told.said.clear()
    host.attacher.opened(host.told[0])
    await host.rest()
    assert [m["attached"] for m in host.told[0].said if "attached" in m] == asked[0]
    assert host.told[1].said == []
    await end(host)


async def test_one_more_socket_is_sent_when_it_is_wanted(host: Host) -> None:
    await host.seen()
    host.told[0].said.clear()
    for identity, kind in ((WEB, "udp"), (WEB, "tcp"), (DB, "udp")):
        host.attacher.more(host.told[0], identity, kind)
        await host.rest()
    assert host.told[0].said == [
        {"spare": WEB, "spare_udp": 1, "spare_tcp": 0},
        {"spare": WEB, "spare_udp": 0, "spare_tcp": 1},
    ]
    host.world.opened[0].fault = CannotEnter("it has ended")
    host.attacher.more(host.told[0], WEB, "udp")
    await host.rest()
    assert len(host.told[0].said) == 2


async def test_other_selectors(host: Host) -> None:
    await host.seen()
    await host.seen(DB, "db", 9)
    assert host.notes == ATTACHED * 2
    host.attacher.choose(("name=web",))
    await host.rest()
    assert host.notes == ["released"]
    assert [bool(host.case(i).attachment) for i in (WEB, DB)] == [True, False]
    host.attacher.choose(("not:name=web",))
    await host.rest()
    assert [bool(host.case(i).attachment) for i in (WEB, DB)] == [False, True]
    host.attacher.choose(())
    await host.rest()
    assert not host.case(DB).attachment


async def test_a_word_counts_more_than_a_label_and_a_label_more_than_selectors(host: Host) -> None:
    await host.seen(label="false")
    assert host.notes == []
    await host.attacher.say("web", attach=True)
    assert host.notes == ATTACHED
    host.attacher.choose(("not:name=web",))
    await host.rest()
    assert host.notes == []
    await host.seen(label="true")
    await host.attacher.say("web", attach=False)
    assert host.notes == ["released"]
    await host.seen(label="true")
    assert host.notes == []


async def test_no_word_moves_what_can_never_be(host: Host) -> None:
    await host.seen(mode="host")
    case = await host.attacher.say("web", attach=True)
    assert case is host.case()
    assert host.notes == []
    assert "never touched" in case.why
    assert host.world.cleaned == [], "the host's network stack is not even looked at"


async def test_names(host: Host) -> None:
    await host.seen("aa11" * 16, "web")
    await host.seen("aa22" * 16, "aa11")
    find = host.attacher.named
    assert [c and c.candidate.name for c in map(find, ("web", "aa11" * 16, "aa11a", "aa2", "aa22"))] == [
        "web", "web", "web", None, "aa11"
    ]  # fmt: skip
    named = find("aa11")
    assert named is not None
    assert named.candidate.name == "aa11", "a name counts more than the beginning of an id"
    assert await host.attacher.say("nobody", attach=True) is None


async def test_what_an_earlier_run_left_is_looked_for_once(host: Host) -> None:
    host.attacher.choose(())
    for _ in range(3):
        await host.seen()
    assert host.world.cleaned == [7]
    await host.seen(DB, "db", 9, mode="container:" + WEB)
    await host.heard(Sandbox(WEB, "web", state="exited"))
    assert host.world.cleaned == [7]


async def test_what_is_still_live_is_looked_at_again_when_it_can_have_run_out(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then no more: it is another resolver's."""
    host.attacher.choose(())
    monkeypatch.setattr(host.attacher, "_life", 0.001)
    host.world.left = [AlreadyAnswered(), AlreadyAnswered()]
    await host.seen()
    await until(lambda: host.world.cleaned == [7, 7])
    await asyncio.sleep(0.02)
    await host.seen()
    assert host.world.cleaned == [7, 7]


async def test_after_the_release_nothing_is_renewed(host: Host) -> None:
    await host.seen()
    host.attacher.release()
    await host.seen(DB, "db", 9)
    await host.seen()
    assert "renewed" not in host.notes[2:]


def test_stopped_keeps_the_rest() -> None:
    candidate = read_candidate(inspect(WEB, "web", 7, "true"))
    assert module._stopped(candidate) == replace(candidate, pid=0)
