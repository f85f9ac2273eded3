"""Who asks, and what that one may see: the resolver on the host, asked from all kinds of containers."""

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.dig import Reply
from lab.served import Served, inside
from lab.topology import Lab
from lab.upstream import Upstream, zone
from tests.engine.asking import dig, gateway

_DEFAULT = zone("www.example.com. 60 IN A 192.0.2.80")
_OWN = zone("www.example.com. 60 IN A 192.0.2.81")
_NET, _OTHER, _INTERNAL = "ask-net", "ask-other", "ask-internal"
_ON_HOST = "127.0.0.77"


@pytest.fixture(scope="module")
def streets(engine_url: str) -> Iterator[Lab]:
    """``ask-a`` and ``ask-b`` on a network, ``ask-far`` on another; what a test adds stays for the others."""
    with Lab(engine_url) as lab:
        for network in (_NET, _OTHER):
            lab.network(network)
        lab.container("ask-a", network=_NET)
        lab.container("ask-b", network=_NET)
        lab.container("ask-far", network=_OTHER)
        yield lab


@contextlib.contextmanager
def _serving(lab: Lab, *listen: str, flags: tuple[str, ...] = ()) -> Iterator[Upstream]:
    """A resolver on the host at these addresses; yields its default upstream."""
    with Upstream(_DEFAULT) as upstream:
        at = [f"--listen={address}" for address in (_ON_HOST, *listen)]
        with Served(*at, f"--engine={lab.url}", f"--upstream={upstream.address}", *flags):
            yield upstream


def _address(lab: Lab, container: str, network: str) -> list[str]:
    return [lab.address(container, network)]


def test_one_that_shares_anothers_network(streets: Lab) -> None:
    streets.container("ask-shares", network_mode="container:ask-a")
    here = gateway(streets, "ask-a", _NET)
    with _serving(streets, here):
        assert streets.dig("ask-shares", "ask-b", server=here).values == _address(streets, "ask-b", _NET)
        assert streets.dig("ask-shares", "ask-far", server=here).rcode == "NXDOMAIN"
        assert streets.dig("ask-a", "ask-shares", server=here).rcode == "NXDOMAIN"


def test_one_on_the_hosts_network_sees_all(streets: Lab) -> None:
    streets.container("ask-host", network_mode="host")
    with _serving(streets):
        for name, network in (("ask-b", _NET), ("ask-far", _OTHER)):
            reply = streets.dig("ask-host", name, server=_ON_HOST, inside=True)
            assert reply.values == _address(streets, name, network)


def test_the_view_of_one_container_for_loopback(streets: Lab) -> None:
    with _serving(streets, flags=("--as=ask-far",)):
        assert dig(_ON_HOST, "ask-far").values == _address(streets, "ask-far", _OTHER)
        assert dig(_ON_HOST, "ask-b").rcode == "NXDOMAIN"


def test_beside_a_container_its_view_is_found(streets: Lab) -> None:
    """Nobody said whose network stack it is."""
    address = "127.0.0.77:5377"
    pid = streets.pid("ask-far")
    upstream = f"--upstream={gateway(streets, 'ask-far', _OTHER)}:9"
    with Served(f"--listen={address}", f"--engine={streets.url}", upstream, prefix=inside(pid)):
        found = dig(address, "ask-far", prefix=inside(pid))
        assert found.values == _address(streets, "ask-far", _OTHER)
        assert dig(address, "ask-b", prefix=inside(pid)).rcode == "SERVFAIL", "asked outside, where nobody is"


def test_an_unknown_address_in_a_known_subnet(streets: Lab) -> None:
    here = gateway(streets, "ask-a", _NET)
    stranger = here.rpartition(".")[0] + ".200"
    prefix = inside(streets.pid("ask-a"))
    with _another_address(stranger, "eth0", prefix), _serving(streets, here):
        assert _from(prefix, stranger, here, "ask-b").values == _address(streets, "ask-b", _NET)
        assert _from(prefix, stranger, here, "ask-far").rcode == "NXDOMAIN"


