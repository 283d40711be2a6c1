"""What a server says in its answer to an export: OTLP's partial success, alike for all signals."""

from collections.abc import Callable, Mapping

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from telemetry.export.outcome import Outcome, shortened
from telemetry.export.signals import Signal

Answer = ExportMetricsServiceResponse | ExportTraceServiceResponse | ExportLogsServiceResponse


def read_answer(signal: Signal, body: bytes) -> Outcome:
    """What an acknowledgement's body says.

    A body that is not an OTLP answer changes nothing: some backends acknowledge with an empty body or a text of their
    own, and the status has already said that the data was taken.
    """
    try:
        return outcome_of(_PARSE[signal](body))
    except DecodeError:
        return Outcome()


def outcome_of(answer: Answer) -> Outcome:
    """The rejected items and the server's words about them."""
    match answer:
        case ExportMetricsServiceResponse():
            rejected = answer.partial_success.rejected_data_points
        case ExportTraceServiceResponse():
            rejected = answer.partial_success.rejected_spans
        case _:
            rejected = answer.partial_success.rejected_log_records
    return Outcome(rejected=max(0, rejected), note=shortened(answer.partial_success.error_message))


_PARSE: Mapping[Signal, Callable[[bytes], Answer]] = {
    Signal.METRICS: ExportMetricsServiceResponse.FromString,
    Signal.TRACES: ExportTraceServiceResponse.FromString,
    Signal.LOGS: ExportLogsServiceResponse.FromString,
}
