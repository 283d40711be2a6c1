"""Logging of a process: one JSON line on stdout, one record over OTLP, nothing personal on either."""

import io
import json
import logging
import logging.handlers
import os

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from telemetry.logs.process_logging import NOISY, process_logging
from telemetry.semconv import attributes as attr

NUMBER = "+14155550123"


@pytest.fixture
def exported() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]


@pytest.fixture
def provider(exported: InMemoryLogRecordExporter) -> LoggerProvider:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exported))
    return provider


def test_a_record_goes_both_ways(exported: InMemoryLogRecordExporter, provider: LoggerProvider) -> None:
    """Stdout has the short keys, OTLP the attributes' own names and the event as its event name."""
    stream = io.StringIO()
    extra = {"event.name": "call.started", attr.TENANT_ID: "acme", attr.CALL_ID: "rtc_1"}
    with process_logging("INFO", provider, stream=stream):
        logging.getLogger("callscope.calls").info("call started", extra=extra)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["tenant_id"], line["call_id"]) == ("call.started", "acme", "rtc_1")
    record = exported.get_finished_logs()[0].log_record
    assert record.event_name == "call.started"
    assert record.attributes is not None
    assert record.attributes[attr.TENANT_ID] == "acme"


def test_nothing_an_exception_quotes_leaves(exported: InMemoryLogRecordExporter, provider: LoggerProvider) -> None:
    """A number in a message is masked; an exception's message is left out, its class and place stay."""
    stream = io.StringIO()
    with process_logging("INFO", provider, stream=stream):
        try:
            os.environ[NUMBER]
        except LookupError:
            logging.getLogger("callscope").exception("no tenant for %s", NUMBER)
    sent = exported.get_finished_logs()[0].log_record
    assert NUMBER not in stream.getvalue() + str(sent.body) + str(sent.attributes)
    assert sent.attributes is not None
    assert sent.attributes["exception.type"] == "KeyError"
    assert "KeyError" in json.loads(stream.getvalue())["exception"]


def test_libraries_are_quieter_and_everything_is_put_back(provider: LoggerProvider) -> None:
    """At INFO and DEBUG their chatter stays out, at ERROR their warnings too; afterwards all is as before."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), [logging.getLogger(name).level for name in NOISY])
    for level, expected in (("DEBUG", logging.WARNING), ("ERROR", logging.ERROR)):
        with process_logging(level, provider, stream=io.StringIO()):
            assert {logging.getLogger(name).level for name in NOISY} == {expected}
            assert root.level == logging.getLevelNamesMapping()[level]
    assert (root.level, list(root.handlers), [logging.getLogger(name).level for name in NOISY]) == before


def test_the_calls_records_have_their_lines_at_any_level(
    exported: InMemoryLogRecordExporter, provider: LoggerProvider
) -> None:
    """At ERROR stdout and OTLP are quiet about transitions, and a further handler sees them all the same."""
    stream, further = io.StringIO(), logging.handlers.BufferingHandler(10)
    with process_logging("ERROR", provider, further, stream=stream):
        logging.getLogger("callscope.calls").info("call started")
        logging.getLogger("callscope.calls").debug("turn ended")
        logging.getLogger("sqlalchemy.engine").warning("chatter")
    assert [record.getMessage() for record in further.buffer] == ["call started"]
    assert (stream.getvalue(), exported.get_finished_logs()) == ("", ())
