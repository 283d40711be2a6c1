"""A Prometheus-compatible backend as a ledger: what it was sent, and up to when of which process."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from service.reconciliation import promql
from service.reconciliation.counters import (
    REJECTIONS,
    UNANSWERED,
    Amounts,
    rejection_field,
    unanswered_field,
    without_takeovers,
)
from service.reconciliation.figures import (
    ZERO,
    Field,
    Figure,
    Interval,
    ReconcileQuery,
    Rows,
    Scope,
    merged,
    regrouped,
    with_margins,
)
from service.reconciliation.ledgers import Column, State
from service.reconciliation.promql import (
    COUNTERS,
    END,
    ENDED,
    INSTANCE,
    REASON,
    REJECTED,
    STATE,
    TAKEN_OVER,
    TENANT,
    UNANSWERED_REASON,
    Backend,
    BackendError,
    Counted,
    Sample,
    ServiceSelector,
    exports_before,
    gained,
    last_exports,
    set_back,
)
from service.reconciliation.records import Instance, RecordsLedger
from service.storage.database import DATABASE_ERRORS
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Clock
from telemetry.semconv.attributes import OTHER, EndReason, RejectionReason, UnansweredReason

DEAD_AFTER_HEARTBEATS: Final = 3
"""A process that misses so many heartbeats is dead; until then it may have counted."""
GRACE_MS: Final = 600_000
"""A process that lived longer than this in the window and sent nothing was never told where to send it."""
CLOCKS_MS: Final = 1_000
"""Records are written a little later than counters are, and by other clocks."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The series of a metrics backend."""

    amounts: Amounts
    last_ms: Mapping[str, int] = field(default_factory=dict)
    """By process: its last export before the end of the window."""
    before_ms: Mapping[str, int] = field(default_factory=dict)
    """By process: its last export before the beginning."""


@dataclass(frozen=True, slots=True)
class ExportGaps:
    """The export gaps of a window: what a backend cannot have of it, and what of the time before counts in it."""

    missing: tuple[Interval, ...] = ()
    surplus: tuple[Interval, ...] = ()
    silent: tuple[str, ...] = ()
    """Processes that lived in the window and sent nothing."""


def export_gaps(
    query: ReconcileQuery, exported: Exported, instances: Iterable[Instance], *, now_ms: int, heartbeat_ms: int
) -> ExportGaps:
    """Compare when each process lived with when it last exported."""
    missing, surplus, silent = [], [], []
    for instance in instances:
        ended_ms = min(query.end_ms, _end(instance, now_ms, DEAD_AFTER_HEARTBEATS * heartbeat_ms))
        if ended_ms <= query.start_ms:
            continue
        began_ms = max(query.start_ms, instance.started_ms)
        last_ms = exported.last_ms.get(instance.instance_id)
        if last_ms is None and ended_ms - began_ms > GRACE_MS:
            silent.append(instance.instance_id)
        else:
            missing.append(Interval((last_ms or began_ms) - CLOCKS_MS, ended_ms + CLOCKS_MS))
        if _dead(instance, now_ms, DEAD_AFTER_HEARTBEATS * heartbeat_ms) and instance.last_beat_ms < query.end_ms:
            # A call may have been counted, told, and lost before it was on record; its carrier announces it once more.
            surplus.append(Interval(instance.last_beat_ms - heartbeat_ms, ended_ms + CLOCKS_MS))
        if instance.started_ms < query.start_ms:
            before_ms = exported.before_ms.get(instance.instance_id, instance.started_ms)
            surplus.append(Interval(before_ms - CLOCKS_MS, query.start_ms + CLOCKS_MS))
    return ExportGaps(tuple(merged(missing)), tuple(merged(surplus)), tuple(silent))


def _dead(instance: Instance, now_ms: int, silence_ms: int) -> bool:
    return instance.stopped_ms is None and instance.last_beat_ms + silence_ms < now_ms


def _end(instance: Instance, now_ms: int, silence_ms: int) -> int:
    """Return the last moment at which the process can have counted something."""
    if instance.stopped_ms is not None:
        return instance.stopped_ms
    return min(now_ms, instance.last_beat_ms + silence_ms)


NAMED: Final = 3
"""Silent processes that are named."""
AT_ONCE = 4
"""Queries under way at the same time."""
_SUMMED = (*COUNTERS, *REJECTIONS, *UNANSWERED, Field.ENDED, Field.STALE, Field.SHUTDOWN)
_APART = {EndReason.STALE.value: Field.STALE, EndReason.SHUTDOWN.value: Field.SHUTDOWN}


class PrometheusLedger:
    """Asks a backend. Raises :class:`BackendError` where it cannot be compared with."""

    def __init__(self, backend: Backend, speaker: ServiceSelector) -> None:
        self._backend = backend
        self.speaker = speaker

    async def read(self, query: ReconcileQuery) -> Exported:
        """Everything it has of the window."""
        at_once = asyncio.Semaphore(AT_ONCE)

        async def run(expression: str) -> list[Sample]:
            async with at_once:
                return await self._backend.query(expression, query.end_ms)

        async def counted(counter: Counted) -> list[Sample]:
            return await run(gained(counter, query, self.speaker))

        async def latest(expressions: Iterable[str]) -> dict[str, int]:
            return _latest(await asyncio.gather(*map(run, expressions)))

        last = await latest(last_exports(query, self.speaker))
        if not last:
            raise BackendError(State.NO_SAMPLES, f"it has no samples of the job {self.speaker.job}")
        before: dict[str, int] = {}
        if query.scope is Scope.FLEET:
            before = await latest(exports_before(query, self.speaker))
            _refuse_mixed(await run(set_back(query, self.speaker)))
        plain = await asyncio.gather(*map(counted, COUNTERS.values()))
        apart = (REJECTED, promql.UNANSWERED, ENDED, TAKEN_OVER)
        rejected, unanswered, ended, taken = await asyncio.gather(*map(counted, apart))
        sums = _sums(dict(zip(COUNTERS, plain, strict=True)), rejected, unanswered, ended)
        states: defaultdict[str, dict[CallState, float]] = defaultdict(dict)
        for sample in taken:
            if sample.labels.get(STATE, "") in set(CallState):
                states[_tenant(sample)][CallState(sample.labels[STATE])] = sample.value
        amounts = {tenant: without_takeovers(row, states.get(tenant, {})) for tenant, row in sums.items()}
        return Exported(amounts, last, before)


