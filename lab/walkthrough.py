"""The walkthrough: what is set up, what is then asked from inside a container, and what must come back.

Data only. ``lab.stage`` plays it, ``python -m lab.demo`` shows it, ``tests/engine/test_walkthrough.py``
judges it.

An expected answer is words: ``t800@skynet`` stands for the address the engine says that container has on that
network, a word in capitals for an rcode (or NODATA), anything else for itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Client = Literal["dig", "drill", "nslookup"]
Through = Literal["127.0.0.11", "gateway"]


@dataclass(frozen=True, slots=True)
class Docker:
    """One command to the engine: the words after ``docker``."""

    words: str

    def __str__(self) -> str:
        return f"docker {self.words}"


@dataclass(frozen=True, slots=True)
class Run:
    """``docker run -d`` of a container that only sleeps, with these options."""

    options: str
    called: str = ""
    """What the walkthrough calls a container that is given no name."""

    def __str__(self) -> str:
        return f"docker run -d {self.options}"


@dataclass(frozen=True, slots=True)
class ComposeUp:
    """A Compose project is brought up."""

    project: str
    services: str
    """Its file: YAML, where IMAGE and LABEL stand for those of the laboratory."""
    note: str

    def __str__(self) -> str:
        return f"docker-compose --project-name {self.project} up --detach   ({self.note})"


@dataclass(frozen=True, slots=True)
class Ask:
    """One question, asked with a real client by a container, and what must come back."""

    asker: str
    """A container; ``host`` for the machine itself."""
    name: str
    """What is asked for; ``es1@prod`` is asked for as the address it stands for."""
    expect: str
    note: str = ""
    type: str = "A"
    client: Client = "dig"
    tcp: bool = False
    rotating: bool = False
    """Asked as often as there are addresses, each must have been first once."""
    through: Through = "127.0.0.11"
    """The resolver beside the asker (``--take-over``), or the host's, at the network's gateway address."""
    settling: bool = False
    """What was true a moment ago is no more: asked again for a while until the answer is the new one. Names
    that *come* have to be there at the first question."""


Step = Docker | Run | ComposeUp | Ask


@dataclass(frozen=True, slots=True)
class Chapter:
    """Steps that belong together."""

    title: str
    steps: tuple[Step, ...]


OUTSIDE = "www.example.com"
OUTSIDE_ADDRESS = "192.0.2.80"
"""What the laboratory's upstream says; RFC 5737 keeps this address free."""

NETWORKS = ("skynet", "resistance", "prod", "dev")
"""Created before the resolver on the host is started, which then listens at their gateways."""

SHOP = """
services:
  db: &service
    image: IMAGE
    labels: [LABEL]
  worker:
    <<: *service
    scale: 2
networks:
  default:
    labels: [LABEL]
"""

