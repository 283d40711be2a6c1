"""Keeps in the database what processes counted that are gone, and fills an empty store from there.

What a process counted is added to the database once, by its id and epoch, bucket by bucket. So a store that is emptied
is whole again once it is filled and those that live have sent their rows; what was counted by a process that was gone
and not yet folded when the store was emptied is missing.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast
from uuid import uuid4

from sqlalchemy import Connection, Table, delete, select, update

from service.fleet.errors import StoreAwayError
from service.fleet.live.fields import Row, read
from service.fleet.live.models import LiveCountsRow, LiveFoldRow
from service.fleet.live.scripts import BUCKETS, TOTAL_BUCKET
from service.fleet.live.store import ROWS_AT_ONCE, TOTAL, LiveStore, bucket_of
from service.storage.database import DATABASE_ERRORS, Database, insert_into
from telemetry.clock import Clock

_logger = logging.getLogger(__name__)

ALL_BUCKETS: Final = (*range(BUCKETS), TOTAL_BUCKET)

FOLDS_KEPT_MS: Final = 7 * 86_400_000
"""Milliseconds for which the rows of a process that is gone are told apart, should it be heard of again."""

_ROWS_IN_ONE_COMMIT: Final = 1_000
# Some hundredths of a second for SQLite, whose other writers wait meanwhile.

_COUNTS: Final = cast("Table", LiveCountsRow.__table__)
_FOLDS: Final = cast("Table", LiveFoldRow.__table__)

Rows = dict[str, Row]
"""By tenant; the total has an empty name."""


@dataclass(frozen=True, slots=True)
class _Remains:
    """The rows of a process in one bucket, without its open calls."""

    bucket: int
    generation: str
    rows: Mapping[str, str]
    news: bool
    """True if the bucket did not know that the process is gone."""


class Folding:
    """Folds the rows of processes that are gone, and fills empty buckets.

    Args:
        store: the sums of the fleet.
        database: the one that all processes of the fleet use.
        clock: the source of time.
    """

    def __init__(self, store: LiveStore, database: Database, clock: Clock) -> None:
        self._fleet = store.prefix
        self._store = store
        self._database = database
        self._clock = clock
        self._folding: set[str] = set()

    async def begin(self) -> int:
        """Return since when the fleet counts, in Unix milliseconds; the first process of all decides it.

        In a database that knows nothing of the fleet, sums that are in the store are of another one, and go.

        Raises what the database raises.
        """
        since_ms, first = await self._database.write(partial(_since, self._fleet, self._clock.now().unix_ms))
        if first:
            try:
                await asyncio.gather(*(self._store.wipe(bucket) for bucket in ALL_BUCKETS))
            except StoreAwayError as error:
                _logger.warning("older sums in the fleet's store could not be put aside: %s", type(error).__name__)
        return since_ms

    async def fold(self, holder: str, buckets: Sequence[int] = ALL_BUCKETS) -> Rows:
        """Fold what a process that is gone has counted, unless that was done; return it.

        Raises:
            StoreAwayError: if the store does not answer.
            DATABASE_ERRORS: what the database raises.
        """
        remains = await asyncio.gather(*(self._remains(bucket, holder) for bucket in buckets))
        rows: Rows = {}
        for some in _commits(remains):
            stored = await self._database.write(partial(_fold, self._fleet, self._clock.now().unix_ms, holder, some))
            for kept in stored.values():
                rows |= {tenant_id: read(text) for tenant_id, text in kept.items()}
            await asyncio.gather(*(self._folded(holder, found, stored[found.bucket]) for found in some))
        return rows

    async def _folded(self, holder: str, found: _Remains, stored: Mapping[str, str]) -> None:
        # A bucket that was not known for folded has been set back since by a failover, and may have taken more rows.
        set_back = found.news and stored != found.rows
        await self._store.folded(found.bucket, holder, "" if set_back else found.generation)

    async def _remains(self, bucket: int, holder: str) -> _Remains:
        news = await self._store.retire(bucket, holder)
        _, generation = await self._store.holders(bucket)
        rows = {tenant: row async for tenant, row in self._store.kept(bucket, holder)}
        return _Remains(bucket, generation, rows, news)

    async def look(self, living: Callable[[], Awaitable[set[str]]]) -> None:
        """Fold whoever has rows in the store and is not among the holders that ``living`` returns."""
        found = await asyncio.gather(*(self._store.holders(bucket) for bucket in ALL_BUCKETS))
        # In this order: a process is known to live before it sends anything.
        alive = await living()
        gone = {holder for holders, _ in found for holder in holders if holder not in alive}
        for holder in sorted(gone):
            buckets = [bucket for bucket, (holders, _) in zip(ALL_BUCKETS, found, strict=True) if holder in holders]
            await self.fold_gone(holder, buckets)

    async def fold_gone(self, holder: str, buckets: Sequence[int] = ALL_BUCKETS) -> None:
        """Fold a process that is gone; what fails is tried again at the next look."""
        if holder in self._folding:
            return
        self._folding.add(holder)
        try:
            await self.fold(holder, buckets)
        except (StoreAwayError, *DATABASE_ERRORS) as error:
            _logger.warning("counts of a process that is gone could not be kept yet: %s", type(error).__name__)
        else:
            _logger.info("counts of a process that is gone are kept: %s", holder)
        finally:
            self._folding.discard(holder)

    async def seed(self, bucket: int) -> None:
        """Fill an empty bucket; does nothing if it is filled, or another process is filling it.

        Raises:
            StoreAwayError: if the store does not answer.
            DATABASE_ERRORS: what the database raises.
        """
        token = uuid4().hex
        if not await self._store.begin_seeding(bucket, token):
            return
        counts = await self._database.write(partial(_counts, self._fleet, bucket))
        for some in _parts(counts):
            if not await self._store.seed(bucket, token, some):
                return
        await self._store.end_seeding(bucket, token)
        await self._store.lost()


def _commits(remains: Sequence[_Remains]) -> Iterable[list[_Remains]]:
    """Yield the rows in parts that one transaction takes."""
    part: list[_Remains] = []
    for found in remains:
        if part and sum(len(one.rows) for one in part) + len(found.rows) > _ROWS_IN_ONE_COMMIT:
            yield part
            part = []
        part.append(found)
    if part:
        yield part


def _parts(rows: Mapping[str, str]) -> Iterable[dict[str, str]]:
    tenants = list(rows)
    for start in range(0, len(tenants), ROWS_AT_ONCE):
        yield {tenant_id: rows[tenant_id] for tenant_id in tenants[start : start + ROWS_AT_ONCE]}


def _since(fleet: str, now_ms: int, connection: Connection) -> tuple[int, bool]:
    """Return since when the fleet counts, and whether that begins now."""
    total = {"fleet": fleet, "tenant_id": TOTAL, "bucket": TOTAL_BUCKET, "since_ms": now_ms, "numbers": "{}"}
    insert = insert_into(_COUNTS, connection.dialect).values(total).on_conflict_do_nothing()
    first = connection.execute(insert.returning(_COUNTS.c.fleet)).first() is not None
    which = (_COUNTS.c.fleet == fleet) & (_COUNTS.c.tenant_id == TOTAL)
    since = connection.scalar(select(_COUNTS.c.since_ms).where(which))
    return now_ms if since is None else int(since), first


def _fold(
    fleet: str, now_ms: int, holder: str, remains: Sequence[_Remains], connection: Connection
) -> dict[int, Mapping[str, str]]:
    """Add the rows to the counts, unless they have been; return by bucket those that were."""
    stored: dict[int, Mapping[str, str]] = {}
    added: dict[str, str] = {}
    for found in remains:
        fold = {"holder": holder, "bucket": found.bucket, "folded_ms": now_ms, "numbers": json.dumps(dict(found.rows))}
        insert = insert_into(_FOLDS, connection.dialect).values(fold).on_conflict_do_nothing()
        stored[found.bucket] = found.rows
        if connection.execute(insert.returning(_FOLDS.c.holder)).first() is not None:
            added |= found.rows
        else:
            which = (_FOLDS.c.holder == holder) & (_FOLDS.c.bucket == found.bucket)
            stored[found.bucket] = json.loads(connection.scalar(select(_FOLDS.c.numbers).where(which)) or "{}")
    if added:
        _add(fleet, now_ms, added, connection)
    connection.execute(delete(_FOLDS).where(_FOLDS.c.folded_ms < now_ms - FOLDS_KEPT_MS))
    return stored


def _add(fleet: str, now_ms: int, rows: Mapping[str, str], connection: Connection) -> None:
    # In one order for all, so that no two processes wait for each other.
    tenants = sorted(rows)
    fresh: list[dict[str, Any]] = [
        {"fleet": fleet, "tenant_id": tenant_id, "bucket": bucket_of(tenant_id), "since_ms": now_ms, "numbers": "{}"}
        for tenant_id in tenants
    ]
    connection.execute(insert_into(_COUNTS, connection.dialect).on_conflict_do_nothing(), fresh)
    before: dict[str, str] = {}
    for start in range(0, len(tenants), ROWS_AT_ONCE):
        some = (_COUNTS.c.fleet == fleet) & _COUNTS.c.tenant_id.in_(tenants[start : start + ROWS_AT_ONCE])
        query = select(_COUNTS.c.tenant_id, _COUNTS.c.numbers).where(some).order_by(_COUNTS.c.tenant_id)
        before |= {row.tenant_id: row.numbers for row in connection.execute(query.with_for_update())}
    for tenant_id in tenants:
        change = update(_COUNTS).where(_COUNTS.c.fleet == fleet, _COUNTS.c.tenant_id == tenant_id)
        connection.execute(change.values(numbers=_sum(before.get(tenant_id, "{}"), rows[tenant_id])))


def _sum(one: str, other: str) -> str:
    """Return the sum of two rows; numbers that this version does not know are kept."""
    numbers = json.loads(one)
    for code, number in json.loads(other).items():
        numbers[code] = numbers.get(code, 0) + number
    return json.dumps({code: number for code, number in numbers.items() if number}, separators=(",", ":"))


def _counts(fleet: str, bucket: int, connection: Connection) -> dict[str, str]:
    which = (_COUNTS.c.fleet == fleet) & (_COUNTS.c.bucket == bucket)
    found = connection.execute(select(_COUNTS.c.tenant_id, _COUNTS.c.numbers).where(which))
    return {tenant_id: numbers for tenant_id, numbers in found if numbers != "{}"}
