"""``python -m lab up|down|status|image``.

up, down, status: a private engine that stays, so that test runs start at once.
image: build the project's image on the engine that answers.
"""

import argparse
import sys

from lab import packages, private
from lab.engine import find
from lab.images import ImageError, Images


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("command", choices=sorted(_COMMANDS))
    return _COMMANDS[parser.parse_args(arguments).command]()


def _up() -> int:
    if not packages.can_install():
        packages.say("a private engine needs root on Debian or Ubuntu")
        return 1
    try:
        private.up()
    except (packages.MissingPackagesError, private.EngineStartError) as failure:
        packages.say(str(failure))
        return 1
    packages.say(f"up; export DOCKER_HOST={private.URL}")
    return 0


def _down() -> int:
    if private.down():
        packages.say("down, nothing left")
        return 0
    packages.say("still in use by another run, which will stop it when done")
    return 1


def _status() -> int:
    if not private.is_up():
        packages.say("no private engine")
        return 1
    kept = "kept until `python -m lab down`" if private.is_kept() else "stops with its last user"
    packages.say(f"up at {private.URL}, {'in use' if private.in_use() else 'idle'}, {kept}")
    return 0


def _image() -> int:
    url = find()
    if url is None:
        packages.say("no engine answers; `python -m lab up` starts a private one that stays")
        return 1
    try:
        tag = Images(url).resolver()
    except (packages.MissingPackagesError, ImageError) as failure:
        packages.say(str(failure))
        return 1
    packages.say(f"built {tag} on {url}")
    return 0


_COMMANDS = {"up": _up, "down": _down, "status": _status, "image": _image}


if __name__ == "__main__":
    sys.exit(main())
