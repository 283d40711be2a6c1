"""Compares the registry of calls with the live metrics.

Calls go on while the two are read, so two readings can differ by what happened in between. That difference changes from
one reading to the next; a leak's stays. So a difference counts only if it is the same in every one of several readings.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from telemetry.calls.call import CallSnapshot
from telemetry.calls.lifecycle import CallState
from telemetry.calls.slots import Usage
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.semconv.attributes import OTHER, RejectionReason, TenantId

CONFIRMATIONS = 8
"""Further readings, of an up-to-date live view, that must show the same difference."""

PAUSES_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Waits before further readings. Uneven, so as not to keep step with anything; long enough in all for an export that
holds the live view up to be over."""

_REJECTIONS = tuple(f"rejected_calls_{reason}" for reason in RejectionReason)


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """Two numbers that should be one."""

    tenant_id: str | None
    """``None``: all tenants together."""
    what: str
    """The number, or the invariant, that does not hold."""
    expected: float
    """The registry's number, or the invariant's left side."""
    found: float
    """The live metrics' number, or the invariant's right side."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The calls and slots of the tracker at one moment."""

    at: Instant
    total: Usage
    tenants: Mapping[TenantId, Usage]
    """Of tenants that held a slot in the last five minutes."""
    calls: Sequence[CallSnapshot]
    """Every call that is not over, oldest first."""

    @classmethod
    def of(cls, tracker: CallTracker) -> Self:
        """Read the tracker."""
        return cls(tracker.clock.now(), tracker.usage(), tracker.tenant_usage(), tracker.open_calls())


@dataclass(frozen=True, slots=True)
class Findings:
    """The registry, and where the live metrics differ from it or from themselves."""

    registry: Registry
    live_age_seconds: float
    """Age of the live metrics when they were compared, in seconds; 0: up to date."""
    inconsistencies: tuple[Inconsistency, ...]


@dataclass(slots=True)
class _RegistryNumbers:
    """The registry's numbers of one tenant, or of all."""

    pending: int = 0
    active: int = 0
    waiting: int = 0
    """Accepted and not started, by the calls themselves."""
    listed: int = 0
    """Calls there are handles of."""

    def add(self, usage: Usage) -> None:
        self.pending += usage.pending
        self.active += usage.active

    def list(self, call: CallSnapshot) -> None:
        self.waiting += call.state is CallState.ACCEPTED
        self.listed += 1
        if not call.holds_slot:
            self.pending += call.state.pending
            self.active += call.state is CallState.STARTED


_Key = tuple[str | None, str, float]
_Differences = dict[_Key, Inconsistency]
# By tenant, number and by how much it is off: what must be the same in every reading.


class Reconciler:
    """Compares the two. Reading takes locks and may wait: call it from a worker thread, not from an event loop."""

    def __init__(
        self, live: LiveMetricsReader, tracker: CallTracker, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._live = live
        self._tracker = tracker
        self._sleep = sleep

    def read(self) -> Findings:
        """Return the registry as it is now, with the differences that last."""
        registry, age, standing = self._reading(None)
        stale, confirmed = age > 0, 0
        for pause in PAUSES_SECONDS:
            if not standing or confirmed >= CONFIRMATIONS:
                break
            self._sleep(pause)
            registry, age, differences = self._reading({tenant_id for tenant_id, _, _ in standing})
            if not age:
                standing = differences if stale else {key: differences[key] for key in standing & differences.keys()}
                stale, confirmed = False, confirmed + 1
        return Findings(registry, age, tuple(standing.values()))

    def _reading(self, suspects: Iterable[str | None] | None) -> tuple[Registry, float, _Differences]:
        """Compare all, or once there are suspects only those."""
        age = self._live.refresh()
        registry = Registry.of(self._tracker)
        rows = set(self._live.store.tenants())
        registered = _by_label(registry, rows)
        subjects = suspects if suspects is not None else {None, *rows, *registered}
        found = (difference for subject in subjects for difference in self._compare(subject, registered[subject]))
        return registry, age, {(d.tenant_id, d.what, d.found - d.expected): d for d in found}

    def _compare(self, subject: str | None, registered: _RegistryNumbers) -> Iterator[Inconsistency]:
        numbers = self._live.store.numbers(subject) or Counter[str]()
        for what, expected, found in _claims(registered, numbers):
            if expected != found:
                yield Inconsistency(subject, what, expected, found)


def _by_label(registry: Registry, rows: set[str]) -> defaultdict[str | None, _RegistryNumbers]:
    """Return the registry's numbers under the names the live metrics count by."""

    def label(tenant_id: TenantId) -> str:
        return OTHER if tenant_id not in rows and OTHER in rows else tenant_id

    registered: defaultdict[str | None, _RegistryNumbers] = defaultdict(_RegistryNumbers)
    registered[None].add(registry.total)
    for tenant_id, usage in registry.tenants.items():
        registered[label(tenant_id)].add(usage)
    for call in registry.calls:
        registered[None].list(call)
        registered[label(call.tenant_id)].list(call)
    return registered


def _claims(registered: _RegistryNumbers, live: Mapping[str, float]) -> Iterator[tuple[str, float, float]]:
    """Yield the pairs that must be equal: registry and live metrics, then the invariants of a call's lifecycle."""
    yield "active", registered.active, live["active_calls"]
    yield "pending", registered.pending, live["pending_calls"]
    handed_over = {state: live[f"handed_over_calls_{state}"] for state in ("pending", "accepted", "started")}
    waiting = live["accepted_calls"] - live["started_calls"] - live["abandoned_calls"] - handed_over["accepted"]
    yield "accepted = started + abandoned + (accepted and pending)", registered.waiting, waiting
    yield "calls listed", registered.active + registered.pending, registered.listed
    yield from lifecycle_claims(live, handed_over)


def lifecycle_claims(live: Mapping[str, float], handed_over: Mapping[str, float]) -> Iterator[tuple[str, float, float]]:
    """Yield what must be equal in numbers of one moment, whatever happened to the calls: a name and both sides.

    Args:
        live: the numbers by their fields.
        handed_over: of these calls those that were left to others, by the state they were left in.
    """
    over = live["ended_calls"] + live["active_calls"] + handed_over["started"]
    yield "started = ended + active", live["started_calls"], over
    left = sum(live[rejected] for rejected in _REJECTIONS) + live["unanswered_calls"] + live["abandoned_calls"]
    left += handed_over["pending"] + handed_over["accepted"]
    became = left + live["started_calls"] + live["pending_calls"]
    yield "received = rejected + unanswered + abandoned + started + pending", live["received_calls"], became
    yield "failed <= ended", live["ended_calls"], max(live["ended_calls"], live["failed_calls"])
    yield "referred <= started", live["started_calls"], max(live["started_calls"], live["referred_calls"])
    for field, value in live.items():
        if value < 0:
            yield f"{field} >= 0", 0, value
