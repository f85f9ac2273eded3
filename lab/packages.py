"""Programs the laboratory needs, and the Debian packages that bring them."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Program → Debian package, for running an engine.
ENGINE = {
    "dockerd": "docker.io",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
}

#: Program or file → Debian package, for the stand-in images and for asking questions.
IMAGES = {
    "busybox": "busybox-static",
    "dig": "bind9-dnsutils",
    "drill": "ldnsutils",
    "debootstrap": "debootstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}

#: Program → Debian package, for bringing a compose file up.
COMPOSE = {"docker-compose": "docker-compose", "docker": "docker-cli"}

_POLICY = Path("/usr/sbin/policy-rc.d")


class MissingPackagesError(RuntimeError):
    """Programs are missing and cannot be installed here; the message names them."""


def say(line: str) -> None:
    """Report one step on standard output, at once."""
    print(f"lab: {line}", flush=True)


def can_install() -> bool:
    """Whether this is root on Debian or one of its children."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def ensure(programs: dict[str, str]) -> None:
    """Install the packages of those programs that are not on the path; nothing happens when all are.

    Raises MissingPackagesError when apt-get may not be used here or fails.
    """
    missing = {name: package for name, package in programs.items() if not _have(name)}
    if not missing:
        return
    if not can_install():
        raise MissingPackagesError(
            f"missing programs: {', '.join(missing)} (packages: {_listed(missing.values())})"
        )
    _install(_offered(sorted(set(missing.values()))))
    absent = [name for name in missing if not _have(name)]
    if absent:
        raise MissingPackagesError(f"still missing after apt-get install: {', '.join(absent)}")


def _have(name: str) -> bool:
    return shutil.which(name) is not None or (name.startswith("/") and Path(name).exists())


def _listed(packages: Iterable[str]) -> str:
    return " ".join(sorted(set(packages)))


def _offered(packages: list[str]) -> list[str]:
    """Those of the packages this release has; reads the package lists first if there are none."""
    known = [package for package in packages if _has_candidate(package)]
    if len(known) < len(packages):
        say("apt-get update")
        _apt("update")
        known = [package for package in packages if _has_candidate(package)]
    return known


def _has_candidate(package: str) -> bool:
    shown = subprocess.run(["apt-cache", "show", package], capture_output=True, text=True, check=False)
    return shown.returncode == 0 and bool(shown.stdout.strip())


def _install(packages: list[str]) -> None:
    say(f"apt-get install {' '.join(packages)}")
    with _no_services():
        try:
            _apt("install", "--no-install-recommends", *packages)
        except MissingPackagesError:
            # Package lists older than the mirror name files that are gone.
            say("apt-get update")
            _apt("update")
            _apt("install", "--no-install-recommends", *packages)


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=120", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode != 0:
        raise MissingPackagesError(f"apt-get {' '.join(arguments)}: {done.stderr.strip()[-600:]}")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Keep the installed packages from starting their services: the engine we want is a private one."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
