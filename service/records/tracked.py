"""The record of one call while this process writes it: what each event changes, and how much of it is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from service.records.record import TALK_COLUMNS, DurationSource, Row, StoredCall
from telemetry.calls.events import (
    AgentInterrupted,
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallHeartbeat,
    CallReferred,
    CallRejected,
    CallStarted,
    CallUnanswered,
    DeadAir,
    Event,
    FirstAudio,
    SpeechEnded,
    TalkedOver,
    TalkMeasured,
    TokensUsed,
    TurnAnswered,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Instant
from telemetry.recent.record import CallOutcome, DurationBasis
from telemetry.semconv.attributes import EndReason, RejectionReason, Speaker

STALE: Final = "stale"
"""The ``error_type`` of a call that was still being decided upon when its process died."""

MAX_ERROR_TYPE: Final = 128
"""Characters of an error's type that fit its column."""

NOT_WRITTEN: Final = -1
"""Older than every version."""


class Claim(Enum):
    """The certainty that a call belongs to this process."""

    UNCONFIRMED = auto()
    """The database is being asked, and nobody acts for the call before it has answered."""
    ASSUMED = auto()
    """The database could not be asked: the call is this process's as far as its memory goes."""
    CONFIRMED = auto()
    """The database has the call's key and record under this process's claim."""
    LOST = auto()
    """Another process owns the call: nothing more is written of it."""


_TALK: Final = {Speaker.CALLER: "caller_talk_ms", Speaker.AGENT: "agent_talk_ms"}


class TalkSums:
    """The measures of one call's conversation, summed up unrounded."""

    __slots__ = ("_before", "_first_word", "_record", "_seconds")

    def __init__(self, record: StoredCall) -> None:
        self._record = record
        for name in TALK_COLUMNS:
            setattr(record, name, getattr(record, name) or 0)
        self._before: float = (record.conversation_ms or 0) / 1000
        # Of the processes that had the call before: no one observed what lies between.
        self._first_word: Instant | None = None
        self._seconds: dict[str, float] = {}

    def spoke(self, speaker: Speaker, began: Instant, ended: Instant) -> None:
        """Add a stretch of speech; the conversation lasts at least to its end."""
        self._first_word = began if self._first_word is None else min(self._first_word, began)
        self.add(_TALK[speaker], ended.since(began))
        self.lasted(ended.since(self._first_word))

    def lasted(self, seconds: float) -> None:
        """Note the length of the part of the conversation that this process observed."""
        self._record.conversation_ms = round((self._before + seconds) * 1000)

    def add(self, column: str, seconds: float) -> None:
        """Add time to one of the measures."""
        summed = self._seconds.get(column, getattr(self._record, column) / 1000) + seconds
        self._seconds[column] = summed
        setattr(self._record, column, round(summed * 1000))


