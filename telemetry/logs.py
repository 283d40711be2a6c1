"""Events become log lines: one a transition at INFO, the conversation's details only at DEBUG."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from opentelemetry import trace

from telemetry import attributes as attr
from telemetry.events import (
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallEvent,
    CallReceived,
    CallReferred,
    CallRejected,
    CallStarted,
    Event,
    FallbackUsed,
    InstructionsFailed,
    LifecycleViolated,
    SessionError,
    TurnEnded,
)
from telemetry.sinks import NoopScopes, Scopes

LOGGER_NAME: Final = "callscope.calls"
"""The logger of call transitions."""

EVENT_NAME: Final = "event.name"
"""The log attribute that says what happened, such as ``call.started``."""

DURATION_MS: Final = "duration_ms"

Extra = dict[str, object]


class LogSink:
    """Logs transitions inside the call's trace, so that each line carries its ids."""

    def __init__(self, scopes: Scopes | None = None, logger: logging.Logger | None = None) -> None:
        self._scopes = scopes or NoopScopes()
        self._logger = logger or logging.getLogger(LOGGER_NAME)

    def emit(self, event: Event) -> None:
        """Log the event if it is one of those that are logged."""
        line = _LINES.get(type(event))
        if line is None or not isinstance(event, CallEvent) or not self._logger.isEnabledFor(line[0]):
            return
        level, name, describe = line
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
            {attr.END_REASON: event.reason.value} | _milliseconds(event.duration_seconds) | _error(event.error_type)
        ),
    ),
    InstructionsFailed: (logging.ERROR, "instructions.failed", lambda event: _error(event.error_type)),
    FallbackUsed: (logging.WARNING, "instructions.fallback_used", _nothing),
    SessionError: (logging.WARNING, "session.error", lambda event: {attr.SESSION_ERROR_CODE: event.code}),
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
# What is logged of which event: its level, its name, and what else the line says.


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts, level, logger, msg``, then what the record carries of ``event, tenant_id, call_id,
    trace_id, span_id, duration_ms`` and its other attributes under their own names.
    """  # noqa: D205 -- the list of keys is one sentence

    _SHORT: Final = {EVENT_NAME: "event", attr.TENANT_ID: "tenant_id", attr.CALL_ID: "call_id"}
    _STANDARD: Final = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {
        "message",
        "asctime",
        "taskName",
        "color_message",
    }

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "msg": record.getMessage(),
        }
        for key, value in record.__dict__.items():
            if key not in self._STANDARD and not key.startswith("otel"):
                line[self._SHORT.get(key, key)] = value
        line |= _trace_ids()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _trace_ids() -> dict[str, str]:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": format(context.trace_id, "032x"), "span_id": format(context.span_id, "016x")}
