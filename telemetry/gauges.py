"""What is observed when somebody collects, rather than recorded when something happens."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from telemetry import attributes as attr
from telemetry import catalog
from telemetry.attributes import CapacityScope, TenantId
from telemetry.catalog import Instrument, Kind
from telemetry.fence import RecordingFence
from telemetry.labels import TenantLabels
from telemetry.tracker import CallTracker
from telemetry.usage import Usage

Observe = Callable[[], Iterable[Observation]]


class Limits(Protocol):
    """How many calls are allowed at once."""

    def total(self) -> int:
        """All tenants together."""
        ...

    def of(self, tenant_id: TenantId) -> int:
        """One tenant."""
        ...


def observe(meter: Meter, fence: RecordingFence, instrument: Instrument, what: Observe) -> None:
    """Register an observable of the catalogue. The live reader has no use for it and is spared its cost."""

    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        return () if fence.collecting_live else what()

    create = (
        meter.create_observable_gauge if instrument.kind is Kind.OBSERVABLE_GAUGE else meter.create_observable_counter
    )
    create(instrument.name, [callback], instrument.unit, instrument.description)


def observe_calls(
    meter: Meter, fence: RecordingFence, tracker: CallTracker, limits: Limits, labels: TenantLabels
) -> None:
    """Register the capacity gauges and the leak detector."""

    def usages() -> list[tuple[Mapping[str, str], Usage, int]]:
        total: tuple[Mapping[str, str], Usage, int] = (
            {attr.CAPACITY_SCOPE: CapacityScope.GLOBAL},
            tracker.usage(),
            limits.total(),
        )
        return [total, *(tenant(tenant_id, usage) for tenant_id, usage in tracker.tenant_usage().items())]

    def tenant(tenant_id: TenantId, usage: Usage) -> tuple[Mapping[str, str], Usage, int]:
        attributes: dict[str, str] = {attr.CAPACITY_SCOPE: CapacityScope.TENANT, attr.TENANT_ID: labels.label(tenant_id)}
        return attributes, usage, limits.of(tenant_id)

    def limit() -> Iterable[Observation]:
        return [Observation(allowed, attributes) for attributes, _, allowed in usages()]

    def utilization() -> Iterable[Observation]:
        return [Observation(usage.in_use / allowed, attributes) for attributes, usage, allowed in usages() if allowed]

    observe(meter, fence, catalog.CAPACITY_LIMIT, limit)
    observe(meter, fence, catalog.CAPACITY_UTILIZATION, utilization)
    observe(meter, fence, catalog.OLDEST_SILENCE, lambda: [Observation(tracker.oldest_silence())])