CHAPTERS = (
    Chapter(
        "Two networks, and containers see only their own",
        (
            Run("--name t800 --network skynet"),
            Run("--name t1000 --network skynet"),
            Run("--name connor --network resistance"),
            Ask("t1000", "t800", "t800@skynet"),
            Ask("t1000", "t800", "t800@skynet", "a client of another kind", client="nslookup"),
            Ask("t1000", "t800.skynet", "t800@skynet", "over TCP", tcp=True),
            Ask("t1000", "t800", "t800@skynet", "the host's resolver knows who asks", through="gateway"),
            Ask("t1000", "connor", "NXDOMAIN"),
            Ask("connor", "t800", "NXDOMAIN"),
            Ask("connor", "t800.skynet", "NXDOMAIN", through="gateway"),
            Ask("host", "t800.skynet", "t800@skynet", "the host sees every network", through="gateway"),
        ),
    ),
    Chapter(
        "Connected to a network, and disconnected again",
        (
            Docker("network connect skynet connor"),
            Ask("connor", "t800", "t800@skynet"),
            Ask("connor", "t800.skynet", "t800@skynet"),
            Ask("t1000", "connor", "connor@skynet"),
            Docker("network disconnect skynet connor"),
            Ask("connor", "t800", "NXDOMAIN", settling=True),
            Ask("t1000", "connor", "NXDOMAIN", settling=True),
        ),
    ),
    Chapter(
        "A name that comes with its container, and moves to another",
        (
            Ask("t1000", "redis", "NXDOMAIN"),
            Run("--name redis --network skynet"),
            Ask("t1000", "redis", "redis@skynet"),
            Docker("rm -f redis"),
            Ask("t1000", "redis", "NXDOMAIN", settling=True),
            Run("--name sarah --network skynet"),
            Run("--name redis-7 --network skynet --net-alias redis"),
            Ask("t1000", "redis", "redis-7@skynet"),
            Ask("t1000", "redis-7.skynet", "redis-7@skynet"),
        ),
    ),
    Chapter(
        "Several containers under one name",
        (
            Run("--name es1 --network prod --net-alias es"),
            Run("--name es2 --network prod --net-alias es"),
            Run("--name es --network dev"),
            Run("--name api --network prod"),
            Run("--name tester --network dev"),
            Ask("api", "es", "es1@prod es2@prod", "each first in turn", rotating=True),
            Ask("api", "es", "es1@prod es2@prod", through="gateway", rotating=True),
            Ask("tester", "es", "es@dev"),
        ),
    ),
    Chapter(
        "On both networks: the one connected first, or the one that is named",
        (
            Run("--name web --network prod"),
            Docker("network connect dev web"),
            Run("--name batch --network dev"),
            Docker("network connect prod batch"),
            Ask("web", "es", "es1@prod es2@prod", "connected to prod first"),
            Ask("web", "es.dev", "es@dev"),
            Ask("web", "es.prod", "es1@prod es2@prod"),
            Ask("batch", "es", "es@dev", "connected to dev first"),
            Ask("batch", "es.prod", "es1@prod es2@prod", through="gateway"),
            Ask("host", "es.dev", "es@dev", through="gateway"),
        ),
    ),
    Chapter(
        "From an address back to a name",
        (
            Run("--network prod --net-alias hello", called="unnamed"),
            Ask("web", "es1@prod", "es1.prod", type="PTR"),
            Ask("web", "es2@prod", "es2.prod", type="PTR"),
            Ask("web", "es@dev", "es.dev", type="PTR"),
            Ask("web", "hello", "unnamed@prod"),
            Ask("web", "unnamed@prod", "hello.prod", "the name a person chose", type="PTR", client="drill"),
            Ask("t1000", "t800@skynet", "t800.skynet", type="PTR", client="nslookup"),
        ),
    ),
    Chapter(
        "Addresses chosen by hand",
        (
            Docker("network create --subnet 10.153.0.0/24 lan"),
            Run("--name printer --network lan --ip 10.153.0.80"),
            Run("--name desk --network lan --ip 10.153.0.81"),
            Ask("desk", "printer", "10.153.0.80"),
            Ask("desk", "10.153.0.80", "printer.lan", type="PTR"),
        ),
    ),
    Chapter(
        "An internal network: names yes, the outside no",
        (
            Docker("network create --internal vault"),
            Run("--name gold --network vault"),
            Run("--name keeper --network vault"),
            Ask("keeper", "gold", "gold@vault"),
            Ask("keeper", "gold.vault", "gold@vault", tcp=True),
            Ask("keeper", OUTSIDE, "SERVFAIL", "it does not leave"),
        ),
    ),
    Chapter(
        "A Compose project",
        (
            ComposeUp("shop", SHOP, "a db and two workers"),
            Ask(
                "shop_db_1", "worker", "shop_worker_1@shop_default shop_worker_2@shop_default", rotating=True
            ),
            Ask("shop_worker_1", "db", "shop_db_1@shop_default"),
            Ask("shop_worker_1", "db.shop_default", "shop_db_1@shop_default"),
            Ask("shop_worker_1", "shop_worker_2", "shop_worker_2@shop_default"),
            Ask("shop_db_1", "shop_worker_1@shop_default", "shop_worker_1.shop_default", type="PTR"),
        ),
    ),
    Chapter(
        "Links, and a network stack that is shared",
        (
            Run("--name kyle --network skynet --link t800:arnold"),
            Ask("kyle", "arnold", "t800@skynet", "a name of his own"),
            Ask("t1000", "arnold", "NXDOMAIN"),
            Run("--name liquid --network container:t1000"),
            Ask("liquid", "t800", "t800@skynet", "sees what t1000 sees"),
            Ask("liquid", "es", "NXDOMAIN"),
        ),
    ),
    Chapter(
        "Names with dots, underscores and capitals",
        (
            Run("--name my.db --network skynet"),
            Run("--name job_1 --network skynet"),
            Run("--name HAL --network skynet"),
            Ask("t1000", "my.db", "my.db@skynet"),
            Ask("t1000", "my.db.skynet", "my.db@skynet"),
            Ask("t1000", "job_1", "job_1@skynet"),
            Ask("t1000", "hal", "HAL@skynet"),
            Ask("t1000", "hAl.SkyNet", "HAL@skynet"),
            Ask("t1000", "HAL@skynet", "HAL.skynet", type="PTR"),
        ),
    ),
    Chapter(
        "Renamed, paused, restarted, killed",
        (
            Docker("rename t800 t850"),
            Ask("t1000", "t800", "NXDOMAIN", settling=True),
            Ask("t1000", "t850", "t850@skynet"),
            Ask("t1000", "t850@skynet", "t850.skynet", type="PTR"),
            Docker("pause t850"),
            Ask("t1000", "t850", "t850@skynet", "still there, only slow"),
            Docker("unpause t850"),
            Docker("restart -t 0 t850"),
            Ask("t1000", "t850", "t850@skynet"),
            Docker("kill t850"),
            Ask("t1000", "t850", "NXDOMAIN", settling=True),
            Docker("start t850"),
            Ask("t1000", "t850", "t850@skynet"),
            Docker("restart -t 0 t1000"),
            Ask("t1000", "t850", "t850@skynet", "asked by one that was restarted", through="gateway"),
        ),
    ),
    Chapter(
        "Everything else comes from upstream",
        (
            Ask("web", OUTSIDE, OUTSIDE_ADDRESS),
            Ask("web", OUTSIDE, OUTSIDE_ADDRESS, through="gateway", tcp=True),
            Ask("web", "nowhere.example.com", "NXDOMAIN"),
            Ask("web", "es", "NODATA", "a name that exists is not asked for outside", type="TXT"),
            Ask("web", "localhost", "127.0.0.1"),
        ),
    ),
)


def questions() -> Iterator[tuple[Chapter, int, Ask]]:
    """Every question with its chapter and its place there."""
    for chapter in CHAPTERS:
        for place, step in enumerate(chapter.steps):
            if isinstance(step, Ask):
                yield chapter, place, step
