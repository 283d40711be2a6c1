"""Checks of readiness: what fails them, how long they may take, and what they cost."""

import asyncio
import threading
from pathlib import Path

from service.http.database import database_reachable
from service.http.readiness import (
    Outcome,
    Readiness,
    Remembered,
    export_information,
    not_draining,
    records_kept,
    registry_has_room,
)
from service.storage.database import Database
from telemetry.calls.tracker import CallTracker
from telemetry.export import ExportHealth, Protocol, Signal, SignalHealth
from telemetry.semconv.attributes import RejectionReason


async def fine() -> str | None:
    return None


async def broken() -> str | None:
    raise ConnectionError("postgresql://admin:secret@db.internal")


async def test_a_check_that_raises_has_failed_and_tells_no_secret() -> None:
    """An error's class is the reason; its message, which may name hosts and passwords, is not public."""
    report = await Readiness({"database": broken, "other": fine}).report()
    assert report.checks == {
        "database": Outcome(ok=False, reason="failed (ConnectionError)"),
        "other": Outcome(ok=True, reason=None),
    }
    assert (report.ready, report.failed) == (False, ["database"])


async def test_a_check_that_hangs_fails_after_its_time() -> None:
    """A check that never answers holds the report up no longer than it may."""

    async def hang() -> str | None:
        await asyncio.Event().wait()
        return None

    report = await Readiness({"database": hang}, check_seconds=0.01).report()
    assert report.checks["database"].reason == "no answer within 0.01 s"


async def test_information_that_fails_does_not_make_unready() -> None:
    """A source of information that raises is shown as such, and the process stays ready."""

    def broken_source() -> dict[str, object]:
        raise RuntimeError("personal")

    report = await Readiness({"database": fine}, {"export": broken_source}).report()
    assert report.ready
    assert report.information == {"export": {"error": "RuntimeError"}}


async def test_an_outcome_is_remembered_for_a_while() -> None:
    """However many ask, the check runs once in its time, and again after it; a failure is remembered too."""
    now = 0.0
    asked = 0

    async def count() -> str | None:
        nonlocal asked
        asked += 1
        raise ConnectionError

    check = Remembered(count, 1.0, monotonic=lambda: now)
    assert await asyncio.gather(*(check() for _ in range(20))) == ["failed (ConnectionError)"] * 20
    assert asked == 1
    now = 1.0
    await check()
    assert asked == 2


async def test_a_database_is_reachable_until_it_is_not(tmp_path: Path) -> None:
    """The check passes with a real database and fails once its file cannot be opened."""
    earlier = set(threading.enumerate())
    async with Database.from_url(f"sqlite+aiosqlite:///{tmp_path}/calls.db") as database:
        assert (await Readiness({"database": database_reachable(database)}).report()).ready
    (tmp_path / "gone").mkdir()
    async with Database.from_url(f"sqlite+aiosqlite:///{tmp_path}/gone/calls.db") as database:
        (tmp_path / "gone").rmdir()
        report = await Readiness({"database": database_reachable(database)}).report()
    assert report.checks["database"] == Outcome(ok=False, reason="failed (OperationalError)")
    for thread in set(threading.enumerate()) - earlier:  # it answers to this test's event loop
        if "_connection_worker" in thread.name:
            await asyncio.to_thread(thread.join)


async def test_draining_makes_unready() -> None:
    """Once the process has begun to stop, the check says so."""
    draining = False
    check = not_draining(lambda: draining)
    assert await check() is None
    draining = True
    assert (await check() or "").startswith("the process is stopping")


async def test_records_that_nothing_takes_are_a_reason() -> None:
    """Calls go on, and whoever asks learns that a crash would now lose some."""
    spilling = refusing = False
    check = records_kept(lambda: spilling, lambda: refusing)
    assert await check() is None
    spilling = True
    assert await check() == "the database does not take records: they wait on the local disk"
    refusing = True
    report = await Readiness({"records": check}, degrading=lambda: {"records"}).report()
    assert (report.ready, report.degraded) == (True, ["records"])
    assert report.reasons(report.degraded) == (
        "records: neither the database nor the local disk takes records: they wait in memory",
    )


async def test_a_full_registry_makes_unready() -> None:
    """When one more call could not be tracked, none should be sent."""
    tracker = CallTracker(max_open=1)
    check = registry_has_room(tracker)
    assert await check() is None
    call = tracker.received("rtc_1", "acme")
    assert await check() == "the registry of calls is full"
    call.rejected(RejectionReason.CAPACITY)
    assert await check() is None


def test_export_information_names_no_endpoint() -> None:
    """How each signal's export goes is public; where it goes is not."""
    signal = SignalHealth(
        signal=Signal.METRICS,
        enabled=True,
        protocol=Protocol.HTTP,
        endpoint="https://collector.internal:4318",
        last_success_seconds=3.0,
        age_seconds=3.0,
        consecutive_failures=2,
        last_error="refused by 10.0.0.1",
        dropped=1,
        rejected=0,
        thread_alive=True,
    )
    information = export_information(lambda: ExportHealth(signal, signal, signal))()
    assert information["failing"] is True
    assert information["metrics"] == {
        "enabled": True,
        "failing": True,
        "consecutive_failures": 2,
        "last_success_seconds": 3.0,
        "dropped": 1,
        "rejected": 0,
    }
    assert "internal" not in str(information)
