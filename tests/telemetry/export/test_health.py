"""The health of a signal is counted exactly, and the log hears of changes alone."""

import pytest

from telemetry.export.destination import OtlpDestination
from telemetry.export.health import HealthRecord
from telemetry.export.outcome import ExportFault, ExportOutcome, Failure
from telemetry.export.plan import Route
from telemetry.export.signals import Protocol, Signal
from telemetry.testing import FakeClock

REFUSED = ExportOutcome(Failure(ExportFault.REFUSED))
BUSY = ExportOutcome(Failure(ExportFault.BUSY, "HTTP 503"))
CLOSED = ExportOutcome(Failure(ExportFault.CLOSED))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def record(clock: FakeClock) -> HealthRecord:
    destination = OtlpDestination(Signal.TRACES, Protocol.HTTP, "http://user:hunter2@collector:4318/v1/traces")
    return HealthRecord(Route(Signal.TRACES, destination), clock)


def test_failures_are_counted_until_a_success(record: HealthRecord, clock: FakeClock) -> None:
    """Each failed round counts; a success sets the count to zero and keeps the error for those who ask later."""
    for outcome in (REFUSED, BUSY):
        record.exported(outcome)
    assert record.snapshot(thread_alive=True).consecutive_failures == 2
    clock.advance(7)
    record.exported(ExportOutcome())
    clock.advance(2)
    health = record.snapshot(thread_alive=True)
    assert (health.consecutive_failures, health.failing, health.last_success_seconds) == (0, False, 2)
    assert (health.last_error, health.last_error_seconds) == ("server busy or unavailable (HTTP 503)", 9)


def test_the_age_counts_from_when_nothing_was_overdue(record: HealthRecord, clock: FakeClock) -> None:
    """With nothing to export the age stays young; while exporting fails it grows, idle rounds or not."""
    clock.advance(60)
    record.idle()
    assert record.snapshot(thread_alive=True).age_seconds == 0
    record.exported(REFUSED)
    clock.advance(60)
    record.idle()
    health = record.snapshot(thread_alive=True)
    assert (health.age_seconds, health.last_success_seconds) == (60, None)


def test_a_dead_thread_is_failing(record: HealthRecord) -> None:
    """Without a thread no export can come, whatever the last one did."""
    assert record.snapshot(thread_alive=False).failing
    assert not record.snapshot(thread_alive=True).failing


def test_a_signal_not_exported_is_never_failing(clock: FakeClock) -> None:
    """Nothing to do is nothing to worry about."""
    health = HealthRecord(Route(Signal.LOGS), clock).snapshot(thread_alive=False)
    assert (health.enabled, health.failing, health.age_seconds) == (False, False, 0)


def test_an_outage_is_logged_at_both_ends(
    record: HealthRecord, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Where, why, for how long; without password."""
    for _ in range(3):
        record.exported(REFUSED)
        clock.advance(10)
    record.exported(ExportOutcome())
    record.exported(ExportOutcome())
    where = "Export of traces to http://collector:4318/v1/traces"
    assert [entry.message for entry in caplog.records] == [
        f"{where} fails: connection refused. Calls are not affected.",
        f"{where} works again, after 3 failed attempts in 30 s.",
    ]


def test_drops_are_logged_once_until_an_outage_is_over(record: HealthRecord, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand drops are one line; after a recovery the next drop is news again."""
    for _ in range(1_000):
        record.crowded_out(1)
    record.exported(REFUSED)
    record.exported(ExportOutcome())
    record.crowded_out(1)
    told = [entry.message for entry in caplog.records if entry.message.startswith("Dropping")]
    assert told == ["Dropping spans: more wait to be exported than the queue holds."] * 2
    assert record.snapshot(thread_alive=True).dropped == 1_001


def test_drops_are_news_again_after_a_round_without(record: HealthRecord, caplog: pytest.LogCaptureFixture) -> None:
    """Under steady overload every round succeeds and drops: one line; after a round without drops, one more."""
    for drops in (3, 3, 3, 0, 3):
        for _ in range(drops):
            record.crowded_out(1)
        record.exported(ExportOutcome())
    assert len(caplog.records) == 2


def test_rejections_are_logged_once_until_an_answer_without(
    record: HealthRecord, caplog: pytest.LogCaptureFixture
) -> None:
    """Partial success after partial success is one line; the count goes on; a failure in between changes nothing."""
    for outcome in (
        ExportOutcome(rejected=2),
        REFUSED,
        ExportOutcome(rejected=3),
        ExportOutcome(),
        ExportOutcome(rejected=1, note="too old"),
    ):
        record.exported(outcome)
    told = [entry.message.rpartition(": ")[2] for entry in caplog.records if "rejects" in entry.message]
    assert told == ["2 spans", "too old"]
    assert record.snapshot(thread_alive=True).rejected == 6


def test_an_unexpected_exception_is_a_failure_by_name(record: HealthRecord, caplog: pytest.LogCaptureFixture) -> None:
    """Its type is told; the traceback is for those who listen at debug level."""
    caplog.set_level("DEBUG", logger="telemetry.export")
    record.broken(KeyError("x"))
    assert record.snapshot(thread_alive=True).last_error == "failed (KeyError)"
    assert [(entry.levelname, bool(entry.exc_info)) for entry in caplog.records] == [
        ("DEBUG", True),
        ("WARNING", False),
    ]


def test_being_broken_off_at_the_end_does_not_hide_the_reason(record: HealthRecord) -> None:
    """What went wrong before the end remains the last error."""
    record.exported(BUSY)
    record.exported(CLOSED)
    assert record.snapshot(thread_alive=True).last_error == "server busy or unavailable (HTTP 503)"


def test_after_the_end_nothing_is_news(record: HealthRecord, caplog: pytest.LogCaptureFixture) -> None:
    """A thread left behind may still fail; nobody is told."""
    record.end(5)
    record.exported(REFUSED)
    assert caplog.records == []
    assert record.snapshot(thread_alive=False).dropped == 5
