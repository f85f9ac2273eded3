"""Networks and containers on a real engine, all of them removed at the end."""

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from lab import dig, packages, private
from lab.images import Images
from lab.runs import LABEL, is_over, new_run
from lab.subnets import SUBNETS

_SLEEP = ("sleep", "infinity")
# A sleeping first process ignores the usual signal for ten seconds.
_STOP_SIGNAL = "SIGKILL"
_EMBEDDED = "127.0.0.11"


class Lab:
    """One set of networks and containers on the engine at ``url``; a context manager that removes them.

    Containers and networks are meant by their names or ids. What the engine refuses raises APIError.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.images = Images(url)
        self.run = new_run()
        self.api = docker.APIClient(base_url=url, version="auto", timeout=120)
        if url == private.URL:
            self._remove_leftovers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- networks

    def network(
        self,
        name: str,
        *,
        subnet: str | None = None,
        internal: bool = False,
        ipv6: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> str:
        """Create a bridge network; returns its id. Without a subnet it gets the next free /24 (and /64)."""
        while True:
            pools = _pools(subnet, ipv6)
            try:
                made = self.api.create_network(
                    name,
                    driver="bridge",
                    ipam=IPAMConfig(pool_configs=pools),
                    internal=internal,
                    enable_ipv6=ipv6,
                    labels={LABEL: self.run},
                    options=dict(options or {}),
                    check_duplicate=True,
                )
            except APIError as refused:
                # Another run, or the machine itself, uses that subnet: take the next.
                if subnet is None and "overlap" in str(refused.explanation):
                    continue
                raise
            return str(made["Id"])

    def remove_network(self, network: str) -> None:
        """Remove a network nobody is on."""
        self.api.remove_network(network)

    def connect(
        self,
        network: str,
        container: str,
        *,
        aliases: Sequence[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
        links: Mapping[str, str] | None = None,
    ) -> None:
        """Connect a container, running or not; ``links`` maps other containers to their alias."""
        self.api.connect_container_to_network(
            container,
            network,
            aliases=list(aliases) or None,
            ipv4_address=ip,
            ipv6_address=ip6,
            links=dict(links or {}) or None,
        )

    def disconnect(self, network: str, container: str) -> None:
        """Disconnect a container at once."""
        self.api.disconnect_container_from_network(container, network, force=True)

    # -- containers

    def container(
        self,
        name: str | None = None,
        *,
        network: str | None = None,
        aliases: Sequence[str] = (),
        ip: str | None = None,
        ip6: str | None = None,
        links: Mapping[str, str] | None = None,
        hostname: str | None = None,
        dns: Sequence[str] = (),
        dns_options: Sequence[str] = (),
        network_mode: str | None = None,
        command: Sequence[str] = _SLEEP,
        image: str | None = None,
        environment: Mapping[str, str] | None = None,
        cap_add: Sequence[str] = (),
        binds: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        start: bool = True,
    ) -> str:
        """Create a container, and start it unless told not to; returns its id.

        ``network`` is a network made before; ``network_mode`` takes the engine's other words (``none``,
        ``host``, ``container:X``). Without either it is on the default bridge.
        """
        host = self._host(
            network or network_mode, None if network else links, dns, dns_options, cap_add, binds
        )
        made = self.api.create_container(
            image or self.images.client(),
            list(command),
            name=name,
            hostname=hostname,
            environment=dict(environment or {}),
            labels={**(labels or {}), LABEL: self.run},
            stop_signal=_STOP_SIGNAL,
            host_config=host,
            networking_config=self._networking(network, aliases, ip, ip6, links),
        )
        identity = str(made["Id"])
        return self.start(identity) if start else identity

    def _host(
        self,
        network_mode: str | None,
        links: Mapping[str, str] | None,
        dns: Sequence[str],
        dns_options: Sequence[str],
        cap_add: Sequence[str],
        binds: Sequence[str],
    ) -> Any:
        return self.api.create_host_config(
            network_mode=network_mode,
            links=dict(links) if links else None,
            dns=list(dns) or None,
            dns_opt=list(dns_options) or None,
            cap_add=list(cap_add) or None,
            binds=list(binds) or None,
        )

    def _networking(
        self,
        network: str | None,
        aliases: Sequence[str],
        ip: str | None,
        ip6: str | None,
        links: Mapping[str, str] | None,
    ) -> Any:
        """The first network's part of a container's creation; None where there is none to join."""
        if network is None:
            return None
        endpoint: Any = self.api.create_endpoint_config(
            aliases=list(aliases) or None,
            ipv4_address=ip,
            ipv6_address=ip6,
            links=dict(links) if links else None,
        )
        return self.api.create_networking_config({network: endpoint})  # type: ignore[arg-type]

    def start(self, container: str) -> str:
        """Start a container that is stopped or only created; returns what it was called."""
        self.api.start(container)
        return container

    def stop(self, container: str) -> None:
        """Stop a container at once."""
        self.api.stop(container, timeout=0)

    def restart(self, container: str) -> None:
        """Stop and start a container."""
        self.api.restart(container, timeout=0)

    def kill(self, container: str) -> None:
        """Kill a container's processes."""
        self.api.kill(container)

    def pause(self, container: str) -> None:
        """Freeze a container."""
        self.api.pause(container)

    def unpause(self, container: str) -> None:
        """Let a frozen container go on."""
        self.api.unpause(container)

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        self.api.rename(container, name)

    def remove(self, container: str) -> None:
        """Stop and remove a container; one that is gone is fine."""
        with contextlib.suppress(NotFound):
            self.api.remove_container(container, force=True, v=True)

    # -- looking and asking

    def inspect(self, container: str) -> dict[str, Any]:
        """The engine's JSON about a container."""
        told: dict[str, Any] = self.api.inspect_container(container)
        return told

    def name(self, container: str) -> str:
        """The name of a container, without the slash; of use where the engine made it up."""
        return str(self.inspect(container)["Name"]).lstrip("/")

    def address(self, container: str, network: str, *, ipv6: bool = False) -> str:
        """The container's address on that network; KeyError when it is not on it, empty when stopped."""
        endpoint = self.inspect(container)["NetworkSettings"]["Networks"][network]
        return str(endpoint["GlobalIPv6Address" if ipv6 else "IPAddress"])

    def pid(self, container: str) -> int:
        """The container's first process, as the engine's host counts; 0 while it is stopped."""
        return int(self.inspect(container)["State"]["Pid"])

    def exec(self, container: str, argv: Sequence[str]) -> tuple[int, str]:
        """Run a command inside; returns its exit code and what it wrote, both streams together."""
        made = self.api.exec_create(container, list(argv))
        output = self.api.exec_start(made["Id"])
        code = self.api.exec_inspect(made["Id"])["ExitCode"]
        return int(code), output.decode(errors="replace")

    def dig(
        self,
        container: str,
        name: str,
        type: str = "A",
        *,
        server: str | None = _EMBEDDED,
        port: int = 53,
        tcp: bool = False,
        flags: Sequence[str] = (),
        inside: bool = False,
    ) -> dig.Reply:
        """Ask one question from the container's network namespace.

        With ``inside``, or without a server (then resolv.conf says which), by dig in the container; else by
        this machine's dig in the container's network namespace, which takes a tenth of the time.
        """
        where = [f"@{server}"] if server else []
        transport = ["+tcp"] if tcp else []
        argv = ["dig", "-p", str(port), *where, *dig.OPTIONS, *transport, *flags, "-t", type, "-q", name]
        enter = None if inside or server is None else self.namespace(container)
        if enter is None:
            return dig.parse(self.exec(container, argv)[1])
        done = subprocess.run([*enter, *argv], capture_output=True, text=True, check=False)
        return dig.parse(done.stdout + done.stderr)

    def namespace(self, container: str) -> list[str] | None:
        """A command prefix that enters the container's network namespace; None if that is out of sight."""
        told = self.inspect(container)
        pid, identity = told["State"]["Pid"], told["Id"]
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return None
        # An engine in a machine of its own counts processes differently.
        return ["nsenter", "-t", str(pid), "-n"] if identity in groups else None

    # -- the end

    def close(self) -> None:
        """Remove all containers, networks and images made here, also when some are gone already."""
        try:
            self._remove(self.run)
            self.images.remove()
        finally:
            self.api.close()

    def _remove_leftovers(self) -> None:
        """Remove what runs left that were killed, as far as the engine can.

        It may hold on to an endpoint whose container is gone, until it is restarted.
        """
        for run in {run for run in self._runs() if is_over(run)}:
            with contextlib.suppress(APIError):
                self._remove(run)

    def _runs(self) -> Iterator[str]:
        marked = {"label": [LABEL]}
        for thing in [*self.api.containers(all=True, filters=marked), *self.api.networks(filters=marked)]:
            yield thing["Labels"][LABEL]

    def _remove(self, run: str) -> None:
        marked = {"label": [f"{LABEL}={run}"]}
        for container in self.api.containers(all=True, filters=marked):
            self.remove(container["Id"])
        for network in self.api.networks(filters=marked):
            with contextlib.suppress(NotFound), _suppress_miscount():
                self.api.remove_network(network["Id"])


@contextlib.contextmanager
def _suppress_miscount() -> Iterator[None]:
    """Engine 20.10, when many calls come at once, may count an endpoint that is no more. Such a network stays
    until the engine is started anew; nobody else's laboratory must fail because of it."""
    try:
        yield
    except APIError as refused:
        if "has active endpoints" not in str(refused.explanation):
            raise
        packages.say(f"a network stays behind: {refused.explanation}")


def _pools(subnet: str | None, ipv6: bool) -> list[IPAMPool]:
    """The IPAM pools of one network; a given subnet replaces the IPv4 one, or the IPv6 one if it is such."""
    four, six = map(str, SUBNETS.take())
    if subnet is not None:
        four, six = (four, subnet) if ":" in subnet else (subnet, six)
    return [IPAMPool(subnet=pool) for pool in ([four, six] if ipv6 else [four])]
