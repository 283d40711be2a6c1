"""Records in the database: written so that no repeated or racing write counts twice, and read in pages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import DataError, IntegrityError

from service.records.models import NOT_DIRECT, OUTBOUND, CallKeyRow, CallRecordRow
from service.records.record import COLUMNS, HEARTBEAT_COLUMNS, DurationSource, Row, StoredCall, readable
from service.storage.database import Database, Insert, insert_into
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Clock
from telemetry.privacy import SHOWN_DIGITS
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import (
    DIRECT_SOURCE,
    CallDirection,
    CallId,
    EndReason,
    Fault,
    RejectionReason,
    UnansweredReason,
)

CALLS: Final = cast("Table", CallRecordRow.__table__)
KEYS: Final = cast("Table", CallKeyRow.__table__)

_WRITTEN: Final = (*COLUMNS, "written_ms")
_IDENTITY: Final = ("call_id", "claim", "instance_id")
_STALE: Final = DurationSource.LAST_SIGN_OF_LIFE.value
_NOT_TAKEN: Final = (CallState.REJECTED.value, CallState.UNANSWERED.value)
_AT_ONCE: Final = 500
# Calls one statement asks for; SQLite takes a few thousand parameters.


class Owner(NamedTuple):
    """The claim a call is held under, as the database has it."""

    instance_id: str
    claim: int
    state: CallState
    over: bool
    handed_over: bool

    @property
    def undecided(self) -> bool:
        """True while nobody has accepted or rejected the call."""
        return self.state is CallState.PENDING and not self.over


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of a write."""

    lost: frozenset[tuple[str, int]]
    """Calls, each with the claim it was written under, that are another's by now: their rows met nothing."""


NOTHING_LOST: Final = Written(frozenset())


def upsert(dialect: Dialect) -> Any:  # noqa: ANN401 -- each dialect has a type of its own for it
    """Return the statement that writes a whole row, unless the database knows better; see :func:`_is_news`."""
    insert = insert_into(CALLS, dialect)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=[CALLS.c.call_id],
        set_={name: new[name] for name in _WRITTEN if name != "call_id"},
        where=_is_news(new),
    ).returning(CALLS.c.call_id)


def _is_news(new: Any) -> ColumnElement[bool]:  # noqa: ANN401 -- `excluded` has a different type on each dialect
    """Return the condition under which a stored row gives way to a new one.

    A newer state under the same claim; where the call was given up at its last activity, its true end; and of two
    processes that took the call each for its own while the database was away, the one that was told first, unless it
    did not come to take the call and the other did.
    """
    old = CALLS.c
    newer_state = and_(old.claim == new.claim, old.instance_id == new.instance_id, old.version < new.version)
    true_end = and_(
        old.duration_source == _STALE, new.ended_ms.is_not(None), func.coalesce(new.duration_source, "") != _STALE
    )
    # A take-over keeps the moment of receipt, so that moments differ where a call was taken in hand twice.
    received_first = and_(old.ended_ms.is_(None), new.received_ms < old.received_ms)
    # Spelt out, as an IN list cannot stand in a statement that is executed for many rows.
    not_taken = and_(or_(*(old.state == state for state in _NOT_TAKEN)), new.received_ms != old.received_ms)
    rival = and_(*(new.state != state for state in _NOT_TAKEN), or_(received_first, not_taken))
    return or_(newer_state, true_end, rival)


def heartbeat() -> Update:
    """Return the statement that writes what changes while a call just goes on."""
    tracked = [CALLS.c[name] == bindparam(f"tracked_{name}") for name in _IDENTITY]
    return (
        update(CALLS)
        .where(*tracked, CALLS.c.version < bindparam("version"), CALLS.c.ended_ms.is_(None))
        .values({name: bindparam(name) for name in (*HEARTBEAT_COLUMNS, "written_ms")})
    )


