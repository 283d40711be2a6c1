"""OTLP over HTTP: the SDK's exporters, with every request watched.

The exporters report only success or failure, count a redirect as success and never read OTLP's partial success. They
take a ``requests.Session``; a transport adapter mounted on it sees every answer and every error as it is.
"""

from typing import Any, TypedDict

from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from requests import PreparedRequest, RequestException, Response, Session
from requests.adapters import BaseAdapter

from telemetry.export.answers import read_answer
from telemetry.export.destination import Destination
from telemetry.export.http_faults import failure_of_error, failure_of_status
from telemetry.export.outcome import Fault, Outcome
from telemetry.export.signals import Compression
from telemetry.export.watched import Watch, WatchedSender

_COMPRESSION = {
    Compression.NONE: HttpCompression.NoCompression,
    Compression.GZIP: HttpCompression.Gzip,
    Compression.DEFLATE: HttpCompression.Deflate,
}


class _Redirected(RequestException):
    """Raised for an answer between 300 and 399, which the exporters would otherwise take for success."""


class _WatchedAdapter(BaseAdapter):
    """Passes requests on to another adapter and tells the watch what became of them."""

    def __init__(self, inner: BaseAdapter, destination: Destination, watch: Watch) -> None:
        super().__init__()
        self._inner = inner
        self._destination = destination
        self._watch = watch

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:  # noqa: ANN401 - passed on
        """Send one request; an error or a redirect is raised."""
        if authority := self._destination.tls.authority:
            # requests lets REQUESTS_CA_BUNDLE override a session's own certificates; the OTLP variable is nearer.
            options["verify"] = str(authority)
        try:
            response = self._inner.send(request, *args, **options)
        except Exception as error:
            self._watch.saw(Outcome(failure_of_error(error)))
            raise
        outcome = self._judge(response)
        self._watch.saw(outcome)
        if outcome.failure and outcome.failure.fault is Fault.REDIRECTED:
            response.close()
            raise _Redirected(response=response)
        return response

    def close(self) -> None:
        """Release the connections."""
        self._inner.close()

    def _judge(self, response: Response) -> Outcome:
        failure = failure_of_status(response)
        return Outcome(failure) if failure else read_answer(self._destination.signal, response.content)


class _Arguments(TypedDict):
    """What all three exporters are made with."""

    endpoint: str
    headers: dict[str, str]
    timeout: float
    compression: HttpCompression
    certificate_file: str | None
    client_certificate_file: str | None
    client_key_file: str | None
    session: Session


def _prepare(destination: Destination) -> tuple[_Arguments, Watch]:
    session, watch = _session(destination), Watch()
    adapter = _WatchedAdapter(session.get_adapter(destination.url), destination, watch)
    session.mount("https://" if destination.secure else "http://", adapter)
    tls = destination.tls
    arguments = _Arguments(
        endpoint=destination.url,
        headers=dict(destination.headers),
        timeout=destination.timeout,
        compression=_COMPRESSION[destination.compression],
        certificate_file=str(tls.authority) if tls.authority else None,
        client_certificate_file=str(tls.certificate) if tls.certificate else None,
        client_key_file=str(tls.key) if tls.key else None,
        session=session,
    )
    return arguments, watch


def _session(destination: Destination) -> Session:
    """A fresh session, or one that a credential provider has prepared: with its own authentication, say."""
    session = destination.credentials.load()() if destination.credentials else Session()
    if not isinstance(session, Session):
        raise TypeError(f"the credential provider made a {type(session).__name__}, not a requests.Session")
    return session


def metrics_over_http(destination: Destination) -> WatchedSender[MetricsData]:
    """A sender of collected metrics."""
    arguments, watch = _prepare(destination)
    return WatchedSender(OTLPMetricExporter(**arguments), watch)


def spans_over_http(destination: Destination) -> WatchedSender[list[ReadableSpan]]:
    """A sender of spans."""
    arguments, watch = _prepare(destination)
    return WatchedSender(OTLPSpanExporter(**arguments), watch)


def logs_over_http(destination: Destination) -> WatchedSender[list[ReadableLogRecord]]:
    """A sender of log records."""
    arguments, watch = _prepare(destination)
    return WatchedSender(OTLPLogExporter(**arguments), watch)
