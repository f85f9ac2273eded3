"""A small world in a file of changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from resolver.show import picture

if TYPE_CHECKING:
    from pathlib import Path

WORLD: list[dict[str, Any]] = [
    {"change": "network", "id": "n1" * 6, "name": "prod", "subnets": ["10.1.0.0/24"]},
    {"change": "network", "id": "n2" * 6, "name": "dev"},
    {"change": "network", "id": "n3" * 6, "name": "bridge", "default_bridge": True},
    {"change": "network", "id": "n4" * 6, "name": "vault", "internal": True},
    {
        "change": "container",
        "id": "aaaaaaaaaaaabbbb",
        "name": "es1",
        "endpoints": [
            {
                "network": "n1" * 6,
                "names": ["es1", "es", "aaaaaaaaaaaa"],
                "ipv4": "10.1.0.2",
                "ipv6": "fd00::2",
            }
        ],
    },
    {
        "change": "container",
        "id": "ccccccccccccdddd",
        "name": "web",
        "endpoints": [
            {"network": "n2" * 6, "names": ["web"], "ipv4": "10.2.0.2", "place": 1},
            {"network": "n1" * 6, "names": ["web"], "ipv4": "10.1.0.3"},
        ],
    },
    {
        "change": "container",
        "id": "c3",
        "name": "old",
        "state": "exited",
        "endpoints": [{"network": "n2" * 6, "names": ["old"]}],
    },
    {
        "change": "container",
        "id": "c4",
        "name": "loner",
        "endpoints": [{"network": "n3" * 6, "names": ["loner"], "ipv4": "172.17.0.2"}],
    },
    {
        "change": "container",
        "id": "c5",
        "name": "safe",
        "endpoints": [{"network": "n4" * 6, "names": ["safe"], "ipv4": "10.4.0.2"}],
    },
]


def write_world(path: Path, *more: dict[str, Any]) -> Path:
    """The world, and more, in a file that ``--changes`` takes; put there at once, never seen half."""
    draft = path.with_suffix(".new")
    draft.write_text("# by hand\n\n" + "".join(json.dumps(change) + "\n" for change in (*WORLD, *more)))
    return draft.rename(path)


@pytest.fixture(autouse=True)
def _on_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests may have an address of this world, and would pass for a container."""
    monkeypatch.setattr(picture, "own_addresses", lambda: ())


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The world in a file."""
    return write_world(tmp_path / "world.jsonl")
