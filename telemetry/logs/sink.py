"""Events to log lines: one a transition at INFO, failures at WARNING, turns at DEBUG.

Violations of the lifecycle, which a source at fault may cause in any number, are one line a minute of each kind.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from telemetry.calls.events import (
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallEvent,
    CallHandedOver,
    CallLost,
    CallReceived,
    CallReferred,
    CallRejected,
    CallStarted,
    CallTakenOver,
    CallUnanswered,
    Event,
    FallbackUsed,
    InstructionsFailed,
    LifecycleViolated,
    Phase,
    PhaseEnded,
    SessionError,
    ToolEnded,
    TransitionInferred,
    TurnEnded,
)
from telemetry.calls.lifecycle import CallState
from telemetry.calls.sinks import Handler, NoopScopes, Scopes
from telemetry.clock import Clock, SystemClock
from telemetry.logs.formatter import DURATION_MS, EVENT_NAME
from telemetry.logs.throttle import ThrottledLog
from telemetry.semconv import attributes as attr
from telemetry.semconv import genai
from telemetry.semconv.attributes import EndReason

LOGGER_NAME: Final = "callscope.calls"
"""Name of the logger of call transitions."""

Extra = dict[str, object]


class LogSink:
    """A sink that logs transitions inside the call's trace, so that each line carries its ids."""

    def __init__(
        self, scopes: Scopes | None = None, logger: logging.Logger | None = None, *, clock: Clock | None = None
    ) -> None:
        clock = clock or SystemClock()
        self._scopes = scopes or NoopScopes()
        self._logger = logger or logging.getLogger(LOGGER_NAME)
        self._throttled = ThrottledLog(self._logger, monotonic=lambda: clock.now().monotonic)

    @property
    def handlers(self) -> Mapping[type[Event], Handler]:
        """The handler of each type of event that is logged."""
        return dict.fromkeys((*_LINES, *_FAILURES), self._log)

    def _log(self, event: CallEvent) -> None:
        if getattr(event, "resumed", False):
            # Logged by the process that had the call before.
            return
        level, name, describe = (_FAILURES if _failed(event) else _LINES).get(type(event), _NO_LINE)
        if isinstance(event, CallLost):
            name = _LOST_IN.get(event.state, name)
        if not name or not self._logger.isEnabledFor(level):
            return
        extra: Extra = {
            EVENT_NAME: name,
            attr.TENANT_ID: event.call.tenant_id,
            attr.CALL_ID: event.call.call_id,
            **describe(event),
        }
        message = name.replace(".", " ").replace("_", " ")
        with self._scopes.scope(event.call):
            if isinstance(event, LifecycleViolated):
                self._throttled.warning(event.violation.value, message, extra=extra)
            else:
                self._logger.log(level, message, extra=extra)


def _failed(event: Event) -> bool:
    """Return True for the end of something that failed: those lines are warnings, or are written only then."""
    return (
        type(event) in _FAILURES
        and getattr(event, "error_type", None) is not None
        and (not isinstance(event, PhaseEnded) or event.phase in (Phase.TRANSFER, Phase.HANGUP))
    )


def _nothing(_event: object) -> Extra:
    return {}


def _error(error_type: str | None) -> Extra:
    return {} if error_type is None else {attr.ERROR_TYPE: error_type}


def _milliseconds(seconds: float) -> Extra:
    return {DURATION_MS: round(seconds * 1000, 3)}


def _rejected(event: CallRejected) -> Extra:
    extra: Extra = {attr.REJECTION_REASON: event.reason.value}
    if event.limit is not None:
        extra |= {
            attr.CAPACITY_SCOPE: event.limit.scope.value,
            attr.LIMIT_VALUE: event.limit.limit,
            attr.LIMIT_IN_USE: event.limit.in_use,
        }
    return extra | _milliseconds(event.setup_seconds) | _error(event.error_type)


