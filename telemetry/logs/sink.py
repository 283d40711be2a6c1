"""Events to log lines: one a transition at INFO, turns at DEBUG."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from telemetry.calls.events import (
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallEvent,
    CallHandedOver,
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
    SessionError,
    TransitionInferred,
    TurnEnded,
)
from telemetry.calls.sinks import Handler, NoopScopes, Scopes
from telemetry.logs.process_logging import DURATION_MS, EVENT_NAME
from telemetry.semconv import attributes as attr

LOGGER_NAME: Final = "callscope.calls"
"""Name of the logger of call transitions."""

Extra = dict[str, object]


class LogSink:
    """A sink that logs transitions inside the call's trace, so that each line carries its ids."""

    def __init__(self, scopes: Scopes | None = None, logger: logging.Logger | None = None) -> None:
        self._scopes = scopes or NoopScopes()
        self._logger = logger or logging.getLogger(LOGGER_NAME)

    @property
    def handlers(self) -> Mapping[type[Event], Handler]:
        """The handler of each type of event that is logged."""
        return dict.fromkeys(_LINES, self._log)

    def _log(self, event: CallEvent) -> None:
        level, name, describe = _LINES[type(event)]
        if not self._logger.isEnabledFor(level):
            return
        extra: Extra = {
            EVENT_NAME: name,
            attr.TENANT_ID: event.call.tenant_id,
            attr.CALL_ID: event.call.call_id,
            **describe(event),
        }
        with self._scopes.scope(event.call):
            self._logger.log(level, name.replace(".", " ").replace("_", " "), extra=extra)


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


_LINES: Final[dict[type[Event], tuple[int, str, Callable[[Any], Extra]]]] = {
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
    CallEnded: (
        logging.INFO,
        "call.ended",
        lambda event: (
            {attr.END_REASON: event.reason.value}
            | _milliseconds(event.duration_seconds)
            | _error(event.error_type)
            | ({} if event.fault is None else {attr.FAULT: event.fault.value})
        ),
    ),
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
