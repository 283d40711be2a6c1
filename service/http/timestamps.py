"""Moments as responses write them."""

from datetime import UTC, datetime, timedelta

from telemetry.clock import Instant

# Its output is ASCII with escapes: whatever a carrier calls its calls, it can be written.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(instant: Instant) -> datetime:
    """Return the moment in UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=instant.unix_nanos // 1000)


def stamp(instant: Instant) -> str:
    """Return the moment as JSON has it: RFC 3339 in UTC."""
    return moment(instant).isoformat().replace("+00:00", "Z")