def _violated(event: LifecycleViolated) -> Extra:
    return {attr.VIOLATION: event.violation.value, attr.TRANSITION: event.transition}


def _ended(event: CallEnded) -> Extra:
    fault = {} if event.fault is None else {attr.FAULT: event.fault.value}
    reason = {attr.END_REASON: event.reason.value}
    return reason | _milliseconds(event.duration_seconds) | _error(event.error_type) | fault


def _lost(event: CallLost) -> Extra:
    reason = {attr.END_REASON: EndReason.STALE.value, attr.CALL_STATE: event.state.value}
    return reason | _milliseconds(event.seconds) | _error("process_lost")


def _phase_failed(event: PhaseEnded) -> Extra:
    target = {} if event.target is None else {attr.TRANSFER_TARGET: event.target}
    return (
        {attr.PHASE: event.phase.value}
        | target
        | _milliseconds(event.at.since(event.started))
        | _error(event.error_type)
    )


def _tool_failed(event: ToolEnded) -> Extra:
    return {genai.TOOL_NAME: event.tool} | _milliseconds(event.at.since(event.started)) | _error(event.error_type)


_Line = tuple[int, str, Callable[[Any], Extra]]
_NO_LINE: Final[_Line] = (logging.NOTSET, "", _nothing)
_LINES: Final[dict[type[Event], _Line]] = {
    CallReceived: (logging.INFO, "call.received", _nothing),
    CallTakenOver: (logging.INFO, "call.taken_over", lambda event: {attr.CALL_STATE: event.state.value}),
    CallUnanswered: (
        logging.INFO,
        "call.unanswered",
        lambda event: {attr.UNANSWERED_REASON: event.reason.value} | _error(event.error_type),
    ),
    CallRejected: (logging.INFO, "call.rejected", _rejected),
    CallAccepted: (logging.INFO, "call.accepted", lambda event: _milliseconds(event.setup_seconds)),
    CallStarted: (logging.INFO, "call.started", _nothing),
    CallAbandoned: (
        logging.WARNING,
        "call.abandoned",
        lambda event: {attr.END_REASON: event.reason.value} | _error(event.error_type),
    ),
    CallReferred: (
        logging.INFO,
        "call.referred",
        lambda event: {attr.TRANSFER_TARGET: event.target} if event.target else {},
    ),
    CallEnded: (logging.INFO, "call.ended", _ended),
    CallLost: (logging.WARNING, "call.ended", _lost),
    CallHandedOver: (logging.INFO, "call.handed_over", lambda event: {attr.CALL_STATE: event.state.value}),
    InstructionsFailed: (logging.ERROR, "instructions.failed", lambda event: _error(event.error_type)),
    FallbackUsed: (logging.WARNING, "instructions.fallback_used", _nothing),
    SessionError: (logging.WARNING, "session.error", lambda event: {attr.SESSION_ERROR_CODE: event.code}),
    TransitionInferred: (logging.INFO, "lifecycle.inferred", lambda event: {attr.TRANSITION: event.transition.value}),
    LifecycleViolated: (logging.WARNING, "lifecycle.violated", _violated),
    TurnEnded: (
        logging.DEBUG,
        "turn.ended",
        lambda event: (
            {attr.TURN_NUMBER: event.number, attr.TURN_END_REASON: event.reason.value}
            | _milliseconds(event.at.since(event.started))
        ),
    ),
}
# Event type → level, name of the line, further attributes.
_LOST_IN: Final = {CallState.PENDING: "call.rejected", CallState.ACCEPTED: "call.abandoned"}
# The name of a lost call's end, where it is none of a call that ran.
_FAILURES: Final[dict[type[Event], _Line]] = {
    CallEnded: (logging.WARNING, "call.ended", _ended),
    PhaseEnded: (logging.WARNING, "phase.failed", _phase_failed),
    ToolEnded: (logging.WARNING, "tool.failed", _tool_failed),
}
# The same for those that failed, of which two have no other line.
