"""Every standard variable does, on both protocols and for all signals, what the specification says."""

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from telemetry.export import Signal
from tests.telemetry.conftest import Certificates
from tests.telemetry.export.running import FAST, end_spans, running, say_something, to
from tests.telemetry.otlp_receiver import RECEIVERS, Accept, Hang, Receiver, Refuse
from tests.telemetry.relay import relay_to

SIGNALS = ("metrics", "traces", "logs")


def test_one_endpoint_serves_all_signals(receiver: Receiver, protocol: str) -> None:
    """With the general endpoint set, metrics, spans and logs all arrive there."""
    with running(to(receiver.endpoint, protocol)) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
    assert [metric.name for metric in receiver.metrics][:1] == ["test.calls"]
    assert [span.name for span in receiver.spans] == ["test.span"]
    assert [record.body.string_value for record in receiver.log_records] == ["said"]
    assert receiver.log_records[0].trace_id == receiver.spans[0].trace_id


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signals_own_endpoint_sends_that_signal_alone(receiver: Receiver, protocol: str, signal: str) -> None:
    """Only the signal that has an endpoint is exported; over HTTP the address is used as it is, path and all."""
    path = f"/tenant-7/v1/{signal}?source=test" if protocol != "grpc" else ""
    environ = {
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": receiver.endpoint + path,
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL": protocol,
    }
    with running(environ) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
        enabled = {health.signal for health in pipelines.health().signals if health.enabled}
    assert enabled == {signal}
    assert {received.path for received in receiver.received} == {path or _service(signal)}


def _service(signal: str) -> str:
    return {
        "metrics": "ExportMetricsServiceRequest",
        "traces": "ExportTraceServiceRequest",
        "logs": "ExportLogsServiceRequest",
    }[signal]


def test_signals_may_use_different_protocols_and_places() -> None:
    """Traces by gRPC to one server, the rest by HTTP to another."""
    with RECEIVERS["grpc"]() as by_grpc, RECEIVERS["http/protobuf"]() as by_http:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": by_http.endpoint + "/base/",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": by_grpc.endpoint,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        }
        with running(environ) as pipelines:
            say_something(pipelines)
            assert pipelines.flush()
        assert {received.path for received in by_http.received} == {"/base/v1/metrics", "/base/v1/logs"}
        assert {received.path for received in by_grpc.received} == {"ExportTraceServiceRequest"}


def test_headers_are_decoded_and_sent(receiver: Receiver, protocol: str) -> None:
    """Values are URL-encoded, may hold commas and equal signs so, and keys arrive in lower case."""
    headers = "Authorization=Basic%20dXNlcjpwYXNz%3D%3D, x-tags=a%2Cb,X-Scope = team=1"
    with running(to(receiver.endpoint, protocol, OTEL_EXPORTER_OTLP_HEADERS=headers)) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
    for received in receiver.received:
        assert received.headers["authorization"] == "Basic dXNlcjpwYXNz=="
        assert received.headers["x-tags"] == "a,b"
        assert received.headers["x-scope"] == "team=1"


def test_a_signals_own_headers_go_before_the_general_ones(receiver: Receiver, protocol: str) -> None:
    """Metrics carry their own key and nothing of the general one."""
    environ = to(
        receiver.endpoint,
        protocol,
        OTEL_EXPORTER_OTLP_HEADERS="x-key=general",
        OTEL_EXPORTER_OTLP_METRICS_HEADERS="x-key=metrics",
    )
    with running(environ) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
    keys = {type(received.message).__name__: received.headers["x-key"] for received in receiver.received}
    assert keys == {
        "ExportMetricsServiceRequest": "metrics",
        "ExportTraceServiceRequest": "general",
        "ExportLogsServiceRequest": "general",
    }


@pytest.mark.parametrize(
    ("variable", "encoding"), [(None, "gzip"), ("gzip", "gzip"), ("deflate", "deflate"), ("none", "")]
)
def test_bodies_are_compressed_as_asked_and_by_default_with_gzip_over_http(variable: str | None, encoding: str) -> None:
    """The request says how it is encoded, and decodes to what was sent."""
    with RECEIVERS["http/protobuf"]() as receiver:
        asked = {"OTEL_EXPORTER_OTLP_COMPRESSION": variable} if variable else {}
        with running(to(receiver.endpoint, "http/protobuf", **asked)) as pipelines:
            say_something(pipelines)
            assert pipelines.flush()
        assert {received.headers.get("content-encoding", "") for received in receiver.received} == {encoding}
        assert len(receiver.spans) == 1


