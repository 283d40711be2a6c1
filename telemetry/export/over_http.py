"""OTLP over HTTP: the SDK's exporters, with every request observed.

The exporters report only success or failure, count a redirect as success and never read OTLP's partial success. They
take a ``requests.Session``; a transport adapter mounted on it sees every answer and every error as it is.
"""

import errno
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypedDict

import requests
import urllib3
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from requests import PreparedRequest, RequestException, Response, Session
from requests.adapters import BaseAdapter

from telemetry.export.destination import OtlpDestination
from telemetry.export.outcome import (
    ExportFault,
    ExportOutcome,
    Failure,
    ObservedSender,
    RequestObserver,
    read_answer,
    shortened,
)
from telemetry.export.signals import Compression

_STATUS: Mapping[int, ExportFault] = {
    HTTPStatus.UNAUTHORIZED: ExportFault.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: ExportFault.FORBIDDEN,
    HTTPStatus.NOT_FOUND: ExportFault.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: ExportFault.NOT_FOUND,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: ExportFault.UNAUTHENTICATED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ExportFault.NOT_OTLP,
    HTTPStatus.TOO_MANY_REQUESTS: ExportFault.BUSY,
    HTTPStatus.BAD_GATEWAY: ExportFault.BUSY,
    HTTPStatus.SERVICE_UNAVAILABLE: ExportFault.BUSY,
    HTTPStatus.GATEWAY_TIMEOUT: ExportFault.BUSY,
}
"""Statuses with a meaning of their own; the busy ones are those that OTLP says to retry."""
_PLAIN_TEXT_HINTS = (b"HTTPS server", b"HTTPS port", b"TLS")
"""Words of servers that expect TLS, in plain text, about a request without it."""


def failure_of_status(response: requests.Response) -> Failure | None:
    """Return why an answer is not an acknowledgement; ``None`` if it is one."""
    status = response.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return _failure_of_web_page(response)
    if status < HTTPStatus.BAD_REQUEST:
        return Failure(
            ExportFault.REDIRECTED, f"HTTP {status} to {_without_secrets(response.headers.get('location', ''))}"
        )
    return Failure(_fault_of_status(response), shortened(f"HTTP {status} {response.reason}{_message(response)}"))


def _fault_of_status(response: requests.Response) -> ExportFault:
    status = response.status_code
    if status == HTTPStatus.BAD_REQUEST and any(hint in response.content[:500] for hint in _PLAIN_TEXT_HINTS):
        return ExportFault.NEEDS_TLS
    fallback = ExportFault.SERVER_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ExportFault.REFUSED_DATA
    return _STATUS.get(status, fallback)


def _failure_of_web_page(response: requests.Response) -> Failure | None:
    """Return a failure for a web page, which is no acknowledgement, whatever its status: some proxy answered."""
    if not response.headers.get("content-type", "").startswith("text/html"):
        return None
    return Failure(ExportFault.NOT_OTLP, f"HTTP {response.status_code} with a web page")


def _without_secrets(location: str) -> str:
    """Return a redirect's target without query, where login pages carry what they were asked."""
    return shortened(location.partition("?")[0].rpartition("@")[2] or "nowhere")


def _message(response: requests.Response) -> str:
    """Return the server's own words, if it put them as OTLP says: a ``google.rpc.Status``."""
    if not response.headers.get("content-type", "").startswith("application/x-protobuf"):
        return ""
    try:
        message = Status.FromString(response.content).message
    except DecodeError:
        return ""
    return f": {message}" if message else ""


