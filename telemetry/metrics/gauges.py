"""Observable instruments: read when somebody collects, rather than recorded when something happens."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from telemetry.calls.slots import Usage
from telemetry.calls.tracker import CallTracker
from telemetry.metrics.cardinality import TenantLabels
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv import attributes as attr
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import CapacityScope, Label, TenantId
from telemetry.semconv.instrument import Instrument, Kind

Observe = Callable[[], Iterable[Observation]]


class Limits(Protocol):
    """Source of the numbers of calls allowed at once."""

    def total(self) -> int:
        """Return the limit of all tenants together."""
        ...

    def of(self, tenant_id: TenantId) -> int:
        """Return one tenant's limit."""
        ...


def observe(meter: Meter, live: LiveMetricsReader, instrument: Instrument, what: Observe) -> None:
    """Register an observable of the catalogue, which the live reader reads when somebody exports.

    The SDK's callback is for further readers of the application's own.
    """
    live.observe(instrument, what)

    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        return () if live.collecting else what()

    create = (
        meter.create_observable_gauge if instrument.kind is Kind.OBSERVABLE_GAUGE else meter.create_observable_counter
    )
    create(instrument.name, [callback], instrument.unit, instrument.description)


def observe_calls(
    meter: Meter, live: LiveMetricsReader, tracker: CallTracker, limits: Limits, labels: TenantLabels
) -> None:
    """Register the capacity gauges and the leak detector."""

    def readings() -> list[_Reading]:
        everything = _Reading({attr.CAPACITY_SCOPE: CapacityScope.GLOBAL}, tracker.usage().in_use, limits.total())
        return [everything, *_by_label(tracker.tenant_usage(), limits, labels)]

    def limit() -> Iterable[Observation]:
        return [Observation(reading.allowed, reading.attributes) for reading in readings()]

    def utilization() -> Iterable[Observation]:
        return [Observation(reading.share, reading.attributes) for reading in readings() if reading.allowed]

    observe(meter, live, catalogue.CAPACITY_LIMIT, limit)
    observe(meter, live, catalogue.CAPACITY_UTILIZATION, utilization)
    observe(meter, live, catalogue.OLDEST_SILENCE, lambda: [Observation(tracker.oldest_silence())])


class _Reading(NamedTuple):
    attributes: Mapping[str, str]
    in_use: int
    allowed: int

    @property
    def share(self) -> float:
        return self.in_use / self.allowed


def _by_label(usages: Mapping[TenantId, Usage], limits: Limits, labels: TenantLabels) -> Iterator[_Reading]:
    """Yield one reading a label: tenants past the budget share one, and there their slots and limits add up."""
    sums: dict[Label, tuple[int, int]] = {}
    for tenant_id, usage in usages.items():
        label = labels.label(tenant_id)
        in_use, allowed = sums.get(label, (0, 0))
        sums[label] = (in_use + usage.in_use, allowed + limits.of(tenant_id))
    for label, (in_use, allowed) in sums.items():
        yield _Reading({attr.CAPACITY_SCOPE: CapacityScope.TENANT, attr.TENANT_ID: label}, in_use, allowed)
