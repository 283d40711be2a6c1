"""OpenTelemetry-native observability for multi-tenant voice calls.

Importing this reads no environment, starts no thread and opens no socket; :func:`start_telemetry` does.
"""

from telemetry.calls.call import Call
from telemetry.calls.events import LimitHit, Phase, TokenUsage
from telemetry.calls.reports import Report, ReportAnswer, ReportedCalls, ReportKind, ReportRefusedError
from telemetry.calls.sinks import Sink
from telemetry.calls.tracker import CallTracker
from telemetry.export import InvalidVariableError
from telemetry.metrics.live_table import LiveMetricsStore
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.privacy import Privacy
from telemetry.semconv.attributes import (
    CallDirection,
    CallId,
    EndReason,
    Fault,
    RejectionReason,
    TenantId,
    UnansweredReason,
)
from telemetry.setup import Telemetry, start_telemetry

__all__ = [
    "Call",
    "CallDirection",
    "CallId",
    "CallTracker",
    "EndReason",
    "Fault",
    "InvalidVariableError",
    "LimitHit",
    "LiveMetricsReader",
    "LiveMetricsStore",
    "Phase",
    "Privacy",
    "RejectionReason",
    "Report",
    "ReportAnswer",
    "ReportKind",
    "ReportRefusedError",
    "ReportedCalls",
    "Sink",
    "Telemetry",
    "TenantId",
    "TokenUsage",
    "UnansweredReason",
    "start_telemetry",
]
