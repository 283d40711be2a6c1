"""The minutes of calls whose processes are killed: each record against what the carrier saw of that call.

A record counts from the first session that was noted down to the end as its process saw it. If nobody saw the end, it
counts to the last heartbeat that was noted down. So a call is short of the carrier's time by one heartbeat at most, and
by the time until another process had it: before its start was on record, or while it ended with nobody there. Nothing
is counted beyond the moment at which the end was seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from service.records.record import Row
from tests.service.fleet.carrier import Watched

EXACT_SECONDS = 0.1
"""Seconds by which two clocks of one machine, in whole milliseconds, and the turns of two event loops may differ."""

PROMPT_SECONDS = 0.5
"""Seconds that nine of ten notes take at most, from the moment they are about until they are on record."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """What one record says, beside what the carrier saw; in seconds."""

    call_id: str
    call: Watched
    billed: float
    started: float
    """The moment of the start on record, on the carrier's clock, and likewise of the end."""
    ended: float
    seen: bool
    """True if a process saw the end."""

    @classmethod
    def of(cls, call_id: str, call: Watched, row: Row, clock_offset: float) -> "Minutes":
        """Return what a row says; ``clock_offset`` is the wall clock's time less the monotonic clock's."""
        started, ended = (row[name] / 1000 - clock_offset for name in ("started_ms", "ended_ms"))
        return cls(call_id, call, (row["duration_ms"] or 0) / 1000, started, ended, row["reason"] != "stale")

    @property
    def late(self) -> float:
        """How long after the carrier's end its process saw it."""
        return max(0.0, self.ended - self.call.ended) if self.seen else 0.0

    def short(self, heartbeat: float, note: float) -> float:
        """Return the seconds that are missing though they were noted down, if that takes so long at most."""
        sessions = self.call.sidebands
        began = next((opened for opened, ended in sessions if ended - opened > note), sessions[-1][0])
        if self.seen:
            until = self.call.ended
        else:
            until = max(
                max(opened if ended - opened > note else began, ended - heartbeat) for opened, ended in sessions
            )
        return until - began - self.billed

    @property
    def beyond(self) -> float:
        """The seconds that are counted beyond what the carrier saw, and a process did."""
        ended = self.call.ended if self.seen else self.call.sidebands[-1][1]
        return self.billed - (ended - self.call.sidebands[0][0]) - self.late


def wrong_minutes(
    calls: Mapping[str, Watched], rows: Mapping[str, Row], clock_offset: float, *, heartbeat: float, note: float
) -> list[str]:
    """Return what is wrong with the minutes of these calls.

    Args:
        calls: what the carrier saw of those that were started.
        rows: the records of all calls.
        clock_offset: the wall clock's time less the monotonic clock's, in seconds.
        heartbeat: seconds between two notes about a running call.
        note: seconds that a note may take until it is on record, on a busy machine.
    """
    wrong, short = [], []
    for call_id, call in calls.items():
        row = rows[call_id]
        if row["started_ms"] is None:
            # It was over before any process had noted its start.
            if any(ended - opened > note for opened, ended in call.sidebands):
                wrong.append(f"no start on record: {call_id} {call}")
            continue
        minutes = Minutes.of(call_id, call, row, clock_offset)
        short.append(minutes.short(heartbeat, PROMPT_SECONDS))
        if minutes.short(heartbeat, note) > note:
            wrong.append(f"too few: {minutes}")
        if minutes.beyond > EXACT_SECONDS or minutes.late > note:
            wrong.append(f"too many: {minutes}")
    prompt = sorted(short)[int(0.9 * len(short))]
    if prompt > PROMPT_SECONDS:
        wrong.append(f"one call in ten is {prompt:.2f} s short of its time less a heartbeat")
    return wrong
