"""Every attribute key this project puts on a metric, a span or a log, with its meaning and where it may go.

Metric attributes have few values, all known beforehand or bounded by a budget. Everything else (ids, free text) belongs
on spans and logs. The two are different types, so that a call id on a metric does not type-check.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from opentelemetry.semconv._incubating.attributes.db_attributes import DB_STATEMENT as _DB_STATEMENT
from opentelemetry.semconv.attributes import (
    client_attributes,
    db_attributes,
    error_attributes,
    exception_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)

MetricKey = NewType("MetricKey", str)
"""The key of an attribute that metrics may have."""

TraceKey = NewType("TraceKey", str)
"""The key of an attribute for spans and logs only."""

Label = NewType("Label", str)
"""The value of a metric attribute: from a closed vocabulary, or admitted by a cardinality budget."""

CallId = NewType("CallId", str)
"""The carrier's id of one call (``rtc_…``); never a metric attribute."""

TenantId = NewType("TenantId", str)
"""A tenant's id as configured; a metric attribute only through the tenant budget of ``telemetry.metrics``."""

MetricAttributes = Mapping[MetricKey, Label]
"""The attributes of a measurement."""

UNKNOWN_TENANT = TenantId("_unknown")
"""The tenant of calls to unmapped numbers: the dialled text is the caller's choice and never becomes an attribute."""

DIRECT_SOURCE: Final = "direct"
"""The source of calls that an application reports in its own process, unless it names another."""

OTHER = Label("_other")
"""The value for everything past a budget: further tenants, undeclared values."""

UNKNOWN_TOOL: Final = "unknown_tool"
"""The ``error.type`` of a tool call that asked for a tool which there is not."""


class Exposure(StrEnum):
    """The signals an attribute may appear on."""

    METRIC = "metric"
    """Metrics, spans and logs."""
    TRACE = "trace"
    """Spans and logs, never metrics."""
    PERSONAL = "personal"
    """Spans and logs only, masked or hashed, or where a tenant switched content on."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """The declaration of one key."""

    key: str
    exposure: Exposure
    meaning: str
    values: tuple[str, ...] = ()
    """The legal values; empty if the vocabulary is open."""


class RejectionReason(StrEnum):
    """The reasons for turning a call away before it was accepted."""

    CAPACITY = "capacity"
    TENANT_NOT_CONFIGURED = "tenant_not_configured"
    TENANT_LOOKUP_FAILED = "tenant_lookup_failed"
    """The tenant could not be looked up, so it is not known whether there is one."""
    INSTRUCTIONS_MISSING = "instructions_missing"
    CARRIER_ERROR = "carrier_error"


class EndReason(StrEnum):
    """The reasons for the end of an accepted call."""

    COMPLETED = "completed"
    """The agent ended it, or the session closed in good order."""
    HANGUP = "hangup"
    """The caller hung up."""
    REFERRED = "referred"
    """It was transferred to another destination."""
    ERROR = "error"
    STALE = "stale"
    """No end was reported; the sweeper ended it at its last activity."""
    SHUTDOWN = "shutdown"
    """The process stopped while it ran."""
    OPERATOR = "operator"
    """An operator hung up."""
    MAX_DURATION = "max_duration"
    """It had run for as long as a call may."""
    SILENCE = "silence"
    """Nobody had spoken for as long as a call may be silent."""
    VOICEMAIL = "voicemail"
    """An answering machine took the call."""


class UnansweredReason(StrEnum):
    """The reasons for a call that was never answered, without our turning it away."""

    CANCELED = "canceled"
    """The caller gave up before a decision (SIP CANCEL)."""
    BUSY = "busy"
    """Outbound: the called party was busy (SIP 486)."""
    NO_ANSWER = "no_answer"
    """Outbound: nobody answered in time."""
    DECLINED = "declined"
    """Outbound: the called party declined (SIP 603)."""
    UNREACHABLE = "unreachable"
    """Outbound: the number could not be reached."""


class CallDirection(StrEnum):
    """The directions of a call, as seen from the gateway."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Fault(StrEnum):
    """The parties whose doing the end of a call can be."""

    CALLER = "caller"
    AGENT = "agent"
    MODEL = "model"
    CARRIER = "carrier"
    SERVICE = "service"


