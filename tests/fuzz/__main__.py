"""``python -m tests.fuzz TARGET FOLDER [libFuzzer options]``: coverage-guided, by atheris.

``make fuzz`` installs atheris beside the project, not into it. FOLDER collects what is found; the corpus of
the tree is read only. An input worth keeping is copied to ``tests/fuzz/corpus/TARGET``, replayed by tests.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Fuzz one target until libFuzzer's options say stop; an input that breaks it ends with exit code 77."""
    atheris: Any = importlib.import_module("atheris")
    name, found, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["resolver"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    Path(found).mkdir(parents=True, exist_ok=True)
    corpus = Path(__file__).with_name("corpus") / name
    atheris.Setup([sys.argv[0], *options, found, str(corpus)], targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
