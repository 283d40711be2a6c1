"""The shape of an instrument's declaration."""

from dataclasses import dataclass
from enum import StrEnum

from telemetry.semconv.attributes import MetricKey


class Kind(StrEnum):
    """The kinds of instrument in use."""

    COUNTER = "Counter"
    UP_DOWN_COUNTER = "UpDownCounter"
    HISTOGRAM = "Histogram"
    OBSERVABLE_GAUGE = "ObservableGauge"
    OBSERVABLE_COUNTER = "ObservableCounter"


@dataclass(frozen=True, slots=True)
class Live:
    """A field of the live view and the measurements that add up to it."""

    field: str
    key: MetricKey | None = None
    """Count only measurements with this attribute …"""
    value: str | None = None
    """… and this value; any value if None."""
    public: bool = True
    """True for the twelve fields of the live endpoints."""
    scale: float = 1
    """The divisor of the recorded amount."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """The declaration of one instrument."""

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[MetricKey, ...] = ()
    live: tuple[Live, ...] = ()
    boundaries: tuple[float, ...] = ()
    summarised: bool = False
    """True if the live view keeps the distribution, for percentiles and exemplars."""
    series_per_tenant: int = 1
    """The most attribute sets one tenant can have; 0 for an instrument without tenant."""
