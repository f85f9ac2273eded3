"""Questions that wait: looked at again, decided once, in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resolver.serve import waiting
from resolver.serve.waiting import Waiting
from tests.house import Clock


class Desk:
    """Who decides: what is ``known`` at once, the rest when it is final."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.known: set[str] = set()
        self.looked: list[str] = []
        self.decided: list[tuple[str, float, bool]] = []
        self.waiting = Waiting[str](self.clock.loop, self.decide)

    def decide(self, question: str, final: bool) -> bool:
        self.looked.append(question)
        if final or question in self.known:
            self.decided.append((question, self.clock.time(), final))
            return True
        return False

    def add(self, question: str, after: float) -> bool:
        return self.waiting.add(question, self.clock.time() + after)


def test_nothing_is_decided_before_its_time() -> None:
    desk = Desk()
    begin = desk.clock.time()
    for question, after in (("slow", 0.5), ("quick", 0.2)):
        assert desk.add(question, after)
    desk.clock.pass_by(0.1)
    assert desk.decided == []
    desk.clock.pass_by(1)
    assert desk.decided == [("quick", begin + 0.2, True), ("slow", begin + 0.5, True)]
    assert len(desk.waiting) == 0
    assert not desk.clock.timers


def test_a_change_decides_what_is_known_now() -> None:
    desk = Desk()
    desk.add("here", 0.5)
    desk.add("not here", 0.5)
    desk.known.add("here")
    desk.waiting.look_again()
    assert [question for question, _, final in desk.decided if not final] == ["here"]
    assert len(desk.waiting) == 1
    desk.clock.pass_by(1)
    assert [question for question, _, _ in desk.decided] == ["here", "not here"]


def test_the_end_decides_everything() -> None:
    desk = Desk()
    for number in range(3):
        desk.add(str(number), 100)
    desk.waiting.end()
    assert len(desk.decided) == 3
    assert not desk.clock.timers


def test_nobody_waits_beyond_the_bound() -> None:
    desk = Desk()
    for number in range(waiting.MOST):
        assert desk.add(str(number), 1)
    assert not desk.add("one more", 1)
    desk.clock.pass_by(2)
    assert len(desk.decided) == waiting.MOST
    assert desk.add("again", 1)


def test_a_decision_may_add_a_question() -> None:
    """A negative reply of an upstream, at once, to a question that was looked at again."""
    clock = Clock()
    decided: list[str] = []

    def decide(question: str, final: bool) -> bool:
        if question == "first":
            assert box[0].add("second", clock.time() + 0.1)
        decided.append(question)
        return True

    box = [Waiting[str](clock.loop, decide)]
    box[0].add("first", clock.time() + 0.5)
    box[0].look_again()
    assert decided == ["first"]
    assert len(box[0]) == 1
    clock.pass_by(1)
    assert decided == ["first", "second"]


@given(st.lists(st.tuples(st.sampled_from(("add", "look", "pass", "know")), st.integers(1, 9)), max_size=40))
def test_every_question_is_decided_once_and_in_time(steps: list[tuple[str, int]]) -> None:
    desk = Desk()
    deadlines: dict[str, float] = {}
    for number, (step, amount) in enumerate(steps):
        match step:
            case "add":
                deadlines[f"q{number}"] = desk.clock.time() + amount / 10
                desk.add(f"q{number}", amount / 10)
            case "look":
                desk.waiting.look_again()
            case "pass":
                desk.clock.pass_by(amount / 10)
            case "know":
                desk.known.update(list(deadlines)[:amount])
        overdue = {q for q, when in deadlines.items() if when < desk.clock.time()}
        assert overdue <= {q for q, _, _ in desk.decided}
    desk.clock.pass_by(2)
    assert sorted(q for q, _, _ in desk.decided) == sorted(deadlines)
    for question, when, final in desk.decided:
        assert when <= deadlines[question] + 0.001
        assert final or question in desk.known
