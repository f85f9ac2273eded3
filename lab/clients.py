"""What real DNS clients print, read: dig, drill and busybox's nslookup."""

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_STATUS = re.compile(r"(?:status|rcode): (\w+)")
_RECORD = re.compile(r"^\S+\s+\d+\s+IN\s+(\w+)\s+(.+)$")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was told."""

    values: tuple[str, ...] = ()
    """Addresses or names in the order they came, without final dots."""
    word: str = ""
    """Where there are none: the rcode, NODATA, or what went wrong."""

    def __str__(self) -> str:
        return " ".join(self.values) or self.word


def question(
    client: str, name: str, type: str, server: str = "", *, reverse: bool = False, tcp: bool = False
) -> list[str]:
    """The words one types. ``reverse``: the name is an address whose name is wanted.

    Without a server the client asks the one it finds in its resolv.conf.
    """
    at = [f"@{server}"] if server else []
    if client == "nslookup":
        return ["nslookup", name, *([server] if server else [])]
    if client == "drill":
        return ["drill", *(["-t"] if tcp else []), *at, *(["-x", name] if reverse else [name, type])]
    over = ["+tcp"] if tcp else []
    return ["dig", *over, *at, *(["-x", name] if reverse else [name] if type == "A" else [name, type])]


def ask(command: Sequence[str], client: str, type: str, seconds: float = 12.0) -> Answer:
    """Run a client and read what it says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return Answer(word="SILENCE")
    return _READERS[client](done.stdout, type) or Answer(word=_complaint(done))


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip(" ;") for line in (done.stdout + done.stderr).splitlines() if line.strip(" ;")]
    return lines[-1] if lines else f"exit code {done.returncode}"


def _read_sections(text: str, type: str) -> Answer | None:
    """The output of dig and drill."""
    status = _STATUS.search(text)
    if status is None:
        return None
    records = [found for line in text.splitlines() if (found := _RECORD.match(line))]
    values = tuple(found[2].rstrip(".") for found in records if found[1] == type)
    if values or status[1] != "NOERROR":
        return Answer(values, "" if values else status[1])
    return Answer(word="NODATA")


def _read_nslookup(text: str, type: str) -> Answer | None:
    """Busybox asks for both families at once: the other one's absence is no news."""
    body = text.partition("\n\n")[2]
    if type == "PTR":
        values = re.findall(r"name = (\S+?)\.?$", body, re.MULTILINE)
    else:
        values = re.findall(r"^Address: (\S+)$", body, re.MULTILINE)
    if values:
        return Answer(tuple(values))
    refused = re.search(r"can't find \S+: (\w+)", body)
    if refused is None:
        return None
    return Answer(word="NODATA" if refused[1] == "No" else refused[1])


_READERS: dict[str, Callable[[str, str], Answer | None]] = {
    "dig": _read_sections,
    "drill": _read_sections,
    "nslookup": _read_nslookup,
}
