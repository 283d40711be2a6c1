"""What happens to one call, taken down as it happens: compact rows, put into words only when somebody asks."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

from opentelemetry.trace import SpanContext

from telemetry.calls.events import CallReceived, CallRef, Phase, TokensUsed, TokenUsage, TurnEnd
from telemetry.calls.lifecycle import STEPS, CallState, Transition
from telemetry.clock import Instant
from telemetry.privacy import Privacy
from telemetry.recent.record import (
    Decision,
    Ending,
    ErrorRow,
    LogRow,
    PhaseRow,
    SpanRow,
    SpeechRow,
    StateChange,
    Tokens,
    ToolRow,
    TurnRow,
)
from telemetry.semconv import attributes as attr


class Row(Protocol):
    """One line of a record."""

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        ...


RowT = TypeVar("RowT", bound=Row)


class HeadTailBuffer(Generic[RowT]):
    """Keeps the first ``head`` rows and the last ``tail``; what is left out between is counted.

    How a call began and how it came to its end explain it; of what lies between, a number is enough.
    """

    __slots__ = ("_dropped", "_first", "_head", "_last", "_tail")

    def __init__(self, head: int, tail: int) -> None:
        if head < 1 or tail < 1:
            raise ValueError(f"an excerpt keeps at least one first and one last row, not {head} and {tail}")
        self._head = head
        self._tail = tail
        self._first: list[RowT] = []
        self._last: deque[RowT] | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Rows left out."""
        return self._dropped

    def __iter__(self) -> Iterator[RowT]:
        yield from self._first
        yield from self._last or ()

    @property
    def gap(self) -> tuple[RowT, RowT | None] | None:
        """The rows on either side of what was left out; the second is ``None`` if nothing has come after it."""
        if not self._dropped or not self._first:
            return None
        return self._first[-1], self._last[0] if self._last else None

    def add(self, row: RowT) -> int:
        """Append a row; answers by how many bytes the excerpt has grown, negative if a heavier row had to go."""
        if len(self._first) < self._head:
            self._first.append(row)
            return row.weight
        if self._last is None:
            # Most calls never come here, and an empty deque costs more than their rows.
            self._last = deque()
        self._last.append(row)
        return row.weight - self._leave_out_oldest(self._last)

    def refuse(self) -> None:
        """Count a row as left out without looking at it."""
        self._dropped += 1

    def _leave_out_oldest(self, rows: deque[RowT]) -> int:
        if len(rows) <= self._tail:
            return 0
        self._dropped += 1
        return rows.popleft().weight


