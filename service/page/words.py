"""The words for what the API says in codes: how a call stands, how it turned out and why, and what stands out."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, TypeVar

from service.api.call_search import StateFilter
from telemetry.recent.record import CallFlag, CallOutcome, Trouble
from telemetry.semconv.attributes import EndReason, RejectionReason, UnansweredReason

REASONS: Final[Mapping[RejectionReason, str]] = {
    RejectionReason.CAPACITY: "no free slot",
    RejectionReason.TENANT_NOT_CONFIGURED: "number without a tenant",
    RejectionReason.TENANT_LOOKUP_FAILED: "tenant could not be looked up",
    RejectionReason.INSTRUCTIONS_MISSING: "no instructions",
    RejectionReason.CARRIER_ERROR: "carrier refused",
}
"""The reasons for which calls are turned away."""

_UNANSWERED: Final[Mapping[UnansweredReason, str]] = {
    UnansweredReason.CANCELED: "caller gave up",
    UnansweredReason.BUSY: "line busy",
    UnansweredReason.NO_ANSWER: "nobody answered",
    UnansweredReason.DECLINED: "declined",
    UnansweredReason.UNREACHABLE: "could not be reached",
}
_ENDS: Final[Mapping[EndReason, str]] = {
    EndReason.COMPLETED: "completed",
    EndReason.HANGUP: "caller hung up",
    EndReason.REFERRED: "transferred",
    EndReason.ERROR: "error",
    EndReason.STALE: "no sign of life",
    EndReason.SHUTDOWN: "service stopped",
    EndReason.OPERATOR: "operator hung up",
    EndReason.MAX_DURATION: "longest duration reached",
    EndReason.SILENCE: "silent for too long",
    EndReason.VOICEMAIL: "answering machine",
}
OUTCOMES: Final[Mapping[CallOutcome, str]] = {
    CallOutcome.REJECTED: "turned away",
    CallOutcome.UNANSWERED: "not answered",
    CallOutcome.ABANDONED: "never started",
    CallOutcome.FAILED: "failed",
    CallOutcome.HANDED_OVER: "left to another process",
    **{outcome: _ENDS[EndReason(outcome.value)] for outcome in CallOutcome if outcome.value in list(EndReason)},
}
"""Words for the outcome of a call; for one that ended without an error, for the reason that it ended."""

STATES: Final[Mapping[StateFilter, str]] = {
    StateFilter.PENDING: "being decided upon",
    StateFilter.ACCEPTED: "accepted, not started",
    StateFilter.STARTED: "running",
    StateFilter.REJECTED: "turned away",
    StateFilter.UNANSWERED: "not answered",
    StateFilter.ABANDONED: "never started",
    StateFilter.ENDED: "ended",
    StateFilter.HANDED_OVER: "left to another process",
    StateFilter.RUNNING: "accepted or running",
    StateFilter.OVER: "over, however it ended",
    StateFilter.ALL: "all",
}
"""The states of calls, and several under one name."""

FLAGS: Final[Mapping[CallFlag, str]] = {
    CallFlag.SLOW_ANSWER: "slow answer",
    CallFlag.DEAD_AIR: "silence of 3 s or more",
    CallFlag.LONG_SILENCE: "silence of 10 s or more",
    CallFlag.TALKED_OVER: "agent talked over the caller",
    CallFlag.INTERRUPTED: "caller interrupted the agent",
    CallFlag.TOOL_FAILED: "tool failed",
    CallFlag.TRANSFER_REFUSED: "transfer refused",
    CallFlag.HANGUP_REFUSED: "hang-up refused",
    CallFlag.ATTACH_REFUSED: "media session not attached at once",
    CallFlag.FALLBACK: "fallback instructions",
    CallFlag.TAKEN_OVER: "taken over from another process",
    CallFlag.LOST: "process lost",
}
"""The things at a call that may need attention."""

WHY: Final[Mapping[str, str]] = {
    **{reason.value: said for reason, said in REASONS.items()},
    **{reason.value: said for reason, said in _UNANSWERED.items()},
    **{reason.value: said for reason, said in _ENDS.items()},
}
"""The reasons of all kinds, no two of which have one name."""

TROUBLES: Final[Mapping[Trouble, str]] = {
    Trouble.SESSION: "reported by the carrier",
    Trouble.INSTRUCTIONS: "instructions could not be read",
    Trouble.LIFECYCLE: "reported in a state that does not allow it",
}
"""The kinds of failure after which a call goes on."""

_STATUSES: Final[Mapping[str, str]] = {"new": STATES[StateFilter.ACCEPTED], "running": "running", "ending": "ending"}
# The names of the API's list for states that have others elsewhere.


Code = TypeVar("Code", bound=StrEnum)


def words(code: str) -> str:
    """Return a code in words; one that has none of its own with its parts apart."""
    return code.replace("_", " ")


def state_words(state: str) -> str:
    """Return a state, or a status of the API's list, in words."""
    name = state.lower()
    return _STATUSES.get(name) or STATES[StateFilter(name)]


_SAID_ALREADY: Final = "no_tenant"
_DISABLED: Final = "tenant_disabled"
# The two kinds of number without a tenant, as admission has them for error types.


def outcome_words(outcome: CallOutcome | None, reason: str | None, error_type: str | None) -> str:
    """Return how a call turned out, and why: ``turned away: no free slot``; empty while it is not over."""
    if outcome is None:
        return ""
    said = OUTCOMES[outcome]
    if outcome is CallOutcome.FAILED:
        return f"{said}: {error_type}" if error_type else said
    if error_type == _DISABLED:
        return f"{said}: {words(error_type)}"
    cause = None if reason is None else WHY.get(reason, words(reason))
    why = said if cause is None or cause == said else f"{said}: {cause}"
    if error_type in (None, _SAID_ALREADY):
        return why
    return f"{why} ({words(error_type) if outcome is CallOutcome.REJECTED else error_type})"


def choices(words_of: Mapping[Code, str]) -> Mapping[str, str]:
    """Return the words by the values, as a form offers them."""
    return {one.value: said for one, said in words_of.items()}


def plain_choices(kind: Iterable[StrEnum]) -> Mapping[str, str]:
    """Return the same of an enumeration whose values are words already."""
    return {one.value: words(one.value) for one in kind}
