"""Explains a call in the sentence that a person reads first."""

from typing import Final

from service.timeline.findings import standing_failure, unanswered
from telemetry.calls.events import LimitHit, Phase
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallDetails
from telemetry.semconv.attributes import UNKNOWN_TENANT, CapacityScope, EndReason, RejectionReason, UnansweredReason

FALLBACK: Final = "The fallback instructions stood in for the tenant's own."

_REJECTED: Final = {
    RejectionReason.CAPACITY: "there was no free slot",
    RejectionReason.TENANT_NOT_CONFIGURED: "the tenant of the dialled number is disabled",
    RejectionReason.TENANT_LOOKUP_FAILED: "the tenant of the dialled number could not be looked up",
    RejectionReason.INSTRUCTIONS_MISSING: "there were no instructions for the agent",
    RejectionReason.CARRIER_ERROR: "the carrier did not take the acceptance",
}
_ENDED: Final = {
    EndReason.COMPLETED: "the session closed in good order",
    EndReason.HANGUP: "the caller hung up",
    EndReason.REFERRED: "it was handed to another destination",
    EndReason.ERROR: "it broke off",
    EndReason.STALE: "nothing was heard of it for too long",
    EndReason.SHUTDOWN: "the service was stopped",
    EndReason.MAX_DURATION: "it had run for as long as a call may",
    EndReason.SILENCE: "nobody had spoken for as long as a call may be silent",
    EndReason.VOICEMAIL: "an answering machine took it",
}
_UNANSWERED: Final = {
    UnansweredReason.CANCELED: "the caller gave up before it was decided",
    UnansweredReason.BUSY: "the called party was busy",
    UnansweredReason.NO_ANSWER: "nobody answered in time",
    UnansweredReason.DECLINED: "the called party declined",
    UnansweredReason.UNREACHABLE: "the number could not be reached",
}
_PROCESS_LOST: Final = "its process was lost (killed, or cut off from the database), and nobody saw the end"
_MINUTE: Final = 60
_TEN_MILLISECONDS: Final = 0.00995
# Below it, a tenth of a millisecond is shown.


def explain(call: CallDetails, *, process_lost: bool = False) -> str:
    """Return what happened to a call: its cause in the first sentence, further facts in others.

    Args:
        call: Everything known of it.
        process_lost: The call was ended on record because the process that had it was gone.
    """
    state = call.summary.state
    if state is CallState.REJECTED:
        said = _rejected(call)
    elif state is CallState.UNANSWERED:
        reason = call.summary.unanswered_reason
        said = f"Not answered: {_UNANSWERED[reason]}." if reason else "Not answered."
    elif state is CallState.HANDED_OVER:
        said = "Left to another process, which goes on with it."
    elif state is CallState.ABANDONED:
        said = f"Accepted, but never started: {_cause(call, process_lost=process_lost)}."
    elif state is CallState.ENDED:
        said = _ended(call, process_lost=process_lost)
    else:
        said = _under_way(call)
    return f"{said} {FALLBACK}" if call.fallback_instructions else said


def span_of_time(seconds: float) -> str:
    """Return a duration as people say it: ``0.3 ms``, ``12 ms``, ``3.4 s``, ``5 min 08 s``, ``1 h 02 min``."""
    if seconds < _TEN_MILLISECONDS:
        return f"{seconds * 1000:.1f} ms"
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes:02d} min"


def _rejected(call: CallDetails) -> str:
    decision = call.decision
    if decision is None or decision.reason is None:
        return "Rejected."
    cause = _REJECTED[decision.reason]
    if decision.reason is RejectionReason.TENANT_NOT_CONFIGURED and call.summary.tenant_id == UNKNOWN_TENANT:
        cause = "the dialled number reaches no tenant" if call.summary.dialled else "no dialled number could be read"
    said = f"Rejected after {span_of_time(decision.setup_seconds)} ({decision.reason}): {cause}"
    return said + _limit(decision.limit) + (f" ({decision.error_type})." if decision.error_type else ".")


def _limit(limit: LimitHit | None) -> str:
    if limit is None:
        return ""
    whose = "the tenant's limit" if limit.scope is CapacityScope.TENANT else "the global limit"
    return f"; {whose} of {limit.limit} was reached, with {limit.in_use} in use"


def _ended(call: CallDetails, *, process_lost: bool) -> str:
    failed = call.ending is not None and call.ending.error_type is not None
    said = "Failed" if failed else "Ended"
    cause = _cause(call, process_lost=process_lost)
    return f"{said} after {span_of_time(call.summary.duration)}: {cause}{_circumstances(call)}."


def _cause(call: CallDetails, *, process_lost: bool) -> str:
    ending = call.ending
    if ending is None:
        return "for no known reason"
    if process_lost:
        return _PROCESS_LOST
    if ending.reason is EndReason.REFERRED and call.referred_to:
        return f"it was handed to {call.referred_to}"
    if ending.reason is EndReason.COMPLETED and _hung_up_by_agent(call):
        return "the agent ended it"
    return _ENDED[ending.reason] + (f" ({ending.error_type})" if ending.error_type else "")


def _hung_up_by_agent(call: CallDetails) -> bool:
    return any(row.phase is Phase.HANGUP and row.error_type is None for row in call.phases)


def _circumstances(call: CallDetails) -> str:
    """Return what explains the end where its reason alone does not: a wait in vain, silence, or a failure before it."""
    reason = call.ending.reason if call.ending is not None else None
    if reason is EndReason.REFERRED:
        return ""
    waited = unanswered(call)
    if call.first_audio is None and call.summary.started is not None and not call.resumed:
        said = " before the agent had spoken"
    elif waited is not None:
        said = (
            f" {span_of_time(waited)} after asking, without an answer"
            if reason is EndReason.HANGUP
            else (f", with the caller waiting for an answer for {span_of_time(waited)}")
        )
    else:
        said = ""
    failure = standing_failure(call)
    return f"{said}{',' if said else ''} after {failure.message}" if failure is not None else said


def _under_way(call: CallDetails) -> str:
    summary = call.summary
    if summary.state is CallState.PENDING:
        return f"Being decided upon for {span_of_time(call.as_of)}."
    if summary.state is CallState.ACCEPTED:
        return f"Accepted {span_of_time(call.as_of)} after it was received; its media session has not begun."
    to = f", handed to {call.referred_to}" if call.referred_to else ""
    said = f"{'Ending' if summary.ending else 'Running'}{to}, {span_of_time(summary.duration)} after its start"
    waited = unanswered(call)
    if waited is not None:
        said += f"; the caller has been waiting for an answer for {span_of_time(waited)}"
    failure = standing_failure(call)
    return f"{said}, after {failure.message}." if failure is not None else f"{said}."
