"""The engine, as far as names depend on it: six GETs and nothing else. The only module that imports
``docker``.

    GET /_ping   GET /version   GET /events   GET /containers/json   GET /containers/{id}/json
    GET /networks   GET /networks/{id}

A read-only socket proxy that lets these through is enough. The calls block, so they are made in threads; each
thread has its own client, as the SDK's authors advise. Whatever the SDK raises becomes one of ours here, at
the border:

    EngineError             an answer that is none; the engine may be well
    ├── NotThere            that container or network is no more
    └── EngineUnreachable   nobody to talk to; the text says what to do about it
"""

from __future__ import annotations

import errno
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import docker.errors
import requests
import requests.adapters
from docker.api.client import APIClient
from docker.tls import TLSConfig
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnection
from docker.types.daemon import CancellableStream

if TYPE_CHECKING:
    from resolver.watch.find import Certificates, Place

Json = Mapping[str, Any]
"""An object of the engine's API, read with tolerance: fields come and go between versions."""

TIMEOUT: Final = 10
"""Seconds for a call. An inspect waits while its container is starting, so this is not short."""
OLDEST_API: Final = (1, 24)
NEWEST_API: Final = (1, 52)
"""The newest version whose fields are known here. Newer engines are asked to speak this one."""
LONGEST_LINE: Final = 1 << 20
"""Octets of one event. No engine sends a thousandth of it; a peer that never ends a line must not fill our
memory."""

_ANY_URL: Final = "http+docker://localhost"
_KEEPALIVE: Final = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
"""The event stream has no read time-out: a link that was cut without a word is noticed by the kernel, in 35
s."""

_Result = TypeVar("_Result")


class EngineError(Exception):
    """The engine gave an answer that is none."""


class NotThere(EngineError):
    """That container or network is no more."""


class EngineUnreachable(EngineError):
    """There is no engine to talk to; the text says why and what to do."""


