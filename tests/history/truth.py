"""What may be answered at a moment, from the calls that were made. Pure.

Between the beginning of a call and its return, and for a bound after it, both the state before and the state
after it are allowed, for each endpoint by itself: a start brings them one after the other. From then on only
the state after it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.name
import dns.reversename

from tests.history.record import HOST, Asked, Change, Endpoint
from tests.oracle.message import Reply, read_reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.history.record import SearchOrder

Options = frozenset[Endpoint | None]
"""What an endpoint may be at a moment."""
Wanted = tuple[str, str]
"""What a question is about: (``name`` or ``address``, its value)."""

_ABSENT: Final[Options] = frozenset([None])


def while_busy(changes: Sequence[Change], bound: float) -> Iterator[Change]:
    """The same changes, each lasting as long as the engine let nobody look at the container.

    It does not while a call changes one. When the next call follows at once, what the one before it did
    cannot be known sooner than when both are over.
    """
    by_container: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        by_container[change.container].append(change)
    for some in by_container.values():
        some.sort(key=lambda change: change.began)
        for number, change in enumerate(some):
            free = change.returned
            for later in some[number + 1 :]:
                if later.began > free + bound:
                    break
                free = max(free, later.returned)
            yield replace(change, returned=free)


class Timeline:
    """All that happened to one endpoint."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.changes = sorted(changes, key=lambda change: change.began)
        self._begins = [change.began for change in self.changes]
        self._first, self._last = self.changes[0].began, max(change.returned for change in self.changes)

    def options(self, moment: float, bound: float) -> Options:
        """What it may be, as far as one knows who may be late by ``bound``."""
        if moment < self._first:
            return _ABSENT
        if moment > self._last + bound:
            return frozenset([self.changes[-1].after])
        at = bisect_right(self._begins, moment)
        found = {self.changes[at - 1].after}
        for number in range(at - 1, -1, -1):
            change = self.changes[number]
            if change.returned + bound < moment:
                break
            found.add(self.changes[number - 1].after if number else None)
            found |= {None} if change.gap else set()
        return frozenset(found)

    def between(self, begin: float, end: float) -> Iterator[Change]:
        """Changes some of whose duration lies in that time."""
        for change in self.changes:
            if change.began <= end and change.returned >= begin:
                yield change


class Truth:
    """The timelines of all endpoints, found by what a question is about."""

    def __init__(self, changes: Sequence[Change], order: SearchOrder, *, newcomers: bool = True) -> None:
        """``newcomers``: whether an asker may be a stranger on a network it is just coming to."""
        self._order, self._newcomers = order, newcomers
        by_endpoint: dict[tuple[str, str], list[Change]] = defaultdict(list)
        for change in changes:
            by_endpoint[change.container, change.network].append(change)
        timelines = {key: Timeline(some) for key, some in by_endpoint.items()}
        self._networks = sorted({network for _, network in timelines})
        self._of_asker: dict[str, list[tuple[str, Timeline]]] = defaultdict(list)
        self._about: dict[tuple[str, Wanted], list[Timeline]] = defaultdict(list)
        for (container, network), timeline in timelines.items():
            self._of_asker[container].append((network, timeline))
            endpoints = [change.after for change in timeline.changes if change.after]
            wanted: set[Wanted] = {("address", end.address) for end in endpoints}
            wanted |= {("name", name) for end in endpoints for name in end.names}
            for one in wanted:
                self._about[network, one].append(timeline)

    def allows(self, asked: Asked, bound: float) -> bool:
        """Whether the reply was true at some moment between question and reply.

        Between two beginnings of calls less and less is allowed, so that only these moments count.
        """
        begins = (change.began for timeline in self.timelines(asked) for change in timeline.changes)
        moments = {begin for begin in begins if asked.sent < begin <= asked.replied}
        reply = reply_of(asked)
        return any(self._allowed(asked, reply, moment, bound) for moment in (asked.sent, *sorted(moments)))

    def timelines(self, asked: Asked) -> list[Timeline]:
        """All that bears on the reply: the endpoints asked about, and those of the asker."""
        wanted, _ = subject(asked)
        about = [t for network in self._networks for t in self._about.get((network, wanted), ())]
        return about + [timeline for _, timeline in self._of_asker.get(asked.asker, ())]

    def _allowed(self, asked: Asked, reply: Reply, moment: float, bound: float) -> bool:
        wanted, named = subject(asked)
        said = frozenset(record.split()[2].rstrip(".").lower() for record in reply.records)
        for networks in self._views(asked, moment, bound):
            for network in networks:
                if named not in ("", network):
                    continue
                held = [t.options(moment, bound) for t in self._about.get((network, wanted), ())]
                spoken = [_spoken(options, wanted, asked.question.qtype, network) for options in held]
                if reply.rcode == "NOERROR" and _fits(said, spoken):
                    return True
                if not all(None in some for some in spoken):
                    break  # this network knows it for certain: no other is searched
            else:
                if reply.rcode == "NXDOMAIN" and not said:
                    return True
        return False

    def _views(self, asked: Asked, moment: float, bound: float) -> Iterator[list[str]]:
        """The networks that may be searched at that moment, each time in their order.

        A container asks from its new address before any event tells whose it is. It is then a stranger on
        that network, who sees that network and no other. The new one may already be its way to all others.
        """
        if asked.asker == HOST:
            yield self._networks
            return
        own = [(network, t.options(moment, bound)) for network, t in self._of_asker.get(asked.asker, ())]
        if asked.through and self._newcomers:
            yield from ([network] for network, options in own if len(options) > 1)
        for choice in product(*(options for _, options in own)):
            joined = [(end.place, own[at][0]) for at, end in enumerate(choice) if end]
            yield [n for _, n in (sorted(joined) if self._order == "connection" else _by_name(joined))]


def subject(asked: Asked) -> tuple[Wanted, str]:
    """What is asked about, and on which network; an empty one is any."""
    return _subject(asked.question.name, asked.question.qtype)


@cache
def _subject(name: str, qtype: str) -> tuple[Wanted, str]:
    if qtype == "PTR":
        return ("address", dns.reversename.to_address(dns.name.from_text(name))), ""
    first, _, network = name.partition(".")
    return ("name", first), network


def reply_of(asked: Asked) -> Reply:
    """The reply, read by another DNS library; silence is one."""
    return read_reply(asked.packet, asked.question) if asked.packet else Reply()


def _by_name(joined: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return sorted(joined, key=lambda one: one[1])


def _spoken(options: Options, wanted: Wanted, qtype: str, network: str) -> set[str | None]:
    """What an endpoint may put into the reply; None is nothing, empty is that the name exists."""
    kind, value = wanted
    said: set[str | None] = set()
    for end in options:
        if end is None or value not in ((end.address,) if kind == "address" else end.names):
            said.add(None)
        elif kind == "address":
            said.add(f"{end.names[0]}.{network}")
        else:
            said.add(end.address if qtype == "A" else "")
    return said


def _fits(said: frozenset[str], spoken: list[set[str | None]]) -> bool:
    """Whether what was said can be put together from what each endpoint may put in."""
    possible = {one for some in spoken for one in some if one is not None}
    if not said:
        return "" in possible  # the name exists, without records of this type
    return said <= possible and all(None in some or not said.isdisjoint(some - {None}) for some in spoken)
