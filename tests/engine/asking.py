"""Questions from this machine, or from inside a network namespace, with this machine's dig."""

import subprocess
from collections.abc import Sequence

from lab.dig import OPTIONS, Reply, parse
from lab.topology import Lab


def dig(
    server: str,
    name: str,
    type: str = "A",
    *,
    tcp: bool = False,
    flags: Sequence[str] = (),
    prefix: Sequence[str] = (),
) -> Reply:
    """One question to ``ADDRESS`` or ``ADDRESS:PORT``; with a prefix such as nsenter, from elsewhere."""
    address, _, port = server.partition(":")
    transport = ["+tcp"] if tcp else []
    where = [f"@{address}", "-p", port or "53"]
    argv = [*prefix, "dig", *where, *OPTIONS, *transport, *flags, "-t", type, "-q", name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return parse(done.stdout + done.stderr)


def gateway(lab: Lab, container: str, network: str) -> str:
    """This machine's address on the network of a running container."""
    return str(lab.inspect(container)["NetworkSettings"]["Networks"][network]["Gateway"])
