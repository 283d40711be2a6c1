"""When a backend was not told, and what that does to the comparison with it."""

import pytest

from service.reconciliation.exported import CLOCKS_MS, GRACE_MS, Exported, ExportGaps, export_gaps
from service.reconciliation.figures import Interval, ReconcileQuery, Scope
from service.reconciliation.records import Instance

HEARTBEAT_MS = 5_000
START, END, NOW = 10_000_000, 20_000_000, 30_000_000
QUERY = ReconcileQuery(Scope.FLEET, START, END)


def _gaps(instance: Instance, *, last: int | None = None, before: int | None = None, now: int = NOW) -> ExportGaps:
    exported = Exported({}, {} if last is None else {"one": last}, {} if before is None else {"one": before})
    return export_gaps(QUERY, exported, [instance], now_ms=now, heartbeat_ms=HEARTBEAT_MS)


def _around(start: int, end: int) -> Interval:
    return Interval(start - CLOCKS_MS, end + CLOCKS_MS)


def test_a_living_process_is_unseen_since_its_last_export() -> None:
    """What it counted from there to the end of the window is still on its way."""
    found = _gaps(Instance("one", START + 1, NOW, None), last=END - 15_000)
    assert (found.missing, found.surplus, found.silent) == ((_around(END - 15_000, END),), (), ())


def test_a_process_that_was_there_before_brings_what_it_had_not_told() -> None:
    """What it counted between its last export before the window and the window's beginning counts in the window."""
    found = _gaps(Instance("one", START - 1_000_000, NOW, None), last=END, before=START - 40_000)
    assert found.surplus == (_around(START - 40_000, START),)


def test_a_dead_process_took_what_it_had_not_told_with_it() -> None:
    """From its last export to the latest moment it can have lived, nothing it counted will ever arrive."""
    died = START + 5_000_000
    found = _gaps(Instance("one", START + 1, died, None), last=died - 55_000)
    assert found.missing == (_around(died - 55_000, died + 3 * HEARTBEAT_MS),)
    # What it counted in its last moment may be on no record.
    assert found.surplus == (Interval(died - HEARTBEAT_MS, died + 3 * HEARTBEAT_MS + CLOCKS_MS),)


def test_a_process_that_died_before_the_window_has_no_part_in_it() -> None:
    """It neither lacks anything nor brings anything."""
    assert _gaps(Instance("one", START - 9_000_000, START - 8_000_000, None)) == ExportGaps()


def test_a_process_that_stopped_in_good_order_told_everything() -> None:
    """Its last export came after its last call: nothing is missing but what clocks may differ by."""
    stopped = START + 5_000_000
    found = _gaps(Instance("one", START + 1, stopped, stopped), last=stopped + 2 * CLOCKS_MS + 1)
    assert found.missing == ()


@pytest.mark.parametrize(("lived", "silent"), [(GRACE_MS, ()), (GRACE_MS + 1, ("one",))])
def test_a_process_that_never_exports_is_named(lived: int, silent: tuple[str, ...]) -> None:
    """One that has just begun may not have come to it; one that lived on without is told of."""
    found = _gaps(Instance("one", END - lived, NOW, None))
    assert found.silent == silent
    assert bool(found.missing) is not bool(silent)
