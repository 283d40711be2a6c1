"""One call's record as plain data: what the row holds, and what happens to it with each event."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, Self

from telemetry.calls.events import TokenUsage
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallOutcome, DurationBasis
from telemetry.semconv.attributes import CallId, TenantId

Row = dict[str, Any]
"""A record's columns by name; integers, texts and nulls only, so that a row survives JSON unchanged."""


class DurationSource(StrEnum):
    """What a final duration rests on."""

    MEASURED = "measured"
    """One process's monotonic clock, from start to end."""
    RESUMED = "resumed"
    """Several processes' monotonic clocks; wall-clock time for the gap between them."""
    LAST_SIGN_OF_LIFE = "last_sign_of_life"
    """The end was never seen: the call counts up to its last sign of life. A measured end found later replaces it."""


@dataclass(slots=True)
class CallRecord:
    """The columns of :class:`service.records.models.CallRecordRow` but the moment of writing, see there."""

    call_id: CallId
    tenant_id: TenantId
    received_ms: int
    last_seen_ms: int
    usage_from_ms: int
    instance_id: str
    claim: int
    version: int = 0
    state: CallState = CallState.PENDING
    outcome: CallOutcome | None = None
    reason: str | None = None
    error_type: str | None = None
    decided_ms: int | None = None
    started_ms: int | None = None
    first_audio_ms: int | None = None
    referred_ms: int | None = None
    ended_ms: int | None = None
    billed_ms: int = 0
    duration_ms: int | None = None
    duration_basis: DurationBasis = DurationBasis.RECEIVED
    duration_source: DurationSource | None = None
    caller_masked: str | None = None
    caller_hash: str | None = None
    dialled_masked: str | None = None
    dialled_hash: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_text_tokens: int | None = None
    output_audio_tokens: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    handed_over_ms: int | None = None

    def row(self) -> Row:
        """The columns as they are now."""
        return {name: getattr(self, name) for name in COLUMNS}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The record a row holds."""
        record = cls(**{name: row[name] for name in COLUMNS})
        record.state = CallState(record.state)
        record.outcome = None if record.outcome is None else CallOutcome(record.outcome)
        record.duration_basis = DurationBasis(record.duration_basis)
        record.duration_source = None if record.duration_source is None else DurationSource(record.duration_source)
        return record

    def add_tokens(self, usage: TokenUsage) -> None:
        """Add one response's tokens; a kind never reported stays unknown."""
        for kind in _TOKEN_KINDS:
            count = getattr(usage, kind)
            if count is not None:
                column = f"{kind}_tokens"
                setattr(self, column, (getattr(self, column) or 0) + count)

    def close(self, state: CallState, outcome: CallOutcome, reason: str, error_type: str | None, at_ms: int) -> None:
        """Bring the record to a terminal state."""
        self.state = state
        self.outcome = outcome
        self.reason = reason
        self.error_type = error_type
        self.ended_ms = at_ms


_TOKEN_KINDS: Final = tuple(field.name for field in fields(TokenUsage))

COLUMNS: Final = tuple(field.name for field in fields(CallRecord))
"""A row's columns, in the order of the record."""

TOKEN_COLUMNS: Final = tuple(f"{kind}_tokens" for kind in _TOKEN_KINDS)

BEAT_COLUMNS: Final = ("version", "billed_ms", "last_seen_ms", *TOKEN_COLUMNS)
"""What can change without a change of state: all that is written while a call just goes on."""
