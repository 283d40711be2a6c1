"""The state kept of one call: where it stands, and the first and last of its rows, updated event by event."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

from opentelemetry.trace import SpanContext

from telemetry.calls.conversation import DEAD_AIR_SECONDS
from telemetry.calls.events import CallBefore, CallReceived, CallRef, CallUnanswered, Phase, TokensUsed, TokenUsage
from telemetry.calls.lifecycle import STEPS, UNSTARTED, CallState, Transition
from telemetry.clock import Instant
from telemetry.privacy import Privacy
from telemetry.recent.limits import RecentLimits
from telemetry.recent.record import (
    DeadAirRow,
    Decision,
    Ending,
    ErrorRow,
    LogRow,
    PhaseRow,
    SpanRow,
    SpeechRow,
    StateChange,
    Talk,
    TalkOverRow,
    Tokens,
    ToolRow,
    TurnRow,
)
from telemetry.semconv import attributes as attr
from telemetry.semconv.attributes import Speaker, TurnEnd


class Row(Protocol):
    """One row of a call's history."""

    @property
    def weight(self) -> int:
        """Bytes the row takes, about."""
        ...


RowT = TypeVar("RowT", bound=Row)


class HeadTailBuffer(Generic[RowT]):
    """Keeps the first ``head`` rows and the last ``tail``, and counts those dropped between."""

    __slots__ = ("_dropped", "_first", "_head", "_last", "_tail")

    def __init__(self, head: int, tail: int) -> None:
        if head < 1 or tail < 1:
            raise ValueError(f"head and tail must be at least 1, not {head} and {tail}")
        self._head = head
        self._tail = tail
        self._first: list[RowT] = []
        self._last: deque[RowT] | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Number of rows dropped."""
        return self._dropped

    def __iter__(self) -> Iterator[RowT]:
        yield from self._first
        yield from self._last or ()

    @property
    def gap(self) -> tuple[RowT, RowT | None] | None:
        """The rows on either side of the dropped ones, the second None if none follows; None if nothing was dropped."""
        if not self._dropped or not self._first:
            return None
        return self._first[-1], self._last[0] if self._last else None

    def add(self, row: RowT) -> int:
        """Append a row and return the growth in bytes, negative if a heavier row was dropped for it."""
        if len(self._first) < self._head:
            self._first.append(row)
            return row.weight
        if self._last is None:
            # Most calls never come here, and an empty deque takes more than their rows.
            self._last = deque()
        self._last.append(row)
        return row.weight - self._drop_oldest(self._last)

    def refuse(self) -> None:
        """Count a row as dropped without keeping it."""
        self._dropped += 1

    def _drop_oldest(self, rows: deque[RowT]) -> int:
        if len(rows) <= self._tail:
            return 0
        self._dropped += 1
        return rows.popleft().weight


_KINDS: Final = tuple(field.name for field in fields(TokenUsage))
_MODELS: Final = 4
# A call has one model; a second one may take over. Names past a few are not kept.


class TokenCounter:
    """Adds up token usage, kind by kind."""

    __slots__ = ("_models", "_partial", "_responses", "_sums")

    def __init__(self) -> None:
        self._responses = 0
        self._sums: dict[str, int] = {}
        self._partial: set[str] = set()
        self._models: tuple[str, ...] = ()

    def begin(self, usage: TokenUsage) -> None:
        """Begin with the sums of another process: lower bounds, for its last response may not be among them."""
        self._sums = {kind: count for kind in _KINDS if (count := getattr(usage, kind)) is not None}
        self._partial = set(self._sums)

    def add(self, event: TokensUsed) -> None:
        """Add one response."""
        for kind in _KINDS:
            self._add(kind, getattr(event.usage, kind))
        self._responses += 1
        if event.model not in self._models and len(self._models) < _MODELS:
            self._models = (*self._models, event.model)

    def total(self) -> Tokens:
        """Return the sums so far."""
        partial = tuple(kind for kind in _KINDS if kind in self._partial)
        return Tokens(TokenUsage(**self._sums), self._responses, partial, self._models)

    def _add(self, kind: str, count: int | None) -> None:
        known = kind in self._sums
        if count is not None:
            self._sums[kind] = self._sums.get(kind, 0) + count
        if (count is None and known) or (count is not None and not known and self._responses):
            self._partial.add(kind)


BASE_WEIGHT: Final = 2_600
"""Bytes a call takes before anything has happened to it, about."""
SHORT_TEXT: Final = 128
"""Characters kept of a code, an error's type or an id, which come from outside."""


