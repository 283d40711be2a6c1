"""One call's record as plain data: what its row holds."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, Final, Self

from telemetry.calls.events import TokenUsage
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallOutcome, DurationBasis
from telemetry.semconv.attributes import DIRECT_SOURCE, CallDirection, CallId, Fault, TenantId

_logger = logging.getLogger(__name__)

Row = dict[str, Any]
"""A record's columns by name; integers, texts and nulls only, so that a row survives JSON unchanged."""


class DurationSource(StrEnum):
    """The evidence for a final duration."""

    MEASURED = "measured"
    """One process's monotonic clock, from start to end."""
    RESUMED = "resumed"
    """Several processes' monotonic clocks; wall-clock time for the gap between them."""
    LAST_SIGN_OF_LIFE = "last_sign_of_life"
    """The end was never seen: the call counts up to its last activity. A measured end found later replaces it."""


class UnreadableRowError(ValueError):
    """A row holds what this version cannot read; names the column and never its content."""


MAX_TOKENS: Final = 10**9
"""Tokens of one response, above which a number is taken for an error. Sums then fit every database's integers."""


@dataclass(slots=True)
class StoredCall:
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
    fault: Fault | None = None
    direction: CallDirection = CallDirection.INBOUND
    source: str = DIRECT_SOURCE
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
    turns: int | None = None
    interruptions: int | None = None
    longest_wait_ms: int | None = None
    conversation_ms: int | None = None
    caller_talk_ms: int | None = None
    agent_talk_ms: int | None = None
    talk_over_ms: int | None = None
    dead_air_ms: int | None = None
    dead_airs: int | None = None
    agent_interruptions: int | None = None
    handed_over_ms: int | None = None

    @property
    def tokens(self) -> TokenUsage:
        """The sums of all responses' tokens; a kind that none reported is None."""
        return TokenUsage(**{kind: getattr(self, f"{kind}_tokens") for kind in _TOKEN_KINDS})

    @property
    def given_up(self) -> bool:
        """True if nobody saw the call's end, so that it ends at its last activity."""
        return self.duration_source is DurationSource.LAST_SIGN_OF_LIFE

    @property
    def last_activity_ms(self) -> int:
        """The last activity, and never before what is on record of the call."""
        return max(self.last_seen_ms, self._last_step_ms)

    @property
    def billed_until_ms(self) -> int:
        """The moment up to which call time is billed; of a call that has not started, its last activity."""
        if self.started_ms is None:
            return self.last_activity_ms
        return min(self.last_activity_ms, self.usage_from_ms + self.billed_ms)

    @property
    def taken_over(self) -> bool:
        """True if the process that holds the call is not the one that was told of it first."""
        return self.claim // 1_000 != self.received_ms

    def row(self) -> Row:
        """Return the columns as they are now."""
        return {name: getattr(self, name) for name in COLUMNS}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the record a row holds.

        Raises:
            UnreadableRowError: if a column holds what this version does not know.
        """
        try:
            record = cls(**{name: _checked(name, row[name]) for name in COLUMNS})
            record.state = CallState(record.state)
            record.outcome = None if record.outcome is None else CallOutcome(record.outcome)
            record.fault = None if record.fault is None else Fault(record.fault)
            record.direction = CallDirection(record.direction)
            record.duration_basis = DurationBasis(record.duration_basis)
            record.duration_source = None if record.duration_source is None else DurationSource(record.duration_source)
        except ValueError as error:
            raise UnreadableRowError(str(error)) from None
        return record

    def add_tokens(self, usage: TokenUsage) -> None:
        """Add one response's tokens; a kind never reported, or reported as no possible number, stays unknown."""
        for kind in _TOKEN_KINDS:
            count = getattr(usage, kind)
            if isinstance(count, int) and 0 <= count <= MAX_TOKENS:
                column = f"{kind}_tokens"
                setattr(self, column, (getattr(self, column) or 0) + count)

    def close(self, state: CallState, outcome: CallOutcome, reason: str, error_type: str | None, at_ms: int) -> None:
        """Bring the record to a terminal state. An end reported for before what is on record is put after it."""
        self.state = state
        self.outcome = outcome
        self.reason = reason
        self.error_type = error_type
        self.ended_ms = max(at_ms, self._last_step_ms)

    @property
    def _last_step_ms(self) -> int:
        steps = (self.decided_ms, self.started_ms, self.first_audio_ms, self.referred_ms)
        return max(self.received_ms, *(at_ms or 0 for at_ms in steps))


def readable(rows: Iterable[Mapping[Any, Any]]) -> list[StoredCall]:
    """Return the records of these rows; one that cannot be read is left out and logged, and takes no other with it."""
    records = []
    for row in rows:
        try:
            records.append(StoredCall.from_row(dict(row)))
        except UnreadableRowError as error:
            _logger.error("the record of call %s cannot be read: %s", str(row["call_id"]), error)  # noqa: TRY400
    return records


def complete(row: Row) -> Row:
    """Return the row with exactly this version's columns: a spilled one may be from the version before or after.

    Raises:
        UnreadableRowError: if a column that every version has is missing.
    """
    missing = _REQUIRED - row.keys()
    if missing:
        raise UnreadableRowError(f"{min(missing)} is missing")
    return {name: row.get(name, _DEFAULTS.get(name)) for name in COLUMNS}


def _checked(name: str, value: Any) -> Any:  # noqa: ANN401 -- SQLite keeps any value in any column
    """Return the value of a column; a count or moment that is no whole number is unknown where it may be."""
    if name not in _WHOLE_NUMBERS or value is None or (isinstance(value, int) and abs(value) < _MAX_INTEGER):
        return value
    if name in _REQUIRED:
        raise UnreadableRowError(f"{name} is no whole number")
    return None


_MAX_INTEGER: Final = 2**63
_TOKEN_KINDS: Final = tuple(field.name for field in fields(TokenUsage))

COLUMNS: Final = tuple(field.name for field in fields(StoredCall))
"""A row's columns, in the order of the record."""

_REQUIRED: Final = frozenset(f.name for f in fields(StoredCall) if f.default is MISSING)
_DEFAULTS: Final[Row] = {f.name: f.default for f in fields(StoredCall) if f.default is not MISSING}

TOKEN_COLUMNS: Final = tuple(f"{kind}_tokens" for kind in _TOKEN_KINDS)

TALK_COLUMNS: Final = (
    "conversation_ms",
    "caller_talk_ms",
    "agent_talk_ms",
    "talk_over_ms",
    "dead_air_ms",
    "dead_airs",
    "agent_interruptions",
)
"""The measures of a conversation: null together, until somebody speaks."""

HEARTBEAT_COLUMNS: Final = (
    "version",
    "billed_ms",
    "last_seen_ms",
    "turns",
    "interruptions",
    "longest_wait_ms",
    *TALK_COLUMNS,
    *TOKEN_COLUMNS,
)
"""The columns that change without a change of state: all that is written while a call just goes on."""

_WHOLE_NUMBERS: Final = frozenset(
    {name for name in COLUMNS if name.endswith("_ms")}
    | {"claim", "version", "turns", "interruptions", *TALK_COLUMNS, *TOKEN_COLUMNS}
)
