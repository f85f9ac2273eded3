"""The topologies T1 to T5 of the reference, as changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resolver.names.model import Endpoint, Network, Sandbox
from tests.house import POLICY, House, container, joined, network

if TYPE_CHECKING:
    from resolver.names.changes import Change

BRIDGE = network("bridge", "172.17.0.0/16", default_bridge=True)
SPEC_A = network("spec-a", "10.201.1.0/24")
SPEC_B = network("spec-b", "10.201.2.0/24")
SPEC_Z = network("spec-z", "10.201.26.0/24")
SPEC_UP = network("spec-Up", "10.201.11.0/24")
SPEC_XY = network("spec-x.y", "10.201.10.0/24")
SPEC_INT = network("spec-int", "10.201.9.0/24", internal=True)
SPEC_V6 = network("spec-v6", "10.201.6.0/24", "fd00:201:6::/64")

C1 = container("spec-c1", joined(SPEC_A, "10.201.1.2", "web", "Api.V1"), hostname="spec-h1.example.com")
C2 = container("spec-c2", joined(SPEC_A, "10.201.1.3", "web"))
AN = container("NAUTO", joined(SPEC_A, "10.201.1.4", "anon1"), generated=True)
AN2 = container("NAUTO2", joined(SPEC_A, "10.201.1.5"), generated=True)
C3 = container("spec-c3.dot", joined(SPEC_A, "10.201.1.6", "trail.", "under_score"))

T1: tuple[Change, ...] = (SPEC_A, C1, C2, AN, AN2, C3)

T2_NETWORKS = {n.name: n for n in (SPEC_A, SPEC_B, SPEC_Z, SPEC_UP, SPEC_XY, SPEC_INT, SPEC_V6)}
PREFIXES = {
    "spec-a": "10.201.1", "spec-b": "10.201.2", "spec-z": "10.201.26", "spec-Up": "10.201.11",
    "spec-x.y": "10.201.10", "spec-int": "10.201.9", "spec-v6": "10.201.6",
}  # fmt: skip
ALIASES_OF_M1 = {"spec-z": ("mee",), "spec-a": ("m1a",)}
V6 = "fd00:201:6::"


def duplicate(where: Network) -> Sandbox:
    """The container that every network of T2 has."""
    short = where.name.removeprefix("spec-")
    host = 7 if short == "a" else 2
    v6 = f"{V6}2" if short == "v6" else ""
    end = joined(where, f"{PREFIXES[where.name]}.{host}", "dup", f"only-{short}", v6=v6)
    return container(f"spec-dup-{short}", end)


def on(host: int, *names: str, **priorities: int) -> tuple[Endpoint, ...]:
    """Endpoints on these networks, connected in this order; ``spec_z=1`` is a gateway priority."""
    return tuple(
        replace(
            joined(
                T2_NETWORKS[name],
                f"{PREFIXES[name]}.{host}",
                *(ALIASES_OF_M1.get(name, ()) if host == 50 else ()),
                v6=f"{V6}{host:x}" if name == "spec-v6" else "",
                place=place,
            ),
            priority=priorities.get(name.replace("-", "_"), 0),
        )
        for place, name in enumerate(names)
    )


def m1(*names: str, **priorities: int) -> Sandbox:
    """The container of T2 that is on several networks."""
    return container("spec-m1", *on(50, *names, **priorities))


M1_ALL = m1("spec-z", "spec-b", "spec-a", "spec-int", "spec-Up", "spec-v6", "spec-x.y")
T2: tuple[Change, ...] = (*T2_NETWORKS.values(), *map(duplicate, T2_NETWORKS.values()), M1_ALL)

L1 = container(
    "spec-l1",
    joined(
        SPEC_A,
        "10.201.1.8",
        links=(("lnk", "spec-c1"), ("Lnk2", "spec-c1"), ("spec-dup-a", "spec-c2"), ("spec-c2", "spec-c2")),
    ),
    joined(SPEC_B, "10.201.2.8", links=(("db", "spec-c1"),), place=1),
)
T3: tuple[Change, ...] = (*T1, SPEC_B, duplicate(SPEC_A), L1)


def on_bridge(address: str) -> Endpoint:
    """An endpoint on the default bridge: the engine gives it no names."""
    return Endpoint(BRIDGE.id, (), joined(BRIDGE, address).ipv4)


def with_bridge(sandbox: Sandbox, address: str) -> Sandbox:
    """The container on the default bridge too."""
    return replace(sandbox, endpoints=(on_bridge(address), *sandbox.endpoints))


BR1 = with_bridge(container("spec-br1", joined(SPEC_A, "10.201.1.9", place=1)), "172.17.0.2")
BR2 = with_bridge(container("spec-br2", hostname="spec-br2h"), "172.17.0.3")
T4: tuple[Change, ...] = (*T1, BRIDGE, BR1, BR2)

O1 = container("spec-o1", joined(SPEC_A, "10.201.1.10"))
T5: tuple[Change, ...] = (*T1, O1)

BY_ENGINE = replace(POLICY, search_order="engine")


def t1(*more: Change) -> House:
    """T1, and what else happened."""
    return House(*T1, *more)


def t2(*more: Change) -> House:
    """T2 with the engine's search order."""
    return House(*T2, *more, policy=BY_ENGINE)


def t2_by_connection(*more: Change) -> House:
    """T2 with our own search order."""
    return House(*T2, *more)


def t3(*more: Change) -> House:
    """T3, and what else happened."""
    return House(*T3, *more)


def t4(*more: Change) -> House:
    """T4, and what else happened."""
    return House(*T4, *more)


def t5(*more: Change) -> House:
    """T5; the options of ``o1`` are its own stub resolver's."""
    return House(*T5, *more)
