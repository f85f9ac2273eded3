"""What is written down while a history runs. All times are of the one monotonic clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from tests.oracle.message import Question


HOST: Final = "host"
"""The asker that sees every network."""
NEVER: Final = math.inf
"""When a reply came that did not come."""

SearchOrder = Literal["connection", "engine"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One container on one network: what makes its names resolve."""

    names: tuple[str, ...]
    """The first is the one a reverse lookup finds."""
    address: str
    place: int = 0
    """Grows with every connect: whose is lower was connected earlier."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one call of the engine did to one endpoint; None where there is none any more."""

    began: float
    returned: float
    container: str
    network: str
    after: Endpoint | None
    gap: bool = False
    """Whether the endpoint may be away meanwhile, as in a restart."""
    call: str = ""
    """What was asked of the engine, in words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what came back. Without a reply the packet is empty."""

    asker: str
    question: Question
    sent: float
    replied: float
    packet: bytes
    through: str = ""
    """The network it went over, which the asker may just have come to or left; empty for its home."""
    repeated: bool = False
    """It got no reply, and the same question asked once more did: a datagram was lost."""


@dataclass(frozen=True, slots=True)
class History:
    """All of a run."""

    changes: tuple[Change, ...]
    asked: tuple[Asked, ...]
    order: SearchOrder = "connection"
    calls: int = 0
    seconds: float = 0.0
    surprises: tuple[str, ...] = ()
    """Calls that failed, or left something else behind than was asked for."""
    faults: tuple[str, ...] = ()
    """What the resolver logged as an error."""
