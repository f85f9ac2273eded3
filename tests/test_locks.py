"""Nothing is installed but what is locked, octet by octet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = sorted(ROOT.glob("requirements*.lock"))
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?=\s|$)")


def test_the_locks_are_those_that_are_audited() -> None:
    audited = re.search(r"^LOCKS := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert audited is not None
    assert {lock.name for lock in LOCKS} == set(audited.group(1).split())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_has_one_version_and_a_hash(lock: Path) -> None:
    lines = lock.read_text().replace("\\\n", " ").splitlines()
    requirements = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==\S+ ", requirement), requirement
        assert HASH.search(requirement), requirement