class SetupOutcome(StrEnum):
    """The decisions about a received call."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class WebhookOutcome(StrEnum):
    """The outcomes of a webhook delivery."""

    ACCEPTED = "accepted"
    """Valid and processed; the call it announces may still be rejected."""
    DEDUPED = "deduped"
    IGNORED = "ignored"
    """Valid, of a type the service does not act on."""
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_UNREADABLE = "signature_unreadable"
    """A header that is needed to verify it is missing, or is not what it should be."""
    SIGNATURE_TOO_OLD = "signature_too_old"
    SIGNATURE_TOO_NEW = "signature_too_new"
    """Signed in the future: the two clocks differ, or the time is made up."""
    SIGNATURE_NO_MATCH = "signature_no_match"
    """The secret, the body, the id or the time is another one than was signed."""
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"
    """Refused with a retryable status: draining, or too many deliveries at once."""


class Violation(StrEnum):
    """The ways a reported transition breaks the lifecycle; none changes a number."""

    DUPLICATE = "duplicate"
    """The call had made this transition already."""
    OUT_OF_ORDER = "out_of_order"
    """The call was not yet in a state that this transition leads from."""
    AFTER_END = "after_end"
    """The call had reached a terminal state."""
    UNKNOWN_CALL = "unknown_call"
    """No such call is tracked."""
    OVERFLOW = "overflow"
    """More calls at once than the tracker has room for; the call is not tracked."""


class MessageProblem(StrEnum):
    """The reason that a message of a call's session, or a number in it, could not be used."""

    NOT_JSON = "not_json"
    NO_EVENT = "no_event"
    """JSON, but not an object with a textual ``type``."""
    SHAPE = "shape"
    """An event that lacks what its type promises."""
    NUMBER = "number"
    """A number that is not a whole one in its range; it is taken as unknown."""


class Speaker(StrEnum):
    """The parties of a conversation."""

    CALLER = "caller"
    AGENT = "agent"


class Stage(StrEnum):
    """The stages of an answer that a source may time."""

    DETECTION = "detection"
    """From the caller's last word until the end of speech was detected."""
    TRANSCRIPTION = "transcription"
    GENERATION = "generation"
    """The model's work until its first output."""
    TOOL = "tool"
    SYNTHESIS = "synthesis"
    """From the first output until the first audio."""


