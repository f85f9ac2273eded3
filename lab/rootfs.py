"""Root file systems made of this machine's programs and of Debian packages."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from lab import packages

TOOLS = ("dig", "drill")

_LIBRARY = re.compile(r"(/\S+)\s+\(0x")
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# Read by nobody inside an image, and half of its size.
_BALLAST = (
    "var/cache/apt/archives/*.deb",
    "var/lib/apt/lists/*",
    "usr/share/doc/*",
    "usr/share/locale/*",
    "usr/share/man/*",
)


def put_client(root: Path) -> None:
    """Fill the folder with busybox, a link per applet, dig and drill with their libraries, and /etc.

    Raises packages.MissingPackagesError when this machine lacks one of the programs.
    """
    busybox = _which("busybox")
    _copy(root, busybox, "/bin/busybox")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout
    for applet in listed.split():
        if applet not in (*TOOLS, "busybox"):
            (root / "bin" / applet).symlink_to("busybox")
    for tool in TOOLS:
        path = _which(tool)
        _copy(root, path, f"/usr/bin/{tool}")
        for library in _LIBRARY.findall(_linked(path)):
            _copy(root, library, library)
    _put_etc(root)


def put_debian(root: Path, suite: str, include: list[str]) -> None:
    """Bootstrap a minimal Debian of that suite with the packages, apt and pip set up as on this machine.

    Takes about 20 seconds. Raises packages.MissingPackagesError when that fails.
    """
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(include)}", suite, str(root)]
    done = subprocess.run(
        argv + _mirror(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise packages.MissingPackagesError(f"debootstrap {suite}: {done.stdout.strip()[-600:]}")
    for pattern in _BALLAST:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    _put_trust(root)


def as_python_image(root: Path) -> None:
    """Make Debian's Python look as in the official image: ``python``, ``pip``, no rule against installing."""
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
    for rule in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        rule.unlink()


def _put_trust(root: Path) -> None:
    """Take over this machine's certificate authorities and pip's index settings, for builds inside."""
    if _BUNDLE.exists():
        _copy(root, str(_BUNDLE), str(_BUNDLE))
    lines = ["[global]", f"cert = {_BUNDLE}", *_pip_indexes()]
    (root / "etc/pip.conf").write_text("\n".join(lines) + "\n")


def _pip_indexes() -> list[str]:
    """This machine's package indexes, as lines of a pip.conf; its own folders mean nothing inside."""
    listed = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found = re.findall(r"(?m)^\S+\.((?:extra-)?index-url)='([^']*)'", listed)
    remote = {key: " ".join(url for url in urls.split() if url.startswith("http")) for key, urls in found}
    return [f"{key} = {urls}" for key, urls in remote.items() if urls]


def _mirror() -> list[str]:
    """Where this machine gets Debian packages from; empty (debootstrap knows one) when it is no Debian."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return [uri for uri in listed.split() if uri.rstrip("/").endswith("/debian")][:1]


def _linked(program: str) -> str:
    return subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout


def _put_etc(root: Path) -> None:
    """The files a C library and a shell look for; the engine writes hosts and resolv.conf itself."""
    for folder in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "www"):
        (root / folder).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    etc = root / "etc"
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")
    (root / "www" / "index.html").write_text("hello\n")


def _copy(root: Path, source: str, target: str) -> None:
    place = root / target.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)


def _which(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise packages.MissingPackagesError(f"missing program: {program}")
    return os.path.realpath(path)
