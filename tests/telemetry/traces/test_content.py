"""What is said, pressed and handed to tools: on the spans of tenants that allow it, and nowhere else."""

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from telemetry.calls.call import Call
from telemetry.calls.events import CallRef, Content, ContentHeard
from telemetry.clock import Instant
from telemetry.semconv.attributes import ATTRIBUTES, CallId, EndReason, TenantId
from telemetry.semconv.genai import GENAI_ATTRIBUTES
from telemetry.testing import TelemetryKit
from telemetry.traces.sink import CONTENT_KEYS, MAX_CHARACTERS

SAID = {kind: f"hush {kind}" for kind in Content}


def talk(kit: TelemetryKit, *, content: bool) -> Call:
    """A call in which everything is said that can be."""
    call = kit.tracker.received("rtc_1", "acme", content=content)
    call.accepted()
    call.started()
    call.heard(Content.AGENT_SAID, "hush hello")
    call.caller_started_speaking()
    call.caller_stopped_speaking()
    for kind in (Content.CALLER_SAID, Content.AGENT_SAID, Content.KEY_PRESSED):
        call.heard(kind, SAID[kind])
    with call.tool("lookup", "call_1"):
        for kind in (Content.TOOL_ARGUMENTS, Content.TOOL_RESULT):
            call.heard(kind, SAID[kind], "call_1")
    call.ended(EndReason.HANGUP)
    return call


def told(kit: TelemetryKit, name: str) -> list[tuple[str, dict[str, object]]]:
    """The events of the only span of this name."""
    record = kit.recent.call("rtc_1")
    assert record is not None
    assert record.trace is not None
    (span,) = [span for span in record.trace.spans if span.name == name]
    return [(event.name, dict(event.attributes)) for event in span.events]


def test_allowed_content_is_where_it_was_said(kit: TelemetryKit) -> None:
    """A greeting is on the session, what was said and pressed on its turn, what a tool was given on the tool's span."""
    talk(kit, content=True)
    assert told(kit, "session") == [("agent.said", {"voice.transcript": "hush hello"})]
    spoken = (Content.CALLER_SAID, Content.AGENT_SAID, Content.KEY_PRESSED)
    assert told(kit, "turn") == [(kind.value, {CONTENT_KEYS[kind]: SAID[kind]}) for kind in spoken]
    handed = (Content.TOOL_ARGUMENTS, Content.TOOL_RESULT)
    assert told(kit, "execute_tool lookup") == [(kind.value, {CONTENT_KEYS[kind]: SAID[kind]}) for kind in handed]


def test_content_is_in_the_calls_record_with_its_spans(kit: TelemetryKit) -> None:
    """Who may see the call's spans sees what was said, with the numbers in it masked."""
    call = kit.tracker.received("rtc_1", "acme", content=True)
    call.heard(Content.CALLER_SAID, "My number is +49 30 12345678.")
    call.finish(EndReason.ERROR)
    assert "My number is …5678." in repr(kit.recent.call("rtc_1"))


def test_content_that_is_not_allowed_is_nowhere(kit: TelemetryKit) -> None:
    """Without the tenant's leave nothing of it is on a span, in the record, or among the metrics."""
    talk(kit, content=False)
    assert "hush" not in repr((kit.spans(), kit.recent.call("rtc_1"), kit.metrics()))


def test_content_is_no_metric_and_no_log_line(kit: TelemetryKit) -> None:
    """Even where it is allowed it is on spans alone."""
    talk(kit, content=True)
    assert "hush" not in repr((kit.metrics(), kit.logs()))


def test_long_content_is_cut(kit: TelemetryKit) -> None:
    """One piece of content takes no more than its share."""
    finished = InMemorySpanExporter()
    kit.tracer_provider.add_span_processor(SimpleSpanProcessor(finished))
    call = kit.tracker.received("rtc_1", "acme", content=True)
    call.heard(Content.CALLER_SAID, "x" * 100_000)
    call.finish(EndReason.ERROR)
    ((event,),) = [span.events for span in finished.get_finished_spans()]
    assert event.attributes == {"voice.transcript": "x" * MAX_CHARACTERS}


@pytest.mark.parametrize("kind", Content)
def test_an_event_does_not_show_what_was_said(kind: Content) -> None:
    """Every kind of content has a key of its own class, and whoever prints the event sees no text."""
    assert CONTENT_KEYS[kind] in {attribute.key for attribute in (*ATTRIBUTES, *GENAI_ATTRIBUTES)}
    assert "hush" not in repr(ContentHeard(Instant(0, 0), CallRef(CallId("rtc_1"), TenantId("acme")), kind, "hush"))


def test_a_dictated_number_is_masked_on_the_span(kit: TelemetryKit) -> None:
    """What a caller dictates leaves the process like any other number, and is cut only after it was masked."""
    call = kit.tracker.received("rtc_1", "acme", content=True)
    call.heard(Content.CALLER_SAID, "x" * (MAX_CHARACTERS - 3) + " 555 0100")
    call.heard(Content.CALLER_SAID, "five five five, 0 1 0 0")
    call.finish(EndReason.ERROR)
    ((_, first), (_, second)) = told(kit, "call")
    assert "555" not in str(first)
    assert second == {"voice.transcript": "…0100"}
