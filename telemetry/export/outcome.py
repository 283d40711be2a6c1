"""What became of one attempt to export, in words that a person can act upon and that hold no secret."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

Batch_contra = TypeVar("Batch_contra", contravariant=True)
"""What a signal's exporter takes: spans, log records or collected metrics."""


class Fault(StrEnum):
    """Why an export failed. The value is the short form of health reports."""

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
        """Whether the same batch may well be taken later: the server is busy, or has not even seen it."""
        return self in _PASSING


_PASSING = {
    Fault.REFUSED,
    Fault.UNKNOWN_HOST,
    Fault.UNREACHABLE,
    Fault.DROPPED,
    Fault.TIMEOUT,
    Fault.UNTRUSTED,
    Fault.WRONG_NAME,
    Fault.NO_CLIENT_CERTIFICATE,
    Fault.TLS,
    Fault.NOT_TLS,
    Fault.BUSY,
    Fault.CLOSED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An export that failed."""

    fault: Fault
    detail: str = ""
    """What the other side or the system said, shortened, without URL, header or body."""

    def __str__(self) -> str:
        return f"{self.fault} ({self.detail})" if self.detail else str(self.fault)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one batch."""

    failure: Failure | None = None
    """Why the batch was not taken; none: the server acknowledged it."""
    rejected: int = 0
    """Items that the server acknowledged but refused (OTLP's partial success). They must not be sent again."""
    note: str = ""
    """What the server said about the rejected items, or a warning with a full success."""

    @property
    def delivered(self) -> bool:
        """Whether the server acknowledged the batch."""
        return self.failure is None

    @property
    def worth_keeping(self) -> bool:
        """Whether the batch should wait for a better moment."""
        return self.failure is not None and self.failure.fault.passing

    def __add__(self, later: "Outcome") -> "Outcome":
        """The outcome of two batches of one round, this one and a later."""
        return Outcome(later.failure or self.failure, self.rejected + later.rejected, later.note or self.note)


class Sender(Protocol[Batch_contra]):
    """Sends batches of one signal, one at a time."""

    def send(self, batch: Batch_contra) -> Outcome:
        """Send and, within the export timeout, retry; never raises for what the network or server does."""
        ...

    def close(self) -> None:
        """Break off a retry in progress and release the connection; what is sent from here on fails."""
        ...


def shortened(text: str, limit: int = 160) -> str:
    """One line of printable text, cut to ``limit`` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
