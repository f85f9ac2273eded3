"""The systemd unit, started as it says: its capabilities, its limits, its file systems, its word that it is
ready.

No systemd is needed: what the unit asks of it is asked of setpriv, prlimit, unshare and prctl(2).
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from lab.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology import Lab

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PORT_53: Final = "127.0.0.78:53"
OURS, DOCKERS = 7, 600
"""TTLs: who answered."""
READ_ONLY: Final = 'mount -o remount,bind,ro / && exec "$@"'
NO_NEW_CODE: Final = """
import ctypes, errno, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
    sys.exit(os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""MemoryDenyWriteExecute= as systemd does it, since Linux 6.3; an older kernel does not know it."""
NEEDED: Final = ("SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "SETUID", "SETGID", "NET_BIND_SERVICE")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="installing and attaching need root"),
    pytest.mark.timeout(300),
]


@dataclass(slots=True)
class Unit:
    """A unit file, read as far as we use the format: ``Key=value`` lines, where lists are repeated."""

    path: Path
    said: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.path.read_text().splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self.said.setdefault(key, []).append(value)

    def words(self, key: str) -> list[str]:
        """All values of a key, word by word."""
        return [word for value in self.said.get(key, []) for word in value.split()]

    def served(self, *without: str, **environment: str) -> Served:
        """What it starts, less these capabilities."""
        program, command, *flags = self.words("ExecStart")
        assert command == "serve"
        kept = [c.removeprefix("CAP_") for c in self.words("CapabilityBoundingSet")]
        bounds = ",".join(["-all", *(f"+{c.lower()}" for c in kept if c not in without)])
        assert self.words("NoNewPrivileges") == ["yes"]
        assert self.words("ProtectSystem") == ["strict"]
        assert self.words("MemoryDenyWriteExecute") == ["yes"]
        prefix = [
            *("unshare", "--mount", "sh", "-c", READ_ONLY, "sh"),
            *(sys.executable, "-c", NO_NEW_CODE),
            *("prlimit", f"--nofile={self._descriptors()}"),
            *("setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounds}"),
        ]
        told = dict(word.split("=", 1) for word in self.words("Environment"))
        return Served(*flags, prefix=prefix, environment={**told, **environment}, program=[program])

    def _descriptors(self) -> int:
        """As many as it asks for, if the one who runs this test may have so many."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        return min(most, int(self.words("LimitNOFILE")[0]))


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unit]:
    """Installed below a folder of the test's, and removed again."""
    prefix = tmp_path_factory.mktemp("installed")
    made = _make("install-systemd", prefix)
    assert "next:" in made
    yield Unit(prefix / "lib/systemd/system/resolver.service")
    _make("uninstall-systemd", prefix)
    left = [path for path in prefix.rglob("*") if not path.is_dir()]
    assert left == []


def _make(target: str, prefix: Path) -> str:
    command = ["make", "--directory", str(CHECKOUT), target, f"PREFIX={prefix}"]
    # A make above us has its own jobs and flags.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _settings(url: str) -> dict[str, str]:
    """For containers of this test only."""
    return {
        "RESOLVER_ATTACH": "name=unit-*",
        "RESOLVER_ENGINE": url,
        "RESOLVER_LISTEN": PORT_53,
        "RESOLVER_TTL": str(OURS),
    }


def _ttls(lab: Lab) -> tuple[int, int]:
    """Who answers over UDP and over TCP; 0 for nobody."""
    replies = (lab.dig("unit-asker", "unit-peer", tcp=tcp) for tcp in (False, True))
    udp, tcp = (reply.answers[0].ttl if reply.answers else 0 for reply in replies)
    return udp, tcp


def _await_ttls(lab: Lab, wanted: int) -> None:
    deadline = time.monotonic() + 10
    while (seen := _ttls(lab)) != (wanted, wanted):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)


def test_systemd_understands_it(unit: Unit) -> None:
    if shutil.which("systemd-analyze"):  # systemd is not installed for a test's sake
        command = ["systemd-analyze", "verify", "--recursive-errors=no", str(unit.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert unit.words("RestrictNamespaces") == ["net"], "what setns(2) is called with"
    assert {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"} == set(unit.words("RestrictAddressFamilies"))
    assert {"landlock_create_ruleset", "landlock_restrict_self"} <= set(unit.words("SystemCallFilter"))
    hidden = {"ProtectProc", "ProcSubset", "PrivateNetwork", "PrivateUsers"} & unit.said.keys()
    assert hidden == set(), "containers' processes and the host's network are what this is about"


def test_started_as_it_says_it_attaches_and_lets_go(lab: Lab, unit: Unit, tmp_path: Path) -> None:
    lab.network("unit-net")
    for name in ("unit-peer", "unit-asker"):
        lab.container(name, network="unit-net")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        served = unit.served(**_settings(lab.url), NOTIFY_SOCKET=str(tmp_path / "notify"))
        with served.started():
            assert manager.recv(100) == b"READY=1"
            assert served.check().returncode == 0, "ready is said when it is"
            _await_ttls(lab, OURS)
            served.tell(signal.SIGHUP)
            served.await_log("settings reread")
            os.kill(served.child, signal.SIGKILL)
            _await_ttls(lab, OURS)
            assert served.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"
    assert "missing" not in served.log
    _await_ttls(lab, DOCKERS)


@pytest.mark.parametrize("without", NEEDED)
def test_each_of_its_capabilities_is_needed(unit: Unit, engine_url: str, without: str) -> None:
    with unit.served(without, **_settings(engine_url)).started() as served:
        assert served.await_end(20) == 1
    (line,) = served.log.strip().splitlines()
    assert without in line, line


def test_it_has_no_other_capability(unit: Unit) -> None:
    """KILL is needed to end the answering process when it does not end by itself."""
    had = {c.removeprefix("CAP_") for c in unit.words("CapabilityBoundingSet")}
    assert had == {*NEEDED, "KILL"}
