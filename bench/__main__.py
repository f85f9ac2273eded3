"""``python -m bench``: everybody started, asked in turn, measured, told.

``QUICK=1`` is a rough look in under two minutes. ``--write`` also puts table and figure into ``docs/``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from bench import attached, churn, contest, figure, measure, report, trials
from bench.contest import Field, Results
from bench.report import Findings
from bench.stage import stage
from lab.engine import NoEngineError
from lab.packages import MissingPackagesError, can_install
from lab.private import EngineStartError

DOCS = Path(__file__).resolve().parent.parent / "docs"
MARKS = "<!-- results -->", "<!-- end of results -->"
FIGURE = "benchmarks.svg"


def main() -> int:
    """Run it; 0 when all was measured, whatever the figures are."""
    asked = _arguments()
    if not can_install():
        print("bench: needs root on Debian or Ubuntu: network namespaces, and servers to compare with")
        return 1
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        found, heading = _measure_some(asked.loads, asked.rounds) if asked.loads else _measure(asked.quick)
    except (MissingPackagesError, NoEngineError, EngineStartError, measure.MeasureError) as error:
        print(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything was put away")
        return 130
    text = _told(found, heading)
    print(text)
    drawn = DOCS / FIGURE if asked.write else Path.cwd() / ".cache" / "bench" / FIGURE
    drawn.parent.mkdir(parents=True, exist_ok=True)
    drawn.write_text(figure.draw(found.results, heading))
    print(f"\nfigure: {os.path.relpath(drawn)}")
    if asked.write:
        _write(text)
    return 1 if found.results.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    quick = os.environ.get("QUICK", "") not in ("", "0")
    parser.add_argument("--quick", action="store_true", default=quick, help="a rough look")
    parser.add_argument("--loads", default="", metavar="LETTERS", help="these loads only, such as c or ae")
    parser.add_argument("--rounds", type=int, default=3, help="with --loads: how often (3)")
    parser.add_argument("--write", action="store_true", help="put table and figure into docs/")
    asked = parser.parse_args()
    if asked.loads and asked.write:
        parser.error("docs/ hold all loads: --write does not go with --loads")
    return asked


def _measure_some(letters: str, rounds: int) -> tuple[Findings, list[str]]:
    """A few loads, and of e what is told by hand: to see what a change is worth."""
    begun, load, seconds = time.monotonic(), os.getloadavg()[0], 2
    with stage(10) as place, contextlib.ExitStack() as stack:
        found = Findings(Results(), 10, rounds=rounds, seconds=seconds)
        everybody = Field(place)
        events = [event for event in everybody.events(seconds) if event.load.letter in letters]
        for peer in everybody.all():
            if any(peer in event.peers for event in events):
                stack.callback(peer.stop)
                peer.start()
        heading = [
            "queries per second",
            *report.machine(everybody),
            f"load average when it began: {load:.1f}",
        ]
        found.results = contest.hold(events, rounds, place.inside, _say)
        if "f" in letters:
            found.pictured = trials.first_picture(place, 10_000)
        if "e" in letters:
            found.churn.append(churn.by_hand(place, 1000, rounds, seconds))
        if "h" in letters:
            found.attached = attached.compare(place, rounds, seconds, 200)
        found.minutes = (time.monotonic() - begun) / 60
    return found, heading


def _measure(quick: bool) -> tuple[Findings, list[str]]:
    begun, load = time.monotonic(), os.getloadavg()[0]
    rounds, seconds, containers = (1, 1, 10) if quick else (5, 2, 50)
    with stage(containers) as place, contextlib.ExitStack() as stack:
        found = Findings(Results(), containers, quick, rounds, seconds)
        _say("start-up")
        found.start = trials.start_up(place, 2 if quick else 7)
        everybody = Field(place)
        for peer in everybody.all():
            stack.callback(peer.stop)
            peer.start()
        heading = [f"queries per second{' (quick look)' if quick else ''}", *report.machine(everybody)]
        heading.append(f"load average when it began: {load:.1f}")
        _at_rest(found, everybody, 3 if quick else 25)
        found.results = contest.hold(everybody.events(seconds), rounds, place.inside, _say)
        _say("new containers")
        found.fresh = trials.fresh_names(place, everybody.ours.address, 10 if quick else 200)
        _say("a full picture of 10,000")
        found.pictured = trials.first_picture(place, 10_000)
        _with_churn(found, everybody, rounds=1 if quick else 3, seconds=1 if quick else 4)
        _say("attached")
        found.attached = attached.compare(place, 1 if quick else 5, seconds, 0 if quick else 200)
        found.minutes = (time.monotonic() - begun) / 60
    return found, heading


def _at_rest(found: Findings, everybody: Field, seconds: float) -> None:
    """Before anybody asks: how large they are, and what they do with nothing to do."""
    _say("at rest")
    ours = everybody.ours
    time.sleep(1.0)
    found.idle = measure.idle(ours.pids, seconds)
    found.size = measure.memory(ours.pids), measure.memory(ours.pids[1:])
    for one in everybody.tables:
        found.sizes[one.endpoints] = measure.memory(one.pids), measure.memory(one.pids[1:])


def _with_churn(found: Findings, everybody: Field, *, rounds: int, seconds: int) -> None:
    """Ours, and dnsmasq as a control: what it loses, the engine's own work takes, for it hears of nothing."""
    _say("churn")
    found.churn.append(churn.by_hand(everybody.place, 1000, rounds, seconds))
    for peer in [everybody.ours] if found.quick else [everybody.ours, everybody.dnsmasq]:
        found.churn.append(churn.with_the_engine(peer, rounds, seconds))


def _told(found: Findings, heading: list[str]) -> str:
    """The whole report as Markdown."""
    how = f"{found.rounds} round(s) of {found.seconds} s each, medians; {found.minutes:.0f} minutes in all"
    parts = ["\n".join(f"- {line}" for line in [*heading[1:], how]), report.legend()]
    parts += [report.throughput(found), report.others(found)]
    parts += ["\n".join(f"- not measured: {line}" for line in found.results.failures)]
    return "\n\n".join(part for part in parts if part)


def _write(text: str) -> None:
    """Put the report between the marks of docs/benchmarks.md."""
    path = DOCS / "benchmarks.md"
    before, rest = path.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    path.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n![queries per second]({FIGURE})\n\n{MARKS[1]}{after}")


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
