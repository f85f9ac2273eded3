"""Our resolver against Docker's own, in the same containers, on topologies made from seeds.

A topology that fails is made again with ``make oracle SEED=… N=1``.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from contextlib import ExitStack, contextmanager
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from lab.runs import LABEL
from resolver.watch.attach.rules import TABLE
from resolver.watch.upstreams import engines_resolver
from tests.oracle.asking import Seat
from tests.oracle.comparison import Asker, Comparison, Polled, poll
from tests.oracle.conftest import PER_TOPOLOGY, Ground, free_port, serving, upstream_seat
from tests.oracle.message import Question
from tests.oracle.namespaces import namespace_of, within
from tests.oracle.playing import Played
from tests.oracle.questions import escaped, every_name, questions
from tests.oracle.topology import Container, Operation, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.topology import Lab
    from tests.oracle.tally import Tally

ROUNDS: Final = 4
"""Looks at one topology, with changes between them."""
SHOWN: Final = 8
WITHIN: Final = "127.0.0.11", 53
"""Where Docker's resolver is asked; and ours, in every other topology, attached to all its containers."""
BESIDE: Final = ("127.0.0.1", 5300)
"""Where, in every other topology, our resolver listens that shares the first container's network stack."""


@pytest.mark.engine
def test_same_answers_as_docker(seed: int, ground: Ground, lab: Lab, tally: Tally) -> None:
    topology = Topology(seed, ground.token)
    comparison = Comparison(ground.version, upstream_seat(ground), tally)
    dns = ground.failing, ground.upstream
    before = tally.asked
    with ExitStack() as stack:
        played = Played(lab, topology, dns)
        stack.callback(played.remove)
        if seed % 2:
            beside = namespace_of(topology.containers["c0"].pid)
            stack.enter_context(serving(ground, beside, f"{BESIDE[0]}:{BESIDE[1]}"))
        else:
            stack.enter_context(_attached(ground, lab))
        tally.topologies += 1
        _judge(comparison, topology, poll(_plan(topology, ground, 0), 0.0))
        for number in range(1, ROUNDS):
            for operation in topology.operations(2):
                at_once = _first_asker(topology, ground, operation)
                played.do(operation)
                polled = poll(at_once, time.monotonic())
                tally.operations += 1
                played.look()
                _judge(comparison, topology, polled)
            _judge(comparison, topology, poll(_plan(topology, ground, number), 0.0))
    assert tally.asked - before >= PER_TOPOLOGY


def _judge(comparison: Comparison, topology: Topology, polled: list[Polled]) -> None:
    wrong = comparison.disagreements(topology, polled)
    if wrong:
        shortest = sorted(wrong, key=lambda d: len(str(d.question)))[:SHOWN]
        told = "\n".join(map(str, shortest))
        pytest.fail(f"{len(wrong)} answers differ\n{told}\n{topology.told()}", pytrace=False)


def _first_asker(
    topology: Topology, ground: Ground, operation: Operation
) -> Iterator[tuple[Asker, Sequence[Question]]]:
    """What is asked in the same moment in which the engine says that it is done."""
    first = topology.containers["c0"]
    ends = [e for e in first.endpoints.values() if operation.network != e.network.stem]
    if ends:
        renamed = [Question(escaped(operation.name))] if operation.name else []
        asker = _asker(first, (ends[0].network.gateway, ground.port), "on the host")
        yield asker, [*every_name(topology, first), *renamed]


def _plan(topology: Topology, ground: Ground, number: int) -> Iterator[tuple[Asker, Sequence[Question]]]:
    """Who asks what. The first container also asks the resolver beside it."""
    random = Random(f"{topology.seed} {number}")
    for container in topology.containers.values():
        gateways = [e.network.gateway for e in container.endpoints.values() if e.ipv4]
        if not container.asks or not gateways:
            continue
        some = [*every_name(topology, container), *questions(topology, container, random, 25)]
        yield _asker(container, (random.choice(gateways), ground.port), "on the host"), some
        if container.key == "c0" and topology.seed % 2:
            yield _asker(container, BESIDE, "beside it"), some
        elif not topology.seed % 2:
            yield _asker(container, WITHIN, "attached"), some


def _asker(container: Container, ours: tuple[str, int], through: str) -> Asker:
    namespace = namespace_of(container.pid)
    return Asker(container, _dockers(container), Seat(namespace, ours), through)


def _dockers(container: Container) -> Seat:
    """Docker's resolver, also where its address leads to us: at the ports it has in the namespace, which are
    those that our rules do not name."""
    inside = ["nsenter", f"--target={container.pid}", "--net", "nft", "--stateless", "list", "ruleset"]
    listed = subprocess.run(inside, capture_output=True, text=True, check=True).stdout.partition(TABLE)[2]
    ours = set(map(int, re.findall(r"(?:dport set |127.0.0.11:)(\d+)", listed)))
    namespace = namespace_of(container.pid)
    ports = within(namespace, lambda: engines_resolver(ours)).rpartition(":")[2].partition("/")
    if not ports[2]:
        return Seat(namespace, WITHIN)
    udp, tcp = ((WITHIN[0], int(port)) for port in (ports[0], ports[2]))
    return Seat(namespace, udp, tcp)


@contextmanager
def _attached(ground: Ground, lab: Lab) -> Iterator[None]:
    """A resolver of its own for this topology, that never asks Docker's."""
    which = f"--attach=label={LABEL}={lab.run}"
    flags = which, "--no-fall-back-to-engine"
    with serving(ground, ground.host, f"127.0.0.1:{free_port(ground)}", *flags) as served:
        yield
        asked = json.loads(served.check("--json").stdout)["attached"]
        assert sum(asked.values()), "nobody asked at 127.0.0.11 while we were attached"