class RecordStore:
    """The tables of call records and of their keys."""

    __slots__ = ("_claim_key", "_claim_record", "_clock", "_database", "_heartbeat", "_key", "_upsert")

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        dialect = database.engine.dialect
        self._claim_key = insert_into(KEYS, dialect).on_conflict_do_nothing().returning(KEYS.c.call_id)
        self._claim_record = insert_into(CALLS, dialect).on_conflict_do_nothing().returning(CALLS.c.call_id)
        self._key = _key(insert_into(KEYS, dialect))
        self._upsert = upsert(dialect)
        self._heartbeat = heartbeat()

    async def claim(self, rows: Sequence[Row]) -> Mapping[CallId, Owner]:
        """Insert keys and records of new calls in one transaction; return the owners of those that are not new.

        A call whose key or record is there already belongs to whoever inserted it, and nothing of it is written. One
        that this very claim inserted before, with the acknowledgement lost, is new. Raises what the database raises.
        """
        ordered = _in_order(rows)

        def work(connection: Connection) -> dict[CallId, Owner]:
            free = set(connection.scalars(self._claim_key, [_key_of(row) for row in ordered]))
            mine = [row | self._written() for row in ordered if row["call_id"] in free]
            entered = set(connection.scalars(self._claim_record, mine)) if mine else set()
            others = [row for row in ordered if row["call_id"] not in entered]
            owners = _owners(connection, [row["call_id"] for row in others])
            return {row["call_id"]: owners.get(row["call_id"], _ERASED) for row in others if not _is(row, owners)}

        return await self._database.write(work)

    async def write(self, rows: Sequence[Row], heartbeats: Sequence[Row] = (), *, keys: Sequence[Row] = ()) -> Written:
        """Write whole rows and heartbeats in one transaction, and say which of them are another's by now.

        ``keys`` are those of the rows whose key may not be there yet. Raises what the database raises.
        """

        def work(connection: Connection) -> Written:
            if keys:
                connection.execute(self._key, [_key_of(row) for row in _in_order(keys)])
            met: set[str] = set()
            if rows:
                met = set(connection.scalars(self._upsert, [row | self._written() for row in _in_order(rows)]))
            if heartbeats:
                parameters = [_heartbeat_parameters(row) | self._written() for row in _in_order(heartbeats)]
                connection.execute(self._heartbeat, parameters)
            doubtful = [row for row in (*rows, *heartbeats) if row["call_id"] not in met]
            owners = _owners(connection, [row["call_id"] for row in doubtful])
            lost = (row for row in doubtful if row["call_id"] in owners and not _is(row, owners))
            return Written(frozenset((row["call_id"], row["claim"]) for row in lost))

        return await self._database.write(work)

    async def owners(self, call_ids: Sequence[CallId]) -> Mapping[str, Owner]:
        """Return whose these calls are, leaving out those that have no record. Raises what the database raises."""
        async with self._database.reading() as session:
            return await session.run_sync(lambda found: _owners(found.connection(), call_ids))

    async def find(self, call_id: CallId) -> StoredCall | None:
        """Return the call's record, if the database has one that can be read."""
        async with self._database.reading() as session:
            found = await session.execute(select(CALLS).where(CALLS.c.call_id == call_id))
            return next(iter(readable(found.mappings())), None)

    async def find_by_trace(self, trace_id: str) -> StoredCall | None:
        """Return the record of the call with this trace id, if the database has one that can be read."""
        async with self._database.reading() as session:
            found = await session.execute(select(CALLS).where(CALLS.c.trace_id == trace_id).limit(1))
            return next(iter(readable(found.mappings())), None)

    def _written(self) -> Row:
        return {"written_ms": self._clock.now().unix_ms}


_ERASED: Final = Owner("", 0, CallState.ENDED, over=True, handed_over=False)
# A key outlives its record: what was erased is over.


def _key(insert: Insert) -> Any:  # noqa: ANN401 -- each dialect has a type of its own for it
    earlier = insert.excluded.received_ms
    return insert.on_conflict_do_update(
        index_elements=[KEYS.c.call_id], set_={"received_ms": earlier}, where=earlier < KEYS.c.received_ms
    )


def _owners(connection: Connection, call_ids: Sequence[str]) -> dict[str, Owner]:
    row = CALLS.c
    columns = (row.call_id, row.instance_id, row.claim, row.state, row.ended_ms, row.handed_over_ms)
    owners: dict[str, Owner] = {}
    for start in range(0, len(call_ids), _AT_ONCE):
        found = connection.execute(select(*columns).where(row.call_id.in_(call_ids[start : start + _AT_ONCE])))
        for call_id, instance_id, claim, state, ended_ms, handed_over_ms in found:
            owners[call_id] = Owner(
                instance_id, claim, CallState(state), ended_ms is not None, handed_over_ms is not None
            )
    return owners


