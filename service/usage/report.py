"""Usage as lines, slot after slot: never more in memory than the lines of one slot."""

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from service.storage.database import Database
from service.usage import documents
from service.usage.models import ANY_TENANT
from service.usage.period import Grouping, Period
from service.usage.query import OPEN, PeriodSlots, Sums, UsageQuery, crossing, longest_call_ms, shares, summed
from service.usage.rules import demand_known, read_rules

FETCHED_AT_ONCE = 1_000
"""Rows a database hands over at a time."""

_Key = tuple[str, str, str]
# Tenant, outcome and reason; empty where lines are not told apart by it.


@dataclass(frozen=True, slots=True)
class UsageLine:
    """Usage in one slot, by one tenant, with one outcome, as far as these are told apart."""

    slot: str | None
    """A month, a date, or the moment an hour begins; ``None`` for the whole period."""
    tenant_id: str | None
    outcome: str | None
    reason: str | None
    """Reason of the outcome, where outcomes are told apart and the call is over."""
    sums: Sums
    rounding: tuple[str, ...]
    """The rules that hold in the slot, or in the period where tenants are not told apart."""


def seconds(milliseconds: int) -> Decimal:
    """Return milliseconds as exact seconds with three decimals."""
    return Decimal(milliseconds).scaleb(-3)


class UsageReader:
    """Reads usage from the call records, each report in one snapshot of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def covering(self, period: Period, tenant_id: str | None) -> tuple[int, ...]:
        """Return the numbers of the freezes that cover a part of the period, for one tenant or for any.

        Raises:
            UnknownTenantError: if there is no such tenant.
        """
        async with self._database.reading() as session:
            if tenant_id is not None:
                await demand_known(session, tenant_id)
            found = documents.covering(await documents.every(session), period, tenant_id)
        return tuple(one.document_id for one in found)

    async def lines(
        self, period: Period, grouping: Grouping, *, tenant_id: str | None = None
    ) -> AsyncGenerator[UsageLine, None]:
        """Yield the lines in the order of slots, tenants and outcomes; a slot without use has none."""
        async with _snapshot(self._database) as session:
            query = UsageQuery(
                PeriodSlots.of(period, grouping.unit),
                grouping,
                await read_rules(session),
                tenant_id,
                await longest_call_ms(session),
            )
            async for slot, groups in _by_slot(session, query):
                for line in _lines(query, slot, groups):
                    yield line


@asynccontextmanager
async def _snapshot(database: Database) -> AsyncIterator[AsyncSession]:
    async with database.reading() as session:
        if database.engine.dialect.name == "postgresql":
            # SQLite's readers have a snapshot of their own anyway.
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session


async def _by_slot(session: AsyncSession, query: UsageQuery) -> AsyncIterator[tuple[int, dict[_Key, Sums]]]:
    """Yield each slot's sums. Calls that cross a boundary are split ahead of the slots they reach, and no further."""
    ahead = _Ahead(query, await session.stream(crossing(query), execution_options=_STREAM))
    whole = await session.stream(summed(query), execution_options=_STREAM)
    async for slot, tenant_id, outcome, reason, calls, answered, ran, rounded in whole:
        async for earlier in ahead.until(slot):
            yield earlier
        ahead.add(slot, (tenant_id, outcome, reason), Sums(calls, int(answered), 0, int(ran), int(rounded)))
    async for earlier in ahead.until(None):
        yield earlier


_STREAM = {"yield_per": FETCHED_AT_ONCE}


class _Ahead:
    """Sums of slots not yet answered, and the calls that are still to be split into them."""

    def __init__(self, query: UsageQuery, calls: Any) -> None:  # noqa: ANN401 -- rows of any shape
        self._query = query
        self._calls = calls.__aiter__()
        self._next: Any = None
        self._over = False
        self._pending: dict[int, dict[_Key, Sums]] = {}

    def add(self, slot: int, key: _Key, sums: Sums) -> None:
        """Add sums to a slot."""
        self._pending.setdefault(slot, defaultdict(Sums))[key].add(sums)

    async def until(self, slot: int | None) -> AsyncIterator[tuple[int, dict[_Key, Sums]]]:
        """Yield all slots before this one, each complete; all there are for ``None``."""
        while True:
            await self._complete_first(slot)
            first = min(self._pending, default=None)
            if first is None or (slot is not None and first >= slot):
                return
            yield first, self._pending.pop(first)

    async def _complete_first(self, slot: int | None) -> None:
        """Split the calls that can reach into the first slot there is before this one."""
        while await self._peek() is not None:
            reached = self._query.slots.slot(max(self._next[0], self._query.slots.period.start_ms))
            first = min(self._pending, default=reached)
            if reached > first or (slot is not None and reached >= slot):
                return
            self._split(self._next)
            self._next = None

    async def _peek(self) -> Any:  # noqa: ANN401 -- a row of any shape
        if self._next is None and not self._over:
            self._next = await anext(self._calls, None)
            self._over = self._next is None
        return self._next

    def _split(self, row: Any) -> None:  # noqa: ANN401 -- a row of any shape
        start_ms, duration_ms, tenant_id, outcome, reason, answered = row
        for share in shares(
            self._query.slots,
            start_ms=start_ms,
            duration_ms=duration_ms or 0,
            answered=bool(answered),
            still_open=outcome == OPEN,
            rounding=self._query.rules.rounding(tenant_id, start_ms),
        ):
            self.add(share.slot, _key(self._query.grouping, tenant_id, outcome, reason), share.sums)


def _key(grouping: Grouping, tenant_id: str, outcome: str, reason: str | None) -> _Key:
    return (
        tenant_id if grouping.by_tenant else "",
        outcome if grouping.by_outcome else "",
        (reason or "") if grouping.by_outcome else "",
    )


def _lines(query: UsageQuery, slot: int, groups: dict[_Key, Sums]) -> Iterable[UsageLine]:
    slots, grouping = query.slots, query.grouping
    label = None if slots.unit is None else slots.local.label(slots.unit, slot)
    for (tenant_id, outcome, reason), sums in sorted(groups.items()):
        yield UsageLine(
            label,
            tenant_id if grouping.by_tenant else None,
            outcome if grouping.by_outcome else None,
            reason or None,
            sums,
            _names(query, tenant_id or query.tenant_id),
        )


def _names(query: UsageQuery, tenant_id: str | None) -> tuple[str, ...]:
    period, rules = query.slots.period, query.rules
    tenants = [ANY_TENANT, *rules.of_tenant] if tenant_id is None else [tenant_id]
    names = (name for tenant in tenants for name in rules.names(tenant, period.start_ms, period.end_ms))
    return tuple(dict.fromkeys(names))
