"""Which SIP status a caller hears for each reason a call is turned away."""

from collections.abc import Mapping
from types import MappingProxyType

from telemetry.attributes import RejectionReason

SHUTDOWN = "shutdown"
"""The process is draining; not a reason that is counted, since the carrier is asked to try again."""

REJECTION_STATUS: Mapping[str, int] = MappingProxyType(
    {
        RejectionReason.CAPACITY: 486,
        RejectionReason.TENANT_NOT_CONFIGURED: 404,
        RejectionReason.INSTRUCTIONS_MISSING: 480,
        RejectionReason.CARRIER_ERROR: 500,
        SHUTDOWN: 503,
    }
)
"""SIP status by reason (RFC 3261 §21): 486 Busy Here, 404 Not Found, 480 Temporarily Unavailable, 500 Server
Internal Error, 503 Service Unavailable. One status a reason, so that either end can tell the reason from it."""

REJECTION_REASON: Mapping[int, str] = MappingProxyType({status: reason for reason, status in REJECTION_STATUS.items()})
"""The same table read from the carrier's end."""
