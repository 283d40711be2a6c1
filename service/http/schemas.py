"""The base of every schema that requests and responses have, and moments as responses write them."""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from telemetry.clock import Instant


class FrozenSchema(BaseModel):
    """A schema that takes no other fields, and does not change once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(instant: Instant) -> datetime:
    """Return the moment in UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=instant.unix_nanos // 1000)


def stamp(instant: Instant) -> str:
    """Return the moment as JSON has it: RFC 3339 in UTC."""
    return moment(instant).isoformat().replace("+00:00", "Z")
