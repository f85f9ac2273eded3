"""The laboratory's upstream, asked with dnspython."""

import dns.message
import dns.query
import dns.rcode
import pytest

from lab.upstream import Asked, Upstream, failing, serving, silent, zone

_ZONE = "www.example.com. 60 IN A 192.0.2.7\nwww.example.com. 60 IN A 192.0.2.8\n"


def test_a_zone_over_udp_and_tcp() -> None:
    query = dns.message.make_query("www.example.com", "A")
    missing = dns.message.make_query("nowhere.example.com", "A")
    other = dns.message.make_query("www.example.com", "AAAA")
    with Upstream(zone(_ZONE)) as upstream:
        port = upstream.server.port
        for ask in (dns.query.udp, dns.query.tcp):
            assert len(ask(query, "127.0.0.1", 2, port).answer[0]) == 2
            assert ask(missing, "127.0.0.1", 2, port).rcode() == dns.rcode.NXDOMAIN
            assert ask(other, "127.0.0.1", 2, port).answer == []
        assert [(asked.name, asked.type, asked.tcp) for asked in upstream.server.asked[:1]] == [
            ("www.example.com", "A", False)
        ]
        assert upstream.server.asked[-1].tcp
        assert upstream.wait_for("nowhere.example.com") is not None


def test_behaviour_is_exchanged_while_it_runs() -> None:
    query = dns.message.make_query("www.example.com", "A")
    with Upstream(failing("SERVFAIL")) as upstream:
        port = upstream.server.port
        assert dns.query.udp(query, "127.0.0.1", 2, port).rcode() == dns.rcode.SERVFAIL
        upstream.server.behaviour = silent
        with pytest.raises(dns.exception.Timeout):
            dns.query.udp(query, "127.0.0.1", 0.2, port)


def test_a_port_in_use_is_an_error() -> None:
    with Upstream(silent) as first, pytest.raises(OSError, match="in use"):
        Upstream(silent, "127.0.0.1", first.server.port).__enter__()


async def test_on_the_running_loop() -> None:
    def odd(asked: Asked) -> bytes:
        return asked.packet[:2]

    async with serving(odd, "127.0.0.3") as server:
        assert server.port > 0
