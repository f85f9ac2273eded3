"""Once root is dropped, Python's own files may be out of reach: forwarding must not need to import any."""

import subprocess
import sys

_STORY = """
import sys
from resolver.serve import process
from resolver.serve.upstream.server import addresses_of
before = set(sys.modules)
assert addresses_of("192.0.2.53:53")[1][:2] == ("192.0.2.53", 53)
assert addresses_of("[2001:db8::53]:5353/53")[2][:2] == ("2001:db8::53", 53)
print(*sorted(set(sys.modules) - before))
"""


def test_reading_the_address_of_an_upstream_imports_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", _STORY], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
