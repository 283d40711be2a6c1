"""What the status of a failed gRPC call means."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

import grpc

from telemetry.export.outcome import Failure, Fault, shortened

_CODES: Mapping[grpc.StatusCode, Fault] = {
    grpc.StatusCode.UNAVAILABLE: Fault.BUSY,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Fault.BUSY,
    grpc.StatusCode.ABORTED: Fault.BUSY,
    grpc.StatusCode.OUT_OF_RANGE: Fault.BUSY,
    grpc.StatusCode.DATA_LOSS: Fault.BUSY,
    grpc.StatusCode.DEADLINE_EXCEEDED: Fault.TIMEOUT,
    grpc.StatusCode.CANCELLED: Fault.CLOSED,
    grpc.StatusCode.UNAUTHENTICATED: Fault.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED: Fault.FORBIDDEN,
    grpc.StatusCode.UNIMPLEMENTED: Fault.NOT_FOUND,
    grpc.StatusCode.NOT_FOUND: Fault.NOT_FOUND,
    grpc.StatusCode.INTERNAL: Fault.SERVER_ERROR,
    grpc.StatusCode.INVALID_ARGUMENT: Fault.REFUSED_DATA,
    grpc.StatusCode.FAILED_PRECONDITION: Fault.REFUSED_DATA,
}
"""The codes that OTLP calls retryable all map to faults that pass."""

_TRANSPORT: tuple[tuple[str, Fault], ...] = (
    ("is not in peer certificate", Fault.WRONG_NAME),
    ("Hostname Verification", Fault.WRONG_NAME),
    ("CERTIFICATE_VERIFY_FAILED", Fault.UNTRUSTED),
    ("WRONG_VERSION_NUMBER", Fault.NOT_TLS),
    ("CERTIFICATE_REQUIRED", Fault.NO_CLIENT_CERTIFICATE),
    ("ALERT_UNKNOWN_CA", Fault.NO_CLIENT_CERTIFICATE),
    ("andshake failed", Fault.TLS),
    ("DNS resolution failed", Fault.UNKNOWN_HOST),
    ("Domain name not found", Fault.UNKNOWN_HOST),
    ("http1.x server", Fault.NOT_OTLP),
    ("Failed parsing HTTP/2", Fault.NOT_OTLP),
    ("missing selected ALPN", Fault.NOT_OTLP),
    ("HTTP proxy returned", Fault.REFUSED),
    ("Connection refused", Fault.REFUSED),
    ("Network is unreachable", Fault.UNREACHABLE),
    ("No route to host", Fault.UNREACHABLE),
    ("Connection reset", Fault.DROPPED),
    ("Socket closed", Fault.DROPPED),
    ("imeout", Fault.TIMEOUT),
)
"""Words by which gRPC's core tells why there is no connection; the status is UNAVAILABLE for them all."""


_LAST_TRIED = re.compile(r"ipv[46]:(\S+): ")
"""The address in gRPC's words: of all that a name stands for, the one whose failure is told."""


def failure_of_call(error: BaseException) -> Failure:
    """Why a call failed."""
    if not isinstance(error, grpc.Call):
        return Failure(Fault.UNSENDABLE, type(error).__name__)
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return _of_transport(details)
    return Failure(_CODES.get(code, Fault.UNKNOWN), shortened(f"{code.name} {details}"))


def _of_transport(details: str) -> Failure:
    fault = next((fault for words, fault in _TRANSPORT if words in details), Fault.BUSY)
    return Failure(fault, shortened(f"UNAVAILABLE {details}") if fault is Fault.BUSY else _tried(details))


def _tried(details: str) -> str:
    found = _LAST_TRIED.search(details)
    return f"tried {unquote(found[1])}" if found else ""
