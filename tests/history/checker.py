"""Judges every answer of a history, and measures how far behind the true ones were. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from tests.history.record import NEVER
from tests.history.truth import Truth, reply_of, while_busy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.history.record import Asked, Change, History

GOAL: Final = 0.020
"""Seconds after the engine's call returned, for 99 of 100."""
PROMISED: Final = 0.100
"""Seconds after which nobody may be told of what was before."""
PACE: Final = (5.0, 20.0)
"""Calls of the engine a second, between which the history is to be."""
_SHOWN: Final = 3
_AROUND: Final = 2.0
"""Seconds before a wrong answer in which what happened is told."""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, and what happened around it."""

    asked: Asked
    around: tuple[Change, ...]

    def __str__(self) -> str:
        asked = self.asked
        through = f" through {asked.through}" if asked.through else ""
        lines = [f"{asked.asker} asks {asked.question}{through}: {reply_of(asked)}, after {_spell(asked)}"]
        for change in self.around:
            began, returned = change.began - asked.sent, change.returned - asked.sent
            after = f"{' '.join(change.after.names)} {change.after.address}" if change.after else "gone"
            lines.append(
                f"    {began * 1000:+8.1f} … {returned * 1000:+8.1f} ms  {change.call}: "
                f"{change.container} on {change.network} is {after}"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that is aimed at, and that a busy machine may spoil."""

    what: str
    measured: str
    met: bool

    def __str__(self) -> str:
        return f"{'met' if self.met else 'missed'}: {self.what}: {self.measured}"


@dataclass(slots=True)
class Judgement:
    """What came out."""

    history: History
    answers: int = 0
    wrong: list[Told] = field(default_factory=list)
    busy: int = 0
    """Answers beyond the bound, about a container the engine let nobody look at for so long."""
    newcomers: int = 0
    """Answers that are true only for one who is a stranger yet on the network it is coming to."""
    lost: int = 0
    """Questions without reply over a network the asker may just have left."""
    dropped: int = 0
    """Other questions over UDP without reply, where the same question asked once more had one."""
    exposed: list[float] = field(default_factory=list)
    """How late each answer was that was asked for within the bound after a change of what it is about."""
    settled: dict[tuple[float, str, str], float] = field(default_factory=dict)
    """For each such change, how long after its return the state before it was told last."""
    behind: int = 0
    """True answers that were late by more than is promised, the engine's own delay not counted."""

    latest: list[tuple[float, Told]] = field(default_factory=list)
    """The true answers that were furthest behind, the worst first."""

    @property
    def false_nxdomains(self) -> int:
        return sum(reply_of(wrong.asked).rcode == "NXDOMAIN" for wrong in self.wrong)

    @property
    def silent(self) -> int:
        return sum(wrong.asked.replied == NEVER for wrong in self.wrong)

    @property
    def pace(self) -> float:
        """Calls of the engine a second."""
        return self.history.calls / max(self.history.seconds, 1)

    def targets(self) -> tuple[Target, ...]:
        """What is aimed at beside the truth."""
        promised, goal = f"{PROMISED * 1000:.0f} ms", f"{GOAL * 1000:.0f} ms"
        answers, changes = _at(self.exposed, 99), _at(list(self.settled.values()), 99)
        least, most = PACE
        return (
            Target(f"no answer late by more than {promised}", f"{self.behind}", not self.behind),
            Target(f"p99 ≤ {goal}, by answers", f"{answers * 1000:.1f} ms", answers <= GOAL),
            Target(f"p99 ≤ {goal}, by changes", f"{changes * 1000:.1f} ms", changes <= GOAL),
            Target(
                f"{least:g} to {most:g} operations a second", f"{self.pace:.1f}", least <= self.pace <= most
            ),
        )

    def lines(self) -> Iterator[str]:
        """The report."""
        history = self.history
        calls = Counter(change.call.partition(" ")[0] for change in history.changes)
        yield (
            f"{history.calls} calls of the engine in {history.seconds:.0f} s "
            f"({self.pace:.1f} a second), {len(history.surprises)} refused"
        )
        yield "endpoints changed by " + ", ".join(f"{word} {n}" for word, n in calls.most_common())
        yield (
            f"{self.answers} answers checked: {len(self.wrong)} wrong, "
            f"{self.false_nxdomains} of them a false NXDOMAIN, {self.silent} silence; "
            f"{self.lost} lost on a network just left, {self.dropped} elsewhere and answered when asked once "
            f"more, {self.busy} behind a container the engine kept busy, "
            f"{self.newcomers} to an address no event had told of"
        )
        yield f"late, by answers asked just after a change: {_distribution(self.exposed)}"
        yield f"late, by changes: {_distribution(list(self.settled.values()))}"
        yield from map(str, self.targets())
        for wrong in self.wrong[:_SHOWN]:
            yield f"wrong: {wrong}"
        for behind, told in self.latest:
            yield f"{behind * 1000:.1f} ms late: {told}"


