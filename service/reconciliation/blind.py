"""When a backend was not told: between a process's last export and the end of the window, or of the process."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from service.reconciliation.exported import Exported
from service.reconciliation.records import Instance
from service.reconciliation.window import Asked, Interval, merged

DEAD_AFTER_BEATS: Final = 3
"""A process that misses so many beats is dead; until then it may have counted."""

GRACE_MS: Final = 600_000
"""A process that lived longer than this in the window and sent nothing was never told where to send it."""

CLOCKS_MS: Final = 1_000
"""Records are written a little later than counters are, and by other clocks."""


@dataclass(frozen=True, slots=True)
class Blind:
    """What of the window a backend cannot have, and what of the time before it counts in the window."""

    missing: tuple[Interval, ...] = ()
    surplus: tuple[Interval, ...] = ()
    silent: tuple[str, ...] = ()
    """Processes that lived in the window and sent nothing."""


def blind(asked: Asked, exported: Exported, instances: Iterable[Instance], *, now_ms: int, beat_ms: int) -> Blind:
    """Compare when each process lived with when it last exported."""
    missing, surplus, silent = [], [], []
    for instance in instances:
        ended_ms = min(asked.end_ms, _end(instance, now_ms, DEAD_AFTER_BEATS * beat_ms))
        if ended_ms <= asked.start_ms:
            continue
        began_ms = max(asked.start_ms, instance.started_ms)
        last_ms = exported.last_ms.get(instance.instance_id)
        if last_ms is None and ended_ms - began_ms > GRACE_MS:
            silent.append(instance.instance_id)
        else:
            missing.append(Interval((last_ms or began_ms) - CLOCKS_MS, ended_ms + CLOCKS_MS))
        if _dead(instance, now_ms, DEAD_AFTER_BEATS * beat_ms) and instance.last_beat_ms < asked.end_ms:
            # A call may have been counted, told, and lost before it was on record; its carrier announces it once more.
            surplus.append(Interval(instance.last_beat_ms - beat_ms, ended_ms + CLOCKS_MS))
        if instance.started_ms < asked.start_ms:
            before_ms = exported.before_ms.get(instance.instance_id, instance.started_ms)
            surplus.append(Interval(before_ms - CLOCKS_MS, asked.start_ms + CLOCKS_MS))
    return Blind(tuple(merged(missing)), tuple(merged(surplus)), tuple(silent))


def _dead(instance: Instance, now_ms: int, silence_ms: int) -> bool:
    return instance.stopped_ms is None and instance.last_beat_ms + silence_ms < now_ms


def _end(instance: Instance, now_ms: int, silence_ms: int) -> int:
    """The last moment at which the process can have counted something."""
    if instance.stopped_ms is not None:
        return instance.stopped_ms
    return min(now_ms, instance.last_beat_ms + silence_ms)
