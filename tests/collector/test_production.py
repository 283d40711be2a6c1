"""The production layer at work: what tail sampling keeps, what a crash leaves, what redaction takes out."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.collector import Collector
from tests.peers.emitter import OtlpEmitter
from tests.peers.network import free_port
from tests.peers.peers import Peers
from tests.peers.sink import OtlpSink
from tests.peers.waiting import until

KEEP_NONE = {"COLLECTOR_SAMPLE_PERCENT": "0", "COLLECTOR_ROOT_GRACE": "1s"}
"""Only the policies keep a trace, and they decide a second after its root."""

DECIDED = "otelcol_processor_tail_sampling_global_count_traces_sampled"

WORTH_READING: dict[str, dict[str, Any]] = {
    "failed": {"error": "carrier gone"},
    "rejected": {"root": {"voice.call.outcome": "rejected"}},
    "stale": {"root": {"voice.call.end.reason": "stale"}},
    "never-started": {"root": {"voice.call.outcome": "abandoned"}},
    "slow-answer": {"turn": {"voice.turn.time_to_first_audio_s": 1.6}},
    "no-answer": {"turn": {"voice.turn.unanswered_s": 1.6}},
    "fallback": {"root": {"voice.instructions.fallback": True}},
    "session-error": {"event": "session.error"},
    "cut-off-tool": {"event": "tool.cut_off"},
    "slow-tool": {"turn": {"gen_ai.tool.name": "lookup"}, "turn_seconds": 3.5},
    "slow-greeting": {"root": {"voice.call.time_to_first_audio_s": 7.5}},
    "slow-setup": {"root": {"voice.call.setup.duration_s": 3.0}},
}
"""Calls that are kept, by the reason why."""


@pytest.fixture(scope="module")
def sink(module_peers: Peers) -> OtlpSink:
    return module_peers.sink()


@pytest.fixture(scope="module")
def collector(module_peers: Peers, sink: OtlpSink) -> Collector:
    return module_peers.collector("base", "production", "vendors/otlp", environment=KEEP_NONE | destination(sink.url))


@pytest.fixture
def emitter(collector: Collector) -> Iterator[OtlpEmitter]:
    with OtlpEmitter(collector.otlp_http) as emitter:
        yield emitter


def destination(url: str) -> dict[str, str]:
    """The addresses the generic destination reads."""
    return {f"OTLP_{signal.upper()}_URL": f"{url}/v1/{signal}" for signal in ("metrics", "traces", "logs")}


@pytest.mark.parametrize("why", WORTH_READING)
def test_a_call_worth_reading_is_kept_whole(why: str, collector: Collector, emitter: OtlpEmitter) -> None:
    """A failed, rejected, stale or slow call is kept with all its spans, those sent long before its end too."""
    trace_id = emitter.call(tenant="acme", during=emitter.flush, **WORTH_READING[why])
    emitter.flush()
    names = until(lambda: {s.name for s in collector.received.spans() if s.trace_id == trace_id}, f"the {why} call")
    assert names == {"call", "turn"}


def test_a_plain_call_is_sampled_away_and_still_counted(collector: Collector, emitter: OtlpEmitter) -> None:
    """A call without anything to report is dropped from the traces, and its metrics are not."""
    dropped = collector.metric(DECIDED, sampled="false")
    trace_id = emitter.call(
        tenant="plain",
        root={"voice.call.outcome": "completed", "voice.call.end.reason": "completed"},
        turn={"voice.turn.time_to_first_audio_s": 1.4, "gen_ai.tool.name": "lookup"},
        turn_seconds=2.5,
    )
    emitter.flush()
    until(lambda: collector.metric(DECIDED, sampled="false") > dropped, "the decision")
    assert trace_id not in {span.trace_id for span in collector.received.spans()}
    tenants = {point.attributes["tenant.id"] for point in collector.received.points("voice.call.accepted")}
    assert "plain" in tenants


def test_what_was_queued_survives_a_crash(peers: Peers) -> None:
    """Killed while its destination is away, a Collector delivers all three signals once both are back."""
    port = free_port()
    collector = peers.collector(
        "base", "production", "vendors/otlp", environment=KEEP_NONE | destination(f"http://127.0.0.1:{port}")
    )
    with OtlpEmitter(collector.otlp_http) as emitter:
        emitter.call(tenant="acme", error="kept")
    until(lambda: collector.received.spans("call") and collector.received.logs(), "the data to be queued")
    collector.kill()
    collector.start()
    sink = peers.sink(port)
    assert until(lambda: {span.name for span in sink.spans}, "the spans") == {"call", "turn"}
    assert until(lambda: [entry.body.string_value for entry in sink.logs], "the log line") == ["call ended"]
    assert "voice.call.accepted" in until(lambda: {metric.name for metric in sink.metrics}, "the metrics")


def test_the_collector_says_where_data_came_from(peers: Peers) -> None:
    """Attributes set on the Collector's environment are added, and replace nothing the service said about itself."""
    given = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod,service.name=gateway"}
    environment = KEEP_NONE | destination("http://127.0.0.1:9") | given
    collector = peers.collector("base", "production", "vendors/otlp", environment=environment)
    with OtlpEmitter(collector.otlp_http) as emitter:
        emitter.call(tenant="acme")
    resource = until(lambda: collector.received.points("voice.call.accepted"), "the point")[0].resource
    assert (resource["deployment.environment.name"], resource["service.name"]) == ("prod", "callscope")


