"""What metrics say of records at risk, and what the log says of a spill that takes no more."""

import asyncio
import logging

import pytest

from service.records.calls import RecordsState
from service.records.observed import observe_records
from service.records.spill import MAX_BYTES
from service.records.writer import Durability
from telemetry.metrics.gauges import Observe
from telemetry.semconv import attributes as attr
from telemetry.semconv import own_health
from telemetry.semconv.attributes import EndReason
from telemetry.semconv.instrument import Instrument
from tests.service.records.harness import BUDGET, Keeper, RecordsHarness

TIMEOUT = 60.0
"""Seconds until something must have happened on a busy machine."""


class Observed:
    """Reads what is registered, in a thread of its own, as an export does."""

    def __init__(self, keeper: Keeper) -> None:
        self._reads: dict[str, Observe] = {}
        observe_records(self._register, keeper.records)

    def _register(self, instrument: Instrument, read: Observe) -> None:
        self._reads[instrument.name] = read

    async def number(self, instrument: Instrument) -> float:
        """Return the one value of an instrument."""
        (observation,) = await asyncio.to_thread(lambda: list(self._reads[instrument.name]()))
        assert not observation.attributes
        return observation.value

    async def state(self) -> str:
        """Return the one state that is 1."""
        found = await asyncio.to_thread(lambda: list(self._reads[own_health.RECORDS_STATE.name]()))
        states = {str((o.attributes or {})[attr.RECORDS_STATE]): o.value for o in found}
        assert set(states) == set(RecordsState)
        (present,) = [state for state, value in states.items() if value == 1]
        assert sum(states.values()) == 1
        return present


async def test_records_that_are_safe_say_so(harness: RecordsHarness) -> None:
    """With a database that takes everything nothing waits, is spilled, refused or away."""
    keeper = await harness.keeper(spill_bytes=MAX_BYTES)
    observed = Observed(keeper)
    keeper.running().ended(EndReason.HANGUP)
    await keeper.flushed()
    assert await observed.state() == RecordsState.WRITING
    safe = (
        own_health.RECORDS_WAITING,
        own_health.RECORDS_SPILLED,
        own_health.RECORDS_REFUSED,
        own_health.RECORDS_UNKEPT,
    )
    assert [await observed.number(instrument) for instrument in (*safe, own_health.DATABASE_AWAY)] == [0] * 5
    assert 0 < await observed.number(own_health.RECORDS_ROOM) <= MAX_BYTES


async def test_records_at_risk_say_how_much(harness: RecordsHarness, caplog: pytest.LogCaptureFixture) -> None:
    """Without the database the spill grows and its room shrinks; once it is full records wait, and the log says so."""
    keeper = await harness.keeper(spill_bytes=4_000)
    observed = Observed(keeper)
    async with harness.database.writing() as session:
        await (await session.connection()).exec_driver_sql("ALTER TABLE call_records RENAME TO away")
    first = keeper.running("rtc_first")
    assert await keeper.records.ensure_written(first.call_id, BUDGET) is Durability.SPILL
    assert await observed.state() == RecordsState.SPILLING
    spilled = await observed.number(own_health.RECORDS_SPILLED)
    assert spilled > 0
    assert await observed.number(own_health.RECORDS_ROOM) == 4_000 - spilled
    with caplog.at_level(logging.INFO, "service.records.writer"):
        for number in range(20):
            keeper.running(f"rtc_{number}")
        async with asyncio.timeout(TIMEOUT):
            # While a pass has them in hand they do not wait.
            while await observed.state() != RecordsState.REFUSING or not await observed.number(
                own_health.RECORDS_WAITING
            ):
                keeper.records.hurry()
                await asyncio.sleep(0.01)
        assert await observed.number(own_health.DATABASE_AWAY) > 0
        async with harness.database.writing() as session:
            await (await session.connection()).exec_driver_sql("ALTER TABLE away RENAME TO call_records")
        await keeper.flushed()
    refused = [record.getMessage() for record in caplog.records if "cannot be spilled" in record.getMessage()]
    assert refused == ["call records cannot be spilled, and wait in memory: No space left on device"]
    assert await observed.state() == RecordsState.WRITING
    assert await observed.number(own_health.DATABASE_AWAY) == 0
    assert len(await harness.rows()) == 21


async def test_a_folder_that_is_gone_has_no_room(harness: RecordsHarness) -> None:
    """A disk that was taken away has room for nothing."""
    keeper = await harness.keeper()
    observed = Observed(keeper)
    moved = harness.folder.rename(harness.folder.with_name("elsewhere"))
    assert await observed.number(own_health.RECORDS_ROOM) == 0
    moved.rename(harness.folder)
