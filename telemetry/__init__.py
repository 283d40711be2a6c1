"""OpenTelemetry-native observability for multi-tenant voice calls.

Importing this reads no environment, starts no thread and opens no socket; :func:`start_telemetry` does.
"""

from telemetry.attributes import CallId, EndReason, RejectionReason, TenantId
from telemetry.call import Call
from telemetry.events import LimitHit, Phase, TokenUsage
from telemetry.export import InvalidVariableError
from telemetry.live import LiveMetricsReader
from telemetry.live_store import LiveMetricsStore
from telemetry.privacy import Privacy
from telemetry.setup import Telemetry, start_telemetry
from telemetry.sinks import Sink
from telemetry.tracker import CallTracker

__all__ = [
    "Call",
    "CallId",
    "CallTracker",
    "EndReason",
    "InvalidVariableError",
    "LimitHit",
    "LiveMetricsReader",
    "LiveMetricsStore",
    "Phase",
    "Privacy",
    "RejectionReason",
    "Sink",
    "Telemetry",
    "TenantId",
    "TokenUsage",
    "start_telemetry",
]
