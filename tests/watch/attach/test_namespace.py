"""Into a namespace and back, with everything a container's owner may have put in the way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resolver.watch.attach.namespace import CannotEnter, _resolv_conf, entered, look_inside, our_namespace
from resolver.watch.listening import _listed, ports_at
from tests.watch.attach.stack import IDENTITY, Stack, given_back, open_descriptors, root, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = root


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path, "127.0.0.11") as found:
        yield found


def resolv_conf(container: Stack) -> str:
    """As it is read; no descriptor is left behind."""
    before = open_descriptors()
    inside = look_inside(container.pid, IDENTITY)
    inside.close()
    inside.close()
    assert given_back(before)
    return inside.resolv_conf


def test_what_is_inside(container: Stack) -> None:
    with container.bound("127.0.0.11", 0) as sock:
        inside = look_inside(container.pid, IDENTITY)
        try:
            state = Path(f"/proc/{container.pid}/ns/net").stat()
            assert inside.identity == (state.st_dev, state.st_ino) != our_namespace()
            assert inside.resolv_conf == "nameserver 127.0.0.11\n"
            port = sock.getsockname()[1]
            with entered(inside.fd):
                assert ports_at("127.0.0.11", socket.SOCK_DGRAM) == (port,)
                assert ports_at("127.0.0.11", socket.SOCK_STREAM) == ()
                assert [*_listed(ip_address("127.0.0.11").packed, socket.SOCK_DGRAM)] == [port]
        finally:
            inside.close()


def test_another_containers_process(container: Stack) -> None:
    """Its number may have been given away since the engine told it."""
    before = open_descriptors()
    with pytest.raises(CannotEnter, match="cannot be seen"):
        look_inside(container.pid, "0f" * 32)
    assert given_back(before)


def test_a_process_that_is_nobodys(container: Stack) -> None:
    with pytest.raises(CannotEnter, match="cannot be seen"):
        look_inside(os.getpid(), IDENTITY)


def test_a_process_that_is_gone(container: Stack) -> None:
    container.end()
    with pytest.raises(CannotEnter, match="cannot be seen"):
        look_inside(container.pid, IDENTITY)


def test_a_process_that_has_ended_but_is_still_there(container: Stack) -> None:
    """A zombie has no mounts."""
    container.process.kill()
    os.waitid(os.P_PID, container.pid, os.WEXITED | os.WNOWAIT)
    before = open_descriptors()
    with pytest.raises(CannotEnter):
        look_inside(container.pid, IDENTITY)
    assert given_back(before)


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def link_to_a_file_of_ours(path: Path) -> None:
    path.symlink_to(f"/proc/{os.getpid()}/environ")


def nothing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize(
    "put", [link, link_to_a_file_of_ours, os.mkfifo, Path.mkdir, nothing], ids=lambda put: put.__name__
)
def test_what_is_no_plain_file_is_not_read(container: Stack, put: Callable[[Path], None]) -> None:
    path = container.etc / "resolv.conf"
    path.unlink()
    put(path)
    assert resolv_conf(container) == ""


def test_a_device_is_not_read(container: Stack) -> None:
    enter = ("nsenter", f"--mount=/proc/{container.pid}/ns/mnt")
    subprocess.run((*enter, "mount", "--bind", "/dev/zero", "/etc/resolv.conf"), check=True)
    assert resolv_conf(container) == ""


def test_an_etc_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    """A tree as below /proc/PID: whoever is root in the container may put a link in the place of its /etc."""
    for name in ("root", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    etc = tmp_path / "root" / "etc"
    before = open_descriptors()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        etc.symlink_to(tmp_path / "elsewhere")
        assert _resolv_conf(folder) == ""
        etc.unlink()
        (tmp_path / "elsewhere").rename(etc)
        assert _resolv_conf(folder) == "nameserver 192.0.2.1\n"
    finally:
        os.close(folder)
    assert given_back(before)


def test_a_huge_file_is_read_in_part(container: Stack) -> None:
    path = container.etc / "resolv.conf"
    with path.open("w") as file:
        file.write("nameserver 127.0.0.11\n")
        file.truncate(1 << 30)
    found = resolv_conf(container)
    assert found.startswith("nameserver 127.0.0.11\n")
    assert len(found) == 1 << 16


def test_octets_that_are_no_text(container: Stack) -> None:
    (container.etc / "resolv.conf").write_bytes(b"nameserver 127.0.0.11\n# \xff\xfe\n")
    assert "nameserver 127.0.0.11\n" in resolv_conf(container)


def here() -> tuple[int, int]:
    """The namespace of this thread."""
    state = Path("/proc/thread-self/ns/net").stat()
    return state.st_dev, state.st_ino


def test_in_and_back_also_after_an_exception(container: Stack) -> None:
    home, before = here(), open_descriptors()
    inside = look_inside(container.pid, IDENTITY)
    try:
        with entered(inside.fd):
            assert here() == inside.identity
        assert here() == home
        with pytest.raises(ZeroDivisionError), entered(inside.fd):
            raise ZeroDivisionError(here() == inside.identity)
        assert here() == home
    finally:
        inside.close()
    assert given_back(before)


def test_the_namespace_lives_while_it_is_held(container: Stack) -> None:
    inside = look_inside(container.pid, IDENTITY)
    container.end()
    try:
        with entered(inside.fd):
            assert here() == inside.identity
    finally:
        inside.close()


def test_what_is_no_namespace(container: Stack) -> None:
    home, before = here(), open_descriptors()
    with Path("/dev/null").open("rb") as file, pytest.raises(CannotEnter), entered(file.fileno()):
        pytest.fail("nothing was entered")
    with pytest.raises(CannotEnter), entered(-1):
        pytest.fail("nothing was entered")
    assert here() == home
    assert given_back(before)


def test_without_the_capabilities_the_message_says_what_is_missing(container: Stack) -> None:
    """As root without SYS_PTRACE and SYS_ADMIN, in a process of its own."""
    program = (
        "import sys; from resolver.watch.attach.namespace import CannotEnter, look_inside\n"
        "try: look_inside(int(sys.argv[1]), sys.argv[2])\n"
        "except CannotEnter as error: print(error)"
    )
    without = ("setpriv", "--bounding-set=-sys_ptrace,-sys_admin")
    said = subprocess.run(
        (*without, sys.executable, "-c", program, str(container.pid), IDENTITY),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "SYS_ADMIN, SYS_PTRACE and NET_ADMIN" in said