class _Connection(UnixHTTPConnection):
    """The SDK's own leaves the sockets of attempts that fail open."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.unix_socket)
        except OSError:
            self.close()
            raise


class _OneSocket(UnixHTTPAdapter):
    """The SDK keeps a pool of connections per URL: 30 inspects leave 25 sockets open. One pool for all
    does."""

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        pool: Any = super().get_connection(_ANY_URL, proxies)
        pool._new_conn = lambda: _Connection(_ANY_URL, self.socket_path, self.timeout)  # noqa: SLF001
        return pool


class _KeptAlive(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, socket_options=_KEEPALIVE)


class Engine:
    """A reached engine. Methods block, may be called from any thread, and raise EngineError and its kinds
    only."""

    def __init__(self, place: Place, version: Json, timeout: int = TIMEOUT) -> None:
        self.url = place.url
        self.api = _spoken(version)
        self.is_podman = any(
            "podman" in str(c.get("Name", "")).lower() for c in version.get("Components") or ()
        )
        self._place, self._timeout = place, timeout
        self._local = threading.local()

    @classmethod
    def reach(cls, candidates: Sequence[Place], timeout: int = TIMEOUT) -> Engine:
        """The first of the candidates that answers.

        Raises EngineUnreachable when none does; where several were tried, it tells of the first that exists.
        """
        failures: list[EngineUnreachable] = []
        for place in candidates:
            with suppress_into(failures):
                return cls(place, _version(place, timeout), timeout)
        telling = [f for f in failures if not isinstance(f, _NoSocket)]
        if telling or len(candidates) == 1:
            raise (telling or failures)[0]
        looked = ", ".join(place.url.removeprefix("unix://") for place in candidates)
        raise EngineUnreachable(
            f"no engine found at {looked}; start one, mount its socket here, or name it with --engine"
        )

    def now(self) -> int:
        """Seconds since the epoch by the engine's own clock, rounded down: events from now on are stamped
        with more."""
        client = self._client()

        def ask() -> int:
            response = client.get(f"{client.base_url}/_ping", timeout=self._timeout)
            _check(response)
            return int(parsedate_to_datetime(response.headers.get("Date", "")).timestamp())

        return self._call(ask)

    def ping(self) -> None:
        """Whether it still answers; raises if not."""
        self._call(lambda: self._client().ping())

    def containers(self) -> list[Json]:
        """Every container, stopped ones too; ids, networks and states, but not all names."""
        return self._list(self._call(lambda: self._client().containers(all=True)))

    def container(self, identity: str) -> Json:
        """Everything about one container. Waits while it is being started. Raises NotThere."""
        return self._object(self._call(lambda: self._client().inspect_container(identity)))

    def networks(self) -> list[Json]:
        """Every network, with its subnets."""
        return self._list(self._call(lambda: self._client().networks()))

    def network(self, identity: str) -> Json:
        """One network. Raises NotThere."""
        return self._object(self._call(lambda: self._client().inspect_network(identity)))

    def events(self, since: str, until: str | None = None) -> EventStream:
        """What happens to containers and networks, from the engine's buffer and then live.

        ``since`` and ``until`` are ``"seconds.nanoseconds"``: a number would lose the nanoseconds. Returns
        once the engine has accepted; the subscription itself may begin a moment later, which ``since`` makes
        good.
        """
        span = {"since": since, **({"until": until} if until else {})}
        return EventStream(self._place, self._call(lambda: self._subscribe(span)))

    def _subscribe(self, span: dict[str, str]) -> CancellableStream[bytes]:
        """Not by the SDK's own ``events``: that one takes a refusal for an empty stream."""
        client: Any = self._client()
        kinds = json.dumps({"type": ["container", "network"]})
        response = client.get(
            f"{client.base_url}/v{self.api}/events",
            params={**span, "filters": kinds},
            stream=True,
            timeout=self._timeout,
        )
        _check(response)
        if "until" not in span:
            # Once it has accepted, it may have nothing to say for hours.
            client._disable_socket_timeout(client._get_raw_response_socket(response))  # noqa: SLF001
        return CancellableStream(response.iter_content(None), response)

    def _client(self) -> APIClient:
        client: APIClient | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = _connect(self._place, self.api, self._timeout)
        return client

    def _call(self, ask: Callable[[], _Result]) -> _Result:
        with _translated(self._place):
            return ask()

    def _list(self, answer: object) -> list[Json]:
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise EngineError(f"the engine at {self.url} answered with something that is no list")
        return answer

    def _object(self, answer: object) -> Json:
        if not isinstance(answer, dict):
            raise EngineError(f"the engine at {self.url} answered with something that is no object")
        return answer


class EventStream:
    """Iterates over events as the engine sends them; None stands for one that could not be read.

    Every end is a loss: the SDK does not tell a restart from a cut. ``close`` may be called from another
    thread.
    """

    def __init__(self, place: Place, stream: CancellableStream[bytes]) -> None:
        self._place, self._stream = place, stream

    def __iter__(self) -> Iterator[Json | None]:
        rest = b""
        with _translated(self._place):
            for chunk in self._stream:
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (_read_event(line) for line in lines if line.strip())
                if len(rest) > LONGEST_LINE:
                    return
        if rest.strip():
            yield _read_event(rest)

    def close(self) -> None:
        """End the iteration, wherever it waits."""
        with suppress(OSError, AttributeError, ValueError, docker.errors.DockerException):
            self._stream.close()


class _NoSocket(EngineUnreachable):
    """There is not even a socket file."""


@contextmanager
def suppress_into(failures: list[EngineUnreachable]) -> Iterator[None]:
    """Keep an EngineUnreachable for later instead of raising it."""
    try:
        yield
    except EngineUnreachable as failure:
        failures.append(failure)


def _read_event(line: bytes) -> Json | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _connect(place: Place, api: str, timeout: int) -> APIClient:
    if not place.url.startswith(("unix://", "tcp://", "http://", "https://")):
        raise EngineUnreachable(
            f"{place.url} ({place.origin}) is no address we can use; use unix:// or tcp://"
        )
    with _translated(place):
        tls = _tls(place.certificates) if place.certificates else False
        client = APIClient(base_url=place.url, version=api, timeout=timeout, tls=tls)
        client.trust_env = False  # no proxy and no .netrc between us and the engine
        if place.url.startswith("unix://"):
            client.mount("http+docker://", _OneSocket(f"http+{place.url}", timeout))
        else:
            client.mount("http://", _KeptAlive())
            client.mount("https://", _KeptAlive())
    return client


