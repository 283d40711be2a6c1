"""Call records in pages, the latest received first: the history of all processes, as long as the table has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, select, tuple_

from service.records.record import StoredCall, readable
from service.records.store import CALLS
from service.storage.database import Database
from telemetry.recent.record import CallOutcome


@dataclass(frozen=True, slots=True)
class Place:
    """The end of a page."""

    received_ms: int
    call_id: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The calls that are asked for; what is ``None`` does not matter."""

    tenant_id: str | None = None
    outcome: CallOutcome | None = None
    """Calls that are over, and turned out so."""
    since_ms: int | None = None
    """Received then or later."""
    until_ms: int | None = None
    """Received before."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the calls."""

    calls: Sequence[StoredCall]
    next_place: Place | None
    """The place after which the next page begins; ``None`` on the last one."""


class CallPages:
    """Reads pages, each along an index from where the last one ended: a late page costs what the first one does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, wanted: Wanted, *, limit: int, after: Place | None = None) -> Page:
        """Return at most ``limit`` calls from a place on, those that can be read; raise what the database raises."""
        async with self._database.reading() as session:
            found = (await session.execute(page(wanted, limit + 1, after))).mappings().all()
        last = found[limit - 1] if len(found) > limit else None
        return Page(readable(found[:limit]), None if last is None else Place(last["received_ms"], last["call_id"]))


def page(wanted: Wanted, limit: int, after: Place | None) -> Select[Any]:
    """Return the statement, which reads one stretch of one index."""
    row = CALLS.c
    conditions = list(_conditions(wanted))
    if after is not None:
        # The first condition is what SQLite bounds its search by; it compares pairs row by row.
        conditions.append(row.received_ms <= after.received_ms)
        conditions.append(tuple_(row.received_ms, row.call_id) < tuple_(after.received_ms, after.call_id))
    ordered = select(CALLS).where(and_(True, *conditions)).order_by(row.received_ms.desc(), row.call_id.desc())
    return ordered.limit(limit)


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    row = CALLS.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.tenant_id is not None:
        conditions.append(row.tenant_id == wanted.tenant_id)
    if wanted.outcome is not None:
        conditions += [row.outcome == wanted.outcome.value, row.ended_ms.is_not(None)]
    if wanted.since_ms is not None:
        conditions.append(row.received_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        conditions.append(row.received_ms < wanted.until_ms)
    return conditions
