import pytest

from resolver.names.changes import Gone, Pending
from resolver.watch.events import (
    Event,
    Inspect,
    Inspections,
    Renamed,
    Running,
    Step,
    Withdraw,
    read_event,
    steps,
)


def container(action: str) -> Event:
    return Event("container", action, "c", 5)


def network(action: str) -> Event:
    return Event("network", action, "n", 5, "c" if "connect" in action else "")


@pytest.mark.parametrize(
    ("event", "running", "expected"),
    [
        (container("create"), None, (Inspect("container", "c", soon=True),)),
        (container("start"), False, (Inspect("container", "c"),)),
        (container("start"), None, (Pending("c"), Inspect("container", "c"))),
        (container("restart"), True, (Inspect("container", "c"),)),
        (container("rename"), True, (Inspect("container", "c"),)),
        (
            Event("container", "rename", "c", 5, name="new", old="old"),
            True,
            (Renamed("c", "new", "old"), Inspect("container", "c")),
        ),
        (container("pause"), True, (Inspect("container", "c"),)),
        (container("die"), True, (Withdraw("c", "", 5), Inspect("container", "c", soon=True))),
        (container("destroy"), False, (Gone("container", "c"),)),
        (network("connect"), False, (Pending("c", ("n",)),)),
        (network("connect"), True, (Pending("c", ("n",)), Inspect("container", "c"))),
        (network("connect"), None, (Pending("c", ("n",)), Inspect("container", "c"))),
        (network("disconnect"), True, (Withdraw("c", "n", 5), Inspect("container", "c"))),
        (network("disconnect"), False, (Withdraw("c", "n", 5), Inspect("container", "c", soon=True))),
        (network("create"), None, (Inspect("network", "n"),)),
        (network("update"), None, (Inspect("network", "n"),)),
        (network("destroy"), None, (Gone("network", "n"),)),
    ],
)
def test_what_follows(event: Event, running: bool | None, expected: tuple[Step, ...]) -> None:
    assert steps(event, running) == expected


@pytest.mark.parametrize(
    "action",
    [
        "exec_create: sh -c x",
        "exec_start: sh",
        "health_status: healthy",
        "top",
        "kill",
        "stop",
        "oom",
        "resize",
        "prune",
    ],
)
def test_what_means_nothing(action: str) -> None:
    assert steps(container(action), True) == ()


def test_an_event_without_the_old_fields() -> None:
    body = {
        "Type": "network",
        "Action": "connect",
        "Actor": {"ID": "n", "Attributes": {"container": "c", "name": "wa", "type": "bridge"}},
        "scope": "local",
        "time": 1795231797,
        "timeNano": 1795231797400641058,
    }
    event = read_event(body)
    assert event == Event("network", "connect", "n", 1795231797400641058, "c")


def test_a_rename_says_the_new_name() -> None:
    """As 20.10 sends it. No other event's name is taken for one."""
    attributes = {"image": "x", "name": "new", "oldName": "/old"}
    body = {"Type": "container", "Action": "rename", "Actor": {"ID": "c", "Attributes": attributes}}
    assert read_event(body) == Event("container", "rename", "c", 0, name="new", old="old")
    assert read_event({**body, "Action": "pause"}) == Event("container", "pause", "c", 0)


def test_podmans_words() -> None:
    assert read_event({"Type": "container", "Action": "died", "Actor": {"ID": "c"}}) == Event(
        "container", "die", "c", 0
    )
    connected = {
        "Type": "network",
        "Action": "connect",
        "Actor": {"ID": "c", "Attributes": {"containerExitCode": "0", "image": "", "name": "x", "podId": ""}},
    }
    event = read_event(connected)
    assert event == Event("container", "connect", "c", 0), "4.3 does not say to which network"
    assert steps(event, True) == (Inspect("container", "c"),)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Type": "image", "Action": "pull", "Actor": {"ID": "x"}},
        {"Type": "container", "Action": "start", "Actor": None},
        {"Type": "container", "Action": 7, "Actor": {"ID": "x"}},
        {"Type": "container", "Action": "start", "Actor": {"ID": 7}},
    ],
)
def test_what_is_no_event_for_us(body: dict[str, object]) -> None:
    assert read_event(body) is None


def test_running() -> None:
    running = Running()
    assert running.of("c") is None
    for action, expected in (
        ("create", False),
        ("start", True),
        ("pause", True),
        ("die", False),
        ("destroy", None),
    ):
        running.heard(container(action))
        assert running.of("c") is expected
    running.seen("c", True)
    assert running.of("c") is True


def test_one_inspection_at_a_time() -> None:
    inspections = Inspections()
    assert inspections.wanted("container", "c")
    assert not inspections.wanted("container", "c")
    assert not inspections.wanted("container", "c")
    assert inspections.wanted("network", "c")
    assert inspections.stale("container", "c")
    assert inspections.finished("container", "c")
    assert not inspections.stale("container", "c")
    assert not inspections.finished("container", "c")
    assert inspections.wanted("container", "c")
