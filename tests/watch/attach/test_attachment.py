"""Sockets and rules in a namespace of a test's own, with the kernel as it is."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from resolver.watch import nftables
from resolver.watch.attach import rules
from resolver.watch.attach.attachment import Attachment, clean, open_in
from resolver.watch.attach.claim import NAME, AlreadyAnswered
from resolver.watch.attach.namespace import CannotEnter, look_inside, our_namespace
from tests.watch.attach.stack import IDENTITY, PATIENCE, Stack, given_back, open_descriptors, root, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = root

LONG: Final = 600.0
WITH_NETWORKS: Final = """
ip link add wire type veth peer name other && ip link set wire up && ip link set other up
ip address add 10.77.0.2/24 dev wire && ip route add default via 10.77.0.1
ip -6 address add fd77::2/64 dev wire nodad
"""
ENGINES_PORT: Final = 40_053
FOREIGN: Final = f"""
table ip nat {{
  chain DOCKER_OUTPUT {{
    ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:{ENGINES_PORT}
    ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:{ENGINES_PORT}
  }}
  chain OUTPUT {{
    type nat hook output priority -100
    ip daddr 127.0.0.11 jump DOCKER_OUTPUT
  }}
  chain POSTROUTING {{
    type nat hook postrouting priority 100
    ip saddr 127.0.0.11 udp sport {ENGINES_PORT} snat to :53
  }}
}}
table inet guard {{
  set banned {{ type ipv4_addr; flags timeout; }}
  chain output {{
    type filter hook output priority 0
    ip daddr @banned drop
  }}
}}
"""
DATAGRAM, STREAM = socket.SOCK_DGRAM, socket.SOCK_STREAM


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Stack]:
    """With the rules of Docker and of somebody else; on a network of its own."""
    with stack(tmp_path, "127.0.0.11", more=WITH_NETWORKS) as found:
        found.run("nft", "-f", "-", stdin=FOREIGN)
        yield found


@pytest.fixture
def attached(container: Stack) -> Iterator[Attachment]:
    """Live."""
    attachment = open_in(container.pid, IDENTITY)
    try:
        assert attachment.renew(LONG)
        yield attachment
    finally:
        attachment.close()


def asks(container: Stack, server: str, mark: int = 0) -> socket.socket:
    """A client there, connected to this server, as the C library's is: a reply from elsewhere is lost."""
    client = container.open(socket.AF_INET6 if ":" in server else socket.AF_INET, DATAGRAM, mark)
    client.connect((server, 53))
    return client


def answers(sock: socket.socket, client: socket.socket, question: bytes = b"?") -> bool:
    """Whether a question gets to this server, whose reply gets back."""
    sock.settimeout(PATIENCE)
    client.send(question)
    asked, sender = sock.recvfrom(512)
    sock.sendto(asked + b"!", sender)
    return client.recv(512) == question + b"!"


def hears(sock: socket.socket) -> bool:
    """Whether a datagram waits. On loopback it is there before the call that sends returns."""
    sock.setblocking(False)
    try:
        sock.recv(512)
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("server", ["127.0.0.11", "10.77.0.53", "192.0.2.53", "fd77::53"])
def test_a_nameserver_is_taken_the_place_of(container: Stack, server: str) -> None:
    """Over UDP and TCP, at loopback and elsewhere, in both families; the reply comes from where it was
    asked."""
    container.say(server)
    with ExitStack() as held:
        attachment = open_in(container.pid, IDENTITY)
        held.callback(attachment.close)
        assert attachment.nameservers == (server,)
        assert attachment.renew(LONG)
        assert answers(attachment.udp[0], held.enter_context(asks(container, server)))
        unconnected = held.enter_context(
            container.open(socket.AF_INET6 if ":" in server else socket.AF_INET, DATAGRAM)
        )
        attachment.udp[0].settimeout(PATIENCE)
        unconnected.sendto(b"?", (server, 53))
        attachment.udp[0].sendto(b"!", attachment.udp[0].recvfrom(512)[1])
        assert unconnected.recvfrom(512)[1][:2] == (server, 53)
        assert speaks(attachment.tcp[0], container, server)


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.53", "::1"])
def test_a_containers_own_server_is_left_alone(container: Stack, server: str) -> None:
    """It runs one for itself, on its own loopback."""
    container.say(server)
    with pytest.raises(CannotEnter, match="own loopback"):
        open_in(container.pid, IDENTITY)