class Rows(StrEnum):
    """The kinds of row a call has; also the names under which dropped ones are counted."""

    PHASES = "phases"
    TURNS = "turns"
    SPEECH = "speech"
    TOOLS = "tools"
    ERRORS = "errors"
    SPANS = "spans"
    LOGS = "logs"
    DEAD_AIRS = "dead_airs"
    TALK_OVERS = "talk_overs"


AnyRow = PhaseRow | TurnRow | SpeechRow | ToolRow | ErrorRow | SpanRow | LogRow | DeadAirRow | TalkOverRow


class OpenTurn:
    """A turn that has not ended."""

    __slots__ = ("caller_stopped", "interrupted", "number", "start", "time_to_first_audio")

    def __init__(self, number: int, start: float) -> None:
        self.number = number
        self.start = start
        self.caller_stopped: float | None = None
        self.time_to_first_audio: float | None = None
        self.interrupted = False

    def row(self, end: float | None = None, reason: TurnEnd | None = None) -> TurnRow:
        """Return the turn as a row, open if ``end`` is None."""
        return TurnRow(
            self.number, self.start, end, self.caller_stopped, self.time_to_first_audio, self.interrupted, reason
        )


class Voices:
    """The parties that speak at the moment, and since when; offsets in seconds from the call's reception."""

    __slots__ = ("agent_since", "caller_since", "longest_silence", "over_since", "quiet_since", "talked_over")

    def __init__(self) -> None:
        self.longest_silence = 0.0
        """The longest of the silences that are over, in seconds."""
        self.talked_over = 0
        """Times the agent began to speak while the caller spoke."""
        self.fall_silent()

    def fall_silent(self) -> None:
        """Forget what is under way: nothing more is known of it, or the call is over."""
        self.agent_since: float | None = None
        self.caller_since: float | None = None
        self.quiet_since: float | None = None
        """The moment from which nobody speaks; None while somebody does, and before the first word."""
        self.over_since: float | None = None
        """The moment the agent began to speak while the caller spoke; None unless both speak now."""

    def started(self, speaker: Speaker, at: float) -> None:
        """Note that a party began to speak."""
        self.quiet_since = None
        if speaker is Speaker.AGENT:
            self.agent_since = at
        else:
            self.caller_since = at

    def stopped(self, speaker: Speaker, at: float) -> None:
        """Note that a party stopped speaking; nobody may speak from here on."""
        if speaker is Speaker.AGENT:
            self.agent_since = None
        else:
            self.caller_since = None
        if self.agent_since is None and self.caller_since is None:
            self.quiet_since = at


