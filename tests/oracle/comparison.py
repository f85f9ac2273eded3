"""One look at a topology: every asker asks us and Docker the same, and the replies are compared."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tests.oracle.differences import Difference, expected_reply, plan
from tests.oracle.message import FORWARD, Question, Reply, with_opt
from tests.oracle.situation import Situation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.oracle.asking import Seat
    from tests.oracle.tally import Tally
    from tests.oracle.topology import Container, Topology

BOUND: Final = 0.25
"""Seconds within which our answers must follow what happened."""
_PAUSE: Final = 0.02
_AT_ONCE: Final = 4
"""Askers at the same time."""

Step = tuple[Difference, Question, Question]


@dataclass(frozen=True, slots=True)
class Asker:
    """A container, and from where in it each resolver is asked."""

    container: Container
    docker: Seat
    ours: Seat
    through: str
    """Which of our resolvers, in words."""


@dataclass(frozen=True, slots=True)
class Polled:
    """Our replies to the same questions, again and again: (seconds since the change, replies)."""

    asker: Asker
    questions: tuple[Question, ...]
    polls: tuple[tuple[float, list[Reply]], ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A question we did not answer as we must."""

    asker: Asker
    question: Question
    docker: Reply
    ours: Reply
    expected: Reply
    steps: Sequence[Step]

    def __str__(self) -> str:
        plainer = "".join(f"\n    as Docker {p}   ({d.name})" for d, _, p in self.steps)
        return (
            f"  {self.asker.container.called} asks {self.question} ({self.asker.through}){plainer}"
            f"\n    Docker   {self.docker}\n    ours     {self.ours}\n    expected {self.expected}"
        )


class Comparison:
    """For one engine and one upstream; what it finds goes into the tally."""

    def __init__(self, engine: int, upstream: Seat, tally: Tally) -> None:
        self._engine, self._upstream, self._tally = engine, upstream, tally

    def disagreements(self, topology: Topology, polled: Sequence[Polled]) -> list[Disagreement]:
        """Ask Docker what we were asked, and hold our replies against what it says."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(lambda one: self._compare(topology, one, count=True), polled)
            wrong = [disagreement for some in found for disagreement in some]
        return [d for d in wrong if not self._docker_was_late(topology, d)]

    def _compare(self, topology: Topology, polled: Polled, *, count: bool) -> list[Disagreement]:
        asker, said = polled.asker, dict[Question, Reply]()
        situation = Situation(topology, asker.container, self._engine, said.__getitem__)
        plans = {question: plan(question, situation) for question in polled.questions}
        wanted = dict.fromkeys(q for question in plans for q in (question, *_others(plans[question])))
        once = {q for question, steps in plans.items() if steps for q in (question, *_others(steps)[:-1])}
        once -= {_decisive(question, steps) for question, steps in plans.items()}
        once |= {plain for steps in plans.values() for d, _, plain in steps if d.silent}
        said.update(zip(wanted, asker.docker.ask(list(wanted), once=once), strict=True))
        doubtful = [question for question, steps in plans.items() if steps]
        outside = dict(zip(doubtful, self._upstream.ask(doubtful), strict=True))
        found = []
        for number, (question, steps) in enumerate(plans.items()):
            expected = expected_reply(steps, question, situation) if steps else said[question]
            if expected == FORWARD:
                expected = self._forwarded(question, outside[question], situation)
            history = [(age, replies[number]) for age, replies in polled.polls]
            if history[-1][1] != expected:
                found.append(Disagreement(asker, question, said[question], history[-1][1], expected, steps))
            elif count:
                differ = [d.name for d, _, _ in steps] if expected != said[question] else []
                told = f"{question} after {topology.last}: first {history[0][1]}"
                self._tally.right(differ, _settled(history, expected), told)
        return found

    def _forwarded(self, question: Question, outside: Reply, situation: Situation) -> Reply:
        """What comes back for a question that is not ours."""
        failed = outside.rcode in ("SERVFAIL", "REFUSED")
        return with_opt(Reply("SERVFAIL"), question) if situation.closed or failed else outside

    def _docker_was_late(self, topology: Topology, wrong: Disagreement) -> bool:
        """Whether the same reply of ours is right when Docker is asked once more."""
        again = Polled(wrong.asker, (wrong.question,), ((0.0, [wrong.ours]),))
        late = not self._compare(topology, again, count=False)
        if late:
            self._tally.docker_late(str(wrong))
        return late


def _others(steps: Sequence[Step]) -> list[Question]:
    """What Docker is asked because of them, the plainest question last."""
    beside = [replace(given, qtype="A") for difference, given, _ in steps if difference.needs_a]
    return beside + [plainer for _, _, plainer in steps]


def _decisive(question: Question, steps: Sequence[Step]) -> Question:
    """The question to which Docker's reply counts."""
    return steps[-1][2] if steps else question


def poll(asked: Iterable[tuple[Asker, Sequence[Question]]], since: float) -> list[Polled]:
    """Ask us, again and again until the bound; ``since`` is when something happened last."""
    pairs = [(asker, tuple(dict.fromkeys(questions))) for asker, questions in asked]
    with ThreadPoolExecutor(max(1, len(pairs))) as pool:
        return list(pool.map(lambda pair: _poll(pair[0], pair[1], since), pairs))


def _poll(asker: Asker, questions: tuple[Question, ...], since: float) -> Polled:
    polls = []
    while True:
        age = time.monotonic() - since
        polls.append((age, asker.ours.ask(questions)))
        if age >= BOUND:
            return Polled(asker, questions, tuple(polls))
        time.sleep(_PAUSE)


def _settled(history: Sequence[tuple[float, Reply]], expected: Reply) -> float:
    """When the reply became right and stayed so: 0 where it was right from the first."""
    wrong = [at for at, (_, reply) in enumerate(history) if reply != expected]
    return history[wrong[-1] + 1][0] if wrong else 0.0
