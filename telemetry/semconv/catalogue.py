"""Every instrument, declared once, as data.

Instruments, cardinality limits, the live projection and ``docs/metrics.md`` derive from this table; dashboards and
alert rules are checked against it. Units are UCUM and never part of a name.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from telemetry.semconv import attributes as attr
from telemetry.semconv import genai
from telemetry.semconv.attributes import EndReason, Fault, RejectionReason, Speaker, UnansweredReason
from telemetry.semconv.instrument import Instrument, Kind, Live
from telemetry.semconv.own_health import HEALTH_INSTRUMENTS

METER_NAME = "callscope"
"""The instrumentation scope of all instruments; also the name of the distribution."""


@cache
def scope_version() -> str | None:
    """Return the distribution's version, which all scopes of ours have; None if it is not installed."""
    try:
        return version(METER_NAME)
    except PackageNotFoundError:
        return None


WAIT_BOUNDARIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0)
"""Bounds in seconds for waits of a person, 50 ms to 30 s."""

DEAD_AIR_BOUNDARIES = (3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0, 60.0, 120.0)
"""Bounds in seconds for silences, from the shortest that counts."""

TALK_OVER_BOUNDARIES = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
"""Bounds in seconds for stretches in which both parties speak."""

SHARE_BOUNDARIES = tuple(tenth / 10 for tenth in range(11))
"""Bounds for shares, in tenths."""

CALL_BOUNDARIES = (
    *(1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0),
    *(600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0),
)
"""Bounds in seconds for durations of calls, 1 s to 4 h; close enough below a minute, where most short calls end, that a
quantile between two bounds is off by 5 s at most up to 30 s."""


MAX_ERROR_TYPES = 64
"""Kinds of failure that count apart: exception classes and the carrier's codes, of which there are a few dozen."""

MAX_MODELS = 16
"""Models whose failed calls count apart; those of further ones count together under ``_other``."""

MAX_SOURCES = 16
"""Gateways and carriers that count apart; further ones count together under ``_other``."""


TENANT = (attr.TENANT_ID,)
ORIGIN = (attr.DIRECTION, attr.SOURCE)
_OPEN_STATES = ("pending", "accepted", "started")
_ORIGINS = len(attr.CallDirection) * (MAX_SOURCES + 2)