def _key_of(row: Row) -> Row:
    return {"call_id": row["call_id"], "received_ms": row["received_ms"]}


def _is(row: Row, owners: Mapping[str, Owner]) -> bool:
    owner = owners.get(row["call_id"])
    return owner is not None and (owner.instance_id, owner.claim) == (row["instance_id"], row["claim"])


def blames_data(error: Exception) -> bool:
    """Return true if the database is there and refuses a row for its content (SQLSTATE classes 22 and 23)."""
    state = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    return isinstance(error, DataError | IntegrityError) or state.startswith(("22", "23"))


def _in_order(rows: Iterable[Row]) -> list[Row]:
    # Two processes that write the same rows in the same order cannot deadlock.
    return sorted(rows, key=lambda row: str(row["call_id"]))


def _heartbeat_parameters(row: Row) -> Row:
    return {name: row[name] for name in HEARTBEAT_COLUMNS} | {f"tracked_{name}": row[name] for name in _IDENTITY}


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
    reason: RejectionReason | UnansweredReason | EndReason | None = None
    """Calls that are over, for this reason."""
    fault: Fault | None = None
    direction: CallDirection | None = None
    source: str | None = None
    since_ms: int | None = None
    """Received then or later."""
    until_ms: int | None = None
    """Received before."""
    caller_ends_with: str | None = None
    """The last digits of the caller's number, at most :data:`SHOWN_DIGITS`."""
    caller_hash: str | None = None
    """The keyed hash of the caller's number."""
    error_type: str | None = None
    states: frozenset[CallState] | None = None
    held_by: frozenset[str] | None = None
    """Calls that these processes hold, or held last."""


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

    async def any_of(self, tenant_id: str) -> bool:
        """Return True if there is a call of this tenant on record; raise what the database raises."""
        found = select(CALLS.c.call_id).where(CALLS.c.tenant_id == tenant_id).limit(1)
        async with self._database.reading() as session:
            return (await session.execute(found)).first() is not None

    async def open_but_of(self, instance_ids: Sequence[str], limit: int) -> Sequence[StoredCall]:
        """Return open calls of other processes than these, the first received first; raise what the database raises."""
        row = CALLS.c
        others = select(CALLS).where(row.ended_ms.is_(None), row.instance_id.not_in(instance_ids))
        async with self._database.reading() as session:
            found = await session.execute(others.order_by(row.received_ms, row.call_id).limit(limit))
            return readable(found.mappings())


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
    if wanted.reason is not None:
        conditions += [row.reason == wanted.reason.value, row.ended_ms.is_not(None)]
    if wanted.fault is not None:
        conditions.append(row.fault == wanted.fault.value)
    if wanted.direction is CallDirection.OUTBOUND:
        # In the words of the index: a parameter would not tell the planner that it can be used.
        conditions.append(literal_column(OUTBOUND))
    elif wanted.direction is not None:
        conditions.append(row.direction == wanted.direction.value)
    if wanted.source is not None:
        conditions.append(row.source == wanted.source)
        conditions += [literal_column(NOT_DIRECT)] if wanted.source != DIRECT_SOURCE else []
    if wanted.since_ms is not None:
        conditions.append(row.received_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        conditions.append(row.received_ms < wanted.until_ms)
    return [*conditions, *_of_caller(wanted), *_of_process(wanted)]


def _of_caller(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    masked, digits = CALLS.c.caller_masked, wanted.caller_ends_with
    if wanted.caller_hash is not None:
        yield CALLS.c.caller_hash == wanted.caller_hash
    if digits is not None:
        # All the digits that a mask shows are a value of the index; fewer are the end of many.
        yield masked == f"…{digits}" if len(digits) == SHOWN_DIGITS else masked.like(f"%{digits}")


def _of_process(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    row = CALLS.c
    if wanted.error_type is not None:
        yield row.error_type == wanted.error_type
    if wanted.states is not None:
        yield row.state.in_([state.value for state in sorted(wanted.states)])
    if wanted.held_by is not None:
        yield row.instance_id.in_(sorted(wanted.held_by))
