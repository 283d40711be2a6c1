"""The worked example of the billing page is what the service computes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from service.records.store import RecordStore
from service.storage.database import Database
from service.usage.documents import BilledSums
from service.usage.freezing import Freezer
from service.usage.period import Grouping, Period, moment
from service.usage.report import UsageReader, seconds
from service.usage.rules import Agreed, Rounding, agree
from service.usage.serializer import entry
from telemetry.recent.record import CallOutcome
from telemetry.testing import FakeClock
from tests.service.usage.ledger import Made, written

PAGE = (Path(__file__).parents[3] / "docs/billing.md").read_text()
ZONE = "Europe/Berlin"
OCTOBER = Period.parse("2026-10-01", "2026-11-01", ZONE)
BOTH = Period.parse("2026-10-01", "2026-12-01", ZONE)
CALLS = {
    "A": Made("2026-10-12T10:00:00+02:00", 61.25),
    "B": Made("2026-10-31T23:59:30+01:00", 90),
    "C": Made("2026-10-20T12:00:00+02:00", 0, outcome=CallOutcome.REJECTED),
    "D": Made("2026-11-05T09:00:00+01:00", 10),
}
LATE = Made("2026-10-15T10:00:00+02:00", 5)
FIGURES = ("calls", "answered_calls", "split_calls", "seconds", "rounded_seconds", "rounded_minutes")


def on_page(rows: Iterable[Sequence[object]]) -> None:
    """Demand that the page has these rows of a table, one after the other."""
    table = "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)
    assert table in PAGE, table


async def months(database: Database) -> list[list[object]]:
    grouping = Grouping.parse("month", BOTH)
    lines = UsageReader(database).lines(BOTH, grouping, tenant_id="acme")
    entries = [entry(line, grouping) async for line in lines]
    return [[one["month"], *(one[name] for name in FIGURES), "; ".join(one["rounding"])] for one in entries]


def sums(line: BilledSums) -> list[object]:
    return [line.tenant_id, line.calls, line.answered_calls, seconds(line.duration_ms), seconds(line.rounded_ms)]


async def test_the_example_is_computed(database: Database) -> None:
    """The calls of the page give the months, the freeze and the adjustment of the page."""
    on_page(
        [name, f"{moment(call.start_ms, BOTH.zone):%Y-%m-%d %H:%M:%S}", f"{call.seconds:.3f}", call.outcome]
        for name, call in CALLS.items()
    )
    await written(database, CALLS.values())
    rule = Rounding.parse("per_started_minute")
    await agree(database, Agreed("acme", 0, rule), actor="sales", now_ms=0)
    on_page(await months(database))

    clock = FakeClock()
    freezer = Freezer(database, clock)
    freeze = await freezer.freeze(OCTOBER, actor="finance")
    await RecordStore(database, clock).write([LATE.record(9).row()])
    adjustment = await freezer.settle(freeze.facts.document_id, actor="finance", accepts=lambda _: True)
    examined = await freezer.examine(freeze.facts.document_id)
    on_page(
        [
            [f"freeze {freeze.facts.document_id}", *sums(examined.lines[0])],
            [f"adjustment {adjustment.document.facts.document_id}", *sums(adjustment.lines[0])],
        ]
    )


async def test_the_example_by_start_is_computed(database: Database) -> None:
    """Under the rule that goes by start the same calls give the other months of the page."""
    await written(database, CALLS.values())
    by_start = Rounding.parse("per_started_minute", by_start=True)
    await agree(database, Agreed("acme", 0, by_start), actor="sales", now_ms=0)
    on_page(await months(database))
