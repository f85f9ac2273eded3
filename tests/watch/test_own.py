import pytest

from resolver.names.changes import pack_address
from resolver.names.model import Endpoint, Sandbox
from resolver.watch.own import (
    container_in,
    interfaces_of,
    mounted_container,
    named,
    own_addresses,
    own_container,
)

A, B = "a" * 64, "b" * 64
DOCKER = f"""\
109 87 0:45 / / rw,relatime - overlay overlay rw
126 109 254:0 /var/lib/docker/containers/{A}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw
127 109 254:0 /var/lib/docker/containers/{A}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw
128 109 254:0 /var/lib/docker/containers/{A}/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw
"""
PODMAN = (
    f"1 0 0:24 /containers/overlay-containers/{B}/userdata/resolv.conf /etc/resolv.conf rw - tmpfs tmpfs rw\n"
    f"2 0 0:24 /containers/overlay-containers/{B}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw\n"
)
SOMEONE_MOUNTS_IT = f"1 0 254:0 /var/lib/docker/containers/{A}/resolv.conf /srv/x rw - ext4 /dev/vda rw\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DOCKER, A),
        (DOCKER.replace("/var/lib/docker", ""), A),
        (PODMAN, B),
        (PODMAN.replace("overlay", "vfs"), B),
        (DOCKER.replace("resolv.conf", "other"), A),
        (SOMEONE_MOUNTS_IT, ""),
        ("", ""),
        ("nonsense\n1 2 3\n", ""),
        (DOCKER.replace(A, "a" * 63), ""),
    ],
)
def test_the_container_in_mountinfo(text: str, expected: str) -> None:
    assert container_in(text) == expected


def sandbox(identity: str, address: str = "", **more: object) -> Sandbox:
    endpoints = (Endpoint("n", ipv4=pack_address(address)),) if address else ()
    return Sandbox(identity, f"name-{identity[:1]}", endpoints, **more)  # type: ignore[arg-type]


def table(*sandboxes: Sandbox) -> dict[str, Sandbox]:
    return {one.id: one for one in sandboxes}


@pytest.mark.parametrize(
    ("mounted", "addresses", "sandboxes", "expected"),
    [
        (A, (), table(sandbox(A)), A),
        ("", ("10.0.0.2",), table(sandbox(A, "10.0.0.2"), sandbox(B, "10.0.0.3")), A),
        ("", ("10.0.0.1",), table(sandbox(A, "10.0.0.2")), ""),
        (A, (), table(sandbox(A, on_host=True)), ""),
        (A, (), table(sandbox(A, joins=B), sandbox(B)), B),
        (A, (), table(sandbox(A, joins=B)), ""),
        (A, (), table(sandbox(A, joins=B), sandbox(B, on_host=True)), ""),
        (A, (), table(sandbox(A, joins=A)), ""),
        (A, ("10.0.0.3",), table(sandbox(B, "10.0.0.3")), B),
        ("", (), {}, ""),
    ],
)
def test_whose_network_stack(
    mounted: str, addresses: tuple[str, ...], sandboxes: dict[str, Sandbox], expected: str
) -> None:
    assert own_container(mounted, [pack_address(a) for a in addresses], sandboxes) == expected


def test_by_name_id_or_the_beginning_of_one() -> None:
    sandboxes = table(sandbox(A), sandbox(B), sandbox("b" * 63 + "c"))
    assert named("name-a", sandboxes) == named(A, sandboxes) == named("aaaa", sandboxes) == sandboxes[A]
    assert named("bbbb", sandboxes) is None
    assert named("aaa", sandboxes) is None


def test_interfaces() -> None:
    one = sandbox(A, "10.0.0.2")
    assert interfaces_of(one, [pack_address("10.0.0.9"), pack_address("10.0.0.2")]) == {"n": 1}
    assert interfaces_of(one, []) == {}


def test_this_machine() -> None:
    assert all(len(address) in (4, 16) and address[0] != 127 for address in own_addresses())
    assert len(mounted_container()) in (0, 64)