@pytest.mark.parametrize(("variable", "compressed"), [(None, True), ("gzip", True), ("deflate", True), ("none", False)])
def test_calls_are_compressed_as_asked_and_by_default_over_grpc(variable: str | None, compressed: bool) -> None:
    """A hundred thousand equal letters take that many bytes on the wire, or hardly any."""
    letters = 100_000
    asked = {"OTEL_EXPORTER_OTLP_COMPRESSION": variable} if variable else {}
    with RECEIVERS["grpc"]() as receiver, relay_to(receiver.endpoint) as relay:
        with running(to(relay.endpoint, "grpc", **asked)) as pipelines:
            pipelines.tracer_provider.get_tracer("test").start_span("a" * letters).end()
            assert pipelines.flush()
        assert len(receiver.spans[0].name) == letters
        assert (relay.bytes_sent < letters / 2) is compressed


@pytest.mark.parametrize("written", ["0.2", "200"], ids=["seconds", "milliseconds"])
def test_the_timeout_bounds_an_export(receiver: Receiver, protocol: str, written: str) -> None:
    """A silent server is given up on with "no answer in time", whichever unit the timeout was written in."""
    receiver.behaviour = Hang()
    with running(to(receiver.endpoint, protocol, OTEL_EXPORTER_OTLP_TIMEOUT=written)) as pipelines:
        say_something(pipelines)
        assert not pipelines.flush(30)
        assert {health.last_error for health in pipelines.health().signals if health.last_error} == {
            _timed_out(protocol)
        }


def _timed_out(protocol: str) -> str:
    return "no answer in time" + (" (DEADLINE_EXCEEDED Deadline Exceeded)" if protocol == "grpc" else "")


def test_mutual_tls_needs_and_uses_the_three_files(protocol: str, certificates: Certificates) -> None:
    """With authority, certificate and key set, a server that demands a client certificate takes all signals."""
    with RECEIVERS[protocol](certificates.demanding) as receiver:
        environ = to(
            receiver.endpoint,
            protocol,
            OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificates.authority),
            OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(certificates.client),
            OTEL_EXPORTER_OTLP_CLIENT_KEY=str(certificates.client_key),
        )
        with running(environ) as pipelines:
            say_something(pipelines)
            assert pipelines.flush()
        assert len(receiver.received) >= len(SIGNALS)
        assert all(received.tls_peer for received in receiver.received)


def test_certificate_and_key_may_share_a_file(protocol: str, certificates: Certificates) -> None:
    """Without a key's file, the key is taken from the certificate's."""
    with RECEIVERS[protocol](certificates.demanding) as receiver:
        environ = to(
            receiver.endpoint,
            protocol,
            OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificates.authority),
            OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(certificates.client_both),
        )
        with running(environ) as pipelines:
            end_spans(pipelines, 1)
            assert pipelines.flush()
        assert receiver.received[0].tls_peer


def test_a_signals_own_tls_files_go_before_the_general_ones(protocol: str, certificates: Certificates) -> None:
    """A wrong general authority does not matter to traces that have their own."""
    with RECEIVERS[protocol](certificates.server) as receiver:
        environ = to(
            receiver.endpoint,
            protocol,
            OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificates.stranger),
            OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE=str(certificates.authority),
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        )
        with running(environ) as pipelines:
            say_something(pipelines)
            assert not pipelines.flush(30)
        assert len(receiver.spans) == 1
        assert not receiver.metrics


def test_the_otlp_authority_goes_before_that_of_requests(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE, which the HTTP library prefers to a session's own, does not override the OTLP variable."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.stranger))
    with RECEIVERS["http/protobuf"](certificates.server) as receiver:
        environ = to(receiver.endpoint, "http/protobuf", OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificates.authority))
        with running(environ) as pipelines:
            end_spans(pipelines, 1)
            assert pipelines.flush()


