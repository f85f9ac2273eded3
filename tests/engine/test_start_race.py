"""200 containers, each of whose first act is to look up itself and a peer: nobody gets a false NXDOMAIN.

They ask the resolver on the host, at their network's gateway. What each was told is its log.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.served import Served
from lab.topology import Lab
from lab.upstream import Upstream, zone
from tests.engine.asking import gateway

_CONTAINERS = 200
_AT_ONCE = 4
"""Starts at a time: more do not come faster on a small machine."""
_NETWORK, _PEER = "race-net", "race-peer"
_SUBNET = "10.255.9"
_PEER_ADDRESS = f"{_SUBNET}.250"
_ADDRESS = re.compile(r"^Address: (\S+)$", re.MULTILINE)


def _told(lab: Lab, number: int, server: str) -> list[str]:
    """What was wrong in the first two questions of one container's life; it has no others."""
    name, address = f"race-{number}", f"{_SUBNET}.{10 + number}"
    script = f"nslookup -type=a {name} {server}; nslookup -type=a {_PEER} {server}"
    lab.container(name, network=_NETWORK, ip=address, command=["sh", "-c", script])
    lab.api.wait(name)
    log = lab.api.logs(name).decode(errors="replace")
    lab.remove(name)
    return [] if _ADDRESS.findall(log) == [address, _PEER_ADDRESS] else [f"{name} ({address}): {log}"]


@pytest.mark.timeout(400)
def test_first_act(lab: Lab) -> None:
    lab.network(_NETWORK, subnet=f"{_SUBNET}.0/24")
    lab.container(_PEER, network=_NETWORK, ip=_PEER_ADDRESS)
    server = gateway(lab, _PEER, _NETWORK)
    with (
        Upstream(zone("elsewhere.example. 60 IN A 192.0.2.1")) as upstream,
        Served(f"--listen={server}", f"--engine={lab.url}", f"--upstream={upstream.address}") as served,
        ThreadPoolExecutor(_AT_ONCE) as starts,
    ):
        wrong = [
            fault
            for told in starts.map(lambda n: _told(lab, n, server), range(_CONTAINERS))
            for fault in told
        ]
        status = json.loads(served.check("--json").stdout)
        leaked = {asked.name for asked in upstream.server.asked if asked.name.startswith("race-")}
    assert not wrong, f"{len(wrong)} of {_CONTAINERS}; {status['counters']}\n{wrong[0]}"
    assert not leaked
