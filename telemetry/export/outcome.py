"""The outcome of one attempt to export, in words that a person can act upon and that hold no secret."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from telemetry.export.signals import Signal

Batch_contra = TypeVar("Batch_contra", contravariant=True)
"""Type of a signal's batches: spans, log records or collected metrics."""


class ExportFault(StrEnum):
    """Causes of a failed export. The value is the short form of health reports."""

    REFUSED = "connection refused"
    UNKNOWN_HOST = "host name not found"
    UNREACHABLE = "host not reachable"
    DROPPED = "connection broken off"
    TIMEOUT = "no answer in time"
    UNTRUSTED = "certificate not trusted"
    WRONG_NAME = "certificate for another name"
    NO_CLIENT_CERTIFICATE = "client certificate missing or refused"
    TLS = "TLS handshake failed"
    NOT_TLS = "endpoint says https, the server speaks plain text"
    NEEDS_TLS = "endpoint says http, the server wants TLS"
    UNAUTHENTICATED = "not authenticated"
    FORBIDDEN = "not allowed"
    NOT_FOUND = "path or service not found"
    REDIRECTED = "redirected"
    BUSY = "server busy or unavailable"
    SERVER_ERROR = "server error"
    REFUSED_DATA = "data refused"
    NOT_OTLP = "not an OTLP server of this protocol"
    CLOSED = "given up at shutdown"
    UNSENDABLE = "could not be encoded"
    UNKNOWN = "failed"

    @property
    def passing(self) -> bool:
        """True if the same batch may well be taken later: the server is busy, or has not even seen it."""
        return self in _PASSING


_PASSING = {
    ExportFault.REFUSED,
    ExportFault.UNKNOWN_HOST,
    ExportFault.UNREACHABLE,
    ExportFault.DROPPED,
    ExportFault.TIMEOUT,
    ExportFault.UNTRUSTED,
    ExportFault.WRONG_NAME,
    ExportFault.NO_CLIENT_CERTIFICATE,
    ExportFault.TLS,
    ExportFault.NOT_TLS,
    ExportFault.BUSY,
    ExportFault.CLOSED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An export that failed."""

    fault: ExportFault
    detail: str = ""
    """Words of the other side or the system, shortened, without URL, header or body."""

    def __str__(self) -> str:
        return f"{self.fault} ({self.detail})" if self.detail else str(self.fault)


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """ExportOutcome of one batch."""

    failure: Failure | None = None
    """Reason that the batch was not taken; ``None``: the server acknowledged it."""
    rejected: int = 0
    """Items that the server acknowledged but refused (OTLP's partial success). They must not be sent again."""
    note: str = ""
    """The server's words about the rejected items, or a warning with a full success."""

    @property
    def delivered(self) -> bool:
        """True if the server acknowledged the batch."""
        return self.failure is None

    @property
    def worth_keeping(self) -> bool:
        """True if the batch should wait for a better moment."""
        return self.failure is not None and self.failure.fault.passing

    def __add__(self, later: "ExportOutcome") -> "ExportOutcome":
        """Return the outcome of two batches of one round, this one and a later."""
        return ExportOutcome(later.failure or self.failure, self.rejected + later.rejected, later.note or self.note)


class Sender(Protocol[Batch_contra]):
    """Sends batches of one signal, one at a time."""

    def send(self, batch: Batch_contra) -> ExportOutcome:
        """Send and, within the export timeout, retry; never raises for what the network or server does."""
        ...

    def close(self) -> None:
        """Break off a retry in progress and release the connection; what is sent from here on fails."""
        ...


def shortened(text: str, limit: int = 160) -> str:
    """Return one line of printable text, cut to ``limit`` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


Answer = ExportMetricsServiceResponse | ExportTraceServiceResponse | ExportLogsServiceResponse


def read_answer(signal: Signal, body: bytes) -> ExportOutcome:
    """Return what an acknowledgement's body says.

    A body that is not an OTLP answer changes nothing: some backends acknowledge with an empty body or a text of their
    own, and the status has already said that the data was taken.
    """
    try:
        return outcome_of(_PARSE[signal](body))
    except DecodeError:
        return ExportOutcome()


def outcome_of(answer: Answer) -> ExportOutcome:
    """Return the rejected items and the server's words about them."""
    match answer:
        case ExportMetricsServiceResponse():
            rejected = answer.partial_success.rejected_data_points
        case ExportTraceServiceResponse():
            rejected = answer.partial_success.rejected_spans
        case _:
            rejected = answer.partial_success.rejected_log_records
    return ExportOutcome(rejected=max(0, rejected), note=shortened(answer.partial_success.error_message))


_PARSE: Mapping[Signal, Callable[[bytes], Answer]] = {
    Signal.METRICS: ExportMetricsServiceResponse.FromString,
    Signal.TRACES: ExportTraceServiceResponse.FromString,
    Signal.LOGS: ExportLogsServiceResponse.FromString,
}


class Exporter(Protocol[Batch_contra]):
    """Methods that all of the SDK's exporters have in common."""

    def export(self, batch: Batch_contra, /) -> Enum:
        """Send a batch, with retries; the result is called ``SUCCESS`` or ``FAILURE``."""
        ...

    def shutdown(self) -> None:
        """Break off a retry in progress and release the connection."""
        ...


class RequestObserver:
    """Sees every request an exporter makes."""

    def __init__(self) -> None:
        self.last: ExportOutcome | None = None
        """ExportOutcome of the latest request; ``None`` if there was none."""
        self._give_up: Callable[[], None] | None = None
        self._given_up = False

    def give_up_with(self, end: Callable[[], None]) -> None:
        """Call ``end`` after the first request that fails, and look at none that comes after it."""
        self._give_up = end

    def saw(self, outcome: ExportOutcome) -> None:
        """Take note of a request's outcome."""
        if self._given_up:
            return
        self.last = outcome
        if outcome.failure and self._give_up:
            self._given_up = True
            self._give_up()


class ObservedSender(Generic[Batch_contra]):
    """One of the SDK's exporters, with the outcome told in full."""

    def __init__(self, exporter: Exporter[Batch_contra], observer: RequestObserver) -> None:
        self._exporter = exporter
        self._observer = observer
        self._closed = False

    def send(self, batch: Batch_contra) -> ExportOutcome:
        """Send one batch; the exporter retries within its timeout."""
        self._observer.last = None
        try:
            succeeded = self._exporter.export(batch).name == "SUCCESS"
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises, the batch did not arrive
            return self._judged(self._unsent(type(error).__name__))
        return self._judged(ExportOutcome() if succeeded else self._unsent())

    def _judged(self, otherwise: ExportOutcome) -> ExportOutcome:
        """Return what the observer saw, unless it saw nothing, or only success where the exporter found fault."""
        seen = self._observer.last
        return seen if seen and (seen.failure or otherwise.delivered) else otherwise

    def _unsent(self, detail: str = "") -> ExportOutcome:
        return ExportOutcome(Failure(ExportFault.CLOSED if self._closed else ExportFault.UNSENDABLE, detail))

    def close(self) -> None:
        """Break off a retry in progress; what is sent from here on fails."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def send_once(self, batch: Batch_contra) -> ExportOutcome:
        """Send one batch without retries, then close."""
        self._observer.give_up_with(self.close)
        outcome = self.send(batch)
        self.close()
        return outcome
