"""Closing a period: its sums are kept under a checksum, and whatever changes afterwards shows as a correction."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast
from zoneinfo import ZoneInfo

from sqlalchemy import Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.records.store import CALLS
from service.storage.database import FREEZE_LOCK, Database, advisory_lock
from service.usage.models import FreezeLineRow, FreezeRow
from service.usage.period import Dimension, Grouping, Period
from service.usage.query import longest_call_ms
from service.usage.report import UsageReader
from telemetry.clock import Clock


@dataclass(frozen=True, slots=True)
class FrozenPeriod:
    """What was frozen, and when."""

    from_ms: int
    to_ms: int
    time_zone: str
    frozen_ms: int


@dataclass(frozen=True, slots=True)
class FrozenLine:
    """One tenant's usage as it was billed."""

    tenant_id: str
    calls: int
    answered_calls: int
    duration_ms: int
    rounded_ms: int


def checksum(period: FrozenPeriod, lines: Iterable[FrozenLine]) -> str:
    """The seal in 64 hexadecimal digits."""
    digest = hashlib.sha256(f"{period.from_ms} {period.to_ms} {period.time_zone} {period.frozen_ms}\n".encode())
    for line in sorted(lines, key=lambda one: one.tenant_id.encode()):
        sums = f"{line.calls} {line.answered_calls} {line.duration_ms} {line.rounded_ms}"
        digest.update(f"{line.tenant_id} {sums}\n".encode())
    return digest.hexdigest()


FREEZES = cast("Table", FreezeRow.__table__)
LINES = cast("Table", FreezeLineRow.__table__)
MAX_NAMED_CALLS = 100
"""Calls a correction names; it counts all."""
_BY_TENANT = Grouping((Dimension.TENANT,))


class FreezeRefusedError(Exception):
    """The period cannot be frozen; says why."""


class NoSuchFreezeError(Exception):
    """Nothing was frozen under this number."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """A frozen period."""

    freeze_id: int
    period: FrozenPeriod
    frozen_by: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Correction:
    """One tenant's usage as it was frozen and as it is now."""

    tenant_id: str
    frozen: FrozenLine
    now: FrozenLine
    changed_calls: int
    """Calls of the period whose records changed after the freeze; none if the rounding did."""
    call_ids: tuple[str, ...]
    """The first of them."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A frozen period, looked at again."""

    freeze: Freeze
    lines: tuple[FrozenLine, ...]
    intact: bool
    """The kept sums still have the checksum they were sealed with."""
    corrections: tuple[Correction, ...]


