import hashlib
import json
from pathlib import Path

from resolver.watch.find import Certificates, Place, places


def test_what_is_named_first_is_the_only_place(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://10.0.0.1:2375", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert places("unix:///e.sock", environ, tmp_path) == (Place("unix:///e.sock", "--engine"),)
    assert places("/e.sock", environ, tmp_path) == (Place("unix:///e.sock", "--engine"),)
    assert places("", environ, tmp_path) == (Place("tcp://10.0.0.1:2375", "DOCKER_HOST"),)


def test_well_known_sockets(tmp_path: Path) -> None:
    found = places("", {"XDG_RUNTIME_DIR": "/run/user/1000"}, tmp_path)
    assert [place.url for place in found] == [
        "unix:///var/run/docker.sock",
        "unix:///run/user/1000/docker.sock",
        "unix:///run/podman/podman.sock",
        "unix:///run/user/1000/podman/podman.sock",
    ]


def _context(home: Path, name: str, endpoint: object) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    folder = home / ".docker" / "contexts" / "meta" / digest
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))


def test_the_current_context(tmp_path: Path) -> None:
    _context(tmp_path, "far", {"Host": "tcp://far:2376"})
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "far"}')
    assert places("", {}, tmp_path) == (Place("tcp://far:2376", "context far"),)
    assert places("", {"DOCKER_CONTEXT": "default"}, tmp_path)[0].origin == ""


def test_a_context_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    _context(tmp_path, "odd", ["no object"])
    assert len(places("", {"DOCKER_CONTEXT": "odd"}, tmp_path)) == 2
    (tmp_path / ".docker" / "config.json").write_text("{")
    assert len(places("", {}, tmp_path)) == 2


def test_certificates(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").touch()
    ca, cert, key = (str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key"))
    environ = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    assert places("tcp://e:2376", environ, tmp_path)[0].certificates == Certificates(ca, cert, key)
    assert places("unix:///e.sock", environ, tmp_path)[0].certificates is None
