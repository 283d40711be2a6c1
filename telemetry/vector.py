"""What has been counted of one tenant as a row of integers, so that differences of it can be kept by the thousand.

A slot holds a counter of the live view, or one bucket of a distribution. A difference is packed into one 32-bit word a
slot that changed: most slots of most tenants do not change in a minute.
"""

from array import array
from collections.abc import Iterable
from typing import Final, Protocol, TypeAlias

from telemetry import catalog
from telemetry.distribution import Distribution
from telemetry.live_store import Numbers

Vector: TypeAlias = "array[int]"
"""One integer a slot."""


class Counted(Protocol):
    """What has been counted since the start; :class:`telemetry.live_store.LiveMetricsStore` knows it."""

    def tenants(self) -> list[str]:
        """Every tenant seen."""
        ...

    def numbers(self, tenant_id: str | None = None) -> Numbers | None:
        """Every field of the live view, of all tenants together or of one; ``None`` for a tenant never seen."""
        ...

    def distributions(self, tenant_id: str | None = None) -> dict[str, Distribution] | None:
        """Copies of the distributions by instrument name; ``None`` for a tenant never seen."""
        ...


_GAUGES: Final = frozenset({"active_calls", "pending_calls"})

COUNTERS: Final = tuple(
    live.field for instrument in catalog.INSTRUMENTS for live in instrument.live if live.field not in _GAUGES
)
"""Fields of the live view that only grow, in the order of their slots."""

BOUNDS: Final = {i.name: i.boundaries for i in catalog.INSTRUMENTS if i.summarised}
"""The distributions of the live view, with their bounds."""

TIME_FIELD: Final = "minutes_processed"

_MS_PER_MINUTE: Final = 60_000
# Call time is kept in milliseconds: a sum of differences then is exactly the difference of the sums.

_SLOT_OF: Final = {name: slot for slot, name in enumerate(COUNTERS)}
_TIME_SLOT: Final = _SLOT_OF[TIME_FIELD]


def _first_buckets() -> dict[str, int]:
    first, slot = {}, len(COUNTERS)
    for name, bounds in BOUNDS.items():
        first[name] = slot
        slot += len(bounds) + 1
    return first


_FIRST_BUCKET: Final = _first_buckets()

SLOTS: Final = len(COUNTERS) + sum(len(bounds) + 1 for bounds in BOUNDS.values())

_VALUE_BITS: Final = 24
_MOST: Final = (1 << _VALUE_BITS) - 1
# A larger difference takes several words; 24 bits hold four and a half hours of call time.


def zeros() -> Vector:
    """Nothing counted."""
    return array("q", bytes(8 * SLOTS))


def counters(numbers: Numbers) -> list[int]:
    """The counters' slots."""
    values = [int(numbers[name]) for name in COUNTERS]
    values[_TIME_SLOT] = round(numbers[TIME_FIELD] * _MS_PER_MINUTE)
    return values


def changed(store: Counted, tenant_id: str | None, before: Vector) -> "Vector | None":
    """What has been counted until now; ``None`` if that is no more than before.

    Whatever falls into a distribution belongs to a call that a counter counts before it is over, so counters alone tell
    whether there is anything new.
    """
    numbers = store.numbers(tenant_id)
    if numbers is None:
        return None
    counted = counters(numbers)
    if counted == before[: len(counted)].tolist():
        return None
    return array("q", counted + _buckets(store, tenant_id))


def _buckets(store: Counted, tenant_id: str | None) -> list[int]:
    distributions = store.distributions(tenant_id) or {}
    values: list[int] = []
    for name, bounds in BOUNDS.items():
        found = distributions.get(name)
        values += found.counts if found is not None else [0] * (len(bounds) + 1)
    return values


def pack(before: Vector, after: Vector) -> bytes:
    """What has been added between the two; empty if nothing was."""
    return _packed((slot, new - old) for slot, (old, new) in enumerate(zip(before, after, strict=True)) if new > old)


def together(one: bytes, other: bytes) -> bytes:
    """Two differences as one."""
    sums: dict[int, int] = {}
    for word in (*array("I", one), *array("I", other)):
        slot = word >> _VALUE_BITS
        sums[slot] = sums.get(slot, 0) + (word & _MOST)
    return _packed(sums.items())


def _packed(added: Iterable[tuple[int, int]]) -> bytes:
    words = array("I")
    for slot, value in added:
        words.extend([slot << _VALUE_BITS | _MOST] * (value // _MOST))
        words.append(slot << _VALUE_BITS | value % _MOST)
    return words.tobytes()


def add(vector: Vector, packed: bytes, sign: int = 1) -> None:
    """Add a difference to a vector, or with ``sign`` -1 take it away again."""
    for word in array("I", packed):
        vector[word >> _VALUE_BITS] += sign * (word & _MOST)


def counter(vector: Vector, name: str) -> float:
    """A counter of the live view, in its own unit."""
    value = vector[_SLOT_OF[name]]
    return value / _MS_PER_MINUTE if name == TIME_FIELD else value


def distribution(vector: Vector, name: str) -> Distribution:
    """A distribution of the live view; without the sum of its values, which no percentile needs."""
    first, bounds = _FIRST_BUCKET[name], BOUNDS[name]
    return Distribution(bounds, list(vector[first : first + len(bounds) + 1]))
