from collections.abc import Iterable

import pytest

from resolver.watch.events import Event
from resolver.watch.order import Order


def told(story: str) -> Order:
    """``create``, ``start``, ``die``, ``destroy`` of container c; ``+a``: connected to a, ``-a``: no more."""
    order = Order()
    for at, word in enumerate(story.split(), 1):
        if word[0] in "+-":
            order.heard(Event("network", "connect" if word[0] == "+" else "disconnect", word[1:], at, "c"))
        else:
            order.heard(Event("container", word, "c", at))
    return order


def places(order: Order, networks: Iterable[str], first: str = "", **interfaces: int) -> str:
    found = order.places("c", {network: network for network in networks}, first, interfaces)
    return "".join(sorted(found, key=lambda network: found[network]))


@pytest.mark.parametrize(
    ("story", "first", "expected"),
    [
        ("", "", "abc"),
        ("", "c", "cab"),
        ("create +c start +b +a", "c", "cba"),
        ("create +c +b +a start", "b", "bac"),
        ("start +c +a +b", "", "cab"),
        ("+c +b start +a", "c", "cba"),
        ("create +c start +b +a die -a -b -c +a +b +c start", "c", "cba"),
        ("create +c start +b +a -a -b -c die +b +a +c start restart", "c", "cba"),
        ("create +c start +b +a -a -b -c +b die +a +c start", "c", "cba"),
        ("create +c start +b +a -b +b", "c", "cab"),
        ("create +a start +b -a +a +c", "a", "bac"),
    ],
)
def test_the_order_events_tell(story: str, first: str, expected: str) -> None:
    assert places(told(story), "abc", first) == expected


def test_our_own_interfaces_tell_what_events_do_not() -> None:
    assert places(Order(), "abc", "c", a=2, b=1) == "cba"


def test_a_network_that_appears_later_was_connected_later() -> None:
    order = Order()
    assert places(order, "b") == "b"
    assert places(order, "ab") == "ba"
    assert places(order, "abc") == "bac"


def test_a_place_is_lost_only_when_an_inspect_no_longer_lists_the_network() -> None:
    order = told("create +c start +b +a")
    assert places(order, "abc", "c") == "cba"
    assert places(order, "ac", "c") == "ca"
    assert places(order, "abc", "c") == "cab"


def test_the_same_events_twice_change_nothing() -> None:
    order = told("create +c start +b +a")
    for at, network in ((4, "b"), (5, "a")):
        order.heard(Event("network", "connect", network, at, "c"))
    assert places(order, "abc", "c") == "cba"


def test_the_next_version_begins_with_what_this_one_knows() -> None:
    """Also where the engine's list of events begins in the middle, or says what is known already."""
    order = told("create +c start +b +a")
    assert places(order, "abc", "c") == "cba"
    later = Order()
    later.recall(order.known())
    assert places(later, "abc", "a") == "cba"
    for at, network in ((4, "b"), (5, "a")):
        later.heard(Event("network", "connect", network, at, "c"))
    assert places(later, "abcd", "a") == "cbad"


def test_a_destroyed_container_is_forgotten() -> None:
    assert places(told("create +c start +b +a destroy"), "abc") == "abc"
    order = told("create +c start +b +a")
    order.forget("c")
    assert places(order, "abc") == "abc"