RECEIVED = Instrument(
    "voice.call.received",
    Kind.COUNTER,
    "{call}",
    "Calls announced by the carrier.",
    (*TENANT, *ORIGIN),
    (Live("received_calls", public=False),),
    series_per_tenant=_ORIGINS,
)
PENDING = Instrument(
    "voice.call.pending",
    Kind.UP_DOWN_COUNTER,
    "{call}",
    "Calls that hold a slot and have not started.",
    TENANT,
    (Live("pending_calls", public=False),),
)
ACTIVE = Instrument(
    "voice.call.active",
    Kind.UP_DOWN_COUNTER,
    "{call}",
    "Calls whose media session runs.",
    TENANT,
    (Live("active_calls"),),
)
ACCEPTED = Instrument(
    "voice.call.accepted", Kind.COUNTER, "{call}", "Calls accepted.", TENANT, (Live("accepted_calls"),)
)
REJECTED = Instrument(
    "voice.call.rejected",
    Kind.COUNTER,
    "{call}",
    "Calls turned away, by reason.",
    (*TENANT, attr.REJECTION_REASON, *ORIGIN),
    (
        *(
            Live(f"rejected_calls_{reason}", attr.REJECTION_REASON, reason)
            for reason in (
                RejectionReason.CAPACITY,
                RejectionReason.TENANT_NOT_CONFIGURED,
                RejectionReason.INSTRUCTIONS_MISSING,
            )
        ),
        *(
            Live(f"rejected_calls_{reason}", attr.REJECTION_REASON, reason, public=False)
            for reason in (RejectionReason.CARRIER_ERROR, RejectionReason.TENANT_LOOKUP_FAILED)
        ),
    ),
    series_per_tenant=len(RejectionReason) * _ORIGINS,
)
UNANSWERED = Instrument(
    "voice.call.unanswered",
    Kind.COUNTER,
    "{call}",
    "Calls that were never answered without being turned away, by reason.",
    (*TENANT, attr.UNANSWERED_REASON, *ORIGIN),
    (
        Live("unanswered_calls", public=False),
        *(
            Live(f"unanswered_calls_{reason}", attr.UNANSWERED_REASON, reason, public=False)
            for reason in UnansweredReason
        ),
    ),
    series_per_tenant=len(UnansweredReason) * _ORIGINS,
)
INSTRUCTIONS_ERRORS = Instrument(
    "voice.instructions.errors",
    Kind.COUNTER,
    "{error}",
    "Instructions that could not be read from the database.",
    TENANT,
    (Live("instructions_db_errors"),),
)
INSTRUCTIONS_FALLBACKS = Instrument(
    "voice.instructions.fallbacks",
    Kind.COUNTER,
    "{fallback}",
    "Calls that were given the fallback instructions.",
    TENANT,
    (Live("fallback_instructions_used"),),
)
STARTED = Instrument(
    "voice.call.started", Kind.COUNTER, "{call}", "Calls whose media session began.", TENANT, (Live("started_calls"),)
)
ENDED = Instrument(
    "voice.call.ended",
    Kind.COUNTER,
    "{call}",
    "Started calls that are over, by reason; `error.type` and the model only if one failed, `voice.call.fault` only if"
    " known.",
    (*TENANT, attr.END_REASON, attr.ERROR_TYPE, genai.REQUEST_MODEL, attr.FAULT, *ORIGIN),
    (
        Live("ended_calls"),
        Live("failed_calls", attr.ERROR_TYPE),
        *(Live(f"ended_calls_{reason}", attr.END_REASON, reason, public=False) for reason in EndReason),
    ),
    series_per_tenant=len(EndReason) * (MAX_ERROR_TYPES + 2) * (MAX_MODELS + 2) * (len(Fault) + 1) * _ORIGINS,
)
REFERRED = Instrument(
    "voice.call.referred",
    Kind.COUNTER,
    "{call}",
    "Calls handed off to another destination.",
    TENANT,
    (Live("referred_calls"),),
)
TAKEN_OVER = Instrument(
    "voice.call.taken_over",
    Kind.COUNTER,
    "{call}",
    "Calls of another process that this one went on with, by their state then; sums over instances subtract them.",
    (*TENANT, attr.CALL_STATE),
    (
        Live("taken_over_calls", public=False),
        *(Live(f"taken_over_calls_{state}", attr.CALL_STATE, state, public=False) for state in _OPEN_STATES),
    ),
    series_per_tenant=3,
)
HANDED_OVER = Instrument(
    "voice.call.handed_over",
    Kind.COUNTER,
    "{call}",
    "Calls that this process left to another, by their state then; they do not count as ended.",
    (*TENANT, attr.CALL_STATE),
    tuple(Live(f"handed_over_calls_{state}", attr.CALL_STATE, state, public=False) for state in _OPEN_STATES),
    series_per_tenant=3,
)
ABANDONED = Instrument(
    "voice.call.abandoned",
    Kind.COUNTER,
    "{call}",
    "Calls accepted that never started.",
    (*TENANT, attr.END_REASON),
    (Live("abandoned_calls", public=False),),
    series_per_tenant=len(EndReason),
)
CALL_TIME = Instrument(
    "voice.call.time",
    Kind.COUNTER,
    "s",
    "Time calls ran; grows with each heartbeat while they run.",
    TENANT,
    (Live("minutes_processed", scale=60),),
)
DURATION = Instrument(
    "voice.call.duration",
    Kind.HISTOGRAM,
    "s",
    "Started to ended.",
    (*TENANT, attr.END_REASON, *ORIGIN),
    boundaries=CALL_BOUNDARIES,
    summarised=True,
    series_per_tenant=len(EndReason) * _ORIGINS,
)
SETUP_DURATION = Instrument(
    "voice.call.setup.duration",
    Kind.HISTOGRAM,
    "s",
    "Received to accepted or rejected.",
    (*TENANT, attr.OUTCOME),
    boundaries=WAIT_BOUNDARIES,
    summarised=True,
    series_per_tenant=2,
)
CALL_FIRST_AUDIO = Instrument(
    "voice.call.time_to_first_audio",
    Kind.HISTOGRAM,
    "s",
    "Received until the caller hears the agent.",
    TENANT,
    boundaries=WAIT_BOUNDARIES,
    summarised=True,
)
TURN_FIRST_AUDIO = Instrument(
    "voice.turn.time_to_first_audio",
    Kind.HISTOGRAM,
    "s",
    "From the moment the caller fell silent until the first audio of the answer.",
    TENANT,
    boundaries=WAIT_BOUNDARIES,
    summarised=True,
)
INTERRUPTIONS = Instrument(
    "voice.turn.interruptions",
    Kind.COUNTER,
    "{interruption}",
    "Interruptions, by whom: answers cut short by the caller, and speech of the agent into the caller's.",
    (*TENANT, attr.SPEAKER),
    (
        Live("interruptions", attr.SPEAKER, Speaker.CALLER, public=False),
        Live("agent_interruptions", attr.SPEAKER, Speaker.AGENT, public=False),
    ),
    series_per_tenant=2,
)
DEAD_AIR = Instrument(
    "voice.conversation.dead_air",
    Kind.HISTOGRAM,
    "s",
    "Silences of three seconds and more, between the first word and the end.",
    TENANT,
    boundaries=DEAD_AIR_BOUNDARIES,
    summarised=True,
)
TALK_OVER = Instrument(
    "voice.conversation.talk_over",
    Kind.HISTOGRAM,
    "s",
    "Stretches in which both parties spoke.",
    TENANT,
    boundaries=TALK_OVER_BOUNDARIES,
    summarised=True,
)
TALK_SHARE = Instrument(
    "voice.call.talk.share",
    Kind.HISTOGRAM,
    "1",
    "Share of a conversation, from the first word to the end, in which a party spoke.",
    (*TENANT, attr.SPEAKER),
    boundaries=SHARE_BOUNDARIES,
    series_per_tenant=2,
)
STAGE_WAIT = Instrument(
    "voice.turn.stage.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of one stage of an answer, from sources that tell stages apart.",
    (*TENANT, attr.STAGE),
    boundaries=WAIT_BOUNDARIES,
    series_per_tenant=5,
)
CAPACITY_LIMIT = Instrument(
    "voice.capacity.limit",
    Kind.OBSERVABLE_GAUGE,
    "{call}",
    "Calls allowed at once.",
    (*TENANT, attr.CAPACITY_SCOPE),
)
CAPACITY_UTILIZATION = Instrument(
    "voice.capacity.utilization",
    Kind.OBSERVABLE_GAUGE,
    "1",
    "Slots this process uses, as a share of the limit; in a fleet, where the limit is shared, the shares add up.",
    (*TENANT, attr.CAPACITY_SCOPE),
)
CAPACITY_STORE = Instrument(
    "voice.capacity.store.available",
    Kind.OBSERVABLE_GAUGE,
    "{store}",
    "1 while slots are decided upon in the fleet's store, 0 while in each process; only in a fleet.",
    series_per_tenant=0,
)
CAPACITY_IN_DOUBT = Instrument(
    "voice.capacity.in_doubt",
    Kind.OBSERVABLE_COUNTER,
    "{call}",
    "Calls about which the fleet's store did not answer in time while it was not known to be away; only in a fleet.",
    series_per_tenant=0,
)
OLDEST_SILENCE = Instrument(
    "voice.call.oldest_silence",
    Kind.OBSERVABLE_GAUGE,
    "s",
    "The longest time since the last activity of a running call; 0 when none runs.",
    series_per_tenant=0,
)
WEBHOOKS = Instrument(
    "voice.webhook.received",
    Kind.COUNTER,
    "{event}",
    "Webhook deliveries, by what became of them.",
    (attr.WEBHOOK_OUTCOME,),
    series_per_tenant=0,
)
VIOLATIONS = Instrument(
    "voice.lifecycle.violations",
    Kind.COUNTER,
    "{violation}",
    "Reported transitions that the call's state does not allow; they changed no number.",
    (*TENANT, attr.VIOLATION),
    (Live("lifecycle_violations", public=False),),
    series_per_tenant=len(attr.Violation),
)
UNUSABLE_MESSAGES = Instrument(
    "callscope.session.unusable_messages",
    Kind.COUNTER,
    "{message}",
    "Messages of sessions, and numbers in them, that could not be used; each call went on.",
    (*TENANT, attr.MESSAGE_PROBLEM),
    series_per_tenant=len(attr.MessageProblem),
)
INFERRED = Instrument(
    "voice.lifecycle.inferred",
    Kind.COUNTER,
    "{transition}",
    "Transitions that no report told of in time and that followed from later ones.",
    (*TENANT, attr.TRANSITION),
    (Live("inferred_transitions", public=False),),
    series_per_tenant=4,
)
TOKEN_USAGE = Instrument(
    genai.TOKEN_USAGE,
    Kind.HISTOGRAM,
    "{token}",
    "Tokens of each response, as billed.",
    (*TENANT, genai.OPERATION_NAME, genai.PROVIDER_NAME, genai.REQUEST_MODEL, genai.TOKEN_TYPE),
    boundaries=genai.TOKEN_BOUNDARIES,
    series_per_tenant=4,
)
_INFERENCE = (*TENANT, genai.OPERATION_NAME, genai.PROVIDER_NAME, genai.REQUEST_MODEL)
INFERENCE_INPUT = Instrument(
    genai.INFERENCE_INPUT,
    Kind.COUNTER,
    "{token}",
    "Tokens read by the model, cached ones included (v0.1.0 names; see genai-names.md).",
    (*_INFERENCE, genai.TOKEN_MODALITY),
    series_per_tenant=12,
)
INFERENCE_OUTPUT = Instrument(
    genai.INFERENCE_OUTPUT,
    Kind.COUNTER,
    "{token}",
    "Tokens written by the model (v0.1.0 names; see genai-names.md).",
    (*_INFERENCE, genai.TOKEN_MODALITY),
    series_per_tenant=12,
)
INFERENCE_CACHED = Instrument(
    genai.INFERENCE_CACHED,
    Kind.COUNTER,
    "{token}",
    "Of the input tokens, those read from a cache (v0.1.0 names; see genai-names.md).",
    _INFERENCE,
    series_per_tenant=4,
)
OPERATION_INPUT = Instrument(
    genai.OPERATION_INPUT,
    Kind.HISTOGRAM,
    "{token}",
    "Input tokens of each response (v0.1.0 names; see genai-names.md).",
    _INFERENCE,
    boundaries=genai.TOKEN_BOUNDARIES,
    series_per_tenant=4,
)
OPERATION_OUTPUT = Instrument(
    genai.OPERATION_OUTPUT,
    Kind.HISTOGRAM,
    "{token}",
    "Output tokens of each response (v0.1.0 names; see genai-names.md).",
    _INFERENCE,
    boundaries=genai.TOKEN_BOUNDARIES,
    series_per_tenant=4,
)
TOOL_DURATION = Instrument(
    genai.EXECUTE_TOOL_DURATION,
    Kind.HISTOGRAM,
    "s",
    "How long tools took to answer.",
    (*TENANT, genai.TOOL_NAME, genai.TOOL_TYPE, attr.ERROR_TYPE),
    boundaries=genai.TOOL_BOUNDARIES,
    series_per_tenant=16,
)