@dataclass(frozen=True, slots=True)
class RowBounds:
    """How many rows of one kind a call keeps: its first ones and its last."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RecentLimits:
    """The bounds of the record. The defaults hold a call of 500 turns in about 130 kB."""

    calls: int = 5_000
    """Calls that are over. Running ones are kept besides; their number is the tracker's to bound."""
    total_bytes: int = 64 * 1024 * 1024
    """Of all calls together. Past it the oldest calls that are over go; with none left to go, details are refused."""
    announced: int = 10_000
    """Calls announced and not received yet, or never; past this the oldest is forgotten."""
    phases: RowBounds = RowBounds(16, 16)
    turns: RowBounds = RowBounds(20, 60)
    speech: RowBounds = RowBounds(40, 120)
    tools: RowBounds = RowBounds(16, 48)
    errors: RowBounds = RowBounds(8, 24)
    spans: RowBounds = RowBounds(32, 64)
    logs: RowBounds = RowBounds(16, 32)
    open_at_once: int = 64
    """Phases, tools or spans of one call that may be under way at the same time."""
    text: int = 256
    """Characters of one text: an attribute's value, a log line's message."""

    def kept(self, kind: str) -> RowBounds:
        """How many rows of a kind a call keeps."""
        kept: RowBounds = getattr(self, kind)
        return kept

    def __post_init__(self) -> None:
        """Refuse bounds that keep nothing."""
        for name in ("calls", "total_bytes", "announced", "open_at_once", "text"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


_KINDS = tuple(field.name for field in fields(TokenUsage))
_MODELS = 4


# A call has one model; a second one may take over. More than a few names are somebody's mistake.
class TokenCounter:
    """Adds up token usage, kind by kind."""

    __slots__ = ("_models", "_partial", "_responses", "_sums")

    def __init__(self) -> None:
        self._responses = 0
        self._sums: dict[str, int] = {}
        self._partial: set[str] = set()
        self._models: tuple[str, ...] = ()

    def add(self, event: TokensUsed) -> None:
        """Add one response."""
        for kind in _KINDS:
            self._add(kind, getattr(event.usage, kind))
        self._responses += 1
        if event.model not in self._models and len(self._models) < _MODELS:
            self._models = (*self._models, event.model)

    def _add(self, kind: str, count: int | None) -> None:
        known = kind in self._sums
        if count is not None:
            self._sums[kind] = self._sums.get(kind, 0) + count
        if (count is None and known) or (count is not None and not known and self._responses):
            self._partial.add(kind)

    def total(self) -> Tokens:
        """The sums so far."""
        partial = tuple(kind for kind in _KINDS if kind in self._partial)
        return Tokens(TokenUsage(**self._sums), self._responses, partial, self._models)


BASE_WEIGHT: Final = 2_600
"""About how many bytes a call takes before anything has happened to it."""
SHORT_TEXT: Final = 128
"""Characters of a code, an error's type or an id that are kept. They come from outside, so they may come long."""


class Rows(StrEnum):
    """The kinds of row a call has; also the names under which left-out ones are counted."""

    PHASES = "phases"
    TURNS = "turns"
    SPEECH = "speech"
    TOOLS = "tools"
    ERRORS = "errors"
    SPANS = "spans"
    LOGS = "logs"


AnyRow = PhaseRow | TurnRow | SpeechRow | ToolRow | ErrorRow | SpanRow | LogRow


class OpenTurn:
    """A turn that goes on."""

    __slots__ = ("caller_stopped", "interrupted", "number", "start", "time_to_first_audio")

    def __init__(self, number: int, start: float) -> None:
        self.number = number
        self.start = start
        self.caller_stopped: float | None = None
        self.time_to_first_audio: float | None = None
        self.interrupted = False

    def row(self, end: float | None = None, reason: TurnEnd | None = None) -> TurnRow:
        """The turn as it stands, or as it ended."""
        return TurnRow(
            self.number, self.start, end, self.caller_stopped, self.time_to_first_audio, self.interrupted, reason
        )


class RetainedCall:
    """One call's rows and its present state. Not safe for threads by itself: ``RecentCalls`` holds the lock.

    What an event means for it is written in :mod:`telemetry.recent.reducers` and :mod:`telemetry.recent.reducers`. All
    moments are offsets in seconds from the call's reception.
    """

    __slots__ = (
        "agent_since",
        "caller_hash",
        "caller_masked",
        "caller_since",
        "decision",
        "dialled_masked",
        "ended",
        "ending",
        "ending_under_way",
        "fallback",
        "first_audio",
        "interruptions",
        "last_seen",
        "left_out",
        "limits",
        "longest_wait",
        "open_phases",
        "open_tools",
        "open_turns",
        "overflow",
        "received",
        "ref",
        "referred_to",
        "refusing",
        "resumed",
        "rows",
        "run_seconds",
        "sequence",
        "started",
        "state",
        "steps",
        "time_to_first_audio",
        "tokens",
        "trace",
        "turns",
        "weight",
    )

    def __init__(self, call: CallRef, began: Instant, trace: SpanContext | None, limits: RecentLimits) -> None:
        self.ref = call
        self.sequence = 0
        """Counts calls in the order they were received; 0 for one that is announced only."""
        self.received = began
        self.trace = trace
        self.limits = limits
        self.caller_masked: str | None = None
        self.caller_hash: str | None = None
        self.dialled_masked: str | None = None
        self.state = CallState.PENDING
        self.steps: list[StateChange] = []
        self.decision: Decision | None = None
        self.ending: Ending | None = None
        self.ending_under_way = False
        self.started: float | None = None
        self.ended: float | None = None
        self.run_seconds: float | None = None
        """The duration as the call's end stated it."""
        self.first_audio: float | None = None
        self.time_to_first_audio: float | None = None
        self.referred_to: str | None = None
        self.fallback = False
        self.resumed = False
        """Another process set the call up: what it knew is not here, and nobody waited for this process."""
        self.last_seen = 0.0
        self.longest_wait = 0.0
        """Of the waits that are over."""
        self.turns = 0
        self.interruptions = 0
        self.tokens = TokenCounter()
        self.caller_since: float | None = None
        self.agent_since: float | None = None
        self.open_phases: dict[Phase, float] = {}
        self.open_turns: dict[int, OpenTurn] = {}
        self.open_tools: dict[str, ToolRow] = {}
        self.rows: dict[Rows, HeadTailBuffer[AnyRow]] = {}
        self.overflow: dict[Rows, int] = {}
        """Rows that were never begun because too many were under way at the same time."""
        self.left_out = 0
        """Rows left out, of all kinds."""
        self.refusing = False
        """There is no room for details; what is counted or overwritten is still kept."""
        self.weight = BASE_WEIGHT

    def receive(self, event: CallReceived, sequence: int, privacy: Privacy) -> None:
        """The announced call has come in: whose it is, is known. Its numbers are kept masked and hashed only."""
        numbers = privacy.describe(event.caller, event.dialled)
        self.ref = event.call
        self.sequence = sequence
        self.caller_masked = _text(numbers.get(attr.CALLER))
        self.caller_hash = _text(numbers.get(attr.CALLER_HASH))
        self.dialled_masked = _text(numbers.get(attr.DIALLED))
        self.steps.append(StateChange(Transition.RECEIVED, self.offset(event.at)))

    def offset(self, moment: Instant) -> float:
        """Seconds from the call's reception."""
        return moment.since(self.received)

    def keep(self, kind: Rows, row: AnyRow) -> None:
        """Append a row of a kind."""
        excerpt = self.rows.get(kind)
        if excerpt is None:
            kept = self.limits.kept(kind)
            excerpt = self.rows[kind] = HeadTailBuffer(kept.first, kept.last)
        dropped = excerpt.dropped
        if self.refusing:
            excerpt.refuse()
        else:
            self.weight += excerpt.add(row)
        self.left_out += excerpt.dropped - dropped

    def overflowed(self, kind: Rows) -> None:
        """Count a row that could not be begun."""
        self.overflow[kind] = self.overflow.get(kind, 0) + 1
        self.left_out += 1

    def step(self, transition: Transition, at: float) -> None:
        """Note a transition; the lifecycle allows each at most once."""
        self.state = STEPS[transition][1]
        self.steps.append(StateChange(transition, at))
        if self.state.terminal:
            self.ended = at
            self.caller_since = self.agent_since = None

    @property
    def unheard(self) -> bool:
        """The caller has been waiting for the agent's first word since the call came in."""
        return self.started is not None and self.first_audio is None and not self.resumed

    def waited(self, seconds: float) -> None:
        """Note for how long a person waited."""
        self.longest_wait = max(self.longest_wait, seconds)


Note = Callable[[RetainedCall, Any, float], None]
"""Writes one type of event into a journal; the number is the event's offset."""


def short(text: str | None) -> str | None:
    """The text, cut to :data:`SHORT_TEXT` characters."""
    return text if text is None else text[:SHORT_TEXT]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
