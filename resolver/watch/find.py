"""Where the engine is, as the docker command finds it, and after that the sockets it does not look for.

In this order: ``--engine``, ``DOCKER_HOST``, the CLI's current context; these name one engine, and no other
is tried. Without them the well-known sockets, of which the first that answers is taken: Docker's, rootless
Docker's, Podman's, rootless Podman's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCKER_SOCKET = "/var/run/docker.sock"
PODMAN_SOCKET = "/run/podman/podman.sock"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files for an engine behind TLS; empty paths are left out."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """One place where an engine may be."""

    url: str
    origin: str
    """Who named it, in words for a log line: ``--engine``, ``DOCKER_HOST``, ``context NAME``, or empty for a
    well-known socket."""
    certificates: Certificates | None = None


def places(chosen: str, environ: Mapping[str, str], home: Path) -> tuple[Place, ...]:
    """Where to look, best first; more than one only when nobody named an engine.

    ``chosen`` is the value of ``--engine``, empty for none.
    """
    if chosen:
        return (Place(_url(chosen), "--engine", _certificates_of(chosen, environ, home)),)
    if host := environ.get("DOCKER_HOST"):
        return (Place(_url(host), "DOCKER_HOST", _certificates_of(host, environ, home)),)
    if context := _context(environ, home):
        return (context,)
    return tuple(Place(f"unix://{path}", "") for path in _sockets(environ))


def _url(text: str) -> str:
    return f"unix://{text}" if text.startswith("/") else text


def _sockets(environ: Mapping[str, str]) -> tuple[str, ...]:
    own = environ.get("XDG_RUNTIME_DIR", "")
    rootless = (f"{own}/docker.sock",) if own else ()
    rootless_podman = (f"{own}/podman/podman.sock",) if own else ()
    return (DOCKER_SOCKET, *rootless, PODMAN_SOCKET, *rootless_podman)


def _certificates_of(url: str, environ: Mapping[str, str], home: Path) -> Certificates | None:
    """What ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH`` say; a socket file needs none."""
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    folder = environ.get("DOCKER_CERT_PATH", "")
    if url.startswith(("unix:", "/", "http:")) or not (verify or folder or url.startswith("https:")):
        return None
    return _certificates_in(Path(folder) if folder else _config_folder(environ, home), verify)


def _certificates_in(folder: Path, verify: bool) -> Certificates:
    found = {name: str(path) for name in ("ca", "cert", "key") if (path := folder / f"{name}.pem").is_file()}
    return Certificates(**found, verify=verify)


def _config_folder(environ: Mapping[str, str], home: Path) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or home / ".docker")


def _context(environ: Mapping[str, str], home: Path) -> Place | None:
    """The CLI's current context, unless that is ``default`` or cannot be read (then the CLI's own complaint
    is better than ours)."""
    folder = _config_folder(environ, home)
    name = environ.get("DOCKER_CONTEXT") or _field(folder / "config.json", "currentContext")
    if not isinstance(name, str) or name in ("", "default"):
        return None
    digest = hashlib.sha256(name.encode()).hexdigest()
    endpoints = _field(folder / "contexts" / "meta" / digest / "meta.json", "Endpoints")
    endpoint = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = endpoint.get("Host") if isinstance(endpoint, dict) else None
    if not isinstance(endpoint, dict) or not isinstance(host, str) or not host:
        return None
    certificates = _certificates_in(
        folder / "contexts" / "tls" / digest / "docker", not endpoint.get("SkipTLSVerify")
    )
    return Place(host, f"context {name}", certificates if certificates.ca or certificates.cert else None)


def _field(path: Path, name: str) -> object:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get(name) if isinstance(content, dict) else None
