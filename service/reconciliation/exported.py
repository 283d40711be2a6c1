"""A Prometheus-compatible backend as a ledger: what it was sent, and up to when of which process."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.reconciliation.backend import Backend, BackendError, Sample
from service.reconciliation.column import State
from service.reconciliation.counters import REJECTIONS, Amounts, rejection_field, without_takeovers
from service.reconciliation.figures import Field
from service.reconciliation.promql import (
    COUNTERS,
    DECIDED,
    END,
    ENDED,
    INSTANCE,
    REASON,
    REJECTED,
    TENANT,
    Counted,
    Speaker,
    exports_before,
    gained,
    last_exports,
    set_back,
)
from service.reconciliation.window import Asked, Scope
from telemetry.attributes import OTHER, EndReason, RejectionReason

AT_ONCE = 4
"""Queries under way at the same time."""

_SUMMED = (*COUNTERS, *REJECTIONS, Field.ENDED, Field.STALE, Field.SHUTDOWN)

_APART = {EndReason.STALE.value: Field.STALE, EndReason.SHUTDOWN.value: Field.SHUTDOWN}


@dataclass(frozen=True, slots=True)
class Exported:
    """What a backend has."""

    amounts: Amounts
    last_ms: Mapping[str, int] = field(default_factory=dict)
    """By process: its last export before the end of the window."""
    before_ms: Mapping[str, int] = field(default_factory=dict)
    """By process: its last export before the beginning."""


class PrometheusLedger:
    """Asks a backend. Raises :class:`BackendError` where it cannot be compared with."""

    def __init__(self, backend: Backend, speaker: Speaker) -> None:
        self._backend = backend
        self.speaker = speaker

    async def read(self, asked: Asked) -> Exported:
        """Everything it has of the window."""
        at_once = asyncio.Semaphore(AT_ONCE)

        async def query(expression: str) -> list[Sample]:
            async with at_once:
                return await self._backend.query(expression, asked.end_ms)

        async def counted(counter: Counted) -> list[Sample]:
            return await query(gained(counter, asked, self.speaker))

        async def latest(expressions: Iterable[str]) -> dict[str, int]:
            return _latest(await asyncio.gather(*map(query, expressions)))

        last = await latest(last_exports(asked, self.speaker))
        if not last:
            raise BackendError(State.NO_SAMPLES, f"it has no samples of the job {self.speaker.job}")
        before: dict[str, int] = {}
        if asked.scope is Scope.FLEET:
            before = await latest(exports_before(asked, self.speaker))
            _refuse_mixed(await query(set_back(asked, self.speaker)))
        plain = await asyncio.gather(*map(counted, COUNTERS.values()))
        decided, rejected, ended = await asyncio.gather(*map(counted, (DECIDED, REJECTED, ENDED)))
        sums = _sums(dict(zip(COUNTERS, plain, strict=True)), rejected, ended)
        counts = {_tenant(sample): sample.value for sample in decided}
        amounts = {tenant: without_takeovers(row, counts.get(tenant, 0)) for tenant, row in sums.items()}
        return Exported(amounts, last, before)


def _sums(plain: Mapping[Field, list[Sample]], rejected: list[Sample], ended: list[Sample]) -> Amounts:
    sums: defaultdict[str, dict[Field, float]] = defaultdict(lambda: dict.fromkeys(_SUMMED, 0.0))
    for field_, samples in plain.items():
        for sample in samples:
            sums[_tenant(sample)][field_] += sample.value / (60 if field_ is Field.MINUTES else 1)
    for sample in rejected:
        reason = sample.labels.get(REASON, "")
        if reason in set(RejectionReason):
            sums[_tenant(sample)][rejection_field(reason)] += sample.value
    for sample in ended:
        row = sums[_tenant(sample)]
        row[Field.ENDED] += sample.value
        apart = _APART.get(sample.labels.get(END, ""))
        if apart is not None:
            row[apart] += sample.value
    return dict(sums)


def _tenant(sample: Sample) -> str:
    """What the SDK merged past its limit has no tenant."""
    return sample.labels.get(TENANT) or OTHER


def _latest(answers: Iterable[list[Sample]]) -> dict[str, int]:
    latest: dict[str, int] = {}
    for sample in (sample for answer in answers for sample in answer):
        instance = sample.labels.get(INSTANCE, "")
        latest[instance] = max(latest.get(instance, 0), round(sample.value * 1000))
    return latest


def _refuse_mixed(found: list[Sample]) -> None:
    if found:
        names = ", ".join(sorted(sample.labels.get(INSTANCE, "") for sample in found)[:3])
        raise BackendError(
            State.REFUSED, f"counters went back under one service.instance.id ({names}): give each process its own"
        )
