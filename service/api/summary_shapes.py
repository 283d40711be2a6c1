"""The shapes of derived figures, as the OpenAPI document has them."""

from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from service.api.answers import MetricsScope
from telemetry.attributes import RejectionReason
from telemetry.history.figures import DISTRIBUTIONS, FIGURES, PERCENTILES, Value, summary
from telemetry.history.past import WindowName
from telemetry.history.window import Window

Share = float | None


def _meaning(name: str) -> Any:  # noqa: ANN401 -- what pydantic's own Field answers
    return Field(description=FIGURES[name].meaning)


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RejectionShares(_Closed):
    """Calls rejected for each reason, of all that were accepted or rejected; `null` if there were none."""

    capacity: Share
    tenant_not_configured: Share
    instructions_missing: Share
    carrier_error: Share


class Percentiles(_Closed):
    """Values in seconds that so many percent of the measurements do not exceed; `null` without measurements.

    Interpolated linearly inside the histogram's bucket that holds them, as PromQL's `histogram_quantile` does.
    """

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class CapacityUse(_Closed):
    """How much of the calls allowed at once was used."""

    limit: int | None = Field(description="Calls allowed at once, now; `null` for `_unknown` and `_other`.")
    peak_in_use: int | None = Field(
        description="The most slots held at once; an hour's and a day's may begin 5 minutes early. `null` if unknown."
    )
    mean_active: float | None = _meaning("capacity.mean_active")
    peak_utilization: Share = _meaning("capacity.peak_utilization")
    mean_utilization: Share = _meaning("capacity.mean_utilization")


class WindowSummary(_Closed):
    """Derived figures of one window; `null` wherever there is nothing to compute from.

    Counts are `null` for a tenant that counts under `_other`, because there are more than are kept apart.
    """

    seconds: float = Field(description="How long the window really is; less than its name while the process is young.")
    received: int | None = _meaning("received")
    started: int | None = _meaning("started")
    ended: int | None = _meaning("ended")
    failed: int | None = _meaning("failed")
    minutes: float | None = _meaning("minutes")
    error_rate: Share = _meaning("error_rate")
    answer_rate: Share = _meaning("answer_rate")
    rejection_rate: Share = _meaning("rejection_rate")
    rejection_shares: RejectionShares
    setup_seconds: Percentiles = Field(description="Received until accepted or rejected.")
    turn_latency_seconds: Percentiles = Field(description="End of the caller's speech until the answer's first audio.")
    time_to_first_audio_seconds: Percentiles = Field(description="Received until the caller hears the agent.")
    duration_seconds: Percentiles = Field(description="Started until ended.")
    capacity: CapacityUse


class Windows(_Closed):
    """The same figures over several stretches of time, each up to now."""

    since_start: WindowSummary
    five_minutes: WindowSummary = Field(alias="5m")
    hour: WindowSummary = Field(alias="1h")
    day: WindowSummary = Field(alias="24h")


class MetricsSummary(_Closed):
    """Derived figures of one tenant, or of all together."""

    as_of: datetime
    scope: MetricsScope = Field(description="What the numbers cover.")
    tenant_id: str | None = Field(description="`null`: all tenants together.")
    windows: Windows


class RankedTenant(_Closed):
    """A tenant, the figure it is ranked by, and all the others."""

    tenant_id: str
    value: float | None = Field(description="The figure; tenants for which it is `null` come last.")
    summary: WindowSummary


class RankedTenants(_Closed):
    """A page of tenants in the order of a figure."""

    as_of: datetime
    scope: MetricsScope = Field(description="What the numbers cover.")
    sort: str
    order: str
    window: WindowName
    tenants: tuple[RankedTenant, ...]
    next_cursor: str | None = Field(description="What to send as `cursor` for the next page; `null` on the last.")


def shown(window: Window) -> dict[str, Any]:
    """A window's figures as the answers have them: a dot in a figure's name stands for a level of nesting."""
    return _nested({"seconds": round(window.seconds, 3), **summary(window)})


def _nested(values: dict[str, Value]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, dot, part = name.partition(".")
        if dot:
            nested.setdefault(group, {})[part] = value
        else:
            nested[name] = value
    return nested


_PERCENTILES = dict(zip(PERCENTILES, (0.31, 0.46, 0.55, 0.72), strict=True))

EXAMPLE_WINDOW: Final[dict[str, Any]] = {
    "seconds": 3570.0,
    "received": 40,
    "started": 36,
    "ended": 32,
    "failed": 2,
    "minutes": 142.8,
    "error_rate": 0.0625,
    "answer_rate": 0.9,
    "rejection_rate": 0.1,
    "rejection_shares": {reason.value: 0.0 for reason in RejectionReason} | {"capacity": 0.1},
    **dict.fromkeys(DISTRIBUTIONS, _PERCENTILES),
    "duration_seconds": {"p50": 210.0, "p90": 540.0, "p95": 780.0, "p99": 1260.0},
    "turn_latency_seconds": dict.fromkeys(PERCENTILES),
    "capacity": {
        "limit": 10,
        "peak_in_use": 6,
        "mean_active": 2.4,
        "peak_utilization": 0.6,
        "mean_utilization": 0.24,
    },
}
"""What the OpenAPI document shows of a window."""
