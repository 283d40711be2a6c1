"""Figures that operators otherwise compute by hand from counters, each defined once.

Every figure is ``None`` where it cannot be computed: a rate of nothing is not zero.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from telemetry.calls.slots import Usage
from telemetry.metrics.live_table import BOUNDS, MS_PER_SECOND, NO_NUMBERS, TIME, Selection, quantile
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import RejectionReason, TenantId, UnansweredReason


class LiveCounts(Protocol):
    """Counts since the start; :class:`telemetry.metrics.live_table.LiveMetricsStore` has them."""

    def tenants(self) -> list[str]:
        """Return every tenant seen, in an order that never changes; later ones come behind."""
        ...

    def position(self, tenant_id: str | None = None) -> int | None:
        """Return the position of a tenant's row; 0 is that of all together. ``None`` for a tenant never seen."""
        ...

    def rows(self, selection: Selection, first: int, count: int) -> list[list[float]]:
        """Return so many rows from a position on, fewer at the end, all of one moment."""
        ...


class CapacitySource(Protocol):
    """Source of the number of slots held; :class:`telemetry.calls.tracker.CallTracker` is one."""

    def usage(self, tenant_id: TenantId | None = None) -> Usage:
        """Return the slots of one tenant, or of all together."""
        ...

    def tenant_usage(self) -> Mapping[TenantId, Usage]:
        """Return the slots of each tenant that has held one in the last five minutes."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """Amounts of a stretch of time."""

    seconds: float
    """Length of the stretch: the window, give or take half a step and a sample, or less if the process is
    younger."""
    numbers: Sequence[int]
    """Amounts added, in the order of the selection; empty if they are not known."""
    peak_in_use: int | None
    """The most slots held at once; of an hour or a day, the edge is exact to five minutes. ``None`` if not known or not
    asked for."""
    limit: int | None
    """Calls allowed at once, now; ``None`` for what is no single tenant, or if not asked for."""

    @property
    def known(self) -> bool:
        """True if the numbers are known."""
        return bool(self.numbers)


Value = int | float | None
Compute = Callable[[Sequence[int], Window], Value]
"""From the chosen numbers, and whatever else the window tells."""


@dataclass(frozen=True, slots=True)
class DerivedFigure:
    """One derived figure."""

    meaning: str
    unit: str
    """UCUM; ``1`` for a share."""
    compute: Compute
    chosen: Selection = NO_NUMBERS
    """The numbers it is computed from."""

    def of(self, window: Window) -> Value:
        """Return its value in a window that has every number, or none."""
        slots = self.chosen.columns()
        return self.compute([window.numbers[slot] for slot in slots], window) if window.known or not slots else None


PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
DISTRIBUTIONS: Final = {
    "setup_seconds": catalogue.SETUP_DURATION,
    "turn_latency_seconds": catalogue.TURN_FIRST_AUDIO,
    "time_to_first_audio_seconds": catalogue.CALL_FIRST_AUDIO,
    "duration_seconds": catalogue.DURATION,
    "dead_air_seconds": catalogue.DEAD_AIR,
    "talk_over_seconds": catalogue.TALK_OVER,
}
"""Figures with percentiles, and of which instrument."""
_REJECTED: Final = tuple(f"rejected_calls_{reason}" for reason in RejectionReason)
_MS_PER_MINUTE: Final = 60 * MS_PER_SECOND


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if whole and part is not None else None


def _count(meaning: str, counter: str, unit: str = "{call}") -> DerivedFigure:
    return DerivedFigure(meaning, unit, lambda numbers, _: numbers[0], Selection((counter,)))


def _handed_over(numbers: Sequence[int], _window: Window) -> Value:
    return sum(numbers)


def _rejections(reason: RejectionReason) -> DerivedFigure:
    chosen = Selection(("accepted_calls", *_REJECTED))
    place = 1 + _REJECTED.index(f"rejected_calls_{reason}")
    meaning = f"Calls rejected with the reason `{reason}`, of all that were accepted or rejected."
    return DerivedFigure(meaning, "1", lambda numbers, _: _ratio(numbers[place], sum(numbers)), chosen)


def _answered(numbers: Sequence[int], _window: Window) -> Value:
    return _ratio(numbers[0], sum(numbers))


def _mean_active(numbers: Sequence[int], window: Window) -> float | None:
    return _ratio(numbers[0] / MS_PER_SECOND, window.seconds)


def _percentile(instrument: str, label: str) -> DerivedFigure:
    share, bounds = PERCENTILES[label], BOUNDS[instrument]
    meaning = f"The value that {share:.0%} of the measurements of `{instrument}` do not exceed."
    return DerivedFigure(meaning, "s", lambda counts, _: quantile(share, bounds, counts), Selection((), (instrument,)))


_CALL_TIME: Final = Selection((TIME,))
_PEAKS: Final = Selection(peaks=True)
FIGURES: Final[Mapping[str, DerivedFigure]] = MappingProxyType(
    {
        "received": _count("Calls announced by the carrier.", "received_calls"),
        "unanswered": _count("Calls that were never answered without being turned away.", "unanswered_calls"),
        "started": _count("Calls whose media session began.", "started_calls"),
        "ended": _count("Started calls that are over.", "ended_calls"),
        "failed": _count("Ended calls that ended with an error.", "failed_calls"),
        "minutes": DerivedFigure("Time calls ran.", "min", lambda numbers, _: numbers[0] / _MS_PER_MINUTE, _CALL_TIME),
        "error_rate": DerivedFigure(
            "Failed calls, of the ended.",
            "1",
            lambda numbers, _: _ratio(numbers[0], numbers[1]),
            Selection(("failed_calls", "ended_calls")),
        ),
        "answer_rate": DerivedFigure(
            "Started calls, of all that started, were rejected, not answered or abandoned.",
            "1",
            _answered,
            Selection(("started_calls", "unanswered_calls", "abandoned_calls", *_REJECTED)),
        ),
        "rejection_rate": DerivedFigure(
            "Rejected calls, of all that were accepted or rejected.",
            "1",
            lambda numbers, _: _ratio(sum(numbers[1:]), sum(numbers)),
            Selection(("accepted_calls", *_REJECTED)),
        ),
    }
    | {f"rejection_shares.{reason}": _rejections(reason) for reason in RejectionReason}
    | {
        f"unanswered_reasons.{reason}": _count(
            f"Calls that were never answered, for the reason `{reason}`.", f"unanswered_calls_{reason}"
        )
        for reason in UnansweredReason
    }
    | {
        "taken_over": _count("Calls that another process left and this one went on with.", "taken_over_calls"),
        "handed_over": DerivedFigure(
            "Calls that this process left to another.",
            "{call}",
            _handed_over,
            Selection(tuple(f"handed_over_calls_{state}" for state in ("pending", "accepted", "started"))),
        ),
        "interruptions.caller": _count("Answers that the caller cut short.", "interruptions", "{interruption}"),
        "interruptions.agent": _count(
            "Times the agent began to speak while the caller spoke.", "agent_interruptions", "{interruption}"
        ),
    }
    | {
        f"{name}.{label}": _percentile(instrument.name, label)
        for name, instrument in DISTRIBUTIONS.items()
        for label in PERCENTILES
    }
    | {
        "capacity.limit": DerivedFigure(
            "Calls allowed at once, now.", "{call}", lambda _, window: window.limit, Selection(limits=True)
        ),
        "capacity.peak_in_use": DerivedFigure(
            "The most slots held at once, by calls that were let in.",
            "{call}",
            lambda _, window: window.peak_in_use,
            _PEAKS,
        ),
        "capacity.mean_active": DerivedFigure(
            "Calls that ran, on average: call time by time.", "{call}", _mean_active, _CALL_TIME
        ),
        "capacity.peak_utilization": DerivedFigure(
            "`capacity.peak_in_use`, of the limit.",
            "1",
            lambda _, window: _ratio(window.peak_in_use, window.limit),
            Selection(peaks=True, limits=True),
        ),
        "capacity.mean_utilization": DerivedFigure(
            "`capacity.mean_active`, of the limit.",
            "1",
            lambda numbers, window: _ratio(_mean_active(numbers, window), window.limit),
            Selection((TIME,), limits=True),
        ),
    }
)
"""By name; a name with a dot stands for a part of what comes before the dot."""


def summary(window: Window) -> dict[str, Value]:
    """Return every figure of a window that has every number, or none."""
    return {name: figure.of(window) for name, figure in FIGURES.items()}
