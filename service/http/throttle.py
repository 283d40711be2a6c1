"""The bound on guesses from one address."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BURST: Final = 20
"""Wrong tokens in a row that one address may send."""

SECONDS_A_GUESS: Final = 3.0
"""Seconds until one address may send one more after that."""

MAX_ADDRESSES: Final = 10_000
"""Addresses kept, the latest; who commands more than that is not slowed down by any."""

_IPV6_NETWORK: Final = 64
# One subscriber of IPv6 has a network of its own, not an address.


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class AddressBrake:
    """Slows down addresses that keep failing: a bucket each, which every failure fills and time drains."""

    __slots__ = ("_buckets", "_monotonic")

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_seconds(self, address: str) -> int:
        """Return how long the address has to wait before it may try again; 0: it may now."""
        bucket = self._drained(_network(address))
        return (
            0
            if bucket is None or bucket.level + 1 <= BURST
            else math.ceil((bucket.level + 1 - BURST) * SECONDS_A_GUESS)
        )

    def failed(self, address: str) -> None:
        """Note a failure of the address."""
        network = _network(address)
        bucket = self._drained(network)
        if bucket is None:
            bucket = self._buckets[network] = _Bucket(0.0, self._monotonic())
            if len(self._buckets) > MAX_ADDRESSES:
                self._buckets.popitem(last=False)
        bucket.level += 1
        self._buckets.move_to_end(network)

    def _drained(self, network: str) -> _Bucket | None:
        bucket = self._buckets.get(network)
        if bucket is None:
            return None
        now = self._monotonic()
        bucket.level -= (now - bucket.at) / SECONDS_A_GUESS
        bucket.at = now
        if bucket.level > 0:
            return bucket
        del self._buckets[network]
        return None


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
    return str(parsed)
