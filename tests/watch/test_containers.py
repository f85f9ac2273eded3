"""The JSON is what engines 20.10 (API 1.41) and 26.1 (API 1.45) send, cut to what is read."""

from typing import Any

import pytest

from resolver.names.changes import pack_address
from resolver.watch.containers import (
    chosen_first,
    first_network,
    names_of,
    network_ids,
    placed,
    read_network,
    read_sandbox,
    started_at,
    unspeakable,
    withdrawn,
)

ID = "492d2aad55f00f67853a8d1c8d505c9919005581576fadf7fbce27237b409720"
SHORT = ID[:12]
KNOWN = {"wt-a": "na", "bridge": "nb"}


def inspect(
    attached: dict[str, dict[str, Any]],
    name: str = "web",
    hostname: str = SHORT,
    status: str = "running",
    mode: str = "wt-a",
    **host: Any,
) -> dict[str, Any]:
    return {
        "Id": ID,
        "Name": f"/{name}",
        "State": {"Status": status, "StartedAt": "2026-11-21T03:29:58.088677389Z"},
        "Config": {"Hostname": hostname},
        "HostConfig": {"NetworkMode": mode, "Dns": [], **host},
        "NetworkSettings": {"Networks": attached},
    }


def names(said: dict[str, Any], **more: Any) -> tuple[str, ...]:
    return read_sandbox(inspect({"wt-a": {"NetworkID": "na", **said}}, **more), KNOWN).endpoints[0].names


def test_names_of_an_old_engine_which_adds_to_the_aliases() -> None:
    assert names({"Aliases": ["Al1", SHORT, "hh.x"]}, hostname="hh.x") == ("web", "Al1", SHORT, "hh.x")


def test_names_of_an_old_engine_before_the_first_start() -> None:
    assert names({"Aliases": ["Al1"]}, hostname="hh.x") == ("web", "Al1", SHORT, "hh.x")


def test_names_of_a_new_engine_are_its_own_list() -> None:
    said = {"Aliases": ["es"], "DNSNames": ["web", "es", SHORT, "h"]}
    assert names(said, hostname="other") == ("web", "es", SHORT, "h")


def test_an_empty_list_is_filled_by_the_rule() -> None:
    assert names({"Aliases": None, "DNSNames": None}) == ("web", SHORT)


def test_case_makes_no_second_name() -> None:
    assert names_of("Web", ["web", "WEB", "es"], ID, SHORT.upper()) == ("Web", "es", SHORT)


@pytest.mark.parametrize(
    ("aliases", "hostname", "expected"),
    [
        (["hello", SHORT], SHORT, ("hello", "clever_hopper", SHORT)),
        ([SHORT, "h"], "h", ("clever_hopper", SHORT, "h")),
        (["clever_hopper", "svc", SHORT], SHORT, ("svc", "clever_hopper", SHORT)),
        ([], SHORT, ("clever_hopper", SHORT)),
    ],
)
def test_a_chosen_alias_comes_before_a_made_up_name(
    aliases: list[str], hostname: str, expected: tuple[str, ...]
) -> None:
    assert names({"Aliases": aliases}, name="clever_hopper", hostname=hostname) == expected


def test_a_chosen_name_stays_in_front() -> None:
    assert chosen_first(("web", "es"), ("es",), ("web",)) == ("web", "es")


def test_an_alias_that_no_reply_can_carry_is_not_put_first() -> None:
    names = ("zen_hopper", "trail.", "bücher", "hello")
    assert chosen_first(names, names[1:], names[:1])[0] == "hello"
    assert chosen_first(names[:2], names[1:2], names[:1]) == names[:2]


def test_addresses_links_and_priority() -> None:
    said = {
        "NetworkID": "na",
        "IPAddress": "172.18.0.2",
        "GlobalIPv6Address": "fd00::2",
        "Links": ["foo:bar", "only"],
        "GwPriority": 7,
    }
    (endpoint,) = read_sandbox(inspect({"wt-a": said}), KNOWN).endpoints
    assert endpoint.ipv4 == pack_address("172.18.0.2")
    assert endpoint.ipv6 == pack_address("fd00::2")
    assert endpoint.links == (("bar", "foo"), ("only", "only"))
    assert endpoint.priority == 7


@pytest.mark.parametrize("status", ["exited", "created", "restarting", "dead"])
def test_what_does_not_run_has_no_address_whatever_the_engine_still_shows(status: str) -> None:
    sandbox = read_sandbox(
        inspect({"wt-a": {"NetworkID": "na", "IPAddress": "172.18.0.2"}}, status=status), KNOWN
    )
    assert (sandbox.state, sandbox.endpoints[0].alive) == (status, False)


def test_paused_is_answered() -> None:
    body = inspect({"wt-a": {"NetworkID": "na", "IPAddress": "172.18.0.2"}}, status="paused")
    assert read_sandbox(body, KNOWN).endpoints[0].alive


def test_a_created_container_names_its_networks_without_ids() -> None:
    body = inspect({"wt-a": {"NetworkID": ""}, "unknown": {"NetworkID": ""}}, status="created")
    assert [endpoint.network for endpoint in read_sandbox(body, KNOWN).endpoints] == ["na"]
    assert network_ids(body, KNOWN) == {"na": "wt-a"}
    assert [e.network for e in read_sandbox(inspect({"na": {"NetworkID": ""}}), KNOWN).endpoints] == ["na"]


