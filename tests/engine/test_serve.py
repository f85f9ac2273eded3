"""``resolver serve`` as a process: when it is ready, how it ends, what it says when it cannot begin."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.served import PROGRAM, Served
from lab.topology import Lab
from lab.upstream import Asked, Upstream, zone
from tests.engine.asking import dig

_AT = "127.0.0.77:5377"
_ZONE = zone("www.example.com. 60 IN A 192.0.2.80")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A static table: ``es`` on the network ``dev``."""
    endpoint = {"network": "n1", "names": ["es"], "ipv4": "10.255.66.2"}
    lines = (
        {"change": "network", "id": "n1", "name": "dev", "subnets": ["10.255.66.0/24"]},
        {"change": "container", "id": "c1", "name": "es", "endpoints": [endpoint]},
    )
    path = tmp_path / "changes"
    path.write_text("# a static table\n\n" + "".join(json.dumps(line) + "\n" for line in lines))
    return path


def _ends(*flags: str, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code and the one line of a resolver that cannot begin."""
    with Served(*flags, prefix=prefix).started() as served:
        code = served.await_end()
    lines = served.log.strip().splitlines()
    assert len(lines) == 1, served.log
    return code, lines[0]


# Ready


def test_ready_with_the_first_picture(lab: Lab) -> None:
    lab.network("serve-ready")
    lab.container("serve-one", network="serve-ready")
    served = Served(f"--listen={_AT}", f"--engine={lab.url}")
    with served.started():
        served.await_ready()
        status = json.loads(served.check("--json").stdout)
        assert status["ready"] is True
        assert f"udp {_AT}" in status["listening"]
        for tcp in (False, True):
            reply = dig(_AT, "serve-one.serve-ready", tcp=tcp)
            assert reply.values == [lab.address("serve-one", "serve-ready")]
    after = served.check()
    assert after.returncode == 1
    assert "no resolver runs" in after.stdout


def test_an_engine_that_comes_later(lab: Lab, tmp_path: Path) -> None:
    """It forwards, says once what is missing, is not ready, and becomes so by itself."""
    lab.network("serve-later")
    lab.container("serve-late", network="serve-later")
    place = tmp_path / "engine.sock"
    with (
        Upstream(_ZONE) as upstream,
        Served(
            f"--listen={_AT}", f"--engine=unix://{place}", f"--upstream={upstream.address}"
        ).started() as served,
    ):
        served.await_log(str(place))
        assert dig(_AT, "www.example.com").values == ["192.0.2.80"]
        check = served.check()
        assert (check.returncode, str(place) in check.stdout) == (1, True), check.stdout
        assert served.log.count(f"{place}") == 1, served.log
        place.symlink_to(lab.url.removeprefix("unix://"))
        served.await_ready()
        assert dig(_AT, "serve-late.serve-later").rcode == "NOERROR"


# What keeps it from beginning: one line each


def test_a_port_without_permission() -> None:
    code, line = _ends("--listen=127.0.0.77", prefix=("setpriv", "--bounding-set=-net_bind_service"))
    assert code == 1
    assert "127.0.0.77:53" in line
    assert "NET_BIND_SERVICE" in line


def test_an_address_in_use() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.77", 5377))
        code, line = _ends(f"--listen={_AT}")
    assert code == 1
    assert f"pid {os.getpid()}" in line


def test_an_address_of_nobody() -> None:
    code, line = _ends("--listen=203.0.113.9:5377")
    assert code == 1
    assert "203.0.113.9:5377" in line


@pytest.mark.parametrize(
    ("flags", "environment", "told"),
    [
        (["--ttl=-1"], {}, ["ttl", "--ttl", "seconds"]),
        ([], {"RESOLVER_TTL": "long"}, ["ttl", "RESOLVER_TTL", "'long'"]),
        (["--strangers=welcome"], {}, ["strangers", "'welcome'", "all-networks"]),
        (["--listen=nowhere"], {}, ["listen", "'nowhere'"]),
        (["--no-such-flag"], {}, ["--no-such-flag"]),
        (["--changes=/no/such/file"], {}, ["changes", "does not exist"]),
    ],
)
def test_a_wrong_value(flags: list[str], environment: dict[str, str], told: list[str]) -> None:
    done = subprocess.run(
        [PROGRAM, "serve", *flags],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=20,
    )
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in told), lines[0]


def test_a_line_that_is_no_change(table: Path) -> None:
    with table.open("a") as lines:
        lines.write("no json\n")
    code, line = _ends(f"--listen={_AT}", f"--changes={table}")
    assert code == 2
    assert "line 5" in line


def test_a_socket_that_is_refused(tmp_path: Path) -> None:
    """No reason to exit, but to say so in one line."""
    place = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(place))
        engine.listen()
        place.chmod(0o600)
        os.chown(place, 65534, 65534)
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
        with Served(f"--listen={_AT}", f"--engine=unix://{place}", prefix=prefix).started() as served:
            served.await_log(str(place))
            time.sleep(0.5)
            assert served.status is None
            said = [line for line in served.log.splitlines() if str(place) in line]
    assert len(said) == 1, said
    assert "permission" in said[0].lower()


# Signals


def test_told_to_end_it_finishes_its_answers(table: Path) -> None:
    def slow(asked: Asked) -> bytes | None:
        time.sleep(0.4)
        return _ZONE(asked)

    with (
        Upstream(slow) as upstream,
        Served(f"--listen={_AT}", f"--changes={table}", f"--upstream={upstream.address}") as served,
        ThreadPoolExecutor(1) as other,
    ):
        under_way = other.submit(dig, _AT, "www.example.com")
        assert upstream.wait_for("www.example.com")
        told = time.monotonic()
        served.tell(signal.SIGTERM)
        assert served.await_end() == 0
        took = time.monotonic() - told
        assert under_way.result().values == ["192.0.2.80"]
    assert took < 1.5, "within a second, and a little for a busy machine"


def test_reread_at_sighup(table: Path, tmp_path: Path) -> None:
    config = tmp_path / "resolver.toml"
    config.write_text(f'listen = ["{_AT}"]\nchanges = "{table}"\nttl = 30\n')
    with Served(f"--config={config}", environment={"RESOLVER_LISTEN": _AT}) as served:
        assert dig(_AT, "es").answers[0].ttl == 30
        config.write_text(f'listen = ["{_AT}"]\nchanges = "{table}"\nttl = 40\nattach = ["none"]\n')
        served.tell(signal.SIGHUP)
        served.await_log("settings reread")
        assert "these settings change at the next start: attach" in served.log
        _await(lambda: dig(_AT, "es").answers[0].ttl == 40)
        config.write_text("ttl = true\n")
        served.tell(signal.SIGHUP)
        served.await_log("the settings stay as they were")
        assert dig(_AT, "es").answers[0].ttl == 40


def test_the_answering_process_is_killed(table: Path) -> None:
    """The sockets stay open, so what is asked meanwhile waits in them."""
    with Served(f"--listen={_AT}", f"--changes={table}") as served:
        for tcp in (False, True):
            first = served.child
            os.kill(first, signal.SIGKILL)
            assert dig(_AT, "es", tcp=tcp).values == ["10.255.66.2"]
            assert served.child != first


def test_flag_before_environment_before_file(table: Path, tmp_path: Path) -> None:
    config = tmp_path / "resolver.toml"
    config.write_text(f'listen = "{_AT}"\nttl = 30\n')
    told = {"RESOLVER_TTL": "20", "RESOLVER_CHANGES": str(table), "RESOLVER_LISTEN": _AT}
    with Served(f"--config={config}", environment=told):
        assert dig(_AT, "es").answers[0].ttl == 20
    with Served(f"--config={config}", "--ttl=10", environment=told):
        assert dig(_AT, "es").answers[0].ttl == 10


# Names and upstreams


def test_a_domain_of_its_own(table: Path) -> None:
    with (
        Upstream(_ZONE) as upstream,
        Served(f"--listen={_AT}", f"--changes={table}", f"--upstream={upstream.address}", "--domain=docker"),
    ):
        for name in ("es", "es.dev", "es.docker", "es.dev.docker"):
            assert dig(_AT, name).values == ["10.255.66.2"], name
        assert dig(_AT, "nothing.docker").rcode == "NXDOMAIN"
        assert not upstream.server.asked, "names below the domain stay here"


def test_resolv_conf_is_followed(table: Path, tmp_path: Path) -> None:
    """In a mount namespace with a resolv.conf of its own; our own address in it is never asked."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.77\nnameserver 127.0.0.78\n")
    mount = f'mount --bind "{conf}" /etc/resolv.conf; exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", mount, "sh")
    with (
        Upstream(_ZONE, "127.0.0.78", 53) as one,
        Upstream(zone("www.example.com. 60 IN A 192.0.2.79"), "127.0.0.79", 53),
        Served("--listen=127.0.0.77", f"--changes={table}", prefix=prefix),
    ):
        assert dig("127.0.0.77", "www.example.com").values == ["192.0.2.80"]
        assert one.server.asked
        conf.write_text("nameserver 127.0.0.79\n")
        _await(lambda: dig("127.0.0.77", "www.example.com").values == ["192.0.2.79"])


def _await(so: Callable[[], bool], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
