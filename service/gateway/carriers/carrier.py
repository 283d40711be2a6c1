"""The gateway's view of a carrier."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol

from telemetry.calls.events import TokenUsage
from telemetry.calls.timing import TypedError
from telemetry.semconv.attributes import CallId, MessageProblem, RejectionReason, Speaker


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """The session's detection of speech, told when it is set."""

    silence_seconds: float | None = None
    """Silence after which the caller's speech is taken to be over, and is then reported; None if it varies."""


@dataclass(frozen=True, slots=True)
class CallerSpeech:
    """The caller begins or stops speaking."""

    speaking: bool


@dataclass(frozen=True, slots=True)
class PlaybackStarted:
    """The caller begins to hear a response."""

    response_id: str
    exact: bool = True
    """True if the carrier reports playback itself; otherwise this is the first audio it sent, and the end of the
    response is all that will be known of the playback's end."""


@dataclass(frozen=True, slots=True)
class PlaybackStopped:
    """A response has played to its end, or the caller cut it short."""

    response_id: str
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """The model wants a tool to run."""

    tool_call_id: str
    name: str
    arguments: str
    """JSON as the model wrote it, which may not be JSON at all."""


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """The model has a tool's output."""

    tool_call_id: str


@dataclass(frozen=True, slots=True)
class ResponseBegun:
    """The model begins a response."""


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """A response is complete, cut short or failed; it is billed in any case."""

    response_id: str
    interrupted: bool = False
    usage: TokenUsage | None = None
    tools: tuple[ToolRequest, ...] = ()
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """Speech as text; the caller's only where the session transcribes."""

    speaker: Speaker
    text: str = field(repr=False)
    usage: TokenUsage | None = None
    """The tokens that putting it into words was billed, where that is billed apart."""
    usage_id: str = ""
    """The id under which it was billed."""


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller presses a key of the telephone."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionFault:
    """The carrier reports an error; only ``fatal`` ones end the session."""

    code: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Unusable:
    """A message, or a number in one, that cannot be used; what else the message says still comes."""

    problem: MessageProblem
    event_type: str = ""
    """The type of the event, where it is one this service knows."""


@dataclass(frozen=True, slots=True)
class LivenessSignal:
    """Anything else: the session is alive."""


Signal = (
    TurnDetection
    | CallerSpeech
    | PlaybackStarted
    | PlaybackStopped
    | ToolAnswered
    | ResponseBegun
    | ResponseDone
    | Words
    | KeyPressed
    | SessionFault
    | Unusable
    | LivenessSignal
)


class CarrierError(TypedError):
    """The carrier refused, did not answer, or broke the connection.

    ``error_type`` is fit for a metric label: an HTTP status, ``timeout``, ``connection``, or a code this module knows.
    """

    def __init__(self, error_type: str, status: int | None = None) -> None:
        super().__init__(error_type)
        self.error_type = error_type
        self.status = status


class SessionClosedError(Exception):
    """The connection to the session has ended."""

    def __init__(self, *, orderly: bool, error_type: str | None = None, broken: bool = False) -> None:
        super().__init__(error_type or ("closed" if orderly else "connection dropped"))
        self.orderly = orderly
        """Closed in good form; a caller's hang-up is not: the connection just ends."""
        self.error_type = error_type
        """Set if the end, should the call be over, is an error."""
        self.broken = broken
        """The transport ended, which does not tell if the call is over: only attaching again does."""


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
        """Yield what happens, until the connection ends.

        Raises:
            SessionClosedError: always, at the end.
        """
        ...

    async def respond(self) -> None:
        """Let the agent speak; only :class:`ResponseBegun` shows that this was not lost as the connection broke."""
        ...

    async def answer_tool(self, tool_call_id: str, output: str) -> None:
        """Give the model a tool's output, which it takes once, and let it go on; :class:`ToolAnswered` shows that."""
        ...

    async def probe(self) -> None:
        """Ask for a signal, which a session that is alive answers with."""
        ...

    async def close(self) -> None:
        """Leave the session; :meth:`signals` ends in good order."""
        ...


