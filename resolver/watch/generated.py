"""Names of containers that the engine made up (``clever_hopper``, ``clever_hopper7``).

The API does not say whether a person chose a name, so it is recognised by its first word. The list was
obtained by observation: 3,000 containers were created without a name on a 20.10 engine and the words before
the underscore collected. There were 108, each seen at least 18 times, so none is missing; engines and Podman
share the list. The words after it are surnames, which grow with every release: any letters will do.
"""

# ruff: noqa: SIM905 - a list of 108 quoted words would be read by nobody

from __future__ import annotations

import re

ADJECTIVES = frozenset(
    """
    admiring adoring affectionate agitated amazing angry awesome beautiful blissful bold boring brave
    busy charming clever compassionate competent condescending confident cool cranky crazy dazzling
    determined distracted dreamy eager ecstatic elastic elated elegant eloquent epic exciting fervent
    festive flamboyant focused friendly frosty funny gallant gifted goofy gracious great happy hardcore
    heuristic hopeful hungry infallible inspiring intelligent interesting jolly jovial keen kind
    laughing loving lucid magical modest musing mystifying naughty nervous nice nifty nostalgic
    objective optimistic peaceful pedantic pensive practical priceless quirky quizzical recursing
    relaxed reverent romantic sad serene sharp silly sleepy stoic strange stupefied suspicious sweet
    tender thirsty trusting unruffled upbeat vibrant vigilant vigorous wizardly wonderful xenodochial
    youthful zealous zen
    """.split()
)

_SHAPE = re.compile(r"([a-z]+)_[a-z]+[0-9]?")


def is_generated(name: str) -> bool:
    """Whether an engine would make up this container name (given without the leading slash)."""
    shape = _SHAPE.fullmatch(name)
    return shape is not None and shape[1] in ADJECTIVES
