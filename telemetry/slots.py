"""What is kept of a tenant over time: its counters and the buckets of its distributions, each in a slot of a row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from telemetry import catalog

_GAUGES: Final = frozenset({"active_calls", "pending_calls"})

COUNTERS: Final = tuple(
    live.field for instrument in catalog.INSTRUMENTS for live in instrument.live if live.field not in _GAUGES
)
"""Fields of the live view that only grow."""

BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {i.name: i.boundaries for i in catalog.INSTRUMENTS if i.summarised}
"""The distributions of the live view, with their bounds."""

TIME: Final = "minutes_processed"

MS_PER_SECOND: Final = 1000
"""Call time is kept in whole milliseconds: differences of it then add up exactly."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Numbers of a row: these counters, then the buckets of these distributions."""

    counters: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    peaks: bool = False
    """Whether the slots held at once are wanted too."""

    def slots(self) -> tuple[int, ...]:
        """Where they stand in a whole row."""
        return (*(_SLOT[name] for name in self.counters), *_buckets(self.distributions))

    def in_whole_numbers(self, row: Sequence[float]) -> list[int]:
        """A row of them as recorded, with call time in milliseconds."""
        numbers = list(map(int, row))
        if TIME in self.counters:
            slot = self.counters.index(TIME)
            numbers[slot] = round(row[slot] * MS_PER_SECOND)
        return numbers


NO_NUMBERS: Final = Selection()

EVERYTHING: Final = Selection(COUNTERS, tuple(BOUNDS), peaks=True)
"""A whole row."""


def _first_buckets() -> dict[str, int]:
    first, slot = {}, len(COUNTERS)
    for name, bounds in BOUNDS.items():
        first[name] = slot
        slot += len(bounds) + 1
    return first


_SLOT: Final = {name: slot for slot, name in enumerate(COUNTERS)}
_FIRST_BUCKET: Final = _first_buckets()


def _buckets(distributions: Iterable[str]) -> Iterable[int]:
    for name in distributions:
        first = _FIRST_BUCKET[name]
        yield from range(first, first + len(BOUNDS[name]) + 1)


SLOTS: Final = len(COUNTERS) + sum(len(bounds) + 1 for bounds in BOUNDS.values())
"""How many numbers a whole row has."""