def test_podman_gives_the_name_of_a_network_for_its_id() -> None:
    """As 4.3 does. The default one is ``podman`` there, and ``bridge`` in the list of networks."""
    body = inspect(
        {"wt-a": {"NetworkID": "wt-a"}, "podman": {"NetworkID": "podman"}, "new": {"NetworkID": "new"}}
    )
    assert [endpoint.network for endpoint in read_sandbox(body, KNOWN).endpoints] == ["na", "nb", "new"]
    assert network_ids(body, {**KNOWN, "podman": "np"}) == {"na": "wt-a", "np": "podman", "new": "new"}


def test_whose_network_it_shares() -> None:
    assert read_sandbox(inspect({}, mode=f"container:{'a' * 64}"), {}).joins == "a" * 64
    assert read_sandbox(inspect({}, mode="host"), {}).on_host
    assert first_network(inspect({}, mode="default")) == "bridge"
    assert first_network(inspect({})) == "wt-a"


def test_its_own_servers_as_given_but_for_nonsense() -> None:
    body = inspect({}, mode="wt-a")
    body["HostConfig"]["Dns"] = ["10.0.0.1", "fe80::1%eth0", "nonsense", 5]
    assert read_sandbox(body, {}).dns == ("10.0.0.1", "fe80::1%eth0")


@pytest.mark.parametrize("body", [{}, {"Id": 5}, {"Id": ""}])
def test_without_an_id_it_is_nothing(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without an id"):
        read_sandbox(body, {})
    with pytest.raises(ValueError, match="without an id"):
        read_network(body)


def test_fields_of_wrong_kinds_are_as_good_as_missing() -> None:
    body = {
        "Id": ID,
        "Name": 5,
        "State": [],
        "Config": None,
        "HostConfig": "x",
        "NetworkSettings": {"Networks": {"a": 1}},
    }
    sandbox = read_sandbox(body, {})
    assert (sandbox.name, sandbox.endpoints, sandbox.state) == (SHORT, (), "running")
    said = {
        "NetworkID": "na",
        "IPAddress": "300.1.1.1",
        "GlobalIPv6Address": "10.0.0.1",
        "Aliases": "x",
        "Links": [3],
    }
    assert not read_sandbox(inspect({"wt-a": said}), KNOWN).endpoints[0].alive


def test_a_network() -> None:
    body = {
        "Id": "n",
        "Name": "prod",
        "Driver": "bridge",
        "Scope": "local",
        "Internal": True,
        "IPAM": {
            "Config": [
                {"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"},
                {"Subnet": "fd00::/64", "Gateway": "fd00::1/64"},
            ]
        },
    }
    network = read_network(body)
    assert (network.name, network.internal, network.default_bridge) == ("prod", True, False)
    assert [str(subnet) for subnet in network.subnets] == ["10.1.0.0/24", "fd00::/64"]
    assert network.gateways == (pack_address("10.1.0.1"), pack_address("fd00::1"))


def test_the_default_bridge_has_a_name_or_an_option() -> None:
    option = {"com.docker.network.bridge.default_bridge": "true"}
    assert read_network({"Id": "n", "Name": "bridge"}).default_bridge
    assert read_network({"Id": "n", "Name": "odd", "Options": option}).default_bridge


def test_subnets_that_make_no_sense_are_left_out() -> None:
    body = {
        "Id": "n",
        "Name": "x",
        "IPAM": {"Config": [{"Subnet": "10.1/99"}, None, {"Subnet": "10.2.0.0/16", "Gateway": "x"}]},
    }
    assert [str(subnet) for subnet in read_network(body).subnets] == ["10.2.0.0/16"]
    assert read_network({"Id": "n", "Name": "x", "IPAM": {"Config": None}}).subnets == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T03:29:58.088677389Z", 1795231798088677389),
        ("2026-11-21T03:29:58Z", 1795231798000000000),
        ("2026-11-21T03:29:58.5Z", 1795231798500000000),
        ("0001-01-01T00:00:00Z", 0),
        ("nonsense", 0),
    ],
)
def test_when_the_run_began(text: str, expected: int) -> None:
    assert started_at({"State": {"StartedAt": text}}) == expected


def test_names_no_question_can_carry() -> None:
    said = {"NetworkID": "na", "Aliases": ["ok", "bücher", "a b", "trail.", "x" * 64, "a..b"]}
    assert unspeakable(read_sandbox(inspect({"wt-a": said}), KNOWN)) == tuple(
        sorted(("bücher", "a b", "trail.", "x" * 64, "a..b"))
    )


def test_withdrawn_and_placed() -> None:
    said = {
        "wt-a": {"NetworkID": "na", "IPAddress": "172.18.0.2"},
        "b": {"NetworkID": "nb", "IPAddress": "172.19.0.2"},
    }
    sandbox = placed(read_sandbox(inspect(said), KNOWN), {"na": 1, "nb": 0})
    assert [(e.network, e.place) for e in sandbox.endpoints] == [("nb", 0), ("na", 1)]
    assert [e.network for e in withdrawn(sandbox, "nb").endpoints if e.alive] == ["na"]
    assert withdrawn(sandbox, "nb").state == "running"
    ended = withdrawn(sandbox, "")
    assert (ended.state, [e.alive for e in ended.endpoints]) == ("exited", [False, False])
