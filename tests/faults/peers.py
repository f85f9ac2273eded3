"""``python -m tests.faults.peers``: the same faults for us, dnsmasq, aardvark-dns and Docker, as a table.

What a well-behaved client gets beside each flood, and what a question gets whose upstream misbehaves. Needs
root, both programs and an engine; a few minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.stage import AARDVARK
from lab.engine import engine
from lab.topology import Lab
from tests.faults import faulty
from tests.faults.faulty import Faulty
from tests.faults.running import ADDRESS, Beside, ask_tcp, ask_udp, flooding, question, table
from tests.faults.test_clients import connected
from tests.faults.test_upstreams import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS: Final = 4.0
PATIENCE: Final = 12.0
"""Seconds until a question counts as never answered."""
UPSTREAM: Final = "127.0.85.1"
INSIDE: Final = ".".join(map(str, ADDRESS))
KINDS: Final = ("dead", "refusing", "garbage", "loop", "wrongid", "elsewhere", "after", "silent", "oversized")


def ours(folder: Path, at: str) -> list[str]:
    program = [str(Path(sys.executable).with_name("resolver")), "serve", f"--changes={table(folder)}"]
    return [*program, f"--listen={at}:53", f"--upstream={UPSTREAM}:53"]


def dnsmasq(folder: Path, at: str) -> list[str]:
    (folder / "hosts").write_text(f"{INSIDE} es.dev\n")
    own = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]
    files = [f"--addn-hosts={folder}/hosts", f"--pid-file={folder}/pid", "--cache-size=10000"]
    return ["dnsmasq", *own, *files, f"--listen-address={at}", f"--server={UPSTREAM}"]


def aardvark(folder: Path, at: str) -> list[str]:
    askers = [f"{n} {address}  asker{n} {UPSTREAM}" for n, address in enumerate(("127.0.0.1", "127.0.0.66"))]
    (folder / "dev").write_text("\n".join([at, *askers, f"es {INSIDE}  es,es.dev {UPSTREAM}"]) + "\n")
    return [AARDVARK, "--config", str(folder), "--port", "53", "run"]


@contextmanager
def started(number: int, command: list[str], folder: Path) -> Iterator[tuple[str, int]]:
    at = f"127.0.85.{number}", 53
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not ask_udp(at, question(), 0.5).endswith(ADDRESS):
        assert time.monotonic() < deadline, command
        time.sleep(0.05)
    try:
        yield at
    finally:
        process.kill()
        process.wait()
        with suppress(OSError, ValueError):  # aardvark-dns goes into the background
            subprocess.run(["kill", (folder / "aardvark.pid").read_text().strip()], check=False)


def beside(at: tuple[str, int], flood: str) -> str:
    with Beside(at) as good, flooding(at, flood, SECONDS) as process:
        process.wait()
    return told(good)


def told(good: Beside) -> str:
    soon = sum(took < 0.1 for took in good.took)
    return f"{len(good.took) * 100 // good.asked} % ({soon * 100 // good.asked} % within 100 ms)"


def idle(at: tuple[str, int]) -> str:
    """400 silent connections: what a question over UDP gets, and one over TCP."""
    with ExitStack() as stack:
        with suppress(OSError):
            for _ in range(400):
                stack.enter_context(connected(at, "127.77.1.1"))
        began, tcp = time.monotonic(), "none"
        with Beside(at) as good, suppress(OSError):
            if ask_tcp(at, question(), PATIENCE).endswith(ADDRESS):
                tcp = f"after {time.monotonic() - began:.1f} s"
        return f"{told(good)}; over TCP {tcp}"


def outcome(at: tuple[str, int], name: str) -> str:
    began = time.monotonic()
    reply = ask_udp(at, question(name), PATIENCE)
    took = f"{time.monotonic() - began:.1f} s"
    if not reply:
        return f"nothing in {PATIENCE:g} s"
    if reply[3] & 15:
        return f"rcode {reply[3] & 15}, {took}"
    what = "the address" if faulty.ADDRESS in reply[12:] else "no address"
    return f"{what}{', TC' if reply[2] & 2 else ''}, {took}"


def column(at: tuple[str, int], upstream: Faulty) -> dict[str, str]:
    """What one server makes of every fault."""
    found = {}
    for kind in KINDS:
        made = FAULTS[kind][0]()
        upstream.over_udp, upstream.over_tcp = made.over_udp, made.over_tcp
        found[f"upstream: {kind}"] = outcome(at, f"{kind}.example")
    upstream.over_udp = faulty.nothing
    found["400 idle TCP connections"] = idle(at)
    for flood in ("same", "names", "garbage"):
        found[f"flood: {flood}"] = beside(at, flood)
    return found


def in_docker() -> dict[str, str]:
    """Docker's own resolver, asked in a container's namespace, with the upstream in there as well."""
    with engine() as url, Lab(url) as lab:
        lab.network("dev", subnet=f"{INSIDE.rpartition('.')[0]}.0/24")
        lab.container("es", network="dev", ip=INSIDE)
        lab.container("asker", network="dev", dns=[UPSTREAM])
        prefix = lab.namespace("asker") or []
        command = [*prefix, sys.executable, "-m", __spec__.name, "inside"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    said: dict[str, str] = json.loads(done.stdout)
    return said


def main() -> None:
    """Print a column for each."""
    if sys.argv[1:] == ["inside"]:
        with Faulty(at=(UPSTREAM, 53)) as upstream:
            print(json.dumps(column(("127.0.0.11", 53), upstream)))  # noqa: T201
        return
    found: dict[str, dict[str, str]] = {}
    for number, peer in enumerate((ours, dnsmasq, aardvark), 2):
        with tempfile.TemporaryDirectory() as name, Faulty(at=(UPSTREAM, 53)) as upstream:
            folder = Path(name)
            folder.chmod(0o755)
            with started(number, peer(folder, f"127.0.85.{number}"), folder) as at:
                found[peer.__name__] = column(at, upstream)
    found["docker"] = in_docker()
    print("| fault |", " | ".join(found), "|\n|---|" + "---|" * len(found))  # noqa: T201
    for row in next(iter(found.values())):
        print(f"| {row} |", " | ".join(told[row] for told in found.values()), "|")  # noqa: T201


if __name__ == "__main__":
    main()
