"""The past of a fleet's sums as windows and their courses have it."""

from itertools import pairwise

from service.fleet.live.counts import Coverage, FleetCounts
from service.fleet.live.fields import NUMBER, WIDTH, Row
from service.fleet.store import Peaks
from telemetry.metrics.live_table import Selection
from telemetry.metrics.past import WindowName

NOW = 28_000_000
"""A minute since 1970; counts are those of its middle."""
RECEIVED = Selection(("received_calls",))


def row(received: int) -> Row:
    numbers = [0] * WIDTH
    numbers[NUMBER["received_calls"]] = received
    return numbers


def counts(received: int, **lines: int) -> FleetCounts:
    """Counts now, and what they were when minutes began, so many before now: ``m5=3`` is 3 five minutes ago."""
    past = tuple((NOW - int(name[1:]), row(before)) for name, before in lines.items())
    coverage = Coverage(0.0, 2, 2, (NOW - 5000) * 60_000)
    return FleetCounts(row(received), True, coverage, (NOW - 5000) * 60_000, NOW * 60_000 + 30_000, past)


Part = tuple[float, float, int, int | None]


def course(found: FleetCounts, name: WindowName, peaks: Peaks | None = None) -> list[Part]:
    """The parts in minutes before now, with what was received in each and the peak."""
    return [
        (part.start / 60, part.end / 60, part.numbers[0], part.peak_in_use)
        for part in found.course(name, RECEIVED, peaks)
    ]


def test_what_was_counted_is_in_its_minute() -> None:
    """A sum that changed in two minutes of five has its counts there, and nothing in the time between."""
    assert course(counts(9, m1=7, m4=2), WindowName.FIVE_MINUTES) == [
        (4.5, 3.5, 5, None),
        (3.5, 1.5, 0, None),
        (1.5, 0.5, 2, None),
        (0.5, 0.0, 0, None),
    ]
    assert course(counts(9, m0=7), WindowName.FIVE_MINUTES)[-1] == (0.5, 0.0, 2, None)


def test_what_was_counted_long_ago_is_in_its_step() -> None:
    """Further back it is in the five minutes, or in the hour, that the remembered minute begins; it all adds up."""
    hour = course(counts(9, m20=7, m48=2), WindowName.HOUR)
    assert [part for part in hour if part[2]] == [(48.5, 45.5, 5, None), (20.5, 15.5, 2, None)]
    day = course(counts(9, m20=7, m90=2), WindowName.DAY)
    assert [part for part in day if part[2]] == [(90.5, 40.5, 5, None), (20.5, 15.5, 2, None)]
    for parts in (hour, day):
        assert all(before[1] == after[0] for before, after in pairwise(parts))
    assert sum(part[2] for part in course(counts(9, m90=7), WindowName.HOUR)) == 0


def test_peaks_are_those_of_their_parts() -> None:
    """Where no slot was taken or given back, nobody knows the most that were held."""
    peaks = Peaks(1, ((NOW - 1, 4), (NOW - 4, 2)), NOW * 60_000, 0)
    parts = course(counts(9, m1=7, m4=2), WindowName.FIVE_MINUTES, peaks)
    assert [part[3] for part in parts] == [2, None, 4, None]