class Freezer:
    """Freezes periods and finds what changed in them since."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._usage = UsageReader(database)

    async def freeze(self, period: Period, *, actor: str) -> Freeze:
        """Keep the sums of a period that is over. Raises :class:`FreezeRefusedError`.

        Everything up to now must be closed: the period over, no call of it open, none of it frozen before.
        """
        frozen = FrozenPeriod(period.start_ms, period.end_ms, period.zone.key, self._now_ms())
        if frozen.to_ms > frozen.frozen_ms:
            raise FreezeRefusedError("The period is not over yet.")
        # The sums are read after the moment that is kept: what changes between the two shows as a correction.
        lines = await self._sums(period)
        seal = checksum(frozen, lines)
        async with self._database.writing() as session:
            await advisory_lock(session, FREEZE_LOCK)
            await _demand_closed(session, frozen)
            return Freeze(await _insert(session, frozen, actor, seal, lines), frozen, actor, seal)

    async def freezes(self) -> list[Freeze]:
        """Every frozen period, the latest first."""
        async with self._database.reading() as session:
            found = await session.execute(select(FREEZES).order_by(FREEZES.c.from_ms.desc()))
            return [_freeze(row) for row in found.mappings()]

    async def examine(self, freeze_id: int) -> Examined:
        """Compare a frozen period with what the records say now. Raises :class:`NoSuchFreezeError`."""
        async with self._database.reading() as session:
            row = (await session.execute(select(FREEZES).where(FREEZES.c.freeze_id == freeze_id))).mappings().first()
            if row is None:
                raise NoSuchFreezeError
            kept = await _lines(session, freeze_id)
        freeze = _freeze(row)
        now = await self._sums(Period(freeze.period.from_ms, freeze.period.to_ms, ZoneInfo(freeze.period.time_zone)))
        changes = [pair for pair in _pairs(kept, now) if pair[0] != pair[1]]
        corrections = [await self._correction(freeze.period, before, after) for before, after in changes]
        return Examined(freeze, tuple(kept), checksum(freeze.period, kept) == freeze.checksum, tuple(corrections))

    async def _sums(self, period: Period) -> list[FrozenLine]:
        return [
            FrozenLine(
                str(line.tenant_id), line.sums.calls, line.sums.answered, line.sums.duration_ms, line.sums.rounded_ms
            )
            async for line in self._usage.lines(period, _BY_TENANT)
        ]

    async def _correction(self, period: FrozenPeriod, before: FrozenLine, after: FrozenLine) -> Correction:
        """Name the calls behind a difference."""
        row = CALLS.c
        async with self._database.reading() as session:
            earliest = period.from_ms - await longest_call_ms(session)
            changed = (
                row.tenant_id == after.tenant_id,
                row.usage_from_ms >= earliest,
                row.usage_from_ms < period.to_ms,
                row.usage_from_ms + func.coalesce(row.duration_ms, row.billed_ms) >= period.from_ms,
                row.written_ms > period.frozen_ms,
            )
            first = select(row.call_id).where(*changed).order_by(row.received_ms, row.call_id).limit(MAX_NAMED_CALLS)
            call_ids = tuple((await session.execute(first)).scalars())
            count = await session.scalar(select(func.count()).select_from(CALLS).where(*changed))
        return Correction(after.tenant_id, before, after, count or 0, call_ids)

    def _now_ms(self) -> int:
        return self._clock.now().unix_ms


async def _demand_closed(session: AsyncSession, period: FrozenPeriod) -> None:
    still_open = await session.scalar(
        select(func.count()).select_from(CALLS).where(CALLS.c.ended_ms.is_(None), CALLS.c.usage_from_ms < period.to_ms)
    )
    if still_open:
        raise FreezeRefusedError(f"{still_open} calls of the period or from before it are still open.")
    overlapping = await session.scalar(
        select(FREEZES.c.freeze_id).where(FREEZES.c.from_ms < period.to_ms, FREEZES.c.to_ms > period.from_ms).limit(1)
    )
    if overlapping is not None:
        raise FreezeRefusedError(f"Freeze {overlapping} covers a part of the period.")


async def _insert(
    session: AsyncSession, period: FrozenPeriod, actor: str, seal: str, lines: Sequence[FrozenLine]
) -> int:
    facts = asdict(period) | {"frozen_by": actor, "checksum": seal}
    freeze_id = int(await session.scalar(insert(FREEZES).values(facts).returning(FREEZES.c.freeze_id)) or 0)
    if lines:
        await session.execute(insert(LINES), [asdict(line) | {"freeze_id": freeze_id} for line in lines])
    return freeze_id


async def _lines(session: AsyncSession, freeze_id: int) -> list[FrozenLine]:
    row = LINES.c
    columns = (row.tenant_id, row.calls, row.answered_calls, row.duration_ms, row.rounded_ms)
    found = await session.execute(select(*columns).where(row.freeze_id == freeze_id).order_by(row.tenant_id))
    return [FrozenLine(*line) for line in found]


def _freeze(row: Mapping[Any, Any]) -> Freeze:
    period = FrozenPeriod(row["from_ms"], row["to_ms"], row["time_zone"], row["frozen_ms"])
    return Freeze(row["freeze_id"], period, row["frozen_by"], row["checksum"])


def _pairs(before: Sequence[FrozenLine], after: Sequence[FrozenLine]) -> list[tuple[FrozenLine, FrozenLine]]:
    """Each tenant's line then and now; a tenant that has none has nothing."""
    then, now = ({line.tenant_id: line for line in lines} for lines in (before, after))
    return [
        (
            then.get(tenant_id) or FrozenLine(tenant_id, 0, 0, 0, 0),
            now.get(tenant_id) or FrozenLine(tenant_id, 0, 0, 0, 0),
        )
        for tenant_id in sorted(then.keys() | now.keys())
    ]