class TurnEnd(StrEnum):
    """The reasons for the end of a turn."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    CALL_ENDED = "call_ended"


class CapacityScope(StrEnum):
    """The two capacity limits."""

    TENANT = "tenant"
    GLOBAL = "global"


def _values(vocabulary: type[StrEnum]) -> tuple[str, ...]:
    return tuple(member.value for member in vocabulary)


TENANT_ID = MetricKey("tenant.id")
REJECTION_REASON = MetricKey("voice.call.rejection.reason")
END_REASON = MetricKey("voice.call.end.reason")
UNANSWERED_REASON = MetricKey("voice.call.unanswered.reason")
CALL_STATE = MetricKey("voice.call.state")
DIRECTION = MetricKey("voice.call.direction")
SOURCE = MetricKey("voice.call.source")
FAULT = MetricKey("voice.call.fault")
OUTCOME = MetricKey("voice.call.outcome")
ERROR_TYPE = MetricKey(error_attributes.ERROR_TYPE)
CAPACITY_SCOPE = MetricKey("voice.capacity.scope")
WEBHOOK_OUTCOME = MetricKey("voice.webhook.outcome")
SPEAKER = MetricKey("voice.speaker")
STAGE = MetricKey("voice.turn.stage")
TRANSITION = MetricKey("voice.lifecycle.transition")
VIOLATION = MetricKey("voice.lifecycle.violation")
MESSAGE_PROBLEM = MetricKey("voice.session.message.problem")
SIGNAL = MetricKey("signal")
RECORDS_STATE = MetricKey("callscope.records.state")

DEAD_AIR_DURATION = TraceKey("voice.conversation.dead_air_s")
CALL_ID = TraceKey("voice.call.id")
CALL_DURATION = TraceKey("voice.call.duration_s")
CALL_SETUP_DURATION = TraceKey("voice.call.setup.duration_s")
CALL_FIRST_AUDIO = TraceKey("voice.call.time_to_first_audio_s")
PHASE = TraceKey("voice.phase")
LIMIT_VALUE = TraceKey("voice.capacity.limit")
LIMIT_IN_USE = TraceKey("voice.capacity.in_use")
TURN_NUMBER = TraceKey("voice.turn.number")
TURN_FIRST_AUDIO = TraceKey("voice.turn.time_to_first_audio_s")
TURN_UNANSWERED = TraceKey("voice.turn.unanswered_s")
TURN_INTERRUPTED = TraceKey("voice.turn.interrupted")
TURN_END_REASON = TraceKey("voice.turn.end.reason")
FALLBACK_USED = TraceKey("voice.instructions.fallback")
TRANSFER_TARGET = TraceKey("voice.transfer.target")
SESSION_ERROR_CODE = TraceKey("voice.session.error.code")
HTTP_STATUS = TraceKey(http_attributes.HTTP_RESPONSE_STATUS_CODE)
SPAN_CLOSED = TraceKey("callscope.span.closed")

CALLER = TraceKey("voice.caller.number")
DIALLED = TraceKey("voice.dialled.number")
DIALLED_PROBLEM = TraceKey("voice.dialled.problem")
CALLER_HASH = TraceKey("voice.caller.hash")
TRANSCRIPT = TraceKey("voice.transcript")
DTMF = TraceKey("voice.dtmf")

M, T, P = Exposure.METRIC, Exposure.TRACE, Exposure.PERSONAL

ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(TENANT_ID, M, "The tenant; `_unknown` for unmapped numbers, `_other` past the tenant budget."),
    Attribute(REJECTION_REASON, M, "Why the call was turned away.", _values(RejectionReason)),
    Attribute(END_REASON, M, "Why the call is over.", _values(EndReason)),
    Attribute(UNANSWERED_REASON, M, "Why the call was never answered.", _values(UnansweredReason)),
    Attribute(CALL_STATE, M, "The state in which a call changed processes.", ("pending", "accepted", "started")),
    Attribute(DIRECTION, M, "Who called whom.", _values(CallDirection)),
    Attribute(SOURCE, M, "The gateway or carrier that reports the call; `direct` for the process itself."),
    Attribute(FAULT, M, "Whose doing the end was; of an error, whose fault. Absent where unknown.", _values(Fault)),
    Attribute(
        OUTCOME,
        M,
        "What was decided about the call; on its root span, how it turned out, as the API says it.",
        _values(SetupOutcome),
    ),
    Attribute(ERROR_TYPE, M, "The failure's class or code, low in cardinality; absent on success."),
    Attribute(CAPACITY_SCOPE, M, "Whose limit.", _values(CapacityScope)),
    Attribute(WEBHOOK_OUTCOME, M, "What became of a webhook delivery.", _values(WebhookOutcome)),
    Attribute(SPEAKER, M, "Who speaks, or interrupts.", _values(Speaker)),
    Attribute(STAGE, M, "The stage of an answer.", _values(Stage)),
    Attribute(DEAD_AIR_DURATION, T, "Seconds in which nobody spoke."),
    Attribute(TRANSITION, M, "The transition; on metrics, one that was inferred."),
    Attribute(VIOLATION, M, "How a reported transition broke the lifecycle.", _values(Violation)),
    Attribute(MESSAGE_PROBLEM, M, "Why a session's message could not be used.", _values(MessageProblem)),
    Attribute(SIGNAL, M, "The exported signal.", ("metrics", "traces", "logs")),
    Attribute(RECORDS_STATE, M, "How safe call records are.", ("writing", "catching_up", "spilling", "refusing")),
    Attribute(CALL_ID, T, "The carrier's id of the call."),
    Attribute(CALL_DURATION, T, "Started to ended, in seconds."),
    Attribute(CALL_SETUP_DURATION, T, "Received to decided, in seconds."),
    Attribute(CALL_FIRST_AUDIO, T, "Received to the first audio of the agent, in seconds."),
    Attribute(PHASE, T, "The phase of the call's path a span covers."),
    Attribute(LIMIT_VALUE, T, "The limit that was reached."),
    Attribute(LIMIT_IN_USE, T, "Calls in use when the limit was looked at."),
    Attribute(TURN_NUMBER, T, "The turn, from 1."),
    Attribute(TURN_FIRST_AUDIO, T, "The moment the caller fell silent to the first audio of the answer, in seconds."),
    Attribute(TURN_UNANSWERED, T, "The caller fell silent until the turn ended without an answer, in seconds."),
    Attribute(TURN_INTERRUPTED, T, "The caller cut the answer short."),
    Attribute(TURN_END_REASON, T, "Why the turn is over.", _values(TurnEnd)),
    Attribute(FALLBACK_USED, T, "The fallback instructions were used."),
    Attribute(TRANSFER_TARGET, T, "The name of the transfer destination, as the tenant configured it."),
    Attribute(SESSION_ERROR_CODE, T, "The code of an error the carrier reported inside the session."),
    Attribute(HTTP_STATUS, M, "What a request was answered, where there was an answer."),
    Attribute(SPAN_CLOSED, T, "Why the span was ended from outside, such as `shutdown`; absent where its maker did."),
    Attribute(CALLER, P, "The caller's number, masked to its last four digits."),
    Attribute(DIALLED, P, "The dialled number, masked to its last four digits; of a name, its first two letters."),
    Attribute(DIALLED_PROBLEM, T, "Why what was dialled reaches no tenant, such as `no_tenant` or `no_country`."),
    Attribute(CALLER_HASH, P, "A keyed hash of the caller's number, for joining calls of one caller."),
    Attribute(TRANSCRIPT, P, "What was said; only where the tenant switched content on."),
    Attribute(DTMF, P, "The key that was pressed; only where the tenant switched content on."),
)
"""The project's own vocabulary; the GenAI conventions' is in :mod:`telemetry.semconv.genai`."""

URL_FULL = TraceKey(url_attributes.URL_FULL)
URL_PATH = TraceKey(url_attributes.URL_PATH)
URL_QUERY = TraceKey(url_attributes.URL_QUERY)
URL_SCHEME = TraceKey(url_attributes.URL_SCHEME)
HTTP_METHOD = TraceKey(http_attributes.HTTP_REQUEST_METHOD)
HTTP_METHOD_ORIGINAL = TraceKey(http_attributes.HTTP_REQUEST_METHOD_ORIGINAL)
HTTP_RESEND_COUNT = TraceKey(http_attributes.HTTP_REQUEST_RESEND_COUNT)
HTTP_ROUTE = TraceKey(http_attributes.HTTP_ROUTE)
SERVER_ADDRESS = TraceKey(server_attributes.SERVER_ADDRESS)
SERVER_PORT = TraceKey(server_attributes.SERVER_PORT)
CLIENT_ADDRESS = TraceKey(client_attributes.CLIENT_ADDRESS)
CLIENT_PORT = TraceKey(client_attributes.CLIENT_PORT)
PEER_ADDRESS = TraceKey(network_attributes.NETWORK_PEER_ADDRESS)
PEER_PORT = TraceKey(network_attributes.NETWORK_PEER_PORT)
PROTOCOL_NAME = TraceKey(network_attributes.NETWORK_PROTOCOL_NAME)
PROTOCOL_VERSION = TraceKey(network_attributes.NETWORK_PROTOCOL_VERSION)
USER_AGENT = TraceKey(user_agent_attributes.USER_AGENT_ORIGINAL)
DB_SYSTEM = TraceKey(db_attributes.DB_SYSTEM_NAME)
DB_NAMESPACE = TraceKey(db_attributes.DB_NAMESPACE)
DB_OPERATION = TraceKey(db_attributes.DB_OPERATION_NAME)
DB_COLLECTION = TraceKey(db_attributes.DB_COLLECTION_NAME)
DB_BATCH_SIZE = TraceKey(db_attributes.DB_OPERATION_BATCH_SIZE)
DB_STATUS = TraceKey(db_attributes.DB_RESPONSE_STATUS_CODE)
DB_QUERY_TEXT = TraceKey(db_attributes.DB_QUERY_TEXT)
DB_STATEMENT = TraceKey(_DB_STATEMENT)
EXCEPTION_TYPE = TraceKey(exception_attributes.EXCEPTION_TYPE)
EXCEPTION_MESSAGE = TraceKey(exception_attributes.EXCEPTION_MESSAGE)
EXCEPTION_STACKTRACE = TraceKey(exception_attributes.EXCEPTION_STACKTRACE)
EXCEPTION_ESCAPED = TraceKey(exception_attributes.EXCEPTION_ESCAPED)

CONVENTION_ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    Attribute(URL_FULL, T, "The address called, without user, query and fragment."),
    Attribute(URL_PATH, T, "The path that was asked for."),
    Attribute(URL_QUERY, P, "Withheld: a query may name a caller or carry a token."),
    Attribute(URL_SCHEME, M, "The protocol.", ("http", "https", "ws", "wss")),
    Attribute(HTTP_METHOD, M, "The request's method."),
    Attribute(HTTP_METHOD_ORIGINAL, T, "The method as it was sent, where it is not one that is known."),
    Attribute(HTTP_RESEND_COUNT, T, "How often the request had been sent before."),
    Attribute(HTTP_ROUTE, M, "The route's template."),
    Attribute(SERVER_ADDRESS, M, "The host called, or the one that answers."),
    Attribute(SERVER_PORT, M, "Its port."),
    Attribute(CLIENT_ADDRESS, P, "Withheld: the address of whoever asks."),
    Attribute(CLIENT_PORT, P, "Withheld with the address."),
    Attribute(PEER_ADDRESS, P, "Withheld: on a server's span it is the client's address."),
    Attribute(PEER_PORT, P, "Withheld with the address."),
    Attribute(PROTOCOL_NAME, T, "The application protocol."),
    Attribute(PROTOCOL_VERSION, M, "Its version."),
    Attribute(USER_AGENT, P, "Withheld: free text of whoever asks."),
    Attribute(DB_SYSTEM, T, "The database's product."),
    Attribute(DB_NAMESPACE, T, "The database's name."),
    Attribute(DB_OPERATION, T, "The kind of statement, such as SELECT."),
    Attribute(DB_COLLECTION, T, "The table."),
    Attribute(DB_BATCH_SIZE, T, "Statements run in one go."),
    Attribute(DB_STATUS, T, "The database's error code."),
    Attribute(DB_QUERY_TEXT, P, "Withheld: a statement may have values in it."),
    Attribute(DB_STATEMENT, P, "Withheld: the older name of the statement."),
    Attribute(EXCEPTION_TYPE, T, "The exception's class."),
    Attribute(EXCEPTION_MESSAGE, P, "Withheld: a message quotes what it failed on."),
    Attribute(EXCEPTION_STACKTRACE, T, "The places in the code the exception passed, without messages."),
    Attribute(EXCEPTION_ESCAPED, T, "Whether the exception left the span."),
)
"""Attributes that contrib instrumentations record; :data:`ATTRIBUTES` are the project's own."""

WITHHELD: Final = frozenset(str(a.key) for a in CONVENTION_ATTRIBUTES if a.exposure is Exposure.PERSONAL)
"""Keys that never leave the process, on spans, events and log lines alike."""
