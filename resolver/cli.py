"""The command line (being built)."""

import sys


def main() -> None:
    """Entry point of the console script."""
    sys.exit(0)
