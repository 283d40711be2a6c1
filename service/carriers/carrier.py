"""What the gateway needs of a carrier."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from service.carriers.signals import Signal
from telemetry.attributes import CallId
from telemetry.timing import TypedError


class CarrierError(TypedError):
    """The carrier refused, did not answer, or broke the connection.

    ``error_type`` is fit for a metric label: an HTTP status, ``timeout``, ``connection``, or a code this module knows.
    """

    def __init__(self, error_type: str, status: int | None = None) -> None:
        super().__init__(error_type)
        self.error_type = error_type
        self.status = status


class SignatureError(Exception):
    """A webhook delivery is not from the carrier, or too old."""


class SessionClosedError(Exception):
    """The session is over."""

    def __init__(self, *, orderly: bool, error_type: str | None = None) -> None:
        super().__init__(error_type or ("closed" if orderly else "connection dropped"))
        self.orderly = orderly
        """Closed in good form; a caller's hang-up is not: the connection just ends."""
        self.error_type = error_type
        """Set if the end is an error."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call, as it is told to the model."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""


class CarrierSession(Protocol):
    """A running session: what is heard on it, and what can be said."""

    def signals(self) -> AsyncIterator[Signal]:
        """What happens, until the session is over.

        Raises:
            SessionClosedError: always, at the end.
        """
        ...

    async def greet(self) -> None:
        """Let the agent speak first."""
        ...

    async def answer_tool(self, tool_call_id: str, output: str) -> None:
        """Give the model a tool's output and let it go on."""
        ...

    async def probe(self) -> None:
        """Ask for a sign of life; it comes as a signal."""
        ...


class Carrier(Protocol):
    """Call control. Every method raises :class:`CarrierError` when the carrier does not do it."""

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Check a webhook delivery's signature.

        Raises:
            SignatureError: if it is missing, wrong or too old.
        """
        ...

    async def accept(
        self, call_id: CallId, instructions: str, tools: Sequence[Tool], *, transcribe: bool = False
    ) -> None:
        """Take the call, with what the caller says as text if ``transcribe``, which is billed apart.

        Never repeated by itself: a lost answer is not proof that it was not taken.
        """
        ...

    async def reject(self, call_id: CallId, sip_status: int) -> None:
        """Turn the call away."""
        ...

    async def refer(self, call_id: CallId, target_uri: str) -> None:
        """Hand the caller to another destination."""
        ...

    async def hangup(self, call_id: CallId) -> None:
        """End the call."""
        ...

    def session(self, call_id: CallId, *, fresh: bool = True) -> AbstractAsyncContextManager[CarrierSession]:
        """Attach to the accepted call's session. A ``fresh`` one may not be known to the carrier for a moment."""
        ...

    async def close(self) -> None:
        """Give up connections."""
        ...