Tries = Callable[[int], AbstractContextManager[object]]
"""Times one try of several; the number is that of the tries before it."""


def untimed(_resends: int) -> AbstractContextManager[object]:
    """Time nothing."""
    return nullcontext()


class Carrier(Protocol):
    """Call control. Every method raises :class:`CarrierError` when the carrier does not do it."""

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Check a webhook delivery's signature.

        Raises:
            SignatureError: with the cause (see :mod:`service.gateway.carriers.signatures`).
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

    def session(
        self, call_id: CallId, *, fresh: bool = True, tries: Tries = untimed
    ) -> AbstractAsyncContextManager[CarrierSession]:
        """Attach to the accepted call's session. A ``fresh`` one may not be known to the carrier for a moment.

        ``tries`` times each try of a fresh one; it takes the number of tries before.
        """
        ...

    async def close(self) -> None:
        """Give up connections."""
        ...


SHUTDOWN = "shutdown"
"""The process is draining; not a reason that is counted, since the carrier is asked to try again."""
REJECTION_STATUS: Mapping[str, int] = MappingProxyType(
    {
        RejectionReason.CAPACITY: 486,
        RejectionReason.TENANT_NOT_CONFIGURED: 404,
        RejectionReason.TENANT_LOOKUP_FAILED: 504,
        RejectionReason.INSTRUCTIONS_MISSING: 480,
        RejectionReason.CARRIER_ERROR: 500,
        SHUTDOWN: 503,
    }
)
"""SIP status by reason (RFC 3261 §21): 486 Busy Here, 404 Not Found, 504 Server Time-out, 480 Temporarily Unavailable,
500 Server Internal Error, 503 Service Unavailable. One status a reason, so that either end can tell them apart."""
REJECTION_REASON: Mapping[int, str] = MappingProxyType({status: reason for reason, status in REJECTION_STATUS.items()})
"""The same table read from the carrier's end."""

NOT_OWNED: Final = "not_owned"
"""The ``error_type`` of a request that was not made, since another process has the call."""


class OwnedCalls:
    """A carrier of which calls are rejected, referred, hung up and attached to again only while they are owned.

    Args:
        carrier: the one that is asked.
        owns: checks that a call is still this process's.
    """

    def __init__(self, carrier: Carrier, owns: Callable[[CallId], Awaitable[bool]]) -> None:
        self._carrier = carrier
        self._owns = owns

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Check a webhook delivery's signature."""
        self._carrier.verify(body, headers)

    async def accept(
        self, call_id: CallId, instructions: str, tools: Sequence[Tool], *, transcribe: bool = False
    ) -> None:
        """Take the call. It was claimed a moment ago, or its record says that nobody has decided about it."""
        await self._carrier.accept(call_id, instructions, tools, transcribe=transcribe)

    async def reject(self, call_id: CallId, sip_status: int) -> None:
        """Turn the call away."""
        await self._check(call_id)
        await self._carrier.reject(call_id, sip_status)

    async def refer(self, call_id: CallId, target_uri: str) -> None:
        """Hand the caller to another destination."""
        await self._check(call_id)
        await self._carrier.refer(call_id, target_uri)

    async def hangup(self, call_id: CallId) -> None:
        """End the call."""
        await self._check(call_id)
        await self._carrier.hangup(call_id)

    @asynccontextmanager
    async def session(
        self, call_id: CallId, *, fresh: bool = True, tries: Tries = untimed
    ) -> AsyncIterator[CarrierSession]:
        """Attach to the call's session; attaching again would take it from the process that owns the call by now."""
        if not fresh:
            await self._check(call_id)
        async with self._carrier.session(call_id, fresh=fresh, tries=tries) as session:
            yield session

    async def close(self) -> None:
        """Give up connections."""
        await self._carrier.close()

    async def _check(self, call_id: CallId) -> None:
        if not await self._owns(call_id):
            raise CarrierError(NOT_OWNED)
