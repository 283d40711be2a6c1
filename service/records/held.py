"""A record in this process's hands: its exact call time, and how much of it is safe already."""

from dataclasses import dataclass

from service.records.record import BEAT_COLUMNS, CallRecord, DurationSource, Row
from telemetry.attributes import EndReason, RejectionReason
from telemetry.clock import Instant
from telemetry.lifecycle import CallState
from telemetry.recent.record import CallOutcome

STALE = "stale"
"""The ``error_type`` of a call that was still being decided upon when its process died."""


def milliseconds(at: Instant) -> int:
    """The moment as a record has it."""
    return at.unix_nanos // 1_000_000


class HeldCall:
    """One record that this process writes. Not safe for threads by itself: the ledger's lock guards it."""

    __slots__ = ("_anchor_ms", "_anchor_seconds", "_full", "_shaped", "kept", "record", "resumed", "seconds", "stored")

    def __init__(self, record: CallRecord, *, stored: bool = False) -> None:
        self.record = record
        self.resumed = False
        """Taken over from another process, and reported on again by this one."""
        self.seconds = record.billed_ms / 1000
        """Call time so far, unrounded."""
        self.stored = record.version if stored else -1
        """The newest version the database has."""
        self.kept = self.stored
        """The newest version that outlives this process: in the database or in the spill."""
        self._full = self.stored
        self._shaped = record.version
        self._anchor_ms = record.usage_from_ms if record.started_ms is None else record.last_seen_ms
        self._anchor_seconds = self.seconds

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self.record.ended_ms is not None

    def changed(self, *, shape: bool) -> None:
        """A new version; ``shape`` if more changed than a call's just going on."""
        self.record.version += 1
        if shape:
            self._shaped = self.record.version

    def claimed(self, record: CallRecord) -> None:
        """The database has this record of the same call under a newer claim of this process's own."""
        self.record.claim = record.claim
        self.record.version = max(self.record.version, record.version)
        self.changed(shape=True)

    def anchor(self, at_ms: int) -> None:
        """From this moment on, signs of life follow from the time billed."""
        self._anchor_ms, self._anchor_seconds = at_ms, self.seconds
        self.record.last_seen_ms = max(self.record.last_seen_ms, at_ms)

    def bill(self, seconds: float) -> None:
        """Add call time, which is also a sign of life at its end."""
        self.seconds += seconds
        self.record.billed_ms = round(self.seconds * 1000)
        self.record.last_seen_ms = self._anchor_ms + round((self.seconds - self._anchor_seconds) * 1000)

    def end_as_stale(self) -> None:
        """The process that held the call died, and the call with it or not long after: the last sign of life counts."""
        record = self.record
        last = record.last_seen_ms
        if record.state is CallState.PENDING:
            reason = RejectionReason.CARRIER_ERROR
            record.close(CallState.REJECTED, CallOutcome.REJECTED, reason, STALE, last)
        elif record.state is CallState.ACCEPTED:
            record.close(CallState.ABANDONED, CallOutcome.ABANDONED, EndReason.STALE, None, last)
        else:
            record.close(CallState.ENDED, CallOutcome.STALE, EndReason.STALE, None, last)
            record.duration_ms = record.billed_ms
        record.duration_source = DurationSource.LAST_SIGN_OF_LIFE
        self.changed(shape=True)

    def change(self) -> "Change":
        """What is to be written now."""
        return Change(self, self.record.version, self.record.row(), beat=self._full >= self._shaped)

    def written(self, change: "Change") -> None:
        """The database has this version."""
        self.stored = max(self.stored, change.version)
        self.kept = max(self.kept, change.version)
        if not change.beat:
            self._full = max(self._full, change.version)

    def spilled(self, change: "Change") -> None:
        """The spill has this version. The database does not, so that what it gets next must be whole."""
        self.kept = max(self.kept, change.version)
        self._full = -1


@dataclass(frozen=True, slots=True)
class Change:
    """One version of a held record, to be written."""

    held: HeldCall
    version: int
    row: Row
    beat: bool
    """The database has the rest: only what a heartbeat changes need be written."""

    def beat_row(self) -> Row:
        """The columns a heartbeat changes."""
        return {name: self.row[name] for name in BEAT_COLUMNS}