PERSONAL: dict[str, str | int] = {
    "sip.header.from": "anything",
    "caller.dtmf": "1234",
    "agent.transcript": "my card is",
    "http.request.header.authorization": "Bearer abcdefghijkl",
    "openai.api_key": "x",
    "note": "rang from +18005550142 today",
    "peer": "sip:alice@example.com;transport=tls",
    "debug": "used sk-proj-0123456789abcdefghij",
}
HARMLESS: dict[str, str | int] = {
    "gen_ai.token.type": "input",
    "gen_ai.usage.input_tokens": 12,
    "voice.call.id": "rtc_1234567890123456",
    "voice.caller.number": "***0142",
    "when": "2026-01-01T00:00:00+00:00",
}


def test_redaction_takes_out_personal_data_and_secrets(collector: Collector, emitter: OtlpEmitter) -> None:
    """Numbers, addresses, digits, transcripts and credentials leave a span and a log line; nothing else does."""
    trace_id = emitter.call(tenant="acme", error="kept", root={**PERSONAL, **HARMLESS})
    emitter.log("caller +18005550142 said sip:alice@example.com", {**PERSONAL, **HARMLESS})
    emitter.flush()
    spans = until(lambda: [s for s in collector.received.spans("call") if s.trace_id == trace_id], "the span")
    record = until(lambda: [r for r in collector.received.logs() if "said" in r.body], "the log line")[0]
    for attributes in (spans[0].attributes, record.attributes):
        assert {key: attributes[key] for key in HARMLESS} == HARMLESS
        assert not [key for key in PERSONAL if attributes[key] == PERSONAL[key]]
        assert "18005550142" not in str(attributes)
        assert "alice" not in str(attributes)
    assert "18005550142" not in record.body
    assert "alice" not in record.body


def test_redaction_leaves_the_token_metric_its_two_series(collector: Collector, emitter: OtlpEmitter) -> None:
    """Masking by key does not merge the input and output series of the token metric."""
    for direction in ("input", "output"):
        emitter.record("gen_ai.client.token.usage", 5, {"tenant.id": "acme", "gen_ai.token.type": direction})
    emitter.flush()
    points = until(lambda: collector.received.points("gen_ai.client.token.usage"), "the points")
    assert {point.attributes["gen_ai.token.type"] for point in points} == {"input", "output"}
