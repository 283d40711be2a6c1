"""What operators otherwise compute by hand from counters: rates, shares, percentiles and use of capacity.

Every figure is ``None`` where it cannot be computed: a rate of nothing is not zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from telemetry import catalog, vector
from telemetry.attributes import RejectionReason
from telemetry.history import Window

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

DISTRIBUTIONS: Final = {
    "setup_seconds": catalog.SETUP_DURATION.name,
    "turn_latency_seconds": catalog.TURN_FIRST_AUDIO.name,
    "time_to_first_audio_seconds": catalog.CALL_FIRST_AUDIO.name,
    "duration_seconds": catalog.DURATION.name,
}
"""Percentiles a summary has, and of which instrument."""

_SECONDS_PER_MINUTE: Final = 60.0

Percentiles = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much of the allowed calls was used."""

    limit: int | None
    """Calls allowed at once, now; ``None`` if nobody says."""
    peak_in_use: int | None
    mean_active: float | None
    """Calls that ran, on average over the window."""
    peak_utilization: float | None
    """Peak over limit."""
    mean_utilization: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A window's derived figures."""

    seconds: float
    """How long the window really is."""
    received: int
    started: int
    ended: int
    error_rate: float | None
    """Failed of the ended."""
    answer_rate: float | None
    """Started of those that started, were rejected or were abandoned."""
    rejection_shares: Mapping[str, float | None]
    """By reason: of all calls decided upon."""
    percentiles: Mapping[str, Percentiles]
    """By name, see ``DISTRIBUTIONS``."""
    capacity: Capacity


def summary(window: Window, limit: int | None) -> Summary:
    """A window's figures; ``limit`` is how many calls are allowed at once."""
    return Summary(
        seconds=window.seconds,
        received=int(window.number("received_calls")),
        started=int(window.number("started_calls")),
        ended=int(window.number("ended_calls")),
        error_rate=error_rate(window),
        answer_rate=answer_rate(window),
        rejection_shares={reason.value: rejection_share(window, reason) for reason in RejectionReason},
        percentiles={name: _percentiles(window, instrument) for name, instrument in DISTRIBUTIONS.items()},
        capacity=_capacity(window, limit),
    )


def error_rate(window: Window) -> float | None:
    """Failed of the ended."""
    return _ratio(window.number("failed_calls"), window.number("ended_calls"))


def answer_rate(window: Window) -> float | None:
    """Started of those whose fate was sealed before the start or by it."""
    started = window.number("started_calls")
    return _ratio(started, started + _rejected(window) + window.number("abandoned_calls"))


def rejection_share(window: Window, reason: RejectionReason | None = None) -> float | None:
    """Rejected, for one reason or for any, of all calls decided upon."""
    rejected = _rejected(window) if reason is None else window.number(f"rejected_calls_{reason}")
    return _ratio(rejected, window.number("accepted_calls") + _rejected(window))


def mean_active(window: Window) -> float | None:
    """Calls that ran, on average."""
    return _ratio(window.number(vector.TIME_FIELD) * _SECONDS_PER_MINUTE, window.seconds)


def percentile(window: Window, instrument: str, share: float) -> float | None:
    """A percentile of a distribution; ``None`` without values."""
    return vector.distribution(window.counted, instrument).quantile(share)


def _percentiles(window: Window, instrument: str) -> Percentiles:
    values = vector.distribution(window.counted, instrument)
    return {label: values.quantile(share) for label, share in PERCENTILES.items()}


def _capacity(window: Window, limit: int | None) -> Capacity:
    mean = mean_active(window)
    return Capacity(
        limit,
        window.peak_in_use,
        mean,
        None if window.peak_in_use is None else _ratio(window.peak_in_use, limit),
        None if mean is None else _ratio(mean, limit),
    )


def _rejected(window: Window) -> float:
    return sum(window.number(f"rejected_calls_{reason}") for reason in RejectionReason)


def _ratio(part: float, whole: float | None) -> float | None:
    return part / whole if whole else None