def speaks(listener: socket.socket, container: Stack, server: str) -> bool:
    """Whether a connection to this server is this listener's, both ways."""
    client = container.open(socket.AF_INET6 if ":" in server else socket.AF_INET, STREAM)
    listener.settimeout(PATIENCE)
    with client:
        client.connect((server, 53))
        client.sendall(b"?")
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            accepted.sendall(accepted.recv(512) + b"!")
            return client.recv(512) == b"?!" and client.getpeername()[:2] == (server, 53)


def test_each_of_several_nameservers_is_answered_by_itself(container: Stack) -> None:
    container.say("10.77.0.53", "fd77::53", "10.77.0.54", "10.77.0.55")
    with ExitStack() as held:
        attachment = open_in(container.pid, IDENTITY)
        held.callback(attachment.close)
        assert attachment.nameservers == ("10.77.0.53", "fd77::53", "10.77.0.54")
        assert attachment.renew(LONG)
        for sock, server in zip(attachment.udp, attachment.nameservers, strict=True):
            assert answers(sock, held.enter_context(asks(container, server)))


def test_nothing_is_taken_before_the_first_renewal(container: Stack) -> None:
    attachment = open_in(container.pid, IDENTITY)
    with container.bound("127.0.0.11", ENGINES_PORT) as engine, asks(container, "127.0.0.11") as client:
        assert answers(engine, client)
        assert not hears(attachment.udp[0])
        assert not attachment.renewed
        assert attachment.renew(LONG)
        assert answers(attachment.udp[0], client), "a client that keeps its socket is taken at once"
    attachment.close()


def test_let_go_and_taken_again_from_one_datagram_to_the_next(container: Stack, attached: Attachment) -> None:
    with container.bound("127.0.0.11", ENGINES_PORT) as engine, asks(container, "127.0.0.11") as client:
        for _ in range(3):
            assert answers(attached.udp[0], client)
            attached.release()
            assert answers(engine, client)
            assert not hears(attached.udp[0])
            assert attached.renew(LONG)
        assert not hears(engine)


def test_a_reply_under_way_finds_its_way_after_the_release(container: Stack, attached: Attachment) -> None:
    with asks(container, "127.0.0.11") as client:
        client.send(b"?")
        _, sender = attached.udp[0].recvfrom(512)
        attached.release()
        attached.udp[0].sendto(b"!", sender)
        assert client.recv(512) == b"!"
    assert attached.renewed == 0.0


def test_who_does_not_renew_has_let_go(container: Stack, attached: Attachment) -> None:
    """A renewal with a shorter life counts as well: the last one does."""
    assert attached.renew(0.05)
    with container.bound("127.0.0.11", ENGINES_PORT) as engine, asks(container, "127.0.0.11") as client:
        until = time.monotonic() + PATIENCE
        client.send(b"?")
        while not hears(engine):
            assert time.monotonic() < until
            time.sleep(0.005)
            client.send(b"?")
        while hears(attached.udp[0]):
            pass
        assert answers(engine, client)


def test_a_renewal_prolongs(container: Stack, attached: Attachment) -> None:
    """Not what an element that is there does by itself: its old time would count."""
    assert attached.renew(0.3)
    assert attached.renew(LONG)
    listed = container.run("nft", "list", "set", "ip", rules.TABLE, rules.SET)
    assert "expires 9m59" in listed
    time.sleep(0.35)
    with asks(container, "127.0.0.11") as client:
        assert answers(attached.udp[0], client)


def test_an_element_that_has_run_out_is_put_in_again(container: Stack, attached: Attachment) -> None:
    assert attached.renew(0.01)
    time.sleep(0.05)
    assert attached.renew(LONG)
    with asks(container, "127.0.0.11") as client:
        assert answers(attached.udp[0], client)


def test_what_is_not_ours_stays_as_it_is(container: Stack) -> None:
    before = container.ruleset()
    attachment = open_in(container.pid, IDENTITY)
    assert container.ruleset().startswith(before)
    attachment.renew(LONG)
    attachment.release()
    attachment.renew(LONG)
    attachment.put_back()
    attachment.remove()
    assert container.ruleset() == before
    attachment.remove()
    assert container.ruleset() == before
    attachment.close()


def test_marked_questions_pass(container: Stack, attached: Attachment) -> None:
    """Those we ask the engine's resolver, and a container's own servers, in its namespace."""
    with (
        container.bound("127.0.0.11", ENGINES_PORT) as engine,
        container.bound("127.0.0.11", ENGINES_PORT, STREAM) as listener,
        attached.spare([DATAGRAM])[0] as client,
        attached.spare([STREAM])[0] as connection,
    ):
        assert not client.getblocking()
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.11", 53))
        assert answers(engine, client)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.11", 53))
        listener.accept()[0].close()
        assert not hears(attached.udp[0])


