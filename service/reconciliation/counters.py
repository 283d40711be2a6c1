"""The live counters and the registry of this process as ledgers."""

from collections import Counter
from collections.abc import Iterable, Mapping

from service.reconciliation.figures import Field, Figure, Rows
from telemetry.calls.call import CallSnapshot
from telemetry.calls.lifecycle import CallState
from telemetry.metrics.live_table import LiveMetricsStore, Selection
from telemetry.semconv.attributes import OTHER, RejectionReason, UnansweredReason

Amounts = dict[str, dict[Field, float]]
"""By tenant."""

_REJECTED = {
    Field.REJECTED_CAPACITY: RejectionReason.CAPACITY,
    Field.REJECTED_TENANT: RejectionReason.TENANT_NOT_CONFIGURED,
    Field.REJECTED_LOOKUP: RejectionReason.TENANT_LOOKUP_FAILED,
    Field.REJECTED_INSTRUCTIONS: RejectionReason.INSTRUCTIONS_MISSING,
    Field.REJECTED_CARRIER: RejectionReason.CARRIER_ERROR,
}
REJECTIONS = tuple(_REJECTED)
"""The figures of rejected calls."""

_UNANSWERED = {
    Field.UNANSWERED_CANCELED: UnansweredReason.CANCELED,
    Field.UNANSWERED_BUSY: UnansweredReason.BUSY,
    Field.UNANSWERED_NO_ANSWER: UnansweredReason.NO_ANSWER,
    Field.UNANSWERED_DECLINED: UnansweredReason.DECLINED,
    Field.UNANSWERED_UNREACHABLE: UnansweredReason.UNREACHABLE,
}
UNANSWERED = tuple(_UNANSWERED)
"""The figures of calls that were never answered."""

Taken = Mapping[CallState, float]
"""Calls of others that a process went on with, by the state they were left in."""

_COUNTERS = {
    Field.RECEIVED: "received_calls",
    Field.ACCEPTED: "accepted_calls",
    **{field: f"rejected_calls_{reason}" for field, reason in _REJECTED.items()},
    **{field: f"unanswered_calls_{reason}" for field, reason in _UNANSWERED.items()},
    Field.STARTED: "started_calls",
    Field.ENDED: "ended_calls",
    Field.FAILED: "failed_calls",
    Field.REFERRED: "referred_calls",
    Field.STALE: "ended_calls_stale",
    Field.SHUTDOWN: "ended_calls_shutdown",
    Field.MINUTES: "minutes_processed",
    Field.ACTIVE: "active_calls",
    Field.PENDING: "pending_calls",
}

_OPEN = (CallState.PENDING, CallState.ACCEPTED, CallState.STARTED)
_TAKEN = tuple(f"taken_over_calls_{state}" for state in _OPEN)
_HANDED = tuple(f"handed_over_calls_{state}" for state in _OPEN)
_EVERYTHING = Selection((*_COUNTERS.values(), *_TAKEN, *_HANDED))

_MOST = 1_000_000
# More tenants than any store holds.


def rejection_field(reason: str) -> Field:
    """Return the figure that counts rejections for this reason."""
    return next(field for field, known in _REJECTED.items() if known == reason)


def unanswered_field(reason: str) -> Field:
    """Return the figure that counts calls never answered for this reason."""
    return next(field for field, known in _UNANSWERED.items() if known == reason)


def without_takeovers(counted: dict[Field, float], taken: Taken) -> dict[Field, float]:
    """Return counters as figures: what a call counted in another process before is taken off, so it counts once."""
    started = taken.get(CallState.STARTED, 0)
    accepted = started + taken.get(CallState.ACCEPTED, 0)
    received = accepted + taken.get(CallState.PENDING, 0)
    apart = {
        Field.RECEIVED: counted[Field.RECEIVED] - received,
        Field.ACCEPTED: counted[Field.ACCEPTED] - accepted,
        Field.STARTED: counted[Field.STARTED] - started,
    }
    seen = counted[Field.ENDED] - counted[Field.STALE] - counted[Field.SHUTDOWN]
    return counted | apart | {Field.ENDED: seen, Field.TAKEN_OVER: received}


def live_amounts(store: LiveMetricsStore) -> Amounts:
    """Return each tenant's counters, all of one moment."""
    rows = store.rows(_EVERYTHING, 1, _MOST)
    # Tenants keep their places; those that came after the rows were read stand behind them.
    return {tenant_id: _amounts(row) for tenant_id, row in zip(store.tenants(), rows, strict=False)}


def _amounts(row: list[float]) -> dict[Field, float]:
    counted = dict(zip(_COUNTERS, row, strict=False))
    counted[Field.MINUTES] /= 60
    rest = row[len(_COUNTERS) :]
    counted[Field.HANDED_OVER] = sum(rest[len(_OPEN) :])
    return without_takeovers(counted, dict(zip(_OPEN, rest, strict=False)))


def fleet_amounts(numbers: Mapping[str, float]) -> dict[Field, float]:
    """Return a fleet's sum as figures: a call that changed hands is in it once, whole, where it is now."""
    counted = {field: numbers[name] for field, name in _COUNTERS.items()}
    counted[Field.ENDED] -= counted[Field.STALE] + counted[Field.SHUTDOWN]
    return counted | {Field.TAKEN_OVER: sum(numbers[name] for name in _TAKEN)}


def between(before: Amounts, after: Amounts, tenant_id: str | None) -> Rows:
    """Return the rows that hold whatever was read between two readings: counters only grow."""
    return {
        tenant: {field: _between(before.get(tenant, {}).get(field, 0), value) for field, value in row.items()}
        for tenant, row in after.items()
        if tenant_id is None or tenant == tenant_id
    }


def _between(before: float, after: float) -> Figure:
    return Figure(after, min(before, after), max(before, after))


def registry_rows(calls: Iterable[CallSnapshot], labels: Iterable[str]) -> Rows:
    """Return the number of open calls of each tenant, under the names metrics count them by."""
    known = set(labels)
    held: Counter[tuple[str, Field]] = Counter()
    for call in calls:
        label = call.tenant_id if call.tenant_id in known or OTHER not in known else OTHER
        held[label, Field.ACTIVE if call.state is CallState.STARTED else Field.PENDING] += 1
    return {
        tenant: {field: Figure.exact(held[tenant, field]) for field in (Field.ACTIVE, Field.PENDING)}
        for tenant in {tenant for tenant, _ in held}
    }