@pytest.mark.parametrize(
    ("policy", "name", "outside"),
    [
        ("refuse", "REFUSED", "REFUSED"),
        ("forward", "NXDOMAIN", "NOERROR"),
        ("all-networks", "NOERROR", "NOERROR"),
    ],
)
def test_strangers(streets: Lab, tmp_path: Path, policy: str, name: str, outside: str) -> None:
    """With a table that knows nothing of this engine, its containers are strangers."""
    table = tmp_path / "changes"
    table.write_text(
        '{"change": "network", "id": "n", "name": "dev", "subnets": ["10.255.66.0/24"]}\n'
        '{"change": "container", "id": "c", "name": "es", "endpoints": '
        '[{"network": "n", "names": ["es"], "ipv4": "10.255.66.2"}]}\n'
    )
    here = gateway(streets, "ask-a", _NET)
    with (
        Upstream(_DEFAULT) as upstream,
        Served(
            f"--listen={here}",
            f"--changes={table}",
            f"--upstream={upstream.address}",
            f"--strangers={policy}",
        ),
    ):
        assert streets.dig("ask-a", "es", server=here).rcode == name
        assert streets.dig("ask-a", "www.example.com", server=here).rcode == outside


def test_names_on_the_default_bridge(streets: Lab) -> None:
    for name in ("ask-bridge-1", "ask-bridge-2"):
        streets.container(name)
    here = gateway(streets, "ask-bridge-1", "bridge")
    expected = _address(streets, "ask-bridge-2", "bridge")
    with _serving(streets, here):
        assert streets.dig("ask-bridge-1", "ask-bridge-2", server=here).rcode == "NXDOMAIN"
        assert streets.dig("ask-bridge-1", "www.example.com", server=here).values == ["192.0.2.80"]
    with _serving(streets, here, flags=("--names-on-default-bridge",)):
        assert streets.dig("ask-bridge-1", "ask-bridge-2", server=here).values == expected


def test_a_containers_own_servers(streets: Lab) -> None:
    own, here = gateway(streets, "ask-far", _OTHER), gateway(streets, "ask-a", _NET)
    streets.container("ask-own", network=_NET, dns=[own])
    with Upstream(_OWN, own, 53), _serving(streets, here) as upstream:
        assert streets.dig("ask-own", "www.example.com", server=here).values == ["192.0.2.81"]
        assert not upstream.server.asked
        assert streets.dig("ask-a", "www.example.com", server=here).values == ["192.0.2.80"]
        assert streets.dig("ask-own", "ask-b", server=here).values == _address(streets, "ask-b", _NET)


def test_an_internal_network_lets_nothing_out(streets: Lab) -> None:
    streets.network(_INTERNAL, internal=True)
    streets.container("ask-in", network=_INTERNAL)
    # The engine tells no gateway here, but its bridge has the first address all the same.
    subnet = streets.address("ask-in", _INTERNAL).rpartition(".")[0]
    here, inner, out = f"{subnet}.1", f"{subnet}.53", gateway(streets, "ask-a", _NET)
    streets.container("ask-in-out", network=_INTERNAL, dns=[out])
    streets.container("ask-in-in", network=_INTERNAL, dns=[inner])
    with (
        Upstream(_OWN, out, 53) as outside,
        _another_address(inner, _interface_of(here)),
        Upstream(_OWN, inner, 53),
        _serving(streets, here) as upstream,
    ):
        assert streets.dig("ask-in", "ask-in-in", server=here).values == _address(
            streets, "ask-in-in", _INTERNAL
        )
        assert streets.dig("ask-in", "www.example.com", server=here).rcode == "SERVFAIL"
        assert streets.dig("ask-in-out", "www.example.com", server=here).rcode == "SERVFAIL"
        assert not upstream.server.asked
        assert not outside.server.asked
        assert streets.dig("ask-in-in", "www.example.com", server=here).values == ["192.0.2.81"]


@contextlib.contextmanager
def _another_address(address: str, interface: str, prefix: Sequence[str] = ()) -> Iterator[None]:
    """One more address on an interface, here or in a network namespace."""
    words = ("address", f"{address}/32", "dev", interface)
    subprocess.run([*prefix, "ip", words[0], "add", *words[1:]], check=True)
    try:
        yield
    finally:
        subprocess.run([*prefix, "ip", words[0], "del", *words[1:]], check=True)


def _interface_of(address: str) -> str:
    """The name of this machine's interface with that address."""
    shown = subprocess.run(
        ["ip", "-json", "address", "show", "to", address], capture_output=True, text=True, check=True
    )
    return str(json.loads(shown.stdout)[0]["ifname"])


def _from(prefix: list[str], source: str, server: str, name: str) -> Reply:
    return dig(server, name, flags=["-b", source], prefix=prefix)