class TrackedRecord:
    """One record that this process writes. Not safe for threads by itself: the ledger's lock guards it."""

    __slots__ = (
        "_anchor_ms",
        "_anchor_seconds",
        "_shaped",
        "_talk",
        "_whole",
        "announced",
        "claim",
        "kept",
        "record",
        "required",
        "resumed",
        "seconds",
        "stored",
    )

    def __init__(self, record: StoredCall, *, stored: bool = False, claim: Claim = Claim.ASSUMED) -> None:
        self.record = record
        self.claim = Claim.CONFIRMED if stored else claim
        self.announced = False
        """True from the claim of a new call to its first event."""
        self.resumed = False
        """True once a call that was taken over from another process is reported on by this one."""
        self.seconds = record.billed_ms / 1000
        """Call time so far in seconds, unrounded."""
        self.stored = record.version if stored else NOT_WRITTEN
        """The newest version the database has."""
        self.kept = self.stored
        """The newest version that outlives this process: in the database or in the spill."""
        self.required = record.version
        """The version that must be kept before the carrier is asked to accept the call."""
        self._whole = self.stored
        # The newest version of which the database has every column.
        self._shaped = record.version
        # The newest version in which more changed than a heartbeat changes.
        self._anchor_ms = record.usage_from_ms if record.started_ms is None else record.billed_until_ms
        self._anchor_seconds = self.seconds
        self._talk: TalkSums | None = None

    @property
    def talk(self) -> TalkSums:
        """The measures of the conversation, which begin with the first use: zeros instead of nulls."""
        if self._talk is None:
            self._talk = TalkSums(self.record)
        return self._talk

    @property
    def over(self) -> bool:
        """True once the call has ended."""
        return self.record.ended_ms is not None

    def changed(self, *, shape: bool) -> None:
        """Begin a new version; ``shape`` if more changed than a heartbeat changes."""
        self.record.version += 1
        if shape:
            self._shaped = self.record.version

    def reclaimed(self, record: StoredCall) -> None:
        """Go on under a newer claim of this process's own, as the database has it."""
        self.record.claim = record.claim
        self.record.version = max(self.record.version, record.version)
        self.claim = Claim.CONFIRMED
        self.changed(shape=True)

    def anchor(self, at_ms: int) -> None:
        """Derive the moment of a heartbeat from the time billed, from this moment on."""
        self._anchor_ms, self._anchor_seconds = at_ms, self.seconds
        self.seen(at_ms)

    def seen(self, at_ms: int) -> None:
        """Note activity of the call, without billing."""
        self.record.last_seen_ms = max(self.record.last_seen_ms, at_ms)

    def bill(self, seconds: float) -> None:
        """Add call time; the call was active until its end."""
        self.seconds += seconds
        self.record.billed_ms = round(self.seconds * 1000)
        self.seen(self._anchor_ms + round((self.seconds - self._anchor_seconds) * 1000))

    def waited(self, seconds: float) -> None:
        """Note for how long the caller waited."""
        self.record.longest_wait_ms = max(self.record.longest_wait_ms or 0, round(seconds * 1000))

    def end_as_stale(self) -> None:
        """End the call at its last activity: its process died, and the call with it or not long after."""
        record = self.record
        billed_until_ms = record.billed_until_ms
        last = record.last_seen_ms = record.last_activity_ms
        if record.state is CallState.PENDING:
            reason = RejectionReason.CARRIER_ERROR
            record.close(CallState.REJECTED, CallOutcome.REJECTED, reason, STALE, last)
        elif record.state is CallState.ACCEPTED:
            record.close(CallState.ABANDONED, CallOutcome.ABANDONED, EndReason.STALE, None, last)
        else:
            record.close(CallState.ENDED, CallOutcome.STALE, EndReason.STALE, None, last)
            # The time since its last heartbeat in which it was still active.
            record.billed_ms += last - billed_until_ms
            record.duration_ms = record.billed_ms
        record.duration_source = DurationSource.LAST_SIGN_OF_LIFE
        self.changed(shape=True)

    def change(self) -> "Change":
        """Return what is to be written now."""
        return Change(self, self.record.version, self.record.row(), heartbeat=self._whole >= self._shaped)

    def written(self, change: "Change") -> None:
        """Note that the database has this version."""
        self.stored = max(self.stored, change.version)
        self.kept = max(self.kept, change.version)
        if self.claim is not Claim.LOST:
            self.claim = Claim.CONFIRMED
        if not change.heartbeat:
            self._whole = max(self._whole, change.version)

    def spilled(self, change: "Change") -> None:
        """Note that the spill has this version. What the database gets next must then be whole."""
        self.kept = max(self.kept, change.version)
        self._whole = NOT_WRITTEN


@dataclass(frozen=True, slots=True)
class Change:
    """One version of a tracked record, to be written."""

    tracked: TrackedRecord
    version: int
    row: Row
    heartbeat: bool
    """The database has the rest: only what a heartbeat changes need be written."""


def _accepted(tracked: TrackedRecord, event: CallAccepted) -> None:
    if tracked.record.state is CallState.PENDING:
        tracked.record.state = CallState.ACCEPTED
        tracked.record.decided_ms = event.at.unix_ms
        tracked.seen(event.at.unix_ms)
        tracked.waited(event.setup_seconds)


def _rejected(tracked: TrackedRecord, event: CallRejected) -> None:
    at_ms = event.at.unix_ms
    tracked.record.decided_ms = tracked.record.last_seen_ms = at_ms
    tracked.waited(event.setup_seconds)
    tracked.record.close(CallState.REJECTED, CallOutcome.REJECTED, event.reason, _short(event.error_type), at_ms)


def _unanswered(tracked: TrackedRecord, event: CallUnanswered) -> None:
    at_ms = event.at.unix_ms
    tracked.record.decided_ms = tracked.record.last_seen_ms = at_ms
    error_type = _short(event.error_type)
    tracked.record.close(CallState.UNANSWERED, CallOutcome.UNANSWERED, event.reason, error_type, at_ms)


def _started(tracked: TrackedRecord, event: CallStarted) -> None:
    at_ms = event.at.unix_ms
    if tracked.record.started_ms is None:
        tracked.record.state = CallState.STARTED
        tracked.record.started_ms = tracked.record.usage_from_ms = at_ms
        tracked.record.duration_basis = DurationBasis.STARTED
    tracked.anchor(at_ms)


def _abandoned(tracked: TrackedRecord, event: CallAbandoned) -> None:
    error_type = _short(event.error_type)
    tracked.record.close(CallState.ABANDONED, CallOutcome.ABANDONED, event.reason, error_type, event.at.unix_ms)


def _referred(tracked: TrackedRecord, event: CallReferred) -> None:
    tracked.record.referred_ms = event.at.unix_ms


def _heartbeat(tracked: TrackedRecord, event: CallHeartbeat) -> None:
    tracked.bill(event.seconds)


def _ended(tracked: TrackedRecord, event: CallEnded) -> None:
    tracked.bill(event.unbilled_seconds)
    record = tracked.record
    stale = event.reason is EndReason.STALE
    at_ms = record.last_seen_ms if stale else event.at.unix_ms
    record.close(CallState.ENDED, _outcome(event), event.reason, _short(event.error_type), at_ms)
    record.fault = event.fault
    record.duration_ms = record.billed_ms
    measured = DurationSource.RESUMED if tracked.resumed else DurationSource.MEASURED
    record.duration_source = DurationSource.LAST_SIGN_OF_LIFE if stale else measured


