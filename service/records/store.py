"""Records in the database: written so that repeating, reordering or racing writes change nothing twice."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Dialect,
    Table,
    Update,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError

from service.records.models import CallRecordRow
from service.records.record import BEAT_COLUMNS, COLUMNS, CallRecord, DurationSource, Row
from service.storage.database import Database
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Clock
from telemetry.semconv.attributes import CallId

CALLS = cast("Table", CallRecordRow.__table__)

Upsert = sqlite.Insert | postgresql.Insert

_WRITTEN = (*COLUMNS, "written_ms")
_KEYS = ("call_id", "claim", "instance_id")
_STALE = DurationSource.LAST_SIGN_OF_LIFE.value


def upsert(dialect: Dialect) -> Upsert:
    """Write a whole row, unless the database knows better; see :func:`_is_news`."""
    insert = postgresql.insert(CALLS) if dialect.name == "postgresql" else sqlite.insert(CALLS)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[CALLS.c.call_id],
        set_={name: new[name] for name in _WRITTEN if name != "call_id"},
        where=_is_news(new),
    )


def _is_news(new: Any) -> ColumnElement[bool]:  # noqa: ANN401 -- `excluded` has a different type on each dialect
    """What a stored row gives way to.

    A newer state under the same claim; the same call announced once more after nobody took it up; and, where it was
    given up at its last sign of life, its true end.
    """
    old = CALLS.c
    newer_state = and_(old.claim == new.claim, old.instance_id == new.instance_id, old.version < new.version)
    never_taken_up = or_(
        old.state == CallState.PENDING.value, and_(old.duration_source == _STALE, old.started_ms.is_(None))
    )
    announced_again = and_(old.claim < new.claim, never_taken_up)
    true_end = and_(
        old.duration_source == _STALE, new.ended_ms.is_not(None), func.coalesce(new.duration_source, "") != _STALE
    )
    return or_(newer_state, announced_again, true_end)


def beat() -> Update:
    """Write what changes while a call just goes on."""
    held = [CALLS.c[name] == bindparam(f"held_{name}") for name in _KEYS]
    return (
        update(CALLS)
        .where(*held, CALLS.c.version < bindparam("version"), CALLS.c.ended_ms.is_(None))
        .values({name: bindparam(name) for name in (*BEAT_COLUMNS, "written_ms")})
    )


class RecordStore:
    """The table of call records."""

    __slots__ = ("_beat", "_clock", "_database", "_upsert")

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._upsert = upsert(database.engine.dialect)
        self._beat = beat()

    async def write(self, rows: Sequence[Row], beats: Sequence[Row] = ()) -> None:
        """Write whole rows and heartbeats in one transaction. Raises what the database raises."""
        written = {"written_ms": self._clock.now().unix_ms}
        async with self._database.writing() as session:
            if rows:
                await session.execute(self._upsert, [row | written for row in _in_order(rows)])
            if beats:
                await session.execute(self._beat, [_beat_parameters(row) | written for row in _in_order(beats)])

    async def find(self, call_id: CallId) -> CallRecord | None:
        """The call's record, if the database has one."""
        async with self._database.reading() as session:
            found = (await session.execute(select(CALLS).where(CALLS.c.call_id == call_id))).mappings().first()
        return None if found is None else CallRecord.from_row(dict(found))


def blames_data(error: Exception) -> bool:
    """Whether the database is there and refuses a row for what is in it (SQLSTATE classes 22 and 23)."""
    state = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    return isinstance(error, DataError | IntegrityError) or state.startswith(("22", "23"))


def _in_order(rows: Sequence[Row]) -> list[Row]:
    # Two processes that write the same rows in the same order cannot deadlock.
    return sorted(rows, key=lambda row: str(row["call_id"]))


def _beat_parameters(row: Row) -> Row:
    return {name: row[name] for name in BEAT_COLUMNS} | {f"held_{name}": row[name] for name in _KEYS}
