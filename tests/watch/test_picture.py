from pathlib import Path

from resolver.names.model import Network, Sandbox
from resolver.watch.engine import Engine
from resolver.watch.events import Event
from resolver.watch.find import Place
from resolver.watch.picture import Picture, picture, replay
from tests.watch.fake_engine import World
from tests.watch.fake_socket import FakeSocket


def test_the_whole_picture_with_what_is_stopped_and_in_the_order_of_connection(tmp_path: Path) -> None:
    world = World()
    world.create("a", "n3")
    world.start("a")
    world.connect("a", "n2")
    world.connect("a", "n1")
    world.create("b", "n1")
    with FakeSocket(tmp_path / "s", world) as fake:
        fake.buffered = world.events_told
        changes = picture(Engine.reach([Place(fake.url, "")]))
    assert [change.id for change in changes if isinstance(change, Network)] == ["n1", "n2", "n3"]
    one, two = (change for change in changes if isinstance(change, Sandbox))
    assert [endpoint.network for endpoint in one.endpoints] == ["n3", "n2", "n1"]
    assert (two.id, two.state) == ("b", "created")


def test_a_replay_that_does_not_begin_with_the_last_event_heard_has_a_gap(tmp_path: Path) -> None:
    world = World()
    world.create("a", "n1")
    world.rename("a", "b")
    last = Event("container", "create", "a", world.events_told[0]["timeNano"])
    other = Event("container", "create", "x", 17)
    with FakeSocket(tmp_path / "s", world) as fake:
        fake.buffered = world.events_told
        engine = Engine.reach([Place(fake.url, "")])
        now = engine.now() + 1
        events, complete = replay(engine, [last], now)
        assert ([event.action for event in events], complete) == (["rename"], True)
        assert replay(engine, [other], now)[1] is False
        assert replay(engine, [], now)[1] is True
        assert replay(engine, [last], 1) == ([], True)


def test_a_network_that_was_made_anew_under_the_same_name() -> None:
    drawing = Picture()
    drawing.network({"Id": "old", "Name": "prod"})
    drawing.network({"Id": "new", "Name": "prod"})
    drawing.forget_network("old")
    body = {"NetworkSettings": {"Networks": {"prod": {"NetworkID": ""}}}}
    assert drawing.networks_of(body) == ("new",)
