"""Tenants in the order of a derived figure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from telemetry import vector
from telemetry.attributes import RejectionReason
from telemetry.clock import Instant
from telemetry.history import History, Window, WindowName
from telemetry.summary import (
    DISTRIBUTIONS,
    PERCENTILES,
    answer_rate,
    error_rate,
    mean_active,
    percentile,
    rejection_share,
)

Figure = Callable[[Window], float | None]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A tenant and its figure."""

    tenant_id: str
    value: float | None
    """``None`` where it cannot be computed: such tenants come last, whichever the direction."""


def ranking(
    history: History, tenants: Iterable[str], figure: Figure, name: WindowName, now: Instant, *, descending: bool
) -> list[Ranked]:
    """The tenants in order; equal ones by their ids."""
    ranked = [Ranked(tenant_id, figure(history.window(name, now, tenant_id))) for tenant_id in tenants]
    return sorted(ranked, key=lambda one: position(one, descending=descending))


def position(ranked: Ranked, *, descending: bool) -> tuple[bool, float, str]:
    """Where a tenant stands; comparable with another's, also one from an earlier ranking."""
    value = ranked.value or 0.0
    return (ranked.value is None, -value if descending else value, ranked.tenant_id)


def _counter(field: str) -> Figure:
    return lambda window: window.number(field)


def _share(reason: RejectionReason) -> Figure:
    return lambda window: rejection_share(window, reason)


def _percentile(instrument: str, share: float) -> Figure:
    return lambda window: percentile(window, instrument, share)


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        "received": _counter("received_calls"),
        "started": _counter("started_calls"),
        "ended": _counter("ended_calls"),
        "failed": _counter("failed_calls"),
        "minutes": _counter(vector.TIME_FIELD),
        "error_rate": error_rate,
        "answer_rate": answer_rate,
        "rejection_share": rejection_share,
        "mean_active": mean_active,
        "peak_in_use": lambda window: window.peak_in_use,
    }
    | {f"rejection_share_{reason}": _share(reason) for reason in RejectionReason}
    | {
        f"{name}_{label}": _percentile(instrument, share)
        for name, instrument in DISTRIBUTIONS.items()
        for label, share in PERCENTILES.items()
    }
)
"""What tenants can be ranked by."""
