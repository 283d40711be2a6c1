"""Log records as JSON, one object a line, with nothing in them that a message or an exception quotes of a caller."""

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

from opentelemetry import trace

from telemetry.privacy import scrub_attributes, scrub_text
from telemetry.semconv import attributes as attr
from telemetry.terminal import printable

EVENT_NAME: Final = "event.name"
"""Key of the event's name, such as ``call.started``."""
DURATION_MS: Final = "duration_ms"
"""Key of the event's duration: set-up, call or turn."""
TRANSITION_KEYS: Final = (
    "ts",
    "level",
    "logger",
    "msg",
    "event",
    "tenant_id",
    "call_id",
    "trace_id",
    "span_id",
    "duration_ms",
)
"""The keys of every line about an event, in this order; null where one does not apply. Further keys follow."""
PROCESS_KEYS: Final = {
    "service.instance.id": "instance",
    "host.name": "host",
    "k8s.pod.name": "pod",
    "process.pid": "pid",
}
"""The resource's attributes that every line of a process ends in, and how they are called there."""
_SHORT: Final = {EVENT_NAME: "event", attr.TENANT_ID: "tenant_id", attr.CALL_ID: "call_id"}
_STANDARD: Final = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


def extra_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the attributes of the record that were passed as ``extra``."""
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD and not key.startswith("otel")}


def describe_exception(kind: type[BaseException] | None, frames: TracebackType | None) -> str:
    """Return the exception's class and stack; not its message, which may quote what a caller said or dialled."""
    places = [f'File "{f.filename}", line {f.lineno}, in {f.name}' for f in traceback.extract_tb(frames)]
    return "\n".join([*places, kind.__name__ if kind else "no exception"])


class JsonFormatter(logging.Formatter):
    """A formatter of one JSON object a line: :data:`TRANSITION_KEYS` for events, then the other attributes.

    ``resource`` is what says which process this is, by :data:`PROCESS_KEYS`; what it lacks is left out.
    """

    def __init__(self, resource: Mapping[str, object] | None = None) -> None:
        super().__init__()
        known = resource or {}
        self._process = {short: known[key] for key, short in PROCESS_KEYS.items() if key in known}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        extra = {_SHORT.get(key, key): value for key, value in scrub_attributes(extra_of(record)).items()}
        line: dict[str, object] = dict.fromkeys(TRANSITION_KEYS) if "event" in extra else {}
        line |= {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "msg": scrub_text(record.getMessage()),
        }
        line |= extra
        line |= _trace_ids()
        line |= self._process
        if record.exc_info:
            line["exception"] = describe_exception(record.exc_info[0], record.exc_info[2])
        # A log is read in a terminal, too: what it quotes must steer nothing there.
        return printable(json.dumps(line, ensure_ascii=False, default=str))


def _trace_ids() -> dict[str, str]:
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