def _sums(
    plain: Mapping[Field, list[Sample]], rejected: list[Sample], unanswered: list[Sample], ended: list[Sample]
) -> Amounts:
    sums: defaultdict[str, dict[Field, float]] = defaultdict(lambda: dict.fromkeys(_SUMMED, 0.0))
    for field_, samples in plain.items():
        for sample in samples:
            sums[_tenant(sample)][field_] += sample.value / (60 if field_ is Field.MINUTES else 1)
    for sample in rejected:
        reason = sample.labels.get(REASON, "")
        if reason in set(RejectionReason):
            sums[_tenant(sample)][rejection_field(reason)] += sample.value
    for sample in unanswered:
        reason = sample.labels.get(UNANSWERED_REASON, "")
        if reason in set(UnansweredReason):
            sums[_tenant(sample)][unanswered_field(reason)] += sample.value
    for sample in ended:
        row = sums[_tenant(sample)]
        row[Field.ENDED] += sample.value
        apart = _APART.get(sample.labels.get(END, ""))
        if apart is not None:
            row[apart] += sample.value
    return dict(sums)


def _tenant(sample: Sample) -> str:
    """Return rows without those that the SDK merged past its limit, which have no tenant."""
    return sample.labels.get(TENANT) or OTHER


def _latest(responses: Iterable[list[Sample]]) -> dict[str, int]:
    latest: dict[str, int] = {}
    for sample in (sample for answer in responses for sample in answer):
        instance = sample.labels.get(INSTANCE, "")
        latest[instance] = max(latest.get(instance, 0), round(sample.value * 1000))
    return latest


def _refuse_mixed(found: list[Sample]) -> None:
    if found:
        names = ", ".join(sorted(sample.labels.get(INSTANCE, "") for sample in found)[:3])
        raise BackendError(
            State.REFUSED, f"counters went back under one service.instance.id ({names}): give each process its own"
        )


class BackendColumn(Protocol):
    """Says what a backend has."""

    async def read(self, query: ReconcileQuery) -> Column:
        """Return the column; its failure is its state."""
        ...


class NoBackend:
    """The column of a service without a metrics backend."""

    __slots__ = ()

    async def read(self, query: ReconcileQuery) -> Column:  # noqa: ARG002 -- the protocol's signature
        """Return a column without anything to compare with."""
        return Column(State.NOT_CONFIGURED, "PROMETHEUS_URL names no backend.")


class PrometheusColumn:
    """Reads the backend, and from the records what happened while it was not told."""

    def __init__(
        self, ledger: PrometheusLedger, records: RecordsLedger, clock: Clock, *, heartbeat_ms: int, late_ms: int
    ) -> None:
        self._ledger = ledger
        self._records = records
        self._clock = clock
        self._heartbeat_ms = heartbeat_ms
        self._late_ms = late_ms

    async def read(self, query: ReconcileQuery) -> Column:
        """Return the column; its failure is its state."""
        try:
            found = await self._ledger.read(query)
        except BackendError as error:
            return Column(error.state, f"{error}.")
        rows: Rows = {tenant: {f: Figure.exact(v) for f, v in row.items()} for tenant, row in found.amounts.items()}
        age = (query.end_ms - max(found.last_ms.values())) / 1000
        try:
            return await self._with_margins(query, found, rows, max(0.0, age))
        except DATABASE_ERRORS:
            detail = "The database does not say what it was not yet told."
            return Column(State.COMPARED, rows=rows, age_seconds=age).behind(detail)

    async def _with_margins(self, query: ReconcileQuery, found: Exported, rows: Rows, age: float) -> Column:
        gaps = export_gaps(
            query, found, await self._instances(query), now_ms=self._now_ms(), heartbeat_ms=self._heartbeat_ms
        )
        less, more = await self._happened(query, gaps.surplus, rows), await self._happened(query, gaps.missing, rows)
        state, detail = _state(gaps)
        return Column(state, detail, with_margins(rows, less=less, more=more), age)

    async def _instances(self, query: ReconcileQuery) -> list[Instance]:
        if query.scope is Scope.PROCESS:
            return [Instance(self._ledger.speaker.instance, query.start_ms, query.end_ms, None)]
        return await self._records.instances(Interval(query.start_ms, query.end_ms))

    async def _happened(self, query: ReconcileQuery, intervals: Iterable[Interval], labels: Rows) -> Rows:
        """Return the sum of these."""
        summed: Rows = {}
        for interval in intervals:
            for tenant, row in (await self._records.happened(query, interval, late_ms=self._late_ms)).items():
                before = summed.setdefault(tenant, {})
                before.update({f: before.get(f, ZERO).plus(figure) for f, figure in row.items()})
        return regrouped(summed, labels)

    def _now_ms(self) -> int:
        return self._clock.now().unix_ms


def _state(gaps: ExportGaps) -> tuple[State, str | None]:
    if not gaps.silent:
        return State.COMPARED, None
    named = ", ".join(gaps.silent[:NAMED])
    return State.NO_SAMPLES, f"{len(gaps.silent)} processes of the window have sent nothing: {named}."
