"""Images for the laboratory: a client with real tools, the project's own image, and stand-ins for its bases.

A base that is there or can be pulled is used as it is. Where none can, a stand-in of Debian packages takes
its name, so that the project's Dockerfile is built unchanged.
"""

import contextlib
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from lab import packages, private, rootfs

CLIENT = "resolver-lab/client:1"
PYTHON = "python:3.13-slim"
DEBIAN = "debian:bookworm-slim"
RESOLVER = "resolver-lab/resolver:1"
_BUILD_STAGE = "resolver-lab/build:1"

_CHECKOUT = Path(__file__).resolve().parent.parent
_CACHE = _CHECKOUT / ".cache" / "lab"
_PULL_SECONDS = 30
_PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLIENT_RECIPE = f"""FROM {DEBIAN}
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static bind9-dnsutils ldnsutils
RUN for name in $(busybox --list); do command -v $name >/dev/null || ln -s /bin/busybox /bin/$name; done
RUN mkdir -p /www && echo hello >/www/index.html
CMD ["sleep", "infinity"]
"""


class ImageError(RuntimeError):
    """An image could not be made; the message ends with what the build printed."""


class Images:
    """The images of one engine; remembers which it made, for ``remove``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._made: list[str] = []

    def client(self) -> str:
        """The tag of the image with busybox's applets, dig and drill; a second's work where it is missing.

        Raises ImageError, packages.MissingPackagesError.
        """
        if self._exists(CLIENT):
            return CLIENT
        packages.say(f"image {CLIENT}")
        try:
            packages.ensure(packages.IMAGES)
        except packages.MissingPackagesError:
            # Not Debian: let the image bring its own tools.
            self.debian()
            self._build(CLIENT, fileobj=io.BytesIO(_CLIENT_RECIPE.encode()))
            return CLIENT
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as archive:
            rootfs.put_client(Path(folder))
            _pack(Path(folder), archive)
            self._import(CLIENT, archive, ["ENV PATH=/usr/bin:/bin", 'CMD ["sleep", "infinity"]'])
        return CLIENT

    def debian(self) -> str:
        """The tag of a small Debian; raises packages.MissingPackagesError."""
        return self._base(DEBIAN, lambda root: rootfs.put_debian(root, "bookworm", ["ca-certificates"]))

    def python(self) -> str:
        """The tag of the base our Dockerfile names; raises packages.MissingPackagesError."""
        return self._base(PYTHON, _put_python)

    def resolver(self) -> str:
        """Build the project's own Dockerfile; returns the tag. Raises ImageError."""
        self.python()
        packages.say(f"image {RESOLVER}")
        # The first stage by a name of its own: it would stay behind as an image without one.
        self._build(_BUILD_STAGE, path=str(_CHECKOUT), target="build")
        self._build(RESOLVER, path=str(_CHECKOUT))
        return RESOLVER

    def remove(self) -> None:
        """Remove the images made here, unless the engine is our own, where they are a cache."""
        if self.url == private.URL:
            return
        with self._api() as api:
            for tag in reversed(self._made):
                with contextlib.suppress(APIError):
                    api.remove_image(tag, force=True)
        self._made.clear()

    @contextlib.contextmanager
    def _api(self, timeout: int = 600) -> Iterator[docker.APIClient]:
        api = docker.APIClient(base_url=self.url, version="auto", timeout=timeout)
        try:
            yield api
        finally:
            api.close()

    def _exists(self, tag: str) -> bool:
        with self._api() as api:
            try:
                api.inspect_image(tag)  # type: ignore[no-untyped-call]
            except ImageNotFound:
                return False
        return True

    def _base(self, tag: str, fill: Callable[[Path], None]) -> str:
        """The base image: as it is, as it can be pulled, or as a stand-in filled by the function."""
        archive = _CACHE / f"{tag.replace(':', '-')}.tar"
        if self._exists(tag) or (not archive.exists() and self._pull(tag)):
            return tag
        if not archive.exists():
            packages.say(f"stand-in for {tag} from Debian packages, once per checkout")
            packages.ensure(packages.IMAGES)
            _bootstrap(archive, fill)
        with archive.open("rb") as packed:
            self._import(tag, packed, [_PATH])
        return tag

    def _pull(self, tag: str) -> bool:
        packages.say(f"pulling {tag}")
        try:
            with self._api(timeout=_PULL_SECONDS) as api:
                repository, _, version = tag.partition(":")
                api.pull(repository, tag=version)
        except (DockerException, requests.RequestException):
            return False
        self._made.append(tag)
        return self._exists(tag)

    def _import(self, tag: str, archive: IO[bytes], changes: list[str]) -> None:
        with self._api() as api:
            repository, _, version = tag.partition(":")
            api.import_image(src=archive, repository=repository, tag=version, changes=changes)
        self._made.append(tag)

    def _build(
        self, tag: str, *, path: str | None = None, fileobj: IO[bytes] | None = None, target: str = ""
    ) -> None:
        """Build on the host's network: an engine's own bridge need not reach the package registries."""
        said: list[str] = []
        with self._api() as api:
            for line in api.build(
                path=path,
                fileobj=fileobj,
                tag=tag,
                target=target,
                rm=True,
                forcerm=True,
                decode=True,
                network_mode="host",
                buildargs=_proxies(),
            ):
                said.append(str(line.get("stream", "")))
                if "error" in line:
                    raise ImageError(f"{tag}: {line['error']}\n{''.join(said[-30:])}")
            if self.url == private.URL:
                api.prune_images({"dangling": True})  # type: ignore[no-untyped-call]
        self._made.append(tag)


def _put_python(root: Path) -> None:
    # The Debian release whose own Python is the 3.13 the tag promises.
    rootfs.put_debian(root, "trixie", ["ca-certificates", "python3", "python3-pip", "python3-venv"])
    rootfs.as_python_image(root)


def _bootstrap(archive: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder and pack it; the archive appears whole or not at all."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="resolver-lab-"))
    part = archive.with_suffix(f".{os.getpid()}")
    try:
        fill(root)
        with part.open("wb") as packed:
            _pack(root, packed)
        part.rename(archive)
    finally:
        part.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)


def _pack(root: Path, archive: IO[bytes]) -> None:
    """Write the folder as a tar archive and go back to its start."""
    subprocess.run(["tar", "-c", "--numeric-owner", "-C", str(root), "."], stdout=archive, check=True)
    archive.seek(0)


def _proxies() -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "no_proxy")
    both = (*names, *(name.upper() for name in names))
    return {name: os.environ[name] for name in both if name in os.environ}
