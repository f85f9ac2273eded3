"""The checker itself: histories made by hand, with planted faults it must find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import dns.message
import dns.reversename
import dns.rrset
import pytest

from tests.history.checker import Judgement, judge
from tests.history.record import HOST, NEVER, Asked, Change, Endpoint, History
from tests.oracle.message import Question

if TYPE_CHECKING:
    from tests.history.record import SearchOrder

BOUND: Final = 0.1
ES: Final = Endpoint(("es", "db"), "10.0.0.2")
OTHER: Final = Endpoint(("es",), "10.0.0.3")
ON_B: Final = Endpoint(("es",), "10.0.1.2")


def change(began: float, returned: float, container: str, network: str, after: Endpoint | None) -> Change:
    return Change(began, returned, container, network, after)


ASKER: Final = change(0, 0.1, "asker", "a", Endpoint(("asker",), "10.0.0.9", 1))


def asked(
    at: float,
    name: str,
    *said: str,
    rcode: str = "NOERROR",
    qtype: str = "A",
    took: float = 0.001,
    asker: str = "asker",
    through: str = "",
) -> Asked:
    """A question and the reply it got."""
    question = Question(name, qtype)
    reply = dns.message.make_response(question.query(), recursion_available=True)
    reply.set_rcode(dns.rcode.from_text(rcode))
    if said:
        reply.answer.append(dns.rrset.from_text(reply.question[0].name, 600, "IN", qtype, *said))
    return Asked(asker, question, at, at + took, reply.to_wire(), through)


def judged(*happened: Change | Asked, order: SearchOrder = "connection", bound: float = BOUND) -> Judgement:
    changes = tuple(one for one in happened if isinstance(one, Change))
    questions = tuple(one for one in happened if isinstance(one, Asked))
    return judge(History((ASKER, *changes), questions, order), bound)


def nxdomain(at: float, name: str = "es", took: float = 0.001) -> Asked:
    return asked(at, name, rcode="NXDOMAIN", took=took)


STARTED: Final = change(1, 2, "1", "a", ES)


@pytest.mark.parametrize(
    "one",
    [
        asked(5, "es", "10.0.0.2"),
        asked(5, "es.a", "10.0.0.2"),
        asked(5, "es.a", "10.0.0.2", asker=HOST),
        asked(5, "es", qtype="AAAA"),
        asked(5, "2.0.0.10.in-addr.arpa", "es.a.", qtype="PTR"),
        nxdomain(0.5),
        nxdomain(5, "web"),
        nxdomain(5, "es.b"),
        nxdomain(1.5),
        asked(1.5, "es", "10.0.0.2"),
        asked(0.99, "es", "10.0.0.2", took=0.02),
    ],
    ids=str,
)
def test_true_answers(one: Asked) -> None:
    assert not judged(STARTED, one).wrong


@pytest.mark.parametrize(
    "one",
    [
        asked(5, "es", "10.0.0.3"),
        asked(5, "es", "10.0.0.2", "10.0.0.3"),
        asked(5, "es"),
        asked(5, "es", qtype="AAAA", rcode="NXDOMAIN"),
        asked(5, "es", rcode="SERVFAIL"),
        asked(5, "web"),
        asked(5, "es.b", "10.0.0.2"),
        asked(5, "2.0.0.10.in-addr.arpa", "db.a.", qtype="PTR"),
        asked(0.5, "es", "10.0.0.2"),
        nxdomain(5),
        Asked("asker", Question("es"), 5, NEVER, b""),
    ],
    ids=str,
)
def test_planted_faults_are_found(one: Asked) -> None:
    assert [wrong.asked for wrong in judged(STARTED, one).wrong] == [one]


def test_a_false_nxdomain_is_counted_and_explained() -> None:
    judgement = judged(STARTED, nxdomain(3), nxdomain(0.5), asked(3, "es", "10.0.0.9"))
    assert len(judgement.wrong) == 2
    assert judgement.false_nxdomains == 1
    assert "es db 10.0.0.2" in str(judgement.wrong[0])


def test_lateness_is_measured() -> None:
    judgement = judged(STARTED, nxdomain(2.03), asked(2.04, "es", "10.0.0.2"), asked(3, "es", "10.0.0.2"))
    assert not judgement.wrong
    assert judgement.exposed == pytest.approx([0.03, 0.0], abs=1e-5)
    assert list(judgement.settled.values()) == pytest.approx([0.03], abs=1e-5)


def test_targets_are_met_or_missed() -> None:
    in_time = judged(STARTED, asked(2.01, "es", rcode="NXDOMAIN"), bound=1.0)
    late = judged(STARTED, asked(2.15, "es", rcode="NXDOMAIN"), bound=1.0)
    assert [target.met for target in in_time.targets()] == [True, True, True, False]
    assert [target.met for target in late.targets()] == [False, False, False, False]
    assert not late.wrong
    assert str(late.targets()[1]) == "missed: p99 ≤ 20 ms, by answers: 150.0 ms"


def test_what_the_engine_let_nobody_see_is_not_behind() -> None:
    again = change(2.05, 3, "1", "b", Endpoint(("es", "db"), "10.0.1.2"))
    assert judged(STARTED, nxdomain(2.5), bound=1.0).behind == 1
    assert judged(STARTED, again, nxdomain(2.5), bound=1.0).behind == 0


def test_the_pace_is_between_two() -> None:
    met = [judge(History((), (), calls=calls, seconds=10), BOUND).targets()[3].met for calls in (49, 50, 200)]
    assert met == [False, True, True]


def test_beyond_the_bound_is_wrong() -> None:
    assert judged(STARTED, nxdomain(2.11)).wrong
    assert not judged(STARTED, nxdomain(2.11), bound=0.2).wrong


def test_nobody_can_look_at_a_container_that_is_busy() -> None:
    again = change(2.05, 3, "1", "b", Endpoint(("es", "db"), "10.0.1.2"))
    judgement = judged(STARTED, again, nxdomain(2.5), nxdomain(3.2))
    assert judgement.busy == 1
    assert [wrong.asked.sent for wrong in judgement.wrong] == [3.2]


def test_every_holder_of_an_alias_must_be_there() -> None:
    second = change(3, 4, "2", "a", OTHER)
    assert not judged(STARTED, second, asked(5, "es", "10.0.0.3", "10.0.0.2")).wrong
    assert judged(STARTED, second, asked(5, "es", "10.0.0.2")).wrong
    assert not judged(STARTED, second, asked(3.5, "es", "10.0.0.2")).wrong


def test_a_restart_may_be_away_and_a_rename_may_not() -> None:
    renamed = change(3, 4, "1", "a", Endpoint(("web", "db"), "10.0.0.2"))
    restarted = Change(3, 4, "1", "a", Endpoint(("es", "db"), "10.0.0.2"), gap=True)
    assert judged(STARTED, renamed, nxdomain(3.5, "db")).wrong
    assert not judged(STARTED, restarted, nxdomain(3.5, "db")).wrong
    assert judged(STARTED, restarted, nxdomain(4.5, "db")).wrong


def test_the_network_searched_first_decides() -> None:
    both = change(0.2, 0.3, "asker", "0", Endpoint(("asker",), "10.0.1.9", 2))
    elsewhere = change(1, 2, "2", "0", ON_B)
    assert not judged(both, STARTED, elsewhere, asked(5, "es", "10.0.0.2")).wrong
    assert judged(both, STARTED, elsewhere, asked(5, "es", "10.0.1.2")).wrong
    assert judged(both, STARTED, elsewhere, asked(5, "es", "10.0.0.2", "10.0.1.2")).wrong
    assert not judged(both, STARTED, elsewhere, asked(5, "es", "10.0.1.2"), order="engine").wrong


def test_an_asker_that_comes_to_a_network() -> None:
    coming = change(3, 4, "asker", "b", Endpoint(("asker",), "10.0.1.9", 2))
    there = change(1, 2, "2", "b", Endpoint(("web",), "10.0.1.2"))
    assert judged(there, coming, asked(2.5, "web", "10.0.1.2")).wrong
    assert not judged(there, coming, asked(3.5, "web", "10.0.1.2")).wrong
    assert not judged(there, coming, nxdomain(3.5, "web")).wrong
    assert judged(there, coming, nxdomain(4.5, "web")).wrong


def test_from_an_address_not_yet_known_one_network_is_seen() -> None:
    coming = change(3, 4, "asker", "b", Endpoint(("asker",), "10.0.1.9", 2))
    newcomer = asked(3.5, "es", rcode="NXDOMAIN", through="b")
    assert not judged(STARTED, coming, newcomer).wrong
    assert judged(STARTED, coming, newcomer).newcomers == 1
    assert judged(STARTED, coming, asked(3.5, "es", rcode="NXDOMAIN")).wrong
    assert judged(STARTED, coming, asked(4.5, "es", rcode="NXDOMAIN", through="b")).wrong


def test_silence_on_a_network_just_left_is_no_fault() -> None:
    judgement = judged(STARTED, Asked("asker", Question("es"), 5, NEVER, b"", "b"))
    assert judgement.lost == 1
    assert not judgement.wrong


def test_a_datagram_that_was_lost_is_counted_and_silence_is_a_fault() -> None:
    lost = Asked("asker", Question("es"), 5, NEVER, b"", repeated=True)
    judgement = judged(STARTED, lost, asked(7, "es", "10.0.0.2"))
    assert (judgement.dropped, judgement.answers, judgement.wrong) == (1, 1, [])
    assert judged(STARTED, Asked("asker", Question("es"), 5, NEVER, b"")).silent == 1
