"""What happens to one call, taken down as it happens: compact rows, put into words only when somebody asks."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from opentelemetry.trace import SpanContext

from telemetry import attributes as attr
from telemetry.clock import Instant
from telemetry.events import CallReceived, CallRef, Phase, TurnEnd
from telemetry.lifecycle import STEPS, CallState, Transition
from telemetry.privacy import Privacy
from telemetry.recent.excerpt import Excerpt
from telemetry.recent.limits import RecentLimits
from telemetry.recent.record import (
    Decision,
    Ending,
    ErrorRow,
    LogRow,
    PhaseRow,
    SpanRow,
    SpeechRow,
    Step,
    ToolRow,
    TurnRow,
)
from telemetry.recent.tally import TokenTally

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


class Journal:
    """One call's rows and its present state. Not safe for threads by itself: ``RecentCalls`` holds the lock.

    What an event means for it is written in :mod:`telemetry.recent.path` and :mod:`telemetry.recent.talk`. All
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
        self.steps: list[Step] = []
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
        self.tokens = TokenTally()
        self.caller_since: float | None = None
        self.agent_since: float | None = None
        self.open_phases: dict[Phase, float] = {}
        self.open_turns: dict[int, OpenTurn] = {}
        self.open_tools: dict[str, ToolRow] = {}
        self.rows: dict[Rows, Excerpt[AnyRow]] = {}
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
        self.steps.append(Step(Transition.RECEIVED, self.offset(event.at)))

    def offset(self, moment: Instant) -> float:
        """Seconds from the call's reception."""
        return moment.since(self.received)

    def keep(self, kind: Rows, row: AnyRow) -> None:
        """Append a row of a kind."""
        excerpt = self.rows.get(kind)
        if excerpt is None:
            kept = self.limits.kept(kind)
            excerpt = self.rows[kind] = Excerpt(kept.first, kept.last)
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
        self.steps.append(Step(transition, at))
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


Note = Callable[[Journal, Any, float], None]
"""Writes one type of event into a journal; the number is the event's offset."""


def short(text: str | None) -> str | None:
    """The text, cut to :data:`SHORT_TEXT` characters."""
    return text if text is None else text[:SHORT_TEXT]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
