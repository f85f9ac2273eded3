"""``python -m lab.demo``: the walkthrough on a real engine, each question printed with its answer.

Exit code 0 only if every answer was right. Leaves nothing behind, also after Ctrl-C. With ``--keep`` it
stays up when it is through, and says what to type.
"""

import argparse
import os
import signal
import sys
import time
from types import FrameType

from lab import packages, private
from lab.compose import ComposeError
from lab.engine import NoEngineError, engine
from lab.images import ImageError
from lab.served import PROGRAM, NotServingError
from lab.stage import HOST, Played, Stage, StageError
from lab.walkthrough import CHAPTERS, Ask

_ASKER, _COMMAND, _ANSWER = 14, 39, 28
"""Widths of the columns."""
_FAULTS = (
    ComposeError,
    ImageError,
    NoEngineError,
    NotServingError,
    StageError,
    packages.MissingPackagesError,
    private.EngineStartError,
)


def main(arguments: list[str] | None = None) -> int:
    """Play it: 0 if all answers were right, 1 if not or if it could not be set up, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description="The walkthrough, shown.")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
    keep = parser.parse_args(arguments).keep
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    try:
        with engine() as url:
            _print_heading(url)
            with Stage(url) as stage:
                try:
                    wrong = _play(stage)
                    _print_result(wrong, time.monotonic() - began)
                    if keep:
                        _stay(url)
                finally:
                    # From here on there is only tidying up, which a second Ctrl-C must not cut short.
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    print(_dim("removing containers, networks and resolvers …"), flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted; everything was removed")
        return 130
    except _FAULTS as fault:
        print(_red(f"demo: {fault}"), file=sys.stderr)
        return 1
    return 1 if wrong else 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _play(stage: Stage) -> int:
    """Every chapter; how many answers were wrong."""
    wrong = 0
    for chapter in CHAPTERS:
        print(f"\n{_bold(chapter.title)}")
        for step in chapter.steps:
            if not isinstance(step, Ask):
                print(_dim(f"    {step}"), flush=True)
                stage.do(step)
                continue
            played = stage.ask(step)
            wrong += not played.right
            _print_question(step, played)
    return wrong


def _print_heading(url: str) -> None:
    print(f"resolver on the engine at {url}: the walkthrough")
    print(
        _dim(
            "NAME$ dig …        asks 127.0.0.11 in that container, where `resolver serve --take-over` answers"
        )
    )
    print(_dim("NAME$ dig @ADDR …  asks `resolver serve` on the host, which tells by the address who asks"))


def _print_question(ask: Ask, played: Played) -> None:
    mark = _green("✓") if played.right else _red("✗")
    words = f"{ask.asker + '$':>{_ASKER}} {played.command:<{_COMMAND}} {played.answer!s:<{_ANSWER}}"
    print(f"  {mark} {words} {_dim(ask.note)}".rstrip(), flush=True)
    if not played.right:
        turns = ", each first in turn" if ask.rotating else ""
        print(_red(f"    {'':>{_ASKER}} expected: {played.expected}{turns}"), flush=True)


def _print_result(wrong: int, seconds: float) -> None:
    asked = sum(isinstance(step, Ask) for chapter in CHAPTERS for step in chapter.steps)
    told = (
        _red(f"{wrong} of {asked} answers were wrong") if wrong else _green(f"all {asked} answers were right")
    )
    print(f"\n{told}, {seconds:.0f} s")


def _stay(url: str) -> None:
    """Wait for Ctrl-C."""
    resolver = os.path.relpath(PROGRAM)
    lines = (
        (f"export DOCKER_HOST={url}", ""),
        ("docker exec web dig es", "both of prod, which web was connected to first"),
        ("docker exec batch dig es", "the one of dev, for the same reason"),
        (f"dig @{HOST} es.dev", "the host sees every network"),
        (f"{resolver} names", "the whole table"),
        (f"{resolver} why es --from batch", "which networks were searched, and what came of it"),
        ("docker network connect skynet web", "and then: docker exec web dig t850"),
    )
    print("\nIt stays up. What to type in another terminal:\n")
    for line, meaning in lines:
        print(f"    {line:<44} {_dim(meaning)}".rstrip())
    print("\nCtrl-C here ends it and removes everything.", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print()


def _paint(text: str, code: str) -> str:
    seen = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{code}m{text}\x1b[0m" if seen and text else text


def _bold(text: str) -> str:
    return _paint(text, "1")


def _dim(text: str) -> str:
    return _paint(text, "2")


def _green(text: str) -> str:
    return _paint(text, "32")


def _red(text: str) -> str:
    return _paint(text, "31")


if __name__ == "__main__":
    sys.exit(main())
