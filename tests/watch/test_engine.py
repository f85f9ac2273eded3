import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from resolver.watch.engine import Engine, EngineError, EngineUnreachable, NotThere
from resolver.watch.find import Place
from tests.watch.fake_engine import World
from tests.watch.fake_socket import VERSION, FakeSocket


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeSocket]:
    with FakeSocket(tmp_path / "engine.sock", World()) as server:
        yield server


def reach(fake: FakeSocket, timeout: int = 5) -> Engine:
    return Engine.reach([Place(fake.url, "--engine")], timeout)


def test_a_socket_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        EngineUnreachable, match=r"x\.sock \(--engine\): there is no such socket; start the engine"
    ):
        Engine.reach([Place(f"unix://{tmp_path}/x.sock", "--engine")])


def test_no_socket_at_any_of_the_well_known_places(tmp_path: Path) -> None:
    wanted = [Place(f"unix://{tmp_path}/{name}", "") for name in ("a", "b")]
    with pytest.raises(EngineUnreachable, match=r"no engine found at \S+/a, \S+/b; .*--engine"):
        Engine.reach(wanted)


def test_a_socket_nobody_listens_on(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(tmp_path / "x.sock"))
    with pytest.raises(EngineUnreachable, match="nothing listens there"):
        Engine.reach([Place(f"unix://{tmp_path}/none", ""), Place(f"unix://{tmp_path}/x.sock", "")])


def test_a_port_nobody_listens_on() -> None:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(EngineUnreachable, match="nothing listens there"):
        Engine.reach([Place(f"tcp://127.0.0.1:{port}", "DOCKER_HOST")])


def test_an_address_that_is_none() -> None:
    with pytest.raises(EngineUnreachable, match="no address we can use"):
        Engine.reach([Place("ssh://host", "DOCKER_HOST")])


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"null", {"ApiVersion": 5}])
def test_something_else_answers(fake: FakeSocket, body: Any) -> None:
    fake.answers["/version"] = (200, body)
    with pytest.raises(EngineUnreachable):
        reach(fake)


def test_the_second_place_is_taken_when_the_first_is_empty(fake: FakeSocket, tmp_path: Path) -> None:
    engine = Engine.reach([Place(f"unix://{tmp_path}/none", ""), Place(fake.url, "")])
    assert (engine.url, engine.is_podman) == (fake.url, False)


@pytest.mark.parametrize(
    ("said", "spoken"),
    [
        ({"ApiVersion": "1.41"}, "1.41"),
        ({"ApiVersion": "1.45"}, "1.45"),
        ({"ApiVersion": "1.99", "MinAPIVersion": "1.40"}, "1.52"),
        ({"ApiVersion": "1.99", "MinAPIVersion": "1.60"}, "1.60"),
    ],
)
def test_the_version_to_speak(fake: FakeSocket, said: dict[str, str], spoken: str) -> None:
    fake.answers["/version"] = (200, said)
    assert reach(fake).api == spoken


def test_podman_is_known_by_its_components(fake: FakeSocket) -> None:
    fake.answers["/version"] = (200, {**VERSION, "Components": [{"Name": "Podman Engine"}]})
    assert reach(fake).is_podman


def test_the_six_calls_and_no_other(fake: FakeSocket) -> None:
    assert fake.world
    fake.world.create("c", "n1")
    engine = reach(fake)
    engine.ping()
    assert engine.now() == fake.world.clock // 1_000_000_000
    assert [body["Id"] for body in engine.containers()] == ["c"]
    assert engine.container("c")["Name"] == "/name-c"
    assert len(engine.networks()) == 3
    assert engine.network("n1")["Name"] == "one"
    assert list(engine.events("1.0", "2.0")) == []
    assert set(fake.requests) == {
        "GET /version",
        "GET /_ping",
        "GET /containers/json",
        "GET /containers/c/json",
        "GET /networks",
        "GET /networks/n1",
        "GET /events",
    }


def test_what_is_gone(fake: FakeSocket) -> None:
    with pytest.raises(NotThere):
        reach(fake).container("nobody")


@pytest.mark.parametrize(
    "answer", [(500, {"message": "broken"}), (200, b"{"), (200, b"[]"), (200, b"\xff"), (403, b"no")]
)
def test_answers_that_are_none(fake: FakeSocket, answer: tuple[int, Any]) -> None:
    fake.answers["/containers/c/json"] = answer
    with pytest.raises(EngineError):
        reach(fake).container("c")


def test_a_call_that_hangs_is_an_error_of_that_call(fake: FakeSocket) -> None:
    fake.delay["/containers/c/json"] = 3
    engine = reach(fake, timeout=1)
    with pytest.raises(EngineError, match="does not answer in time") as caught:
        engine.container("c")
    assert not isinstance(caught.value, EngineUnreachable)


def subscribed(fake: FakeSocket) -> Iterator[dict[str, Any] | None]:
    stream = reach(fake).events("1.0")
    threading.Thread(target=_when_subscribed, args=(fake,), daemon=True).start()
    return iter(stream)  # type: ignore[arg-type]


def _when_subscribed(fake: FakeSocket) -> None:
    while not fake.subscribers():
        time.sleep(0.005)
    for octets in (b'{"a": 1}\n{"b', b'": 2}\n', b"\n", b"nonsense\n", b"[1]\n", b'{"c": 3}\n{"half"'):
        fake.feed(octets)
    fake.feed(None)


def test_events_cut_anywhere_and_events_that_are_none(fake: FakeSocket) -> None:
    found = list(subscribed(fake))
    assert found[:5] == [{"a": 1}, {"b": 2}, None, None, {"c": 3}]


def test_a_stream_is_closed_from_another_thread(fake: FakeSocket) -> None:
    stream = reach(fake).events("1.0")
    threading.Timer(0.2, stream.close).start()
    began = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - began < 2
    stream.close()


def test_an_engine_that_refuses_the_stream(fake: FakeSocket) -> None:
    fake.answers["/events"] = (403, {"message": "the proxy does not let this through"})
    with pytest.raises(EngineError, match="does not let this through"):
        reach(fake).events("1.0")
