"""What a run has asked and found, told at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from tests.oracle.differences import DIFFERENCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(slots=True)
class Tally:
    """Counted from several threads."""

    engine: int = 0
    topologies: int = 0
    operations: int = 0
    asked: int = 0
    agreed: int = 0
    differed: Counter[str] = field(default_factory=Counter)
    stale: list[tuple[float, str]] = field(default_factory=list)
    """Answers that were not right at once: the seconds after which they were, and what was asked."""
    late: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def right(self, differences: Sequence[str], settled: float, told: str) -> None:
        """A question answered as it must be; ``differences`` made that another answer than Docker's."""
        with self._lock:
            self.asked += 1
            self.agreed += not differences
            self.differed.update(differences)
            if settled:
                self.stale.append((settled, told))

    def docker_late(self, told: str) -> None:
        """Docker said something else when it was asked once more."""
        with self._lock:
            self.asked += 1
            self.late.append(told)

    def lines(self) -> Iterator[str]:
        """The summary."""
        yield (
            f"engine {self.engine}: {self.asked} questions in {self.topologies} topologies with "
            f"{self.operations} changes; {self.agreed} answered as Docker does, "
            f"{self.asked - self.agreed - len(self.late)} otherwise, as chosen"
        )
        for difference in DIFFERENCES:
            applies = self.engine < difference.until
            count = self.differed[difference.name] or ("unused" if applies else "not with this engine")
            yield f"  {difference.name}: {count}   ({difference.why})"
        outside = sum("from upstream" in told for _, told in self.stale)
        yield f"not right at once after a change: {len(self.stale)} answers, {outside} of them asked outside"
        for seconds, told in sorted(self.stale, reverse=True)[:5]:
            yield f"  {seconds * 1000:.0f} ms: {told}"
        if self.late:
            yield f"Docker itself was asked again: {len(self.late)}"
            yield from self.late[:3]
