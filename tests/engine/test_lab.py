"""The laboratory itself: Docker's own resolver is asked, and nothing is left behind."""

import docker

from lab.runs import LABEL
from lab.topology import Lab


def test_two_containers_and_an_alias(lab: Lab) -> None:
    lab.network("lab-prod")
    lab.container("lab-es1", network="lab-prod", aliases=["lab-es"])
    lab.container("lab-es2", network="lab-prod", aliases=["lab-es"])
    addresses = {lab.address(name, "lab-prod") for name in ("lab-es1", "lab-es2")}
    for inside in (False, True):
        reply = lab.dig("lab-es1", "lab-es", inside=inside)
        assert reply.rcode == "NOERROR"
        assert set(reply.values) == addresses
    assert lab.dig("lab-es1", "lab-es1", tcp=True).values == [lab.address("lab-es1", "lab-prod")]


def test_the_client_has_real_tools(lab: Lab) -> None:
    lab.network("lab-tools")
    lab.container("lab-one", network="lab-tools")
    address = lab.address("lab-one", "lab-tools")
    for argv in (
        ["dig", "+short", "lab-one"],
        ["drill", "lab-one"],
        ["nslookup", "lab-one"],
        ["ping", "-c1", "lab-one"],
    ):
        code, said = lab.exec("lab-one", argv)
        assert code == 0, said
        assert address in said


def test_networks_with_ipv6_and_fixed_addresses(lab: Lab) -> None:
    lab.network("lab-six", ipv6=True, internal=True, subnet="10.255.77.0/24")
    lab.container("lab-six-1", network="lab-six", ip="10.255.77.9", hostname="first")
    lab.container("lab-six-2", network="lab-six", links={"lab-six-1": "uno"})
    assert lab.dig("lab-six-2", "lab-six-1").values == ["10.255.77.9"]
    assert lab.dig("lab-six-2", "uno").values == ["10.255.77.9"]
    assert lab.dig("lab-six-2", "lab-six-1", "AAAA").values == [
        lab.address("lab-six-1", "lab-six", ipv6=True)
    ]


def test_life_of_a_container(lab: Lab) -> None:
    lab.network("lab-life")
    lab.container("lab-asker", network="lab-life")
    lab.container("lab-late", network_mode="none")
    lab.disconnect("none", "lab-late")
    lab.connect("lab-life", "lab-late", aliases=["lab-soon"])
    assert lab.dig("lab-asker", "lab-soon").rcode == "NOERROR"
    lab.rename("lab-late", "lab-later")
    assert lab.dig("lab-asker", "lab-later").rcode == "NOERROR"
    lab.pause("lab-later")
    lab.unpause("lab-later")
    lab.restart("lab-later")
    lab.disconnect("lab-life", "lab-later")
    assert lab.dig("lab-asker", "lab-soon").rcode != "NOERROR"
    lab.stop("lab-later")
    assert lab.pid("lab-later") == 0
    lab.start("lab-later")
    lab.kill("lab-later")


def test_nothing_is_left(engine_url: str) -> None:
    with Lab(engine_url) as laboratory:
        run = laboratory.run
        laboratory.network("lab-gone")
        laboratory.container("lab-gone-1", network="lab-gone")
        laboratory.container(network="lab-gone", start=False)
    api = docker.APIClient(base_url=engine_url, version="auto")
    marked = {"label": [f"{LABEL}={run}"]}
    assert api.containers(all=True, filters=marked) == []
    assert api.networks(filters=marked) == []
    api.close()
