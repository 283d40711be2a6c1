"""One finding per signal: the test item arrived, or why it did not, in plain words."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from time import monotonic, time_ns
from urllib.parse import urlsplit
from uuid import uuid4

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from telemetry.export.destination import OtlpDestination
from telemetry.export.outcome import ExportFault, ExportOutcome, Failure
from telemetry.export.plan import ExportPlan, Temporality, read_plan, read_resource
from telemetry.export.senders import logs_to, metrics_to, spans_to
from telemetry.export.signals import Protocol, Signal
from telemetry.export.thread import EXPORTER_LOGS

_ADVICE: Mapping[ExportFault, str] = {
    ExportFault.REFUSED: (
        "nothing listens on {host} (connection refused). Is the Collector running, and is the port right? "
        "OTLP's own ports are 4318 for HTTP and 4317 for gRPC."
    ),
    ExportFault.UNKNOWN_HOST: (
        "the name {hostname} is unknown. Check the spelling, and that this machine can resolve names."
    ),
    ExportFault.UNREACHABLE: "there is no way from this machine to {host}. Check the network and the firewall.",
    ExportFault.DROPPED: "the server broke the connection off without an answer. {dropped}",
    ExportFault.TIMEOUT: (
        "no answer came within {timeout:g} s. A firewall may swallow the packets, or the server is overloaded; "
        "OTEL_EXPORTER_OTLP_TIMEOUT sets how long to wait."
    ),
    ExportFault.UNTRUSTED: (
        "the server's certificate is not trusted. Name the authority that signed it in OTEL_EXPORTER_OTLP_CERTIFICATE."
    ),
    ExportFault.WRONG_NAME: (
        "the server's certificate is for another name than {hostname}. "
        "Use the name that it was issued for, or have one issued for this."
    ),
    ExportFault.NO_CLIENT_CERTIFICATE: (
        "the server wants a client certificate, and got none or one that it does not know. "
        "Set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY."
    ),
    ExportFault.TLS: (
        "an encrypted connection could not be agreed upon. Compare TLS versions and certificates of both sides."
    ),
    ExportFault.NOT_TLS: (
        "the endpoint says https://, but the server speaks plain text. Write http://, or find its TLS port."
    ),
    ExportFault.NEEDS_TLS: "the endpoint says http://, but the server wants TLS. Write https://.",
    ExportFault.UNAUTHENTICATED: (
        "the server does not know who is sending. Check the key in OTEL_EXPORTER_OTLP_HEADERS: "
        "the header's name, and that the value is URL-encoded (a space is %20)."
    ),
    ExportFault.FORBIDDEN: (
        "the server knows the key, but it is not allowed to write {signal}. Check what the key may do."
    ),
    ExportFault.NOT_FOUND: ("a server is there, but it has no place for {signal} at this address. {place}"),
    ExportFault.REDIRECTED: (
        "the server points elsewhere instead of taking the data. That is often a login page or a missing https://; "
        "set the endpoint to where the data belongs."
    ),
    ExportFault.BUSY: "a server is there, but asks to come back later. It is starting, overloaded or out of quota.",
    ExportFault.SERVER_ERROR: "the server failed over the request. Its own log says why.",
    ExportFault.REFUSED_DATA: (
        "the server understood the request and refused its content. Some backends take only deltas: "
        "then set OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta."
    ),
    ExportFault.NOT_OTLP: "what answered does not speak OTLP over {protocol}. Try OTEL_EXPORTER_OTLP_PROTOCOL={other}.",
    ExportFault.CLOSED: "the attempt was broken off.",
    ExportFault.UNSENDABLE: "the test item could not be sent at all.",
    ExportFault.UNKNOWN: "it failed in a way that has no explanation here.",
}
_PLACE: Mapping[Protocol, str] = {
    Protocol.HTTP: (
        "OTEL_EXPORTER_OTLP_ENDPOINT gets /v1/{signal} appended, OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT is used as it "
        "is. If the path is right, is the OTLP receiver part of a {signal} pipeline there?"
    ),
    Protocol.GRPC: "Is the OTLP receiver part of a {signal} pipeline there?",
}
_DROPPED: Mapping[tuple[Protocol, bool], str] = {
    (Protocol.HTTP, False): (
        "Either the port is for gRPC: then set OTEL_EXPORTER_OTLP_PROTOCOL=grpc. Or it wants TLS: then write https://."
    ),
    (Protocol.GRPC, False): (
        "Either the port wants TLS: then write https://. Or it is not for gRPC: then set "
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."
    ),
    **dict.fromkeys(
        [(Protocol.HTTP, True), (Protocol.GRPC, True)],
        "Most often it wants a client certificate: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and "
        "OTEL_EXPORTER_OTLP_CLIENT_KEY. Or it speaks the other protocol: set OTEL_EXPORTER_OTLP_PROTOCOL={other}.",
    ),
}
"""Usual reasons of a connection broken off, without and with TLS."""
_OTHER: Mapping[Protocol, Protocol] = {Protocol.HTTP: Protocol.GRPC, Protocol.GRPC: Protocol.HTTP}


def advice(failure: Failure, destination: OtlpDestination) -> str:
    """Return why nothing arrived and what to look at, in one or two sentences that end with the server's words."""
    message = _ADVICE[failure.fault]
    message = message.replace("{place}", _PLACE[destination.protocol]).replace(
        "{dropped}", _DROPPED[destination.protocol, destination.secure]
    )
    message = message.format(
        host=destination.authority,
        hostname=urlsplit(destination.url).hostname,
        timeout=destination.timeout,
        protocol=destination.protocol,
        other=_OTHER[destination.protocol],
        signal=destination.signal,
        SIGNAL=destination.signal.upper(),
    )
    return f"{message} [{failure.detail}]" if failure.detail else message


