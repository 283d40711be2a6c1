"""What each event does to a record."""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, Final

from service.records.held import HeldCall, milliseconds
from service.records.record import DurationSource
from telemetry.attributes import EndReason
from telemetry.events import (
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallHeartbeat,
    CallReferred,
    CallRejected,
    CallStarted,
    Event,
    FirstAudio,
    TokensUsed,
)
from telemetry.lifecycle import CallState
from telemetry.recent.record import CallOutcome, DurationBasis

MAX_ERROR_TYPE = 128
"""Characters of an error's type that fit its column."""


class Effect(Enum):
    """How much of the row an event changes."""

    SHAPE = auto()
    BEAT = auto()
    """Only what changes while a call just goes on."""


def _accepted(held: HeldCall, event: CallAccepted) -> None:
    if held.record.state is CallState.PENDING:
        held.record.state = CallState.ACCEPTED
        held.record.decided_ms = held.record.last_seen_ms = milliseconds(event.at)


def _rejected(held: HeldCall, event: CallRejected) -> None:
    at_ms = milliseconds(event.at)
    held.record.decided_ms = held.record.last_seen_ms = at_ms
    held.record.close(CallState.REJECTED, CallOutcome.REJECTED, event.reason, _short(event.error_type), at_ms)


def _started(held: HeldCall, event: CallStarted) -> None:
    at_ms = milliseconds(event.at)
    if held.record.started_ms is None:
        held.record.state = CallState.STARTED
        held.record.started_ms = held.record.usage_from_ms = at_ms
        held.record.duration_basis = DurationBasis.STARTED
    held.anchor(at_ms)


def _abandoned(held: HeldCall, event: CallAbandoned) -> None:
    at_ms = milliseconds(event.at)
    held.record.close(CallState.ABANDONED, CallOutcome.ABANDONED, event.reason, _short(event.error_type), at_ms)


def _referred(held: HeldCall, event: CallReferred) -> None:
    held.record.referred_ms = milliseconds(event.at)


def _heartbeat(held: HeldCall, event: CallHeartbeat) -> None:
    held.bill(event.seconds)


def _ended(held: HeldCall, event: CallEnded) -> None:
    held.bill(event.unbilled_seconds)
    record = held.record
    stale = event.reason is EndReason.STALE
    at_ms = record.last_seen_ms if stale else milliseconds(event.at)
    record.close(CallState.ENDED, _outcome(event), event.reason, _short(event.error_type), at_ms)
    record.duration_ms = record.billed_ms
    record.duration_source = DurationSource.LAST_SIGN_OF_LIFE if stale else _source(held)


def _outcome(event: CallEnded) -> CallOutcome:
    failed = event.error_type is not None or event.reason is EndReason.ERROR
    return CallOutcome.FAILED if failed else CallOutcome(event.reason.value)


def _source(held: HeldCall) -> DurationSource:
    return DurationSource.RESUMED if held.resumed else DurationSource.MEASURED


def _first_audio(held: HeldCall, event: FirstAudio) -> None:
    if held.record.first_audio_ms is None:
        held.record.first_audio_ms = milliseconds(event.at)


def _tokens(held: HeldCall, event: TokensUsed) -> None:
    held.record.add_tokens(event.usage)


def _short(error_type: str | None) -> str | None:
    # No text column takes halves of surrogate pairs, and PostgreSQL's take no NUL.
    return (
        None
        if error_type is None
        else error_type.encode(errors="replace").decode().replace("\x00", "?")[:MAX_ERROR_TYPE]
    )


FOLDS: Final[Mapping[type[Event], tuple[Effect, Callable[[HeldCall, Any], None]]]] = {
    CallAccepted: (Effect.SHAPE, _accepted),
    CallRejected: (Effect.SHAPE, _rejected),
    CallStarted: (Effect.SHAPE, _started),
    CallAbandoned: (Effect.SHAPE, _abandoned),
    CallReferred: (Effect.SHAPE, _referred),
    CallHeartbeat: (Effect.BEAT, _heartbeat),
    CallEnded: (Effect.SHAPE, _ended),
    FirstAudio: (Effect.SHAPE, _first_audio),
    TokensUsed: (Effect.BEAT, _tokens),
}
"""Every event that changes a record, how much of it, and how. A first announcement makes the record instead."""