def _tls(files: Certificates) -> TLSConfig:
    pair = (files.cert, files.key) if files.cert and files.key else None
    return TLSConfig(client_cert=pair, ca_cert=files.ca or None, verify=files.verify)


def _check(response: requests.Response) -> None:
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)


def _version(place: Place, timeout: int) -> Json:
    client = _connect(place, "1.24", timeout)
    try:
        with _translated(place):
            version: Any = client.version(api_version=False)
    except EngineUnreachable:
        raise
    except EngineError as error:
        raise EngineUnreachable(str(error)) from None
    finally:
        client.close()
    if not isinstance(version, dict) or _number(version.get("ApiVersion")) == (0, 0):
        raise EngineUnreachable(f"what answers at {place.url} is no container engine")
    return version


def _spoken(version: Json) -> str:
    """The API version to speak: the engine's own, but not one whose fields we do not know."""
    own, least = _number(version.get("ApiVersion")), _number(version.get("MinAPIVersion"))
    chosen = max(min(own, NEWEST_API), least, OLDEST_API)
    return f"{chosen[0]}.{chosen[1]}"


def _number(text: object) -> tuple[int, int]:
    major, _, minor = str(text or "").partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


@contextmanager
def _translated(place: Place) -> Iterator[None]:
    """The border: the SDK's exceptions become ours."""
    try:
        yield
    except docker.errors.NotFound as error:
        if not _says_so_itself(error.response):
            raise EngineError(f"something in front of the engine at {place.url} answers 404") from None
        raise NotThere(str(error.explanation or error)) from None
    except docker.errors.APIError as error:
        raise EngineError(f"the engine at {place.url} refused: {error.explanation or error}") from None
    except requests.exceptions.Timeout:
        raise EngineError(f"the engine at {place.url} does not answer in time") from None
    except requests.exceptions.InvalidJSONError as error:
        raise EngineError(f"the engine at {place.url} sent what cannot be read: {error}") from None
    except (
        docker.errors.DockerException,
        requests.RequestException,
        http.client.HTTPException,
        OSError,
    ) as error:
        raise _unreachable(place, error) from None
    except (ValueError, RuntimeError, TypeError, KeyError, AttributeError) as error:
        # Broken JSON, a half-sent chunk, a socket closed under the SDK's feet.
        raise EngineError(f"the engine at {place.url} sent what cannot be read: {error}") from None


def _says_so_itself(response: requests.Response | None) -> bool:
    """Whether it is the engine that does not know the thing, not a proxy that does not know the engine."""
    try:
        said = response.json() if response is not None else None
    except ValueError:
        return False
    return isinstance(said, dict) and "message" in said


_ADVICE: Final[Mapping[int, str]] = {
    errno.ENOENT: "there is no such socket; start the engine, mount its socket, or name it with --engine",
    errno.EACCES: "permission denied; run as root or as a member of the group the socket belongs to",
    errno.ECONNREFUSED: "connection refused; nothing listens there, is the engine running?",
    errno.EHOSTUNREACH: "no route to it",
    errno.ENETUNREACH: "no route to it",
}


def _unreachable(place: Place, error: BaseException) -> EngineUnreachable:
    number = _errno(error)
    kind = _NoSocket if number == errno.ENOENT else EngineUnreachable
    named = f" ({place.origin})" if place.origin else ""
    return kind(f"no engine at {place.url}{named}: {_ADVICE.get(number, str(error) or type(error).__name__)}")


def _errno(error: BaseException, depth: int = 0) -> int:
    """The operating system's reason, which requests and urllib3 wrap in arguments and causes of each
    other."""
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return error.errno or 0
    inner = [*error.args, getattr(error, "reason", None), error.__cause__, error.__context__]
    for other in inner:
        for one in other if isinstance(other, tuple) else (other,):
            if (
                isinstance(one, BaseException)
                and one is not error
                and depth < 8
                and (found := _errno(one, depth + 1))
            ):
                return found
    return 0