def test_questions_to_other_servers_and_ports_pass(container: Stack, attached: Attachment) -> None:
    with container.bound("127.0.0.12", 53) as other, asks(container, "127.0.0.12") as client:
        assert answers(other, client)
    with container.bound("127.0.0.11", 54) as other, asks(container, "127.0.0.11") as client:
        client.connect(("127.0.0.11", 54))
        assert answers(other, client)
    assert not hears(attached.udp[0])


@pytest.mark.parametrize("servers", [("127.0.0.11",), ("127.0.0.11", "fd77::53")])
def test_a_table_that_is_gone_is_noticed_and_put_back(container: Stack, servers: tuple[str, ...]) -> None:
    """And then all is well: what the kernel complained of before does not count any more."""
    container.say(*servers)
    attachment = open_in(container.pid, IDENTITY)
    attachment.renew(LONG)
    container.run("nft", "flush", "ruleset")
    assert not attachment.renew(LONG)
    assert not attachment.renew(LONG)
    attachment.put_back()
    assert attachment.renew(LONG)
    assert attachment.renew(LONG)
    for sock, server in zip(attachment.udp, attachment.nameservers, strict=True):
        with asks(container, server) as client:
            assert answers(sock, client)
    attachment.close()


def test_one_table_of_two_that_is_gone_is_put_back_and_the_other_not_doubled(container: Stack) -> None:
    container.say("127.0.0.11", "fd77::53")
    attachment = open_in(container.pid, IDENTITY)
    one = container.run("nft", "-s", "list", "table", "ip6", "resolver_attached")
    other = container.run("nft", "-s", "list", "table", "ip", "resolver_attached")
    container.run("nft", "delete", "table", "ip", "resolver_attached")
    assert not attachment.renew(LONG)
    attachment.put_back()
    assert container.run("nft", "-s", "list", "table", "ip6", "resolver_attached") == one
    assert container.run("nft", "-s", "list", "table", "ip", "resolver_attached") == other
    attachment.close()


def test_the_engines_own_resolver_is_found_beside_us(container: Stack) -> None:
    with (
        container.bound("127.0.0.11", 0) as udp,
        container.bound("127.0.0.11", 0, STREAM) as tcp,
    ):
        attachment = open_in(container.pid, IDENTITY)
        assert attachment.engine == f"127.0.0.11:{udp.getsockname()[1]}/{tcp.getsockname()[1]}"
        inside = look_inside(container.pid, IDENTITY)
        assert attachment.serves(inside)
        assert attachment.engine_in(inside) == attachment.engine, "our own sockets are not taken for it"
        inside.close()
        container.say("127.0.0.11", "192.0.2.1")
        inside = look_inside(container.pid, IDENTITY)
        assert not attachment.serves(inside)
        inside.close()
    attachment.close()


def test_another_resolver_is_not_pushed_aside(container: Stack, attached: Attachment) -> None:
    before, rules_before = open_descriptors(), container.run("nft", "list", "tables")
    with pytest.raises(AlreadyAnswered):
        open_in(container.pid, IDENTITY)
    with pytest.raises(AlreadyAnswered):
        clean(container.pid, IDENTITY)
    assert given_back(before)
    assert container.run("nft", "list", "tables") == rules_before
    with asks(container, "127.0.0.11") as client:
        assert answers(attached.udp[0], client)


