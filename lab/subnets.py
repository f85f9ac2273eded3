"""Subnets for laboratory networks, none given out twice in a process."""

import itertools
import threading
from ipaddress import IPv4Network, IPv6Network

# 10.201.0.0 to 10.254.255.255: clear of the pools engines give out themselves (172.17–31, 192.168).
_FIRST, _LAST = 201, 254


class Subnets:
    """A source of /24 networks, each with an IPv6 /64 of the same number. Safe between threads."""

    def __init__(self) -> None:
        self._numbers = itertools.cycle(range((_LAST - _FIRST + 1) * 256))
        self._lock = threading.Lock()

    def take(self) -> tuple[IPv4Network, IPv6Network]:
        """The next pair. After 13,824 of them the first comes again."""
        with self._lock:
            number = next(self._numbers)
        high, low = divmod(number, 256)
        return IPv4Network((f"10.{_FIRST + high}.{low}.0", 24)), IPv6Network(f"fd00:1ab:{number:x}::/64")


SUBNETS = Subnets()