def _outcome(event: CallEnded) -> CallOutcome:
    failed = event.error_type is not None or event.reason is EndReason.ERROR
    return CallOutcome.FAILED if failed else CallOutcome(event.reason.value)


def _first_audio(tracked: TrackedRecord, event: FirstAudio) -> None:
    if tracked.record.first_audio_ms is None:
        tracked.record.first_audio_ms = event.at.unix_ms
        tracked.waited(event.seconds)


def _turn_started(tracked: TrackedRecord, event: TurnStarted) -> None:  # noqa: ARG001 -- every reducer's signature
    # The number is not taken: a process that takes a call over numbers its turns anew.
    tracked.record.turns = (tracked.record.turns or 0) + 1


def _turn_answered(tracked: TrackedRecord, event: TurnAnswered) -> None:
    tracked.waited(event.seconds)


def _turn_interrupted(tracked: TrackedRecord, event: TurnInterrupted) -> None:  # noqa: ARG001 -- the same
    tracked.record.interruptions = (tracked.record.interruptions or 0) + 1


def _speech_ended(tracked: TrackedRecord, event: SpeechEnded) -> None:
    tracked.talk.spoke(event.speaker, event.started, event.at)


def _talked_over(tracked: TrackedRecord, event: TalkedOver) -> None:
    tracked.talk.add("talk_over_ms", event.seconds)


def _dead_air(tracked: TrackedRecord, event: DeadAir) -> None:
    tracked.talk.add("dead_air_ms", event.seconds)
    tracked.record.dead_airs = (tracked.record.dead_airs or 0) + 1


def _agent_interrupted(tracked: TrackedRecord, event: AgentInterrupted) -> None:  # noqa: ARG001 -- the same
    _ = tracked.talk
    tracked.record.agent_interruptions = (tracked.record.agent_interruptions or 0) + 1


def _talk_measured(tracked: TrackedRecord, event: TalkMeasured) -> None:
    tracked.talk.lasted(event.seconds)


def _tokens(tracked: TrackedRecord, event: TokensUsed) -> None:
    tracked.record.add_tokens(event.usage)


def _short(error_type: str | None) -> str | None:
    """Return the type as its column takes it."""
    return None if error_type is None else storable(error_type, MAX_ERROR_TYPE)


def storable(words: str, most: int) -> str:
    """Return the words as a column of so many characters takes them."""
    # No text column takes halves of surrogate pairs, and PostgreSQL's take no NUL.
    return words.encode(errors="replace").decode().replace("\x00", "?")[:most]


Reducer = Callable[[TrackedRecord, Any], None]
"""Brings a record up to date with one type of event."""

_OF_STATE: Final[Mapping[type[Event], Reducer]] = {
    CallAccepted: _accepted,
    CallRejected: _rejected,
    CallUnanswered: _unanswered,
    CallStarted: _started,
    CallAbandoned: _abandoned,
    CallReferred: _referred,
    CallEnded: _ended,
    FirstAudio: _first_audio,
}
_OF_GOING_ON: Final[Mapping[type[Event], Reducer]] = {
    CallHeartbeat: _heartbeat,
    TokensUsed: _tokens,
    TurnStarted: _turn_started,
    TurnAnswered: _turn_answered,
    TurnInterrupted: _turn_interrupted,
}
# They change no more than a heartbeat does: the columns of HEARTBEAT_COLUMNS.
_OF_TALK: Final[Mapping[type[Event], Reducer]] = {
    SpeechEnded: _speech_ended,
    TalkedOver: _talked_over,
    DeadAir: _dead_air,
    AgentInterrupted: _agent_interrupted,
    TalkMeasured: _talk_measured,
}
# They need no writing of their own: what they change is written with the next heartbeat, or with the end.

_ACTIVITY: Final = frozenset({CallReferred, FirstAudio} | (_OF_GOING_ON.keys() - {CallHeartbeat}) | _OF_TALK.keys())
"""The events that show the call alive at their own moment; a heartbeat's activity is the end of the time it bills."""


def reduce(tracked: TrackedRecord, event: Event) -> bool:
    """Bring the record up to date with an event that :func:`changes_record`; return true if it is to be written now."""
    kind = type(event)
    if kind in _ACTIVITY:
        tracked.seen(event.at.unix_ms)
    talk = _OF_TALK.get(kind)
    if talk is not None:
        talk(tracked, event)
        return False
    shaping = _OF_STATE.get(kind)
    (shaping or _OF_GOING_ON[kind])(tracked, event)
    tracked.changed(shape=shaping is not None)
    return True


def changes_record(event: Event) -> bool:
    """Return true for an event that changes a record which is there. A call's first event makes it instead."""
    kind = type(event)
    return kind in _OF_STATE or kind in _OF_GOING_ON or kind in _OF_TALK


def claim_at(at: Instant) -> int:
    """Return the claim of a call taken in hand at this moment, in microseconds since 1970 UTC."""
    return at.unix_nanos // 1000
