"""What happened to a call, in a sentence a person reads first."""

from typing import Final

from telemetry.calls.events import LimitHit
from telemetry.calls.lifecycle import CallState
from telemetry.recent.record import CallDetails
from telemetry.semconv.attributes import OTHER, CapacityScope, EndReason, RejectionReason

_REJECTED: Final = {
    RejectionReason.CAPACITY: "there was no free slot",
    RejectionReason.TENANT_NOT_CONFIGURED: "the dialled number reaches no tenant, or a disabled one",
    RejectionReason.TENANT_LOOKUP_FAILED: "the tenant of the dialled number could not be looked up",
    RejectionReason.INSTRUCTIONS_MISSING: "there were no instructions for the agent",
    RejectionReason.CARRIER_ERROR: "the carrier did not take the acceptance",
}

_ENDED: Final = {
    EndReason.COMPLETED: "the agent ended it, or the session closed in good order",
    EndReason.HANGUP: "the caller hung up",
    EndReason.REFERRED: "it was handed to another destination",
    EndReason.ERROR: "it broke off",
    EndReason.STALE: "no sign of life came for too long",
    EndReason.SHUTDOWN: "the service was stopped",
    EndReason.MAX_DURATION: "it had run for as long as a call may",
    EndReason.SILENCE: "nobody had spoken for as long as a call may be silent",
}


_MINUTE: Final = 60
_TEN_MILLISECONDS: Final = 0.00995
# Below it, a tenth of a millisecond is shown.


def explain(record: CallDetails) -> str:
    """The call in one sentence, or two where a limit or an error has to be told."""
    state = record.summary.state
    if state is CallState.REJECTED:
        return _rejected(record)
    if state is CallState.ABANDONED:
        return f"Accepted, but never started: {_why(record)}."
    if state is CallState.ENDED:
        return _ended(record)
    return _under_way(record)


def span_of_time(seconds: float) -> str:
    """A duration as people say it: ``0.3 ms``, ``12 ms``, ``3.4 s``, ``5 min 08 s``, ``1 h 02 min``."""
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


def tool_name(tool: str) -> str:
    """The tool as people call it: what the model made up has no name here."""
    return "unknown tool" if tool == OTHER else tool


def _rejected(record: CallDetails) -> str:
    decision = record.decision
    if decision is None or decision.reason is None:
        return "Rejected."
    after = span_of_time(decision.setup_seconds)
    said = f"Rejected after {after} ({decision.reason}): {_REJECTED[decision.reason]}"
    return said + _limit(decision.limit) + (f" ({decision.error_type})." if decision.error_type else ".")


def _limit(limit: LimitHit | None) -> str:
    if limit is None:
        return ""
    whose = "the tenant's limit" if limit.scope is CapacityScope.TENANT else "the global limit"
    return f"; {whose} of {limit.limit} was reached, with {limit.in_use} in use"


def _ended(record: CallDetails) -> str:
    failed = record.ending is not None and record.ending.error_type is not None
    said = "Failed" if failed else "Ended"
    return f"{said} after {span_of_time(record.summary.duration)}: {_why(record)}."


def _why(record: CallDetails) -> str:
    ending = record.ending
    if ending is None:
        return "for no known reason"
    if ending.reason is EndReason.REFERRED and record.referred_to:
        return f"it was handed to {record.referred_to}"
    return _ENDED[ending.reason] + (f" ({ending.error_type})" if ending.error_type else "")


def _under_way(record: CallDetails) -> str:
    call = record.summary
    if call.state is CallState.PENDING:
        return f"Being decided upon for {span_of_time(record.as_of)}."
    if call.state is CallState.ACCEPTED:
        return f"Accepted {span_of_time(record.as_of)} after it was received; its media session has not begun."
    to = f", handed to {record.referred_to}" if record.referred_to else ""
    said = "Ending" if call.ending else "Running"
    return f"{said}{to}, {span_of_time(call.duration)} after its start."