def test_an_endpoint_without_scheme_is_dialled_with_tls_over_grpc(certificates: Certificates) -> None:
    """As specified for gRPC, host:port alone means an encrypted connection."""
    with RECEIVERS["grpc"](certificates.server) as receiver:
        environ = to(
            receiver.endpoint.removeprefix("https://"),
            "grpc",
            OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificates.authority),
        )
        with running(environ) as pipelines:
            end_spans(pipelines, 1)
            assert pipelines.flush()


def test_an_endpoint_without_scheme_may_be_declared_insecure_over_grpc() -> None:
    """OTEL_EXPORTER_OTLP_INSECURE=true turns encryption off for host:port alone."""
    with RECEIVERS["grpc"]() as receiver:
        environ = to(receiver.endpoint.removeprefix("http://"), "grpc", OTEL_EXPORTER_OTLP_INSECURE="true")
        with running(environ) as pipelines:
            end_spans(pipelines, 1)
            assert pipelines.flush()


@pytest.mark.parametrize(
    ("preference", "expected"),
    [
        ("cumulative", AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE),
        ("Delta", AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA),
        ("lowmemory", AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA),
    ],
)
def test_counters_have_the_temporality_preferred(
    receiver: Receiver, protocol: str, preference: str, expected: AggregationTemporality.ValueType
) -> None:
    """The sum on the wire is a total or a delta, as the variable says in any case of letters."""
    environ = to(receiver.endpoint, protocol, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=preference)
    with running(environ) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
    assert receiver.metrics[0].sum.aggregation_temporality == expected


