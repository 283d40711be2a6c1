"""What operators otherwise compute by hand from counters, each figure defined once.

Every figure is ``None`` where it cannot be computed: a rate of nothing is not zero.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from telemetry import catalog
from telemetry.attributes import RejectionReason
from telemetry.distribution import quantile
from telemetry.history.window import Window
from telemetry.slots import BOUNDS, MS_PER_SECOND, NO_NUMBERS, TIME, Selection

Value = int | float | None

Compute = Callable[[Sequence[int], Window], Value]
"""From the chosen numbers, and whatever else the window tells."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One derived figure."""

    meaning: str
    unit: str
    """UCUM; ``1`` for a share."""
    compute: Compute
    chosen: Selection = NO_NUMBERS
    """The numbers it is computed from."""

    def of(self, window: Window) -> Value:
        """Its value in a window that has every number, or none."""
        slots = self.chosen.slots()
        return self.compute([window.numbers[slot] for slot in slots], window) if window.known or not slots else None


PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

DISTRIBUTIONS: Final = {
    "setup_seconds": catalog.SETUP_DURATION,
    "turn_latency_seconds": catalog.TURN_FIRST_AUDIO,
    "time_to_first_audio_seconds": catalog.CALL_FIRST_AUDIO,
    "duration_seconds": catalog.DURATION,
}
"""Figures with percentiles, and of which instrument."""

_REJECTED: Final = tuple(f"rejected_calls_{reason}" for reason in RejectionReason)
_MS_PER_MINUTE: Final = 60 * MS_PER_SECOND


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if whole and part is not None else None


def _count(meaning: str, counter: str) -> Figure:
    return Figure(meaning, "{call}", lambda numbers, _: numbers[0], Selection((counter,)))


def _rejections(reason: RejectionReason) -> Figure:
    chosen = Selection(("accepted_calls", *_REJECTED))
    place = 1 + _REJECTED.index(f"rejected_calls_{reason}")
    meaning = f"Calls rejected with the reason `{reason}`, of all that were accepted or rejected."
    return Figure(meaning, "1", lambda numbers, _: _ratio(numbers[place], sum(numbers)), chosen)


def _answered(numbers: Sequence[int], _window: Window) -> Value:
    return _ratio(numbers[0], sum(numbers))


def _mean_active(numbers: Sequence[int], window: Window) -> float | None:
    return _ratio(numbers[0] / MS_PER_SECOND, window.seconds)


def _percentile(instrument: str, label: str) -> Figure:
    share, bounds = PERCENTILES[label], BOUNDS[instrument]
    meaning = f"The value that {share:.0%} of the measurements of `{instrument}` do not exceed."
    return Figure(meaning, "s", lambda counts, _: quantile(share, bounds, counts), Selection((), (instrument,)))


_CALL_TIME: Final = Selection((TIME,))
_PEAKS: Final = Selection(peaks=True)

FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {
        "received": _count("Calls announced by the carrier.", "received_calls"),
        "started": _count("Calls whose media session began.", "started_calls"),
        "ended": _count("Started calls that are over.", "ended_calls"),
        "failed": _count("Ended calls that ended with an error.", "failed_calls"),
        "minutes": Figure("Time calls ran.", "min", lambda numbers, _: numbers[0] / _MS_PER_MINUTE, _CALL_TIME),
        "error_rate": Figure(
            "Failed calls, of the ended.",
            "1",
            lambda numbers, _: _ratio(numbers[0], numbers[1]),
            Selection(("failed_calls", "ended_calls")),
        ),
        "answer_rate": Figure(
            "Started calls, of all that started, were rejected or were abandoned.",
            "1",
            _answered,
            Selection(("started_calls", "abandoned_calls", *_REJECTED)),
        ),
        "rejection_rate": Figure(
            "Rejected calls, of all that were accepted or rejected.",
            "1",
            lambda numbers, _: _ratio(sum(numbers[1:]), sum(numbers)),
            Selection(("accepted_calls", *_REJECTED)),
        ),
    }
    | {f"rejection_shares.{reason}": _rejections(reason) for reason in RejectionReason}
    | {
        f"{name}.{label}": _percentile(instrument.name, label)
        for name, instrument in DISTRIBUTIONS.items()
        for label in PERCENTILES
    }
    | {
        "capacity.limit": Figure("Calls allowed at once, now.", "{call}", lambda _, window: window.limit),
        "capacity.peak_in_use": Figure(
            "The most slots held at once, by running and pending calls.",
            "{call}",
            lambda _, window: window.peak_in_use,
            _PEAKS,
        ),
        "capacity.mean_active": Figure(
            "Calls that ran, on average: call time by time.", "{call}", _mean_active, _CALL_TIME
        ),
        "capacity.peak_utilization": Figure(
            "`capacity.peak_in_use`, of the limit.",
            "1",
            lambda _, window: _ratio(window.peak_in_use, window.limit),
            _PEAKS,
        ),
        "capacity.mean_utilization": Figure(
            "`capacity.mean_active`, of the limit.",
            "1",
            lambda numbers, window: _ratio(_mean_active(numbers, window), window.limit),
            _CALL_TIME,
        ),
    }
)
"""By name; a name with a dot stands for a part of what comes before the dot."""


def summary(window: Window) -> dict[str, Value]:
    """Every figure of a window that has every number, or none."""
    return {name: figure.of(window) for name, figure in FIGURES.items()}