def test_one_that_is_ending_is_waited_for(container: Stack) -> None:
    """It has let go, but its rules and sockets are there yet: not ours to remove, and not the engine's."""
    other = container.open(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.bind(NAME)
    before = open_descriptors()
    with pytest.raises(AlreadyAnswered):
        open_in(container.pid, IDENTITY)
    with pytest.raises(AlreadyAnswered):
        clean(container.pid, IDENTITY)
    assert given_back(before)
    other.close()
    attachment = open_in(container.pid, IDENTITY)
    with pytest.raises(OSError, match="in use"), container.open(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(NAME)
    attachment.remove()
    attachment.close()
    with container.open(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(NAME)


def test_what_stays_open_is_in_nobodys_way(container: Stack) -> None:
    """Hundreds of containers; libnftables ends the process at the first descriptor of 1,024 or above."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    low = os.open("/", os.O_PATH)
    try:
        attachment = open_in(container.pid, IDENTITY)
        socks = [*attachment.udp, *attachment.tcp, attachment.netlink]
        assert min(sock.fileno() for sock in socks) >= nftables.FD_SETSIZE
        assert attachment.inside.fd >= nftables.FD_SETSIZE
        after = os.dup(low)
        os.close(after)
        assert after <= low + 1
        attachment.remove()
        attachment.close()
    finally:
        os.close(low)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_with_too_many_descriptors_open_it_says_so() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as opened:
        while (fd := os.open("/", os.O_PATH)) < nftables.FD_SETSIZE:
            opened.callback(os.close, fd)
        opened.callback(os.close, fd)
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with pytest.raises(nftables.NftablesError, match="too many descriptors"):
            nftables.Nftables()


def test_what_closes_sockets_stays_at_home(container: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread made inside a namespace would keep it alive."""
    monkeypatch.setattr(nftables, "_closing", [])
    monkeypatch.setattr(nftables, "CLOSING", "resolver-nft-2")
    nftables.start_closing()
    closed = threading.Event()
    attachment = open_in(container.pid, IDENTITY)
    attachment.remove()
    attachment.close()
    nftables.close_soon(closed.set)
    assert closed.wait(PATIENCE)
    (thread,) = (t for t in threading.enumerate() if t.name == nftables.CLOSING)
    state = Path(f"/proc/self/task/{thread.native_id}/ns/net").stat()
    assert (state.st_dev, state.st_ino) == our_namespace()


def test_what_a_killed_one_left_is_removed_when_it_has_run_out(container: Stack) -> None:
    before = container.ruleset()
    assert not clean(container.pid, IDENTITY)
    killed = open_in(container.pid, IDENTITY)
    killed.close()
    assert container.ruleset() != before
    assert clean(container.pid, IDENTITY)
    assert container.ruleset() == before
    assert not clean(container.pid, IDENTITY)


def test_what_a_killed_one_left_is_replaced(container: Stack) -> None:
    before = container.ruleset()
    container.say("127.0.0.11", "fd77::53")
    open_in(container.pid, IDENTITY).close()
    container.say("127.0.0.11")
    attachment = open_in(container.pid, IDENTITY)
    assert "ip6 resolver_attached" not in container.ruleset()
    attachment.remove()
    attachment.close()
    assert container.ruleset() == before


def test_nothing_is_deleted_where_nothing_was_left(container: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a deletion the kernel has the next one wait."""
    said: list[str] = []
    run = nftables.Nftables.run

    def note(self: nftables.Nftables, commands: str) -> str:
        said.append(commands)
        return run(self, commands)

    monkeypatch.setattr(nftables.Nftables, "run", note)
    open_in(container.pid, IDENTITY).close()
    assert not any("delete" in commands for commands in said)
    open_in(container.pid, IDENTITY).close()
    assert "delete" in said[-1]


@pytest.mark.parametrize("servers", [(), ("fe80::1%wire",)])
def test_a_container_without_nameservers(container: Stack, servers: tuple[str, ...]) -> None:
    container.say(*servers)
    before, rules_before = open_descriptors(), container.ruleset()
    with pytest.raises(CannotEnter, match="names no server"):
        open_in(container.pid, IDENTITY)
    assert given_back(before)
    assert container.ruleset() == rules_before


def test_our_own_network_stack_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that has our namespace, whatever the engine says of it."""
    with stack(tmp_path, "127.0.0.11") as found:
        inside = look_inside(found.pid, IDENTITY)
        inside.close()
        monkeypatch.setattr("resolver.watch.attach.attachment.our_namespace", lambda: inside.identity)
        before = open_descriptors()
        with pytest.raises(CannotEnter, match="shares the network stack"):
            open_in(found.pid, IDENTITY)
        assert not clean(found.pid, IDENTITY)
        assert given_back(before)
        assert found.ruleset() == ""
    assert our_namespace() != inside.identity


def test_every_descriptor_is_given_back(container: Stack) -> None:
    before = open_descriptors()
    attachment = open_in(container.pid, IDENTITY)
    attachment.renew(LONG)
    attachment.spare([DATAGRAM])[0].close()
    assert open_descriptors() > before
    attachment.remove()
    attachment.close()
    attachment.close()
    assert given_back(before)


def test_a_container_that_ended_is_let_go_without_complaint(container: Stack, attached: Attachment) -> None:
    container.end()
    attached.renew(LONG)
    attached.release()
    attached.remove()
    attached.close()
    with pytest.raises(CannotEnter):
        attached.spare([DATAGRAM])


def test_all_sockets_are_closed_in_programs_we_start(attached: Attachment) -> None:
    for sock in (*attached.udp, *attached.tcp, attached.netlink):
        assert not os.get_inheritable(sock.fileno())
    assert not os.get_inheritable(attached.inside.fd)
