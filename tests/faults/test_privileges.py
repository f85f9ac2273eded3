"""What the answering process may do, looked at while it runs: next to nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lab.served import Served
from tests.faults.running import ADDRESS, HOST, ask_udp, free_port, proc_field, question, running, table

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give away")

NOBODY = 65534
NONE = "0" * 16
ALONE = ("unshare", "--user", "--map-root-user")
FEW = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_bind_service,+setuid,+setgid")
NO_CAPABILITY = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")


def test_nobody_without_capabilities(tmp_path: Path) -> None:
    with running(tmp_path) as resolver:
        child = resolver.served.child
        assert proc_field(child, "Uid").split() == proc_field(child, "Gid").split() == [str(NOBODY)] * 4
        assert proc_field(child, "Groups") == ""
        assert proc_field(child, "NoNewPrivs") == "1"
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert proc_field(child, kind) == NONE, kind


def test_it_holds_its_sockets_and_nothing_else(tmp_path: Path) -> None:
    """UDP, TCP, status and door; what its event loop is made of; standard streams. No file, nothing else."""
    with running(tmp_path) as resolver:
        folder = Path(f"/proc/{resolver.served.child}/fd")
        links = [str(link.readlink()) for link in sorted(folder.iterdir(), key=lambda link: int(link.name))]
    sockets = [link for link in links if link.startswith("socket:")]
    assert len(sockets) == 4 + 2, "two more are the loop's, to wake itself up"
    others = [link for link in links[3:] if not link.startswith("socket:")]
    assert others == ["anon_inode:[eventpoll]"], links


def test_who_it_is_cannot_open_the_engines_socket() -> None:
    """A socket as engines make it: root's, and a group's."""
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    who = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as engine:
        place = Path(folder, "engine.sock")
        engine.bind(str(place))
        engine.listen()
        place.parent.chmod(0o755)
        place.chmod(0o660)
        argv = [*who, "--bounding-set=-all", "--no-new-privs", _python(), "-c", code, str(place)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "Permission" in done.stderr, done.stderr


def _python() -> str:
    """An interpreter that nobody may run too: the system's, else ours."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


def test_the_engine_is_not_in_its_environment(tmp_path: Path) -> None:
    told = {"DOCKER_HOST": "unix:///nowhere.sock", "RESOLVER_SECRET": "word"}
    flags = (f"--listen={HOST}:{free_port()}", f"--changes={table(tmp_path)}")
    with Served(*flags, environment=told) as served:
        said = Path(f"/proc/{served.child}/environ").read_bytes()
    assert b"DOCKER_HOST" not in said
    assert b"word" not in said


def test_few_capabilities_are_enough(tmp_path: Path) -> None:
    """It starts, is started again, and ends."""
    with running(tmp_path, prefix=FEW) as resolver:
        child = resolver.served.child
        assert proc_field(child, "CapEff") == proc_field(child, "CapPrm") == NONE
        assert proc_field(child, "NoNewPrivs") == "1"
        os.kill(child, signal.SIGKILL)
        assert ask_udp(resolver.at, question(), 10.0).endswith(ADDRESS)
        resolver.served.tell(signal.SIGUSR1)
        time.sleep(0.2)
        assert ask_udp(resolver.at, question()).endswith(ADDRESS)
        resolver.served.tell(signal.SIGTERM)
        assert resolver.served.await_end() == 0
        assert "Traceback" not in resolver.served.log


def test_root_that_cannot_be_given_away(tmp_path: Path) -> None:
    """One line that says what to do; it does not answer as root."""
    flags = (f"--listen={HOST}:{free_port()}", f"--changes={table(tmp_path)}")
    with Served(*flags, prefix=NO_CAPABILITY).started() as served:
        assert served.await_end(20) == 1
    (line,) = served.log.strip().splitlines()
    assert "SETGID and SETUID" in line


LANDLOCKED = """
import os, socket, sys
from resolver.serve import landlock, privileges
privileges.drop(None, None)
if not landlock.restrict():
    sys.exit(77)
def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "done"
def listen():
    socket.create_server(("127.0.0.1", 0))
def ask():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
def abstract():
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
def program():
    os.execv("/bin/true", ["true"])
files = [lambda: open("/etc/passwd"), lambda: open("/tmp/x", "w"), lambda: os.listdir("/")]
print(*map(tried, [*files, program, listen, ask, abstract]))
"""


def test_no_file_can_be_opened_from_inside() -> None:
    """Nor listed or run; nor can a TCP port be opened, or an engine on an abstract socket be reached."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind("")
        engine.listen()
        name = engine.getsockname().decode()
        argv = [_python(), "-c", LANDLOCKED.replace("sys.argv[1]", repr(name))]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("no Landlock in this kernel")
    refused, can = "PermissionError", "done"
    *sure, listening, asking, abstract = done.stdout.split()
    assert (sure, asking) == ([refused] * 4, can), done.stderr
    assert {listening, abstract} <= {refused, can}, "they are newer than the rest"


NOT_DUMPABLE = """
import ctypes, os
from resolver.serve import privileges
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4
prctl = ctypes.CDLL(None).prctl
before = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
privileges.drop(None, None)
print(before, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
"""


def test_its_memory_is_nobodys_to_read() -> None:
    """Not dumpable: no core, and no process of the same user may attach to it or take its descriptors. Where
    root is given away the kernel sees to that; where there was none to give, only we do."""
    done = subprocess.run([_python(), "-c", NOT_DUMPABLE], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "0"], done.stderr


def test_the_answering_process_gave_files_up(tmp_path: Path) -> None:
    with running(tmp_path, "--log-level=debug") as resolver:
        resolver.served.await_log("no file can be opened any more" if _landlock() else "no Landlock here")


def _landlock() -> int:
    version: int = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(0, version)


def test_root_of_a_user_namespace_without_nobody(tmp_path: Path) -> None:
    flags = (f"--listen={HOST}:{free_port()}", f"--changes={table(tmp_path)}")
    with Served(*flags, prefix=ALONE).started() as served:
        assert served.await_end(20) == 1
    (line,) = served.log.strip().splitlines()
    assert "/etc/subuid" in line


def test_without_the_right_to_enter_nothing_is_attached(tmp_path: Path) -> None:
    """One line: what is missing, and what works without it."""
    flags = (f"--listen={HOST}:{free_port()}", f"--changes={table(tmp_path)}", "--attach=all")
    with Served(*flags, prefix=FEW).started() as served:
        assert served.await_end(20) == 1
    (line,) = served.log.strip().splitlines()
    assert "NET_ADMIN, SYS_PTRACE, SYS_ADMIN" in line
    assert "--take-over" in line
