"""A child that answers nothing: it writes what it is told, with the time, to the file in PYTHON_STUB_LOG."""

import json
import os
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    start = json.loads(sys.argv[1])
    door = socket.socket(fileno=start["door"])
    with Path(os.environ["PYTHON_STUB_LOG"]).open("a", buffering=1) as log:
        log.write(f"{time.time():.6f} born {os.getpid()} {json.dumps(start)}\n")
        with door.makefile("rb") as lines:
            log.writelines(f"{time.time():.6f} {line.decode()}" for line in lines)
        log.write(f"{time.time():.6f} end\n")


if __name__ == "__main__":
    main()