class RetainedCall:
    """One call's rows and its present state. Not thread-safe: the lock of ``RecentCalls`` guards it.

    :mod:`telemetry.recent.reducers` updates it. All moments are offsets in seconds from the call's reception.
    """

    __slots__ = (
        "before",
        "caller_hash",
        "caller_masked",
        "decision",
        "dialled_masked",
        "ended",
        "ending",
        "ending_under_way",
        "failed_phases",
        "failed_tools",
        "fallback",
        "first_audio",
        "inferred",
        "interruptions",
        "last_seen",
        "left_out",
        "limits",
        "longest_wait",
        "lost",
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
        "seen_from",
        "sequence",
        "slowest_answer",
        "started",
        "state",
        "steps",
        "talk",
        "time_to_first_audio",
        "tokens",
        "trace",
        "turns",
        "unanswered",
        "voices",
        "weight",
    )

    def __init__(self, call: CallRef, began: Instant, trace: SpanContext | None, limits: RecentLimits) -> None:
        self.ref = call
        self.sequence = 0
        """Number of the call in the order of reception; 0 while it is only announced."""
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
        self.unanswered: CallUnanswered | None = None
        self.ending_under_way = False
        self.inferred: tuple[Transition, ...] = ()
        self.started: float | None = None
        self.ended: float | None = None
        self.run_seconds: float | None = None
        """The duration that the call's end stated, in seconds."""
        self.first_audio: float | None = None
        self.time_to_first_audio: float | None = None
        self.referred_to: str | None = None
        self.fallback = False
        self.before: CallBefore | None = None
        """The record of the call from before this process took it over; None if there is none."""
        self.seen_from: float | None = None
        """The moment this process took the call over; None if it had the call from the beginning."""
        self.resumed = self.lost = False
        """True if another process set the call up; and if that was gone, and the call over when it was found."""
        self.last_seen = 0.0
        self.longest_wait = self.slowest_answer = 0.0
        """The longest of the waits that are over, and of those for an answer, in seconds."""
        self.turns = self.interruptions = 0
        self.voices = Voices()
        self.talk: Talk | None = None
        self.failed_tools: tuple[str, ...] = ()
        self.failed_phases: tuple[Phase, ...] = ()
        self.tokens = TokenCounter()
        self.open_phases: dict[Phase, float] = {}
        self.open_turns: dict[int, OpenTurn] = {}
        self.open_tools: dict[str, ToolRow] = {}
        self.rows: dict[Rows, HeadTailBuffer[AnyRow]] = {}
        self.overflow: dict[Rows, int] = {}
        """Rows not begun because too many were open at the same time, by kind."""
        self.left_out = 0
        """Number of rows dropped, of all kinds."""
        self.refusing = False
        """True while there is no room for rows; counts and the state are still kept."""
        self.weight = BASE_WEIGHT

    def receive(self, event: CallReceived, sequence: int, privacy: Privacy) -> None:
        """Take the tenant and the numbers of the call, which are kept masked and hashed only."""
        numbers = privacy.describe(event.caller, event.dialled)
        self.ref = event.call
        self.sequence = sequence
        self.caller_masked = _text(numbers.get(attr.CALLER))
        self.caller_hash = _text(numbers.get(attr.CALLER_HASH))
        self.dialled_masked = _text(numbers.get(attr.DIALLED))
        self.steps.append(StateChange(Transition.RECEIVED, self.offset(event.at)))

    def offset(self, moment: Instant) -> float:
        """Return the seconds from the call's reception to ``moment``."""
        return moment.since(self.received)

    def begin_before(self, before: CallBefore) -> None:
        """Begin at the first reception, with what is on record of the call from before this process had it."""
        self.before = before
        self.received = before.received
        self.steps[:] = [StateChange(Transition.RECEIVED, 0.0)]
        self.caller_masked, self.caller_hash = before.caller_masked, before.caller_hash
        self.dialled_masked = before.dialled_masked
        self.turns, self.interruptions = before.turns, before.interruptions
        self.longest_wait = before.longest_wait_seconds
        self.tokens.begin(before.tokens)
        if before.first_audio is not None:
            self.first_audio = self.time_to_first_audio = self.offset(before.first_audio)

    @property
    def waits_known(self) -> bool:
        """True if the waits from before this process had the call are known."""
        return not self.resumed or self.before is not None

    @property
    def spoken(self) -> bool:
        """True once anybody has spoken."""
        return self.first_audio is not None or self.turns > 0

    def nobody_spoke_until(self, moment: float) -> None:
        """Note the silence from the session's start to the first word, or to the end: later ones are dead air."""
        begin = self.seen_from if self.seen_from is not None else self.started
        if begin is not None and moment - begin >= DEAD_AIR_SECONDS:
            self.voices.longest_silence = max(self.voices.longest_silence, moment - begin)

    def keep(self, kind: Rows, row: AnyRow) -> None:
        """Append a row, or drop it if there is no room."""
        buffer = self.rows.get(kind)
        if buffer is None:
            bounds = self.limits.rows(kind)
            buffer = self.rows[kind] = HeadTailBuffer(bounds.first, bounds.last)
        dropped = buffer.dropped
        if self.refusing:
            buffer.refuse()
        else:
            self.weight += buffer.add(row)
        self.left_out += buffer.dropped - dropped

    def overflowed(self, kind: Rows) -> None:
        """Count a row that was not begun."""
        self.overflow[kind] = self.overflow.get(kind, 0) + 1
        self.left_out += 1

    def step(self, transition: Transition, at: float) -> None:
        """Change the state; the lifecycle allows each transition at most once."""
        self.state = STEPS[transition][1]
        self.steps.append(StateChange(transition, at))
        if self.state.terminal:
            self.ended = at
            self.voices.fall_silent()

    @property
    def unheard(self) -> bool:
        """True while the caller of a started call has not heard the agent."""
        return self.started is not None and self.first_audio is None and self.waits_known

    @property
    def undecided_or_unheard(self) -> bool:
        """True while the caller has been waiting since the call came in."""
        return self.waits_known and (self.state in UNSTARTED or self.unheard)

    def waited(self, seconds: float) -> None:
        """Record a wait of a person, in seconds."""
        self.longest_wait = max(self.longest_wait, seconds)


Reducer = Callable[[RetainedCall, Any, float], None]
"""Applies one type of event to a call; the number is the event's offset in seconds."""


def short(text: str | None) -> str | None:
    """Return the text, cut to :data:`SHORT_TEXT` characters."""
    return text if text is None else text[:SHORT_TEXT]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