INSTRUMENTS: tuple[Instrument, ...] = (
    RECEIVED,
    PENDING,
    ACTIVE,
    ACCEPTED,
    REJECTED,
    UNANSWERED,
    INSTRUCTIONS_ERRORS,
    INSTRUCTIONS_FALLBACKS,
    STARTED,
    ENDED,
    REFERRED,
    TAKEN_OVER,
    HANDED_OVER,
    ABANDONED,
    CALL_TIME,
    DURATION,
    SETUP_DURATION,
    CALL_FIRST_AUDIO,
    TURN_FIRST_AUDIO,
    INTERRUPTIONS,
    DEAD_AIR,
    TALK_OVER,
    TALK_SHARE,
    STAGE_WAIT,
    CAPACITY_LIMIT,
    CAPACITY_UTILIZATION,
    CAPACITY_STORE,
    CAPACITY_IN_DOUBT,
    OLDEST_SILENCE,
    WEBHOOKS,
    VIOLATIONS,
    INFERRED,
    UNUSABLE_MESSAGES,
    TOKEN_USAGE,
    INFERENCE_INPUT,
    INFERENCE_OUTPUT,
    INFERENCE_CACHED,
    OPERATION_INPUT,
    OPERATION_OUTPUT,
    TOOL_DURATION,
    *HEALTH_INSTRUMENTS,
)
"""The catalogue, in the order the documentation lists it."""

LIVE_FIELDS: tuple[str, ...] = (
    "active_calls",
    "accepted_calls",
    "rejected_calls_capacity",
    "rejected_calls_tenant_not_configured",
    "rejected_calls_instructions_missing",
    "instructions_db_errors",
    "fallback_instructions_used",
    "started_calls",
    "ended_calls",
    "failed_calls",
    "referred_calls",
    "minutes_processed",
)
"""The twelve fields of the live endpoints, in their order."""


def cardinality_limit(max_tenants: int) -> int:
    """Return the most attribute sets an instrument can have with ``max_tenants``, `_unknown` and `_other`."""
    return (max_tenants + 2) * max(instrument.series_per_tenant for instrument in INSTRUMENTS)