def test_a_delta_keeps_its_exemplars(receiver: Receiver, protocol: str) -> None:
    """A bucket of a delta histogram still leads to the trace it was measured in."""
    environ = to(receiver.endpoint, protocol, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")
    with running(environ) as pipelines:
        histogram = pipelines.meter_provider.get_meter("test").create_histogram("test.time")
        for _ in range(2):
            with pipelines.tracer_provider.get_tracer("test").start_as_current_span("test.span"):
                histogram.record(1.5)
            assert pipelines.flush()
    traces = [metric.histogram.data_points[0].exemplars[0].trace_id for metric in receiver.metrics]
    assert traces == [span.trace_id for span in receiver.spans]


def test_histograms_are_exponential_if_asked(receiver: Receiver, protocol: str) -> None:
    """The default histogram aggregation is the variable's."""
    environ = to(
        receiver.endpoint,
        protocol,
        OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="base2_exponential_bucket_histogram",
    )
    with running(environ) as pipelines:
        pipelines.meter_provider.get_meter("test").create_histogram("test.time").record(1.5)
        assert pipelines.flush()
    assert receiver.metrics[0].WhichOneof("data") == "exponential_histogram"


def test_metrics_come_at_the_interval(receiver: Receiver, protocol: str) -> None:
    """With an interval of 20 ms, export follows export without being asked for."""
    with running(to(receiver.endpoint, protocol, **FAST)) as pipelines:
        pipelines.meter_provider.get_meter("test").create_counter("test.calls").add(1)
        receiver.wait_until(lambda: len(receiver.metrics) >= 3)


def test_spans_and_logs_come_after_the_schedule_delay(receiver: Receiver, protocol: str) -> None:
    """A batch that is not full is sent when the delay is over, without being asked for."""
    with running(to(receiver.endpoint, protocol, **FAST)) as pipelines:
        say_something(pipelines)
        receiver.wait_until(lambda: bool(receiver.spans and receiver.log_records))


def test_batches_have_the_size_asked_for(receiver: Receiver, protocol: str) -> None:
    """Ten spans leave in batches of four, four and two."""
    with running(to(receiver.endpoint, protocol, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4")) as pipelines:
        end_spans(pipelines, 10)
        assert pipelines.flush()
    sizes = [
        len(received.message.resource_spans[0].scope_spans[0].spans)  # type: ignore[union-attr]  # traces alone
        for received in receiver.received
    ]
    assert sum(sizes) == 10
    assert max(sizes) == 4


def test_the_resource_carries_name_instance_and_attributes(receiver: Receiver, protocol: str) -> None:
    """Variables go before the application's own words, and every signal speaks for the same instance."""
    environ = to(
        receiver.endpoint,
        protocol,
        OTEL_SERVICE_NAME="gateway",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=prod,team=voice%20%26%20text,service.name=ignored",
    )
    told = {"service.version": "1.2.3", "team": "application"}
    with running(environ, resource_attributes=told) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
    resources = [_resource(received.message) for received in receiver.received]
    for resource in resources:
        assert resource["service.name"] == "gateway"
        assert resource["service.version"] == "1.2.3"
        assert resource["deployment.environment.name"] == "prod"
        assert resource["team"] == "voice & text"
    assert len({resource["service.instance.id"] for resource in resources}) == 1


def _resource(message: object) -> dict[str, str]:
    match message:
        case ExportMetricsServiceRequest():
            resource = message.resource_metrics[0].resource
        case _:
            groups = getattr(message, "resource_spans", None) or getattr(message, "resource_logs", None)
            assert groups
            resource = groups[0].resource
    return {attribute.key: attribute.value.string_value for attribute in resource.attributes}


def test_every_process_has_an_instance_of_its_own() -> None:
    """Two pipelines, two random service.instance.id; the name is callscope unless said otherwise."""
    with running({}) as one, running({}) as other:
        ids = {str(pipelines.resource.attributes["service.instance.id"]) for pipelines in (one, other)}
        assert len(ids) == 2
        assert one.resource.attributes["service.name"] == "callscope"


@pytest.mark.parametrize(("sampler", "kept"), [("always_off", 0), ("always_on", 1), ("traceidratio", 0)])
def test_the_sampler_decides_what_leaves(receiver: Receiver, protocol: str, sampler: str, kept: int) -> None:
    """Spans that the named sampler drops are not exported."""
    environ = to(receiver.endpoint, protocol, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0")
    with running(environ) as pipelines:
        end_spans(pipelines, 1)
        assert pipelines.flush()
    assert len(receiver.spans) == kept


@pytest.mark.parametrize(("choice", "expected"), [("always_on", 1), ("always_off", 0), ("trace_based", 0)])
def test_the_exemplar_filter_is_honoured(receiver: Receiver, protocol: str, choice: str, expected: int) -> None:
    """A measurement outside of any trace becomes an exemplar only if all do."""
    with running(to(receiver.endpoint, protocol, OTEL_METRICS_EXEMPLAR_FILTER=choice)) as pipelines:
        pipelines.meter_provider.get_meter("test").create_histogram("test.time").record(1.5)
        assert pipelines.flush()
    assert len(receiver.metrics[0].histogram.data_points[0].exemplars) == expected


def test_span_and_log_limits_are_honoured(receiver: Receiver, protocol: str) -> None:
    """Values are cut to the length allowed, in spans and in logs."""
    environ = to(
        receiver.endpoint, protocol, OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="3", OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="1"
    )
    with running(environ) as pipelines:
        span = pipelines.tracer_provider.get_tracer("test").start_span("s", attributes={"a": "long text", "b": "more"})
        span.end()
        pipelines.logger_provider.get_logger("test").emit(body="x", attributes={"a": "long text"})
        assert pipelines.flush()
    assert [attribute.value.string_value for attribute in receiver.spans[0].attributes] == ["mor"]
    assert [attribute.value.string_value for attribute in receiver.log_records[0].attributes] == ["lon"]


def test_a_refused_request_is_retried_when_the_server_says_so(receiver: Receiver, protocol: str) -> None:
    """503 and UNAVAILABLE are retried within one export, which then succeeds."""
    receiver.behaviour = Refuse(headers={"Retry-After": "0"} if protocol != "grpc" else {})
    with running(to(receiver.endpoint, protocol)) as pipelines:
        end_spans(pipelines, 3)
        thread = pipelines._pipelines[Signal.TRACES].source.thread
        number = thread.ask()
        receiver.wait_for_attempts(1)
        receiver.behaviour = Accept()
        assert thread.wait(number, 30)
    assert len(receiver.spans) == 3
