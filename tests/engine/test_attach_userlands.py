"""Programs of other userlands in attached containers: musl's and glibc's own lookups, Python, getent."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from lab import packages
from lab.served import Served
from lab.upstream import Upstream, zone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.topology import Lab

_NET: Final = "land-net"
_SOURCE: Final = Path(__file__).with_name("lookup.c")
_OUTSIDE: Final = "www.example.com", "192.0.2.80"


@pytest.fixture
def attached(lab: Lab) -> Iterator[Lab]:
    """A peer called ``db``; every container ``land-*`` is attached to."""
    lab.network(_NET)
    lab.container("land-b", network=_NET, aliases=["db"])
    with Upstream(zone(f"{_OUTSIDE[0]}. 60 IN A {_OUTSIDE[1]}")) as world:
        flags = f"--listen=127.0.0.63:53 --ttl=7 --engine={lab.url} --upstream={world.address}".split()
        with Served("--attach=name=land-*", *flags):
            yield lab


def _await(lab: Lab, container: str) -> None:
    """Until we answer there: told by the TTL."""
    deadline = time.monotonic() + 10
    while not (reply := lab.dig(container, "db")).answers or reply.answers[0].ttl != 7:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_musl(attached: Lab, tmp_path: Path) -> None:
    """It asks every nameserver at once, over one socket without a peer, and never over TCP."""
    packages.ensure({"musl-gcc": "musl-tools"})
    program = tmp_path / "lookup"
    subprocess.run(["musl-gcc", "-static", "-O1", "-o", program, _SOURCE], check=True)
    attached.container("land-a", network=_NET, binds=[f"{program}:/lookup:ro"])
    _await(attached, "land-a")
    for name, address in (("db", attached.address("land-b", _NET)), _OUTSIDE):
        assert attached.exec("land-a", ["/lookup", name]) == (0, f"{address}\n")
    assert attached.exec("land-a", ["/lookup", "nobody.example.com"])[0] == 1


def test_glibc(attached: Lab) -> None:
    attached.container("land-a", network=_NET, image=attached.images.python())
    _await(attached, "land-a")
    python = "import socket, sys; print(*sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80)}))"
    for name, address in (("db", attached.address("land-b", _NET)), _OUTSIDE):
        status, said = attached.exec("land-a", ["getent", "ahostsv4", name])
        assert (status, said.split()[0]) == (0, address)
        assert attached.exec("land-a", ["python3", "-c", python, name]) == (0, f"{address}\n")
    assert attached.exec("land-a", ["getent", "ahostsv4", "nobody.example.com"])[0] == 2


def test_curl(attached: Lab, tmp_path: Path) -> None:
    """This machine's, in the container's network and with its resolv.conf."""
    packages.ensure({"curl": "curl", "unshare": "util-linux"})
    attached.container("land-a", network=_NET)
    web = ["sh", "-c", "while true; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' | nc -l -p 80; done"]
    attached.container("land-web", network=_NET, command=web)
    _await(attached, "land-a")
    conf = tmp_path / "resolv.conf"
    conf.write_text(attached.exec("land-a", ["cat", "/etc/resolv.conf"])[1])
    prefix = attached.namespace("land-a")
    assert prefix is not None
    command = f"mount --bind {conf} /etc/resolv.conf && exec curl -sS --max-time 8 --retry 3 --noproxy '*' http://land-web/"
    done = subprocess.run(
        [*prefix, "unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "hello"), done.stderr
