"""A few of the questions with a real dig: what our sockets read is what a person sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.oracle.asking import Seat
from tests.oracle.message import Question
from tests.oracle.namespaces import namespace_of
from tests.oracle.questions import reverse

if TYPE_CHECKING:
    from lab.topology import Lab
    from tests.oracle.conftest import Ground

KINDS: Final = (
    *(("dig-a", "A"), ("DUP", "A"), ("dig-a", "AAAA"), ("dig-a.{network}", "A"), ("nosuch", "A")),
    *(("nxname.example.org", "A"), ("dig-a", "MX"), ("localhost", "A"), ("{reverse}", "PTR")),
)


@pytest.mark.engine
@pytest.mark.parametrize("tcp", [False, True])
def test_dig_reads_the_same(ground: Ground, lab: Lab, tcp: bool) -> None:
    network, name = f"dig-{ground.token}", f"dig-a-{ground.token}"
    lab.network(network)
    first = lab.container(name, network=network, aliases=("dup", "dig-a"), dns=[ground.upstream])
    asker = lab.container(None, network=network, aliases=("dup",), dns=[ground.upstream])
    address = lab.address(first, network)
    gateway = f"{address.rpartition('.')[0]}.1"
    for server, port in (("127.0.0.11", 53), (gateway, ground.port)):
        seat = Seat(namespace_of(lab.pid(asker)), (server, port))
        for form, kind in KINDS:
            question = Question(form.format(network=network, reverse=reverse(address)), kind, tcp=tcp)
            read = seat.ask([question])[0]
            shown = lab.dig(asker, question.name, kind, server=server, port=port, tcp=tcp, flags=["+noedns"])
            assert shown.rcode == read.rcode, question
            assert {(r.type, r.data) for r in shown.answers} == _records(read.records), question


def _records(records: frozenset[str]) -> set[tuple[str, str]]:
    """Without the TTL, which is left out where the upstream's counts."""
    return {(kind, rdata) for kind, _, rdata in (record.split(" ", 2) for record in records)}