SCOPE = InstrumentationScope("callscope.doctor")
"""The instrumentation scope by which a backend's user finds the test items."""
POINT = "callscope.doctor.checks"
"""The name of the test counter."""
SPAN = "callscope doctor"
"""The name of the test span."""
LOG = "callscope doctor: a test record"
"""The body of the test log record."""
_NANOSECONDS = 1_000_000


def a_point(resource: Resource, temporality: AggregationTemporality) -> MetricsData:
    """Return one counter that says one."""
    now = time_ns()
    data = Sum([NumberDataPoint({}, now - _NANOSECONDS, now, 1)], temporality, is_monotonic=True)
    metric = Metric(POINT, "Test points sent by callscope doctor.", "{check}", data)
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(SCOPE, [metric], "")], "")])


def a_span(resource: Resource) -> list[ReadableSpan]:
    """Return one span, a trace of its own."""
    ids, now = RandomIdGenerator(), time_ns()
    context = SpanContext(
        ids.generate_trace_id(), ids.generate_span_id(), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return [
        ReadableSpan(
            SPAN,
            context,
            resource=resource,
            instrumentation_scope=SCOPE,
            start_time=now - _NANOSECONDS,
            end_time=now,
        )
    ]


def a_log_record(resource: Resource) -> list[ReadableLogRecord]:
    """Return one record at the level of information."""
    now = time_ns()
    record = LogRecord(
        timestamp=now, observed_timestamp=now, severity_number=SeverityNumber.INFO, severity_text="INFO", body=LOG
    )
    return [ReadableLogRecord(record, resource, SCOPE)]


MAX_WAIT_SECONDS = 5.0
"""Seconds that a test item may take, if the export timeout is not shorter: somebody is watching."""


class Verdict(StrEnum):
    """ExportOutcome of a signal's test item."""

    ARRIVED = "arrived"
    """The server acknowledged it."""
    REJECTED = "rejected"
    """The server acknowledged the request and rejected the item."""
    FAILED = "failed"
    """Nothing arrived."""
    OFF = "off"
    """The signal is not exported, so nothing was sent."""


@dataclass(frozen=True, slots=True)
class ExportFinding:
    """Diagnosis of one signal's export."""

    signal: Signal
    verdict: Verdict
    sentence: str
    """For people; names the endpoint without credentials."""
    endpoint: str | None = None

    @property
    def good(self) -> bool:
        """True if all is as the variables want it."""
        return self.verdict in (Verdict.ARRIVED, Verdict.OFF)


def diagnose(
    environ: Mapping[str, str],
    resource_attributes: Mapping[str, str | int] | None = None,
    *,
    wait_seconds: float = MAX_WAIT_SECONDS,
) -> list[ExportFinding]:
    """Send one test point, span and log record as the variables say, without retries, all at once.

    Args:
        environ: The variables.
        resource_attributes: Attributes of the resource that the variables do not set.
        wait_seconds: Seconds that a test item may take, if the export timeout is not shorter.

    Raises:
        InvalidVariableError: a variable makes no sense; the service would not start with it either.
    """
    plan = read_plan(environ)
    resource = read_resource(environ, resource_attributes or {}, uuid4())
    with ThreadPoolExecutor(len(Signal)) as pool, EXPORTER_LOGS.held():
        return list(pool.map(lambda signal: _examine(signal, plan, resource, wait_seconds), Signal))


def _examine(signal: Signal, plan: ExportPlan, resource: Resource, wait_seconds: float) -> ExportFinding:
    route = plan.routes[signal]
    if route.destination is None:
        return ExportFinding(signal, Verdict.OFF, _why_off(plan, signal))
    patient = replace(route.destination, timeout=min(route.destination.timeout, wait_seconds))
    begin = monotonic()
    outcome = _SEND[signal](patient, plan, resource)
    verdict, message = _judge(outcome, patient, monotonic() - begin)
    return ExportFinding(signal, verdict, f"{signal.capitalize()} {message}", route.address)


def _send_metrics(destination: OtlpDestination, plan: ExportPlan, resource: Resource) -> ExportOutcome:
    delta = plan.metrics.temporality is not Temporality.CUMULATIVE
    temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    return metrics_to(destination).send_once(a_point(resource, temporality))


def _send_span(destination: OtlpDestination, _: ExportPlan, resource: Resource) -> ExportOutcome:
    return spans_to(destination).send_once(a_span(resource))


def _send_log_record(destination: OtlpDestination, _: ExportPlan, resource: Resource) -> ExportOutcome:
    return logs_to(destination).send_once(a_log_record(resource))


_SEND: Mapping[Signal, Callable[[OtlpDestination, ExportPlan, Resource], ExportOutcome]] = {
    Signal.METRICS: _send_metrics,
    Signal.TRACES: _send_span,
    Signal.LOGS: _send_log_record,
}


def _judge(outcome: ExportOutcome, destination: OtlpDestination, seconds: float) -> tuple[Verdict, str]:
    if outcome.failure:
        return Verdict.FAILED, f"did not arrive: {advice(outcome.failure, destination)}"
    if outcome.rejected:
        return Verdict.REJECTED, f"arrived and were rejected by the server: {outcome.note or 'it does not say why'}."
    remark = f" The server remarks: {outcome.note}" if outcome.note else ""
    return Verdict.ARRIVED, f"arrived: the server acknowledged the test item after {seconds * 1000:.0f} ms.{remark}"


def _why_off(plan: ExportPlan, signal: Signal) -> str:
    name = signal.capitalize()
    if plan.disabled:
        return f"{name} are not exported: OTEL_SDK_DISABLED is true."
    if plan.routes[signal].console:
        return f"{name} are printed to the console and not sent anywhere: OTEL_{signal.upper()}_EXPORTER says so."
    return (
        f"{name} are not exported. Set OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT "
        f"for {signal} alone, and see that OTEL_{signal.upper()}_EXPORTER is not none."
    )
