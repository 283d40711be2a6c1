"""The gaps between what processes counted and what a metrics backend was sent of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from service.reconciliation.counters import Amounts
from service.reconciliation.query import Interval, ReconcileQuery, merged
from service.reconciliation.records import Instance

DEAD_AFTER_HEARTBEATS: Final = 3
"""A process that misses so many heartbeats is dead; until then it may have counted."""
GRACE_MS: Final = 600_000
"""A process that lived longer than this in the window and sent nothing was never told where to send it."""
CLOCKS_MS: Final = 1_000
"""Records are written a little later than counters are, and by other clocks."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The series of a metrics backend."""

    amounts: Amounts
    last_ms: Mapping[str, int] = field(default_factory=dict)
    """By process: its last export before the end of the window."""
    before_ms: Mapping[str, int] = field(default_factory=dict)
    """By process: its last export before the beginning."""


@dataclass(frozen=True, slots=True)
class ExportGaps:
    """The export gaps of a window: what a backend cannot have of it, and what of the time before counts in it."""

    missing: tuple[Interval, ...] = ()
    surplus: tuple[Interval, ...] = ()
    silent: tuple[str, ...] = ()
    """Processes that lived in the window and sent nothing."""


def export_gaps(
    query: ReconcileQuery, exported: Exported, instances: Iterable[Instance], *, now_ms: int, heartbeat_ms: int
) -> ExportGaps:
    """Compare when each process lived with when it last exported."""
    missing, surplus, silent = [], [], []
    for instance in instances:
        ended_ms = min(query.end_ms, _end(instance, now_ms, DEAD_AFTER_HEARTBEATS * heartbeat_ms))
        if ended_ms <= query.start_ms:
            continue
        began_ms = max(query.start_ms, instance.started_ms)
        last_ms = exported.last_ms.get(instance.instance_id)
        if last_ms is None and ended_ms - began_ms > GRACE_MS:
            silent.append(instance.instance_id)
        else:
            missing.append(Interval((last_ms or began_ms) - CLOCKS_MS, ended_ms + CLOCKS_MS))
        if _dead(instance, now_ms, DEAD_AFTER_HEARTBEATS * heartbeat_ms) and instance.last_beat_ms < query.end_ms:
            # A call may have been counted, told, and lost before it was on record; its carrier announces it once more.
            surplus.append(Interval(instance.last_beat_ms - heartbeat_ms, ended_ms + CLOCKS_MS))
        if instance.started_ms < query.start_ms:
            before_ms = exported.before_ms.get(instance.instance_id, instance.started_ms)
            surplus.append(Interval(before_ms - CLOCKS_MS, query.start_ms + CLOCKS_MS))
    return ExportGaps(tuple(merged(missing)), tuple(merged(surplus)), tuple(silent))


def _dead(instance: Instance, now_ms: int, silence_ms: int) -> bool:
    return instance.stopped_ms is None and instance.last_beat_ms + silence_ms < now_ms


def _end(instance: Instance, now_ms: int, silence_ms: int) -> int:
    """The last moment at which the process can have counted something."""
    if instance.stopped_ms is not None:
        return instance.stopped_ms
    return min(now_ms, instance.last_beat_ms + silence_ms)
