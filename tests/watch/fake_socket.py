"""An engine's HTTP on a unix socket: answers are set by path, the event stream is fed by hand."""

from __future__ import annotations

import json
import queue
import socketserver
import threading
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

    from tests.watch.fake_engine import World

VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"}


class FakeSocket(socketserver.ThreadingUnixStreamServer):
    """``answers`` maps a path without its version to (status, body); ``delay`` maps it to seconds of waiting.

    What ``feed`` is given goes out to every live event stream as it is; None ends them.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: Path, world: World | None = None) -> None:
        super().__init__(str(path), _Handler)
        self.url = f"unix://{path}"
        self.path = path
        self.world = world
        self.answers: dict[str, tuple[int, Any]] = {"/version": (200, VERSION)}
        self.delay: dict[str, float] = {}
        self.done = threading.Event()
        self.requests: list[str] = []
        self.buffered: list[dict[str, Any]] = []
        self._streams: list[queue.SimpleQueue[bytes | None]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.shutdown()
        self.server_close()
        self.feed(None)
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def feed(self, octets: bytes | None) -> None:
        for stream in self._streams:
            stream.put(octets)
        if octets is None:
            self._streams.clear()

    def tell(self, event: dict[str, Any]) -> None:
        """An event: it is kept for replays and goes out."""
        self.buffered.append(event)
        self.feed(json.dumps(event).encode() + b"\n")

    def subscribers(self) -> int:
        return len(self._streams)

    def answer(self, path: str) -> tuple[int, Any]:
        if path in self.answers:
            return self.answers[path]
        if self.world is None:
            return 404, {"message": f"no such path: {path}"}
        words = path.strip("/").split("/")
        try:
            match words:
                case ["containers", "json"]:
                    return 200, self.world.containers()
                case ["containers", identity, "json"]:
                    return 200, self.world.container(identity)
                case ["networks"]:
                    return 200, self.world.networks()
                case ["networks", identity]:
                    return 200, self.world.network(identity)
        except Exception as error:  # noqa: BLE001 - an engine answers 404
            return 404, {"message": str(error)}
        return 200, "OK"

    def subscribe(self) -> queue.SimpleQueue[bytes | None]:
        stream: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._streams.append(stream)
        return stream


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeSocket

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        whole, _, query = self.path.partition("?")
        path = whole[whole.index("/", 1) :] if whole.startswith("/v1.") else whole
        self.server.requests.append(f"{self.command} {path}")
        self.server.done.wait(self.server.delay.get(path, 0))
        with suppress(OSError):
            if path == "/events" and path not in self.server.answers:
                self._events("until=" in query)
            else:
                self._answer(*self.server.answer(path))

    def _answer(self, status: int, body: Any) -> None:
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(octets)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(octets)

    def _events(self, finite: bool) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if finite:
            for event in self.server.buffered:
                self._chunk(json.dumps(event).encode() + b"\n")
            self._chunk(b"")
            return
        stream = self.server.subscribe()
        while (octets := stream.get()) is not None:
            self._chunk(octets)
        self.close_connection = True

    def _chunk(self, octets: bytes) -> None:
        self.wfile.write(f"{len(octets):x}\r\n".encode() + octets + b"\r\n")

    def date_time_string(self, timestamp: float | None = None) -> str:
        """As the clock of the fake world says, if there is one."""
        world = self.server.world
        return formatdate(world.clock / 1e9 if world else timestamp, usegmt=True)
