"""What dig printed, as values."""

from dataclasses import dataclass, field

#: Asked once, briefly, without the cookie that would make two questions differ.
OPTIONS = ("+tries=1", "+time=3", "+nocookie")

TIMEOUT = "TIMEOUT"


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record as dig writes it: ``name`` with its final dot, ``ttl`` in seconds."""

    name: str
    ttl: int
    type: str
    data: str


@dataclass(slots=True)
class Reply:
    """One reply: ``rcode`` by name (TIMEOUT when none came), header flags, sections, EDNS if it had OPT."""

    rcode: str = TIMEOUT
    flags: frozenset[str] = frozenset()
    answers: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    edns: str | None = None
    text: str = ""

    @property
    def values(self) -> list[str]:
        """The data of the answers in the order received, such as addresses."""
        return [record.data for record in self.answers]


def parse(text: str) -> Reply:
    """Read the output of dig; a reply that never came has the rcode TIMEOUT."""
    reply = Reply(text=text)
    section: list[Record] | None = None
    sections = {"ANSWER": reply.answers, "AUTHORITY": reply.authority, "ADDITIONAL": reply.additional}
    for line in text.splitlines():
        if line.startswith(";;"):
            _read_comment(reply, line)
            words = line.split()
            section = sections.get(words[1]) if line.endswith("SECTION:") else None
        elif line.startswith("; EDNS:"):
            reply.edns = line.removeprefix("; EDNS:").strip()
        elif line and not line.startswith(";") and section is not None:
            name, ttl, _, kind, data = line.split(None, 4)
            section.append(Record(name, int(ttl), kind, data))
    return reply


def _read_comment(reply: Reply, line: str) -> None:
    if "->>HEADER<<-" in line:
        reply.rcode = line.partition("status: ")[2].partition(",")[0]
    elif line.startswith(";; flags:"):
        reply.flags = frozenset(line.removeprefix(";; flags:").partition(";")[0].split())
