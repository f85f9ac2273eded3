"""Where our answer is not to be Docker's, one by one, and what it is to be instead.

A difference either names the reply itself, or a *plain* question, which Docker answers as we must: ``es.DEV``
is to be answered as Docker answers ``es.dev``. So Docker stays the oracle where we differ too. Differences
stack: each makes the question plainer for the next, and the reply comes back through them in reverse order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.oracle import plainer
from tests.oracle.message import FORWARD, Question, Reply

if TYPE_CHECKING:
    from tests.oracle.situation import Situation

NEVER: Final = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """One of them. ``plain`` gives None where it does not apply; ``expected`` makes our reply of Docker's."""

    name: str
    why: str
    plain: plainer.Plain
    expected: plainer.Expected
    until: int = NEVER
    """The first engine (major version) without this difference."""
    silent: bool = False
    """Whether Docker may say nothing to the question."""
    needs_a: bool = False
    """Whether ``expected`` looks at what Docker says to the same question of type A."""
    last: bool = False
    """Whether it decides alone: no other difference counts then."""


def plan(question: Question, situation: Situation) -> list[tuple[Difference, Question, Question]]:
    """The differences that apply: each with the question it was given and the plainer one it makes of it."""
    steps: list[tuple[Difference, Question, Question]] = []
    if question.opcode not in ("QUERY", "NOTIFY"):
        return steps
    for difference in DIFFERENCES:
        if situation.engine < difference.until:
            simpler = difference.plain(question, situation)
            if simpler is not None:
                steps.append((difference, question, simpler))
                if difference.last:
                    break
                question = simpler
    return steps


def expected_reply(
    steps: list[tuple[Difference, Question, Question]], question: Question, situation: Situation
) -> Reply:
    """What we must answer; FORWARD for what the upstream says to the question as asked."""
    reply = situation.docker(steps[-1][2] if steps else question)
    for difference, given, _ in reversed(steps):
        reply = difference.expected(given, FORWARD if reply.upstream else reply, situation)
    return reply


DIFFERENCES: Final = (
    Difference("notify", "NOTIFY is not ours to take", plainer.notify, plainer.notimp, last=True),
    Difference("edns version", "RFC 6891", plainer.other_version, plainer.rcode("BADVERS"), last=True),
    Difference(
        "class", "class other than IN is refused", plainer.other_class, plainer.rcode("REFUSED"), last=True
    ),
    Difference("localhost", "RFC 6761", plainer.localhost, plainer.loopback, last=True),
    Difference("loopback reverse", "RFC 6761", plainer.loopback_reverse, plainer.localhost_name, last=True),
    Difference("edns", "OPT is answered with OPT", plainer.edns, plainer.opt),
    Difference("long question", "up to 4,096 octets over UDP are read", plainer.long, plainer.as_asked),
    Difference(
        "upstream refused", "as engines from 24 on", plainer.refused_upstream, plainer.servfail, until=24
    ),
    Difference("arpa case", "DNS ignores case", plainer.arpa_case, plainer.as_asked),
    Difference("network case", "DNS ignores case", plainer.network_case, plainer.as_asked),
    Difference("link case", "DNS ignores case", plainer.link_case, plainer.as_asked),
    Difference(
        "renamed on bridge", "no names on the default bridge", plainer.renamed_on_bridge, plainer.as_asked
    ),
    Difference(
        "between internal networks",
        "families do not count there, as with 26.1",
        plainer.between_internal,
        plainer.as_asked,
        until=26,
    ),
    Difference("generated name", "as engines from 25 on", plainer.generated, plainer.as_asked, until=25),
    Difference(
        "other type", "a name that exists is NODATA for other types", plainer.other_type, plainer.nodata
    ),
    Difference(
        "reverse, other type", "the same for reverse names", plainer.reverse_other_type, plainer.nodata
    ),
    Difference(
        "reverse of no address",
        "as engines from 24 on",
        plainer.not_arpa,
        plainer.as_asked,
        until=24,
        silent=True,
    ),
    Difference(
        "family",
        "the first network decides, as engines from 28 on",
        plainer.several_families,
        plainer.first_network,
        until=28,
        needs_a=True,
    ),
    Difference("ndots", "single labels are forwarded like others", plainer.single_label, plainer.ndots),
    Difference(
        "internal",
        "does not leave, as engines from 26 on",
        plainer.may_be_closed,
        plainer.closed,
        until=26,
        silent=True,
    ),
    Difference(
        "reverse of a generated name", "something a person chose", plainer.generated_at, plainer.chosen_alias
    ),
    Difference(
        "reverse of an unspeakable name",
        "some answer is better",
        plainer.unspeakable,
        plainer.next_name,
        silent=True,
    ),
    Difference("cut reply", "compression, as engines from 24 on", plainer.cut, plainer.as_asked, until=24),
)
"""In the order in which questions are made plainer."""
