"""``python -m resolver.serve JSON``: the answering process. Started by ``watch``, never by a person."""

import sys

from resolver import log
from resolver.serve.process import Start, main

if __name__ == "__main__":
    start = Start.read(sys.argv[1])
    log.configure(start.log_level, start.log_format)
    main(sys.argv[1])