def failure_of_error(error: BaseException) -> Failure:
    """Return why a request got no answer, from the innermost cause that says something."""
    for cause in _causes(error):
        for kind, judge in _ERRORS:
            if isinstance(cause, kind):
                return judge(cause)
    return Failure(ExportFault.UNKNOWN, type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Return the error and all it was caused by, innermost first. requests and urllib3 nest them in several ways."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if any(cause is known for known in seen):
            continue
        seen.append(cause)
        nested = (cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args)
        waiting.extend(inner for inner in nested if isinstance(inner, BaseException))
    return reversed(seen)


def _of_certificate(error: BaseException) -> Failure:
    text = getattr(error, "verify_message", "")
    wrong_name = "mismatch" in text or "not valid for" in text
    return Failure(ExportFault.WRONG_NAME if wrong_name else ExportFault.UNTRUSTED, shortened(text))


def _of_tls(error: BaseException) -> Failure:
    reason = getattr(error, "reason", None) or type(error).__name__
    return Failure(_TLS_REASONS.get(reason, ExportFault.TLS), shortened(reason.lower().replace("_", " ")))


_TLS_REASONS: Mapping[str, ExportFault] = {
    "WRONG_VERSION_NUMBER": ExportFault.NOT_TLS,
    "RECORD_LAYER_FAILURE": ExportFault.NOT_TLS,
    "HTTP_REQUEST": ExportFault.NOT_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": ExportFault.NO_CLIENT_CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": ExportFault.NO_CLIENT_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": ExportFault.NO_CLIENT_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": ExportFault.NO_CLIENT_CERTIFICATE,
}
"""OpenSSL's names for what a peer's alert, or its lack of TLS, looks like from here."""


def _of_bad_answer(error: BaseException) -> Failure:
    """Return the failure of an answer that is not HTTP: a TLS alert, or HTTP/2 frames of a gRPC port."""
    line = str(error)
    if "\x15\x03" in line:
        return Failure(ExportFault.NEEDS_TLS, "the answer is a TLS alert")
    return Failure(ExportFault.NOT_OTLP, "the answer is not HTTP/1.1; is this a gRPC port?")


def _of_system(error: BaseException) -> Failure:
    number = error.errno if isinstance(error, OSError) else None
    fault = ExportFault.UNREACHABLE if number in (errno.ENETUNREACH, errno.EHOSTUNREACH) else ExportFault.UNKNOWN
    words = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
    return Failure(fault, shortened(words))


def _always(fault: ExportFault) -> Callable[[BaseException], Failure]:
    return lambda _: Failure(fault)


_ERRORS: tuple[tuple[type[BaseException], Callable[[BaseException], Failure]], ...] = (
    (ssl.SSLCertVerificationError, _of_certificate),
    (ssl.SSLEOFError, _always(ExportFault.DROPPED)),
    (ssl.SSLError, _of_tls),
    (socket.gaierror, _always(ExportFault.UNKNOWN_HOST)),
    (ConnectionRefusedError, _always(ExportFault.REFUSED)),
    (TimeoutError, _always(ExportFault.TIMEOUT)),
    (urllib3.exceptions.TimeoutError, _always(ExportFault.TIMEOUT)),
    (http.client.RemoteDisconnected, _always(ExportFault.DROPPED)),
    (http.client.BadStatusLine, _of_bad_answer),
    (ConnectionError, _always(ExportFault.DROPPED)),
    (OSError, _of_system),
)
"""From the particular to the general; the first that fits names the fault."""
_COMPRESSION = {
    Compression.NONE: HttpCompression.NoCompression,
    Compression.GZIP: HttpCompression.Gzip,
    Compression.DEFLATE: HttpCompression.Deflate,
}


class _Redirected(RequestException):
    """Raised for an answer between 300 and 399, which the exporters would otherwise take for success."""


class _ObservedAdapter(BaseAdapter):
    """Passes requests on to another adapter and tells the observer what became of them."""

    def __init__(self, inner: BaseAdapter, destination: OtlpDestination, observer: RequestObserver) -> None:
        super().__init__()
        self._inner = inner
        self._destination = destination
        self._observer = observer

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:  # noqa: ANN401 - passed on
        """Send one request; an error or a redirect is raised."""
        if authority := self._destination.tls.authority:
            # requests lets REQUESTS_CA_BUNDLE override a session's own certificates; the OTLP variable is nearer.
            options["verify"] = str(authority)
        try:
            response = self._inner.send(request, *args, **options)
        except Exception as error:
            self._observer.saw(ExportOutcome(failure_of_error(error)))
            raise
        outcome = self._judge(response)
        self._observer.saw(outcome)
        if outcome.failure and outcome.failure.fault is ExportFault.REDIRECTED:
            response.close()
            raise _Redirected(response=response)
        return response

    def close(self) -> None:
        """Release the connections."""
        self._inner.close()

    def _judge(self, response: Response) -> ExportOutcome:
        failure = failure_of_status(response)
        return ExportOutcome(failure) if failure else read_answer(self._destination.signal, response.content)


class _HttpArguments(TypedDict):
    """Arguments of all three exporters' constructors."""

    endpoint: str
    headers: dict[str, str]
    timeout: float
    compression: HttpCompression
    certificate_file: str | None
    client_certificate_file: str | None
    client_key_file: str | None
    session: Session


def _prepare(destination: OtlpDestination) -> tuple[_HttpArguments, RequestObserver]:
    session, observer = _session(destination), RequestObserver()
    adapter = _ObservedAdapter(session.get_adapter(destination.url), destination, observer)
    session.mount("https://" if destination.secure else "http://", adapter)
    tls = destination.tls
    arguments = _HttpArguments(
        endpoint=destination.url,
        headers=dict(destination.headers),
        timeout=destination.timeout,
        compression=_COMPRESSION[destination.compression],
        certificate_file=str(tls.authority) if tls.authority else None,
        client_certificate_file=str(tls.certificate) if tls.certificate else None,
        client_key_file=str(tls.key) if tls.key else None,
        session=session,
    )
    return arguments, observer


def _session(destination: OtlpDestination) -> Session:
    """Return a fresh session, or one that a credential provider has prepared: with its own authentication, say."""
    session = destination.credentials.load()() if destination.credentials else Session()
    if not isinstance(session, Session):
        raise TypeError(f"the credential provider made a {type(session).__name__}, not a requests.Session")
    return session


def metrics_over_http(destination: OtlpDestination) -> ObservedSender[MetricsData]:
    """Return a sender of collected metrics."""
    arguments, observer = _prepare(destination)
    return ObservedSender(OTLPMetricExporter(**arguments), observer)


def spans_over_http(destination: OtlpDestination) -> ObservedSender[list[ReadableSpan]]:
    """Return a sender of spans."""
    arguments, observer = _prepare(destination)
    return ObservedSender(OTLPSpanExporter(**arguments), observer)


def logs_over_http(destination: OtlpDestination) -> ObservedSender[list[ReadableLogRecord]]:
    """Return a sender of log records."""
    arguments, observer = _prepare(destination)
    return ObservedSender(OTLPLogExporter(**arguments), observer)
