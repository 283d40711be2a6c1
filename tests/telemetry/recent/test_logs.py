"""Log lines attached to the call they are about."""

import logging
from collections.abc import Iterator

import pytest
from opentelemetry.trace import SpanContext

from telemetry.calls.events import Phase
from telemetry.recent.logs import RecentLogs
from telemetry.recent.record import LogRow
from telemetry.semconv.attributes import EndReason
from telemetry.testing import TelemetryKit
from tests.support import calls


@pytest.fixture
def logger(kit: TelemetryKit) -> Iterator[logging.Logger]:
    """A logger whose lines the record sees."""
    made = logging.getLogger("tests.some.library")
    handler = RecentLogs(kit.recent)
    made.addHandler(handler)
    made.setLevel(logging.DEBUG)
    made.propagate = False
    yield made
    made.removeHandler(handler)


def logs_of(kit: TelemetryKit) -> list[LogRow]:
    found = kit.recent.call("rtc_1")
    assert found is not None
    return list(found.logs)


def test_transitions_are_attached(kit: TelemetryKit) -> None:
    """The lines of a call's transitions are in its record, each with its event and the span it was written in."""
    calls.started(kit).ended(EndReason.HANGUP)
    rows = logs_of(kit)
    assert [row.attributes["event.name"] for row in rows] == [
        "call.received",
        "call.accepted",
        "call.started",
        "call.ended",
    ]
    assert all(row.span_id for row in rows)
    assert "voice.call.id" not in rows[0].attributes


def test_lines_of_others_are_attached_by_their_trace(kit: TelemetryKit, logger: logging.Logger) -> None:
    """Whatever is logged inside a call's phase belongs to the call, though it names none."""
    call = calls.announced(kit)
    with call.phase(Phase.ACCEPT):
        logger.warning("slow answer from %s", "carrier", extra={"attempt": 2})
    row = logs_of(kit)[-1]
    assert (row.level, row.logger, row.message) == ("WARNING", "tests.some.library", "slow answer from carrier")
    assert row.attributes == {"attempt": 2}


def test_lines_outside_calls_are_not_kept(kit: TelemetryKit, logger: logging.Logger) -> None:
    """A line written outside any call, or about one that is not known, is nobody's."""
    calls.announced(kit)
    before = len(logs_of(kit))
    logger.warning("hello")
    logger.warning("hello", extra={"voice.call.id": "rtc_other"})
    assert len(logs_of(kit)) == before


def test_details_are_not_kept(kit: TelemetryKit, logger: logging.Logger) -> None:
    """Lines below INFO stay out of the record: a turn has its row already."""
    call = calls.announced(kit)
    before = len(logs_of(kit))
    with call.phase(Phase.ACCEPT):
        logger.debug("detail")
    assert len(logs_of(kit)) == before


def test_lines_are_bounded_and_counted(kit: TelemetryKit, logger: logging.Logger) -> None:
    """A call that logs without end keeps its first and last lines, each cut to a length."""
    call = calls.announced(kit)
    with call.phase(Phase.ACCEPT):
        for number in range(500):
            logger.info("line %d %s", number, "x" * 10_000, extra={"big": "y" * 10_000})
    found = kit.recent.call("rtc_1")
    assert found is not None
    assert len(found.logs) + found.dropped["logs"] == 501
    assert len(found.logs) == 48
    assert found.logs[-1].message.startswith("line 499")
    assert (len(found.logs[-1].message), len(str(found.logs[-1].attributes["big"]))) == (256, 256)


def test_nothing_personal_gets_in(kit: TelemetryKit, logger: logging.Logger) -> None:
    """Numbers are masked, withheld attributes left out, exceptions' messages not looked at."""
    call = calls.announced(kit)
    with call.phase(Phase.ACCEPT):
        try:
            int("secret")
        except ValueError:
            logger.exception("call from +49 151 12345678 failed", extra={"url.query": "secret", "to": "tel:+12345678"})
    row = logs_of(kit)[-1]
    assert row.message == "call from …5678 failed"
    assert row.attributes == {"to": "tel:…5678"}
    assert "secret" not in repr(row)


def test_a_line_that_cannot_be_read_breaks_nothing(kit: TelemetryKit, capsys: pytest.CaptureFixture[str]) -> None:
    """A log call with wrong arguments is the logging module's to report, and harms neither call nor record."""
    call = calls.announced(kit)
    with call.phase(Phase.ACCEPT):
        RecentLogs(kit.recent).emit(logging.LogRecord("any", logging.INFO, "", 0, "%d", ("not a number",), None))
    assert "Logging error" in capsys.readouterr().err
    call.ended(EndReason.ERROR)


def test_the_keeper_gets_the_call_the_line_names() -> None:
    """A line that names its call is handed on with that name, whatever trace it was written in."""
    taken: list[tuple[str | None, LogRow]] = []

    class Keeper:
        def log_written(self, call_id: str | None, span: SpanContext, row: LogRow) -> None:
            assert not span.is_valid
            taken.append((call_id, row))

    record = logging.LogRecord("any", logging.INFO, "", 0, "hello", None, None)
    record.__dict__["voice.call.id"] = "rtc_9"
    RecentLogs(Keeper()).emit(record)
    assert [(call_id, row.span_id) for call_id, row in taken] == [("rtc_9", None)]
