"""Every question that is asked of call records reads an index: the database's own plans are looked at."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Connection, event

from benchmarks.million_calls import BEGIN_MS, DAY_MS, calls, fill
from service.reconciliation.figures import Interval, ReconcileQuery, Scope
from service.reconciliation.records import RecordsLedger
from service.records.instances import Instances
from service.records.store import CallPages, Place, RecordStore, Wanted
from service.storage.database import Database
from service.usage.period import Grouping, Period, moment
from service.usage.report import UsageReader
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import CallDirection, Fault, RejectionReason, UnansweredReason
from telemetry.testing import FakeClock
from tests.peers.peers import Peers
from tests.support.databases import BACKENDS

pytestmark = pytest.mark.xdist_group("plans")  # they share what takes seconds to make

CALLS = 40_000
DAYS = 360
"""A year of calls, so that a month is a part of it: to read all there is, no index would help."""

MONTH_MS = BEGIN_MS + 150 * DAY_MS
LEDGER = "instance-100"


@pytest.fixture(scope="module", params=BACKENDS)
def filled_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with a year of calls."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('calls') / 'calls.db'}"
    else:
        peers: Peers = request.getfixturevalue("module_peers")
        url = peers.postgres().url
    asyncio.run(_fill(url))
    return url


async def _fill(url: str) -> None:
    assert await fill(url, calls(CALLS, seed=1, days=DAYS)) == CALLS
    async with Database.from_url(url) as database, database.writing() as session:
        # A few calls run: the rest is over, as it is in every database that has been in use.
        running = (
            "UPDATE call_records SET ended_ms = NULL, duration_ms = NULL, outcome = NULL WHERE call_id LIKE '%7777'"
        )
        await (await session.connection()).exec_driver_sql(running)


@pytest.fixture
async def database(filled_url: str) -> AsyncIterator[Database]:
    """The same."""
    async with Database.from_url(filled_url) as opened:
        yield opened


Question = Callable[[Database], Awaitable[object]]


def _usage(group_by: str, tenant_id: str | None = None) -> Question:
    async def ask(database: Database) -> object:
        first, last = (moment(at, _UTC).isoformat() for at in (MONTH_MS, MONTH_MS + 30 * DAY_MS))
        period = Period.parse(first, last, "Europe/Berlin")
        lines = UsageReader(database).lines(period, Grouping.parse(group_by, period), tenant_id=tenant_id)
        return [line async for line in lines]

    return ask


def _page(wanted: Wanted, after: Place | None = None) -> Question:
    return lambda database: CallPages(database).read(wanted, limit=50, after=after)


def _ledger(ask: Callable[[RecordsLedger], Awaitable[object]]) -> Question:
    return lambda database: ask(RecordsLedger(database, LEDGER, overlap_ms=10_000))


_UTC = Period.parse("2026-01-01", "2026-01-02").zone
DAY = Interval(MONTH_MS, MONTH_MS + DAY_MS)
MIDDLE = Place(MONTH_MS, "rtc")

QUESTIONS: dict[str, Question] = {
    "usage by day": _usage("day"),
    "usage by tenant": _usage("tenant"),
    "usage by tenant and hour": _usage("tenant,hour"),
    "usage by outcome of a tenant": _usage("outcome", "tenant-007"),
    "first page": _page(Wanted()),
    "a page in the middle": _page(Wanted(), MIDDLE),
    "first page of a tenant": _page(Wanted(tenant_id="tenant-007")),
    "a page of a tenant in the middle": _page(Wanted(tenant_id="tenant-007"), MIDDLE),
    "first page of a rare outcome": _page(Wanted(outcome=CallOutcome.FAILED)),
    "a page of a rare outcome in the middle": _page(Wanted(outcome=CallOutcome.FAILED), MIDDLE),
    "first page of a tenant's outcome": _page(Wanted(tenant_id="tenant-007", outcome=CallOutcome.FAILED)),
    "first page of a reason": _page(Wanted(reason=UnansweredReason.CANCELED)),
    "a page of a tenant's reason in the middle": _page(
        Wanted(tenant_id="tenant-007", reason=RejectionReason.CAPACITY), MIDDLE
    ),
    "first page of a fault": _page(Wanted(fault=Fault.MODEL)),
    "a page of outbound calls in the middle": _page(Wanted(direction=CallDirection.OUTBOUND), MIDDLE),
    "first page of inbound calls": _page(Wanted(direction=CallDirection.INBOUND)),
    "first page of a source": _page(Wanted(source="trunk-9")),
    "first page of a caller's digits": _page(Wanted(caller_ends_with="5678")),
    "a page of a caller in the middle": _page(Wanted(caller_hash="0" * 16), MIDDLE),
    "the call of a trace": lambda database: RecordStore(database, FakeClock()).find_by_trace("0" * 32),
    "first page of an hour": _page(Wanted(since_ms=MONTH_MS, until_ms=MONTH_MS + 3_600_000)),
    "a day's figures": _ledger(lambda ledger: ledger.rows(ReconcileQuery(Scope.FLEET, *DAY))),
    "a day's figures of a tenant": _ledger(lambda ledger: ledger.rows(ReconcileQuery(Scope.FLEET, *DAY, "tenant-007"))),
    "a process's figures": _ledger(lambda ledger: ledger.rows(ReconcileQuery(Scope.PROCESS, *DAY))),
    "a process's running calls": _ledger(lambda ledger: ledger.open_calls()),
    "a process's latest calls": _ledger(lambda ledger: ledger.latest("tenant-007", 100)),
    "calls by their ids": _ledger(lambda ledger: ledger.known(["rtc_1_0000001", "rtc_1_0000002"])),
    "who holds calls": lambda database: Instances(database, LEDGER, FakeClock()).other_holders(),
}


@dataclass
class Statements:
    """Statements as they went to the driver."""

    sent: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def _listening(database: Database) -> Iterator[Statements]:
    asked = Statements()

    def note(_c: Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401 -- the driver's own
        if "call_records" in statement:
            asked.sent.append((statement, parameters))

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_no_question_reads_the_whole_table(database: Database, question: str) -> None:
    """Each statement's plan finds its calls by an index, on both kinds of database."""
    with _listening(database) as asked:
        await QUESTIONS[question](database)
    assert asked.sent
    for statement, parameters in asked.sent:
        plan = await _plan(database, statement, parameters)
        assert _whole_table(plan) is None, f"{_whole_table(plan)}\n{statement}\n{plan}"


