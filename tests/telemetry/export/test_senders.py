"""What leaves over OTLP has been cleaned."""

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from telemetry.export.outcome import ExportFault, ExportOutcome, Failure
from telemetry.export.senders import ScrubbedSpan, Scrubbing, scrubbed_record

NUMBER = "+4915112345678"


def finished() -> ReadableSpan:
    """A span with something personal in every place there is."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource({"service.name": "test"}), span_limits=SpanLimits(max_events=2), shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("scope", "1.0")
    links = [Link(SpanContext(1, 2, is_remote=True))]
    with tracer.start_as_current_span("outer"):
        span = tracer.start_span(f"GET {NUMBER}", kind=SpanKind.CLIENT, links=links)
        span.set_attributes({"url.full": "http://h/p?secret", "url.query": "secret", "list": [NUMBER], "count": 3})
        for _ in range(3):
            span.record_exception(ValueError(f"secret {NUMBER}"))
        span.set_status(Status(StatusCode.ERROR, f"ValueError: secret {NUMBER}"))
        span.end()
    (inner, _) = exporter.get_finished_spans()
    return inner


def test_a_span_leaves_without_what_is_personal() -> None:
    """Name, attributes, events and status are cleaned, and nothing else of the span is changed."""
    span = finished()
    clean = ScrubbedSpan(span)
    assert (clean.name, dict(clean.attributes or {})) == (
        "GET …5678",
        {"url.full": "http://h/p", "list": ["…5678"], "count": 3},
    )
    assert all("secret" not in str(dict(event.attributes or {})) for event in clean.events)
    assert (clean.status.status_code, clean.status.description) == (StatusCode.ERROR, None)
    same = ("context", "parent", "kind", "start_time", "end_time", "links", "resource", "instrumentation_scope")
    assert [name for name in same if getattr(clean, name) != getattr(span, name)] == []
    assert (clean.dropped_events, clean.dropped_attributes, clean.dropped_links) == (1, 0, 0)


def test_a_log_record_leaves_without_what_is_personal() -> None:
    """Body and attributes are cleaned; the record that was written stays as it is for others."""
    written = LogRecord(body=f"call from {NUMBER}", attributes={"to": f"sip:{NUMBER}@h", "exception.message": "secret"})
    record = ReadableLogRecord(written, Resource({}))
    clean = scrubbed_record(record).log_record
    assert (clean.body, dict(clean.attributes or {})) == ("call from …5678", {"to": "sip:…5678@h"})
    assert written.body == f"call from {NUMBER}"


class Recorder:
    """Takes batches, and refuses the first."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.closed = False

    def send(self, batch: list[str]) -> ExportOutcome:
        self.batches.append(batch)
        return ExportOutcome(Failure(ExportFault.BUSY)) if len(self.batches) == 1 else ExportOutcome()

    def close(self) -> None:
        self.closed = True


def test_the_sender_sees_clean_items_and_its_outcome_counts() -> None:
    """A batch is cleaned for every attempt, the outcome is the sender's, and so is the end."""
    recorder = Recorder()
    scrubbing = Scrubbing(recorder, str.upper)
    batch = ["a", "b"]
    assert [scrubbing.send(batch).delivered for _ in range(2)] == [False, True]
    assert recorder.batches == [["A", "B"], ["A", "B"]]
    assert batch == ["a", "b"]
    scrubbing.close()
    assert recorder.closed