def judge(history: History, bound: float) -> Judgement:
    """Hold every answer against the truth; ``bound``: seconds it may be behind."""
    truth = Truth(history.changes, history.order)
    visible = Truth(tuple(while_busy(history.changes, bound)), history.order)
    soon = Truth(tuple(while_busy(history.changes, PROMISED)), history.order)
    found = Judgement(history)
    at_home = Truth(history.changes, history.order, newcomers=False)
    late: list[tuple[float, Asked]] = []
    for asked in history.asked:
        if asked.replied == NEVER and (asked.through or asked.repeated):
            found.lost += bool(asked.through)
            found.dropped += not asked.through
            continue
        found.answers += 1
        faulty = bool(reply_of(asked).faults)
        recent = [] if faulty else _returned_before(truth, asked, bound)
        behind = None if faulty else _behind(truth, asked, recent, bound)
        if behind is None and not faulty and visible.allows(asked, bound):
            found.busy += 1
        elif behind is None:
            found.wrong.append(Told(asked, _around(truth, asked)))
        elif asked.through and not at_home.allows(asked, bound):
            found.newcomers += 1
        elif recent:
            found.exposed.append(behind)
            found.behind += behind > PROMISED and not soon.allows(asked, PROMISED)
            late.append((behind, asked))
            for change in recent:
                key = change.began, change.container, change.network
                age = asked.sent - change.returned
                found.settled[key] = max(found.settled.get(key, 0.0), age if age <= behind else 0.0)
    worst = nlargest(_SHOWN, late, key=itemgetter(0))
    found.latest = [(behind, Told(asked, _around(truth, asked))) for behind, asked in worst if behind > GOAL]
    return found


def _behind(truth: Truth, asked: Asked, recent: Sequence[Change], bound: float) -> float | None:
    """The least lateness that makes the answer a true one; None where the bound does not."""
    if truth.allows(asked, 0.0):
        return 0.0
    if not recent or not truth.allows(asked, bound):
        return None
    ages = sorted(asked.sent - change.returned for change in recent)
    return next((age for age in ages if truth.allows(asked, age + 1e-6)), bound)


def _returned_before(truth: Truth, asked: Asked, bound: float) -> list[Change]:
    """The changes a question may just have come after."""
    return [
        change
        for timeline in truth.timelines(asked)
        for change in timeline.between(asked.sent - bound, asked.sent)
        if change.returned <= asked.sent
    ]


def _around(truth: Truth, asked: Asked) -> tuple[Change, ...]:
    end = asked.sent if asked.replied == NEVER else asked.replied
    found = {c for t in truth.timelines(asked) for c in t.between(asked.sent - _AROUND, end)}
    return tuple(sorted(found, key=lambda change: change.returned))


def _spell(asked: Asked) -> str:
    return "no time" if asked.replied == NEVER else f"{(asked.replied - asked.sent) * 1000:.1f} ms"


def _distribution(late: Sequence[float]) -> str:
    if not late:
        return "none"
    ordered = sorted(late)
    marks = ", ".join(f"p{mark:g} {_at(ordered, mark) * 1000:.1f}" for mark in (50, 90, 99, 99.9))
    over = sum(one > PROMISED for one in ordered)
    goal = sum(one <= GOAL for one in ordered) / len(ordered)
    return (
        f"{len(ordered)}; ms: {marks}, most {ordered[-1] * 1000:.1f}; "
        f"{goal:.2%} within {GOAL * 1000:.0f} ms, {over} beyond {PROMISED * 1000:.0f} ms"
    )


def _at(late: Sequence[float], mark: float) -> float:
    """The lateness that so many of 100 do not exceed; 0 of none."""
    ordered = sorted(late)
    return ordered[min(len(ordered) - 1, int(len(ordered) * mark / 100))] if ordered else 0.0