@pytest.mark.parametrize("question", ["usage by day", "usage by tenant", "usage by tenant and hour"])
async def test_usage_is_answered_by_an_index_alone(database: Database, question: str) -> None:
    """The sums of a period, of which there may be a million calls, read no row of the table."""
    with _listening(database) as asked:
        await QUESTIONS[question](database)
    plan = await _plan(database, *asked.sent[-1])
    assert re.search(r"COVERING INDEX ix_call_records_usage|Index Only Scan", plan), plan


async def test_a_tenants_rare_outcome_is_found_at_once(database: Database) -> None:
    """Neither all calls of the tenant nor all calls of the outcome are looked through."""
    with _listening(database) as asked:
        await QUESTIONS["first page of a tenant's outcome"](database)
    plan = await _plan(database, *asked.sent[-1])
    assert "ix_call_records_tenant_outcome" in plan


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("first page of a reason", "ix_call_records_reason"),
        ("first page of a fault", "ix_call_records_fault"),
        ("a page of outbound calls in the middle", "ix_call_records_outbound"),
        ("first page of a source", "ix_call_records_source"),
    ],
)
async def test_few_calls_are_found_among_many_at_once(database: Database, question: str, index: str) -> None:
    """What only few calls are has an index of only those, whichever the others."""
    with _listening(database) as asked:
        await QUESTIONS[question](database)
    plan = await _plan(database, *asked.sent[-1])
    assert index in plan


def test_a_scan_is_recognised() -> None:
    """The words both databases have for reading a whole table are those looked for."""
    assert _whole_table("SCAN call_records")
    assert _whole_table("SCAN call_records USING COVERING INDEX ix_call_records_usage")
    assert _whole_table("SCAN call_records USING INDEX ix_call_records_tenant_received")
    assert _whole_table("SCAN call_records USING INDEX ix_call_records_received\nUSE TEMP B-TREE FOR ORDER BY")
    assert _whole_table("SCAN call_records USING INDEX ix_call_records_received") is None
    assert _whole_table("SCAN call_records USING INDEX ix_call_records_open") is None
    assert _whole_table("SEARCH call_records USING INDEX ix_call_records_received (received_ms>?)") is None
    assert _whole_table('{"Node Type": "Seq Scan", "Relation Name": "call_records"}')


async def _plan(database: Database, statement: str, parameters: Any) -> str:  # noqa: ANN401 -- the driver's own
    postgresql = database.engine.dialect.name == "postgresql"
    explain = "EXPLAIN (FORMAT JSON)" if postgresql else "EXPLAIN QUERY PLAN"
    async with database.engine.connect() as connection:
        found = (await connection.exec_driver_sql(f"{explain} {statement}", parameters)).all()
    return json.dumps(found[0][0], indent=1) if postgresql else "\n".join(str(row[-1]) for row in found)


def _whole_table(plan: str) -> str | None:
    """The step of a plan that reads all of the calls, or an index of all of them though not in its order."""
    found = _SCAN.search(plan) or _SEQUENTIAL.search(plan)
    in_order = found is not None and found["index"] and "TEMP B-TREE" not in plan
    return None if found is None or in_order else found[0]


_SCAN = re.compile(
    # The index of open calls is small whatever the table has.
    r"^SCAN call_records(?! USING (?:COVERING )?INDEX ix_call_records_open)"
    r"(?P<index> USING INDEX ix_call_records_received)?.*$",
    re.MULTILINE,
)
_SEQUENTIAL = re.compile(
    r'"Node Type": "Seq Scan"(?:,\s*"[^"]+": [^,{}\[\]]+)*?,\s*"Relation Name": "call_records"(?P<index>\b)?'
)
