"""Events to one trace a call: the root from received to the end, a child for each phase, turn, speech and tool.

A child is exported as soon as it is finished. Only the root and the session below it stay open for as long as the
call, and they are closed whatever way it ends.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, set_value
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.calls.events import (
    CallAbandoned,
    CallAccepted,
    CallAnnounced,
    CallEnded,
    CallEvent,
    CallHandedOver,
    CallLost,
    CallReceived,
    CallRef,
    CallReferred,
    CallRejected,
    CallStarted,
    CallTakenOver,
    CallUnanswered,
    Content,
    ContentHeard,
    DeadAir,
    Event,
    FallbackUsed,
    FirstAudio,
    InstructionsFailed,
    LifecycleViolated,
    Phase,
    PhaseEnded,
    PhaseStarted,
    SessionError,
    SpeechEnded,
    TokensUsed,
    ToolEnded,
    ToolStarted,
    TransitionInferred,
    TurnAnswered,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.calls.sinks import UNSAMPLED, Handler
from telemetry.clock import Instant
from telemetry.privacy import Privacy, mask_dictated
from telemetry.semconv import attributes as attr
from telemetry.semconv import genai
from telemetry.semconv.attributes import CallId, EndReason, RejectionReason, SetupOutcome, Speaker, TraceKey
from telemetry.traces.open_spans import CallSpans, Described, OpenCalls, OpenSpan, StartSpan, replace

MAX_CHARACTERS: Final = 4_096
"""Characters kept of one piece of content; a turn's span has room for many."""
Terminal = CallRejected | CallUnanswered | CallAbandoned | CallEnded
"""The events that end a call for every process."""
CONTENT_KEYS: Final[Mapping[Content, TraceKey]] = {
    Content.CALLER_SAID: attr.TRANSCRIPT,
    Content.AGENT_SAID: attr.TRANSCRIPT,
    Content.KEY_PRESSED: attr.DTMF,
    Content.TOOL_ARGUMENTS: genai.TOOL_ARGUMENTS,
    Content.TOOL_RESULT: genai.TOOL_RESULT,
}
"""The attribute of each kind of content."""
ROOT_NAME = "call"
"""The root span's name; tail sampling and dashboards select by it."""
MAX_ANNOUNCED = 10_000
"""The most calls announced and not received; past this the oldest trace ends as it is."""


class _Current:
    """A context manager that makes a context the current one."""

    __slots__ = ("_context", "_token")

    _token: Token[Context]

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(self, *_: object) -> None:
        detach(self._token)


class CallTraces:
    """The sink that opens and closes spans; also the source of a call's context for measurements and other code.

    Terminal events go to :attr:`endings`, a sink that comes last in the fan-out, so that measurements of the same event
    still find the call's context.
    """

    def __init__(self, tracer: Tracer, *, privacy: Privacy | None = None) -> None:
        self._start = cast("StartSpan", tracer.start_span)
        self._privacy = privacy or Privacy()
        self._calls = OpenCalls(MAX_ANNOUNCED)
        of_open_calls: dict[type[Event], Callable[[Any, CallSpans], None]] = {
            PhaseStarted: self._phase_started,
            PhaseEnded: self._phase_ended,
            InstructionsFailed: self._instructions_failed,
            FallbackUsed: self._fallback_used,
            CallTakenOver: self._taken_over,
            CallAccepted: self._accepted,
            CallStarted: self._started,
            CallReferred: self._referred,
            FirstAudio: self._first_audio,
            SpeechEnded: self._speech_ended,
            TurnStarted: self._turn_started,
            TurnAnswered: self._turn_answered,
            TurnInterrupted: self._turn_interrupted,
            TurnEnded: self._turn_ended,
            DeadAir: self._dead_air,
            TokensUsed: self._tokens_used,
            ToolStarted: self._tool_started,
            ToolEnded: self._tool_ended,
            ContentHeard: self._content_heard,
            SessionError: self._session_error,
            LifecycleViolated: self._violated,
            TransitionInferred: self._inferred,
        }
        self._handlers: dict[type[Event], Handler] = {
            CallAnnounced: self._announced,
            CallReceived: self._received,
            CallLost: self._lost,
            **{kind: self._if_open(handle) for kind, handle in of_open_calls.items()},
        }
        self.endings = _Endings(self._calls)

    @property
    def handlers(self) -> Mapping[type[Event], Handler]:
        """The handler of each type of event that shows in a trace."""
        return self._handlers

    @property
    def open_calls(self) -> int:
        """Number of calls whose trace has not ended."""
        return len(self._calls)

    def context(self, call: CallRef) -> Context | None:
        """Return the context of the call's root span; None if it has no open trace."""
        spans = self._calls.get(call.call_id)
        return None if spans is None else spans.root.context

    def trace_id(self, call_id: CallId) -> str | None:
        """Return the trace id of an open call as 32 hexadecimal digits; None if it has none."""
        spans = self._calls.get(call_id)
        context = INVALID_SPAN_CONTEXT if spans is None else spans.root.span.get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    def scope(self, call: CallRef) -> AbstractContextManager[object]:
        """Return a context manager in which the call's innermost open span is the current one."""
        spans = self._calls.get(call.call_id)
        return nullcontext() if spans is None else _Current(spans.innermost.context)

    # Opening and closing ----------------------------------------------------------------------------------------------

    def _announced(self, event: CallAnnounced) -> None:
        if event.call.call_id not in self._calls:
            root = self._root(event, event.traceparent, {attr.CALL_ID: event.call.call_id}, Context())
            self._calls.announce(event.call.call_id, CallSpans(root), event.at)

    def _received(self, event: CallReceived) -> None:
        identity: Described = {
            attr.TENANT_ID: event.call.tenant_id,
            attr.DIRECTION: str(event.call.direction),
            attr.SOURCE: event.call.source,
        }
        identity.update(self._privacy.describe(event.caller, event.dialled))
        spans = self._calls.get(event.call.call_id)
        if spans is None:
            identity[attr.CALL_ID] = event.call.call_id
            spans = CallSpans(self._root(event, event.traceparent, identity, _parse(event.continues)))
        else:
            spans.root.describe(identity)
        spans.content = event.content
        self._calls.receive(event.call.call_id, spans)

    def _lost(self, event: CallLost) -> None:
        if event.call.call_id in self._calls:
            return
        identity: Described = {attr.CALL_ID: event.call.call_id, attr.TENANT_ID: event.call.tenant_id}
        self._calls.receive(event.call.call_id, CallSpans(self._root(event, None, identity, _parse(event.continues))))

    def _root(self, event: CallEvent, traceparent: str | None, described: Described, parent: Context) -> OpenSpan:
        links = _links(traceparent)
        span = self._start(ROOT_NAME, parent, SpanKind.SERVER, described, links, event.at.unix_nanos)
        root = OpenSpan.of(span, parent, event.at)
        if not span.get_span_context().trace_flags.sampled:
            root.context = set_value(UNSAMPLED, True, root.context)
        return root

    def _if_open(self, handle: Callable[[Any, CallSpans], None]) -> Handler:
        calls = self._calls

        def show(event: CallEvent) -> None:
            spans = calls.get(event.call.call_id)
            if spans is not None:
                handle(event, spans)

        return show

    def _span(self, event: CallEvent, name: str, began: Instant, parent: OpenSpan, described: Described) -> Span:
        described = {attr.TENANT_ID: event.call.tenant_id, **described}
        return self._start(name, parent.context, SpanKind.INTERNAL, described, (), began.unix_nanos)

    def _child(self, event: CallEvent, name: str, began: Instant, parent: OpenSpan, described: Described) -> OpenSpan:
        return OpenSpan.of(self._span(event, name, began, parent, described), parent.context, began)

    # Handlers ---------------------------------------------------------------------------------------------------------

    def _phase_started(self, event: PhaseStarted, call: CallSpans) -> None:
        phase = self._child(event, str(event.phase), event.at, call.parent_of(event), _of_phase(event))
        replace(call.phases, event.phase, phase, event.at)

    def _phase_ended(self, event: PhaseEnded, call: CallSpans) -> None:
        opened = call.phases.pop(event.phase, None)
        if opened is None:
            opened = self._child(event, str(event.phase), event.started, call.parent_of(event), _of_phase(event))
        if event.phase is Phase.ATTACH and (event.error_type or "").isdigit():
            opened.say(attr.HTTP_STATUS, int(event.error_type or 0))
        opened.end(event.at, event.error_type)
        if event.phase is Phase.REJECT and call.rejection is not None:
            self.endings.close(call.rejection, event.at)

    def _instructions_failed(self, event: InstructionsFailed, call: CallSpans) -> None:
        call.innermost.note("instructions.failed", {attr.ERROR_TYPE: event.error_type}, event.at)

    def _fallback_used(self, event: FallbackUsed, call: CallSpans) -> None:  # noqa: ARG002 -- a handler's signature
        call.root.say(attr.FALLBACK_USED, True)

    def _taken_over(self, event: CallTakenOver, call: CallSpans) -> None:
        call.root.note("call.taken_over", {attr.CALL_STATE: str(event.state)}, event.at)

    def _accepted(self, event: CallAccepted, call: CallSpans) -> None:
        call.root.say(attr.CALL_SETUP_DURATION, event.setup_seconds)

    def _started(self, event: CallStarted, call: CallSpans) -> None:
        if call.session is None:
            described: Described = {
                attr.CALL_ID: event.call.call_id,
                genai.CONVERSATION_ID: event.call.call_id,
                genai.OPERATION_NAME: genai.CHAT,
                genai.PROVIDER_NAME: genai.OPENAI,
            }
            if event.model is not None:
                described[genai.REQUEST_MODEL] = event.model
            call.session = self._child(event, "session", event.at, call.root, described)

    def _referred(self, event: CallReferred, call: CallSpans) -> None:
        call.body.note("call.referred", {attr.TRANSFER_TARGET: event.target} if event.target else {}, event.at)

    def _first_audio(self, event: FirstAudio, call: CallSpans) -> None:
        call.root.say(attr.CALL_FIRST_AUDIO, event.seconds)

    def _speech_ended(self, event: SpeechEnded, call: CallSpans) -> None:
        described: Described = {attr.SPEAKER: str(event.speaker)}
        if event.interrupted:
            described[attr.TURN_INTERRUPTED] = True
        # A speech is reported when it is over, so nothing can be its child and it needs no context.
        turn = call.turn_at(event.started)
        span = self._span(event, "speech", event.started, turn, described)
        span.end(event.at.unix_nanos)
        if event.speaker is Speaker.CALLER:
            turn.silent_since = event.at

    def _turn_started(self, event: TurnStarted, call: CallSpans) -> None:
        turn = self._child(event, "turn", event.at, call.body, {attr.TURN_NUMBER: event.number})
        replace(call.turns, event.number, turn, event.at)

    def _turn_answered(self, event: TurnAnswered, call: CallSpans) -> None:
        opened = call.turns.get(event.number)
        if opened is not None:
            opened.say(attr.TURN_FIRST_AUDIO, event.seconds)
            opened.answered = True

    def _turn_interrupted(self, event: TurnInterrupted, call: CallSpans) -> None:
        opened = call.turns.get(event.number)
        if opened is not None:
            opened.say(attr.TURN_INTERRUPTED, True)

    def _turn_ended(self, event: TurnEnded, call: CallSpans) -> None:
        opened = call.turns.pop(event.number, None)
        if opened is not None:
            opened.say(attr.TURN_END_REASON, str(event.reason))
            # Whoever spoke to the end waited for nothing.
            if opened.silent_since is not None and not opened.answered and event.at > opened.silent_since:
                opened.say(attr.TURN_UNANSWERED, event.at.since(opened.silent_since))
            opened.end(event.at)

    def _dead_air(self, event: DeadAir, call: CallSpans) -> None:
        call.body.note("dead_air", {attr.DEAD_AIR_DURATION: event.seconds}, event.at)

    def _tokens_used(self, event: TokensUsed, call: CallSpans) -> None:
        for key, count in (
            (genai.INPUT_TOKENS, event.usage.input),
            (genai.OUTPUT_TOKENS, event.usage.output),
            (genai.CACHED_INPUT_TOKENS, event.usage.cached_input),
            (genai.INPUT_AUDIO_TOKENS, event.usage.input_audio),
            (genai.OUTPUT_AUDIO_TOKENS, event.usage.output_audio),
        ):
            if count is not None:
                call.tokens[key] = call.tokens.get(key, 0) + count
        call.body.describe({genai.REQUEST_MODEL: event.model, **call.tokens})

    def _tool_started(self, event: ToolStarted, call: CallSpans) -> None:
        described: Described = {
            genai.OPERATION_NAME: genai.EXECUTE_TOOL,
            genai.TOOL_NAME: event.tool,
            genai.TOOL_CALL_ID: event.tool_call_id,
            genai.TOOL_TYPE: genai.FUNCTION,
            genai.CONVERSATION_ID: event.call.call_id,
        }
        tool = self._child(event, f"execute_tool {event.tool}", event.at, call.turn_at(event.at), described)
        replace(call.tools, event.tool_call_id, tool, event.at)

    def _tool_ended(self, event: ToolEnded, call: CallSpans) -> None:
        opened = call.tools.pop(event.tool_call_id, None)
        if opened is not None:
            if event.cut_off:
                opened.note("tool.cut_off", {}, event.at)
            opened.end(event.at, event.error_type)

    def _content_heard(self, event: ContentHeard, call: CallSpans) -> None:
        if call.content:
            tool = call.tools.get(event.tool_call_id) if event.tool_call_id else None
            said: Described = {CONTENT_KEYS[event.content]: mask_dictated(event.text)[:MAX_CHARACTERS]}
            (tool or call.turn_at(event.at)).note(event.content.value, said, event.at)

    def _session_error(self, event: SessionError, call: CallSpans) -> None:
        call.body.note("session.error", {attr.SESSION_ERROR_CODE: event.code}, event.at)

    def _inferred(self, event: TransitionInferred, call: CallSpans) -> None:
        call.root.note("lifecycle.inferred", {attr.TRANSITION: str(event.transition)}, event.at)

    def _violated(self, event: LifecycleViolated, call: CallSpans) -> None:
        # Announced, but the tracker refused it: no other end will come.
        if not call.received:
            self._calls.end(event.call.call_id, event.at, str(event.violation))


class _Endings:
    """The sink of terminal events: it closes a call's spans, the root last."""

    def __init__(self, calls: OpenCalls) -> None:
        self._calls = calls

    @property
    def handlers(self) -> Mapping[type[Event], Handler]:
        """The handler of each terminal event."""
        return {
            CallRejected: self._rejected,
            CallUnanswered: self.close,
            CallAbandoned: self.close,
            CallEnded: self.close,
            CallHandedOver: self._handed_over,
            CallLost: self._lost,
        }

    def _rejected(self, event: CallRejected) -> None:
        # A rejection counts at once, so that no slot waits for the carrier to be told; the trace stays open for it.
        spans = self._calls.get(event.call.call_id)
        if spans is not None and Phase.REJECT in spans.phases:
            spans.rejection = event
        else:
            self.close(event)

    def _lost(self, event: CallLost) -> None:
        spans = self._calls.get(event.call.call_id)
        if spans is not None:
            spans.root.describe(
                {attr.OUTCOME: EndReason.STALE.value, attr.END_REASON: EndReason.STALE.value, attr.SPAN_CLOSED: "lost"}
            )
            self._calls.end(event.call.call_id, event.at)

    def _handed_over(self, event: CallHandedOver) -> None:
        spans = self._calls.get(event.call.call_id)
        if spans is not None:
            spans.root.note("call.handed_over", {attr.CALL_STATE: str(event.state)}, event.at)
            spans.root.say(attr.SPAN_CLOSED, "handed_over")
            self._calls.end(event.call.call_id, event.at)

    def close(
        self, event: CallRejected | CallUnanswered | CallAbandoned | CallEnded, at: Instant | None = None
    ) -> None:
        """End every open span of the call and describe its end; ``at`` if that is later than the event."""
        spans = self._calls.get(event.call.call_id)
        if spans is not None:
            spans.root.describe(_ending(event))
            self._calls.end(event.call.call_id, at or event.at, None if _wrong_number(event) else event.error_type)


def _of_phase(event: PhaseStarted | PhaseEnded) -> Described:
    described: Described = {attr.TRANSFER_TARGET: event.target} if event.target else {}
    return described if not event.resends else {**described, attr.HTTP_RESEND_COUNT: event.resends}


def _wrong_number(event: Event) -> bool:
    """Return True for a call that reached nobody: its caller's mistake, and no error of the service."""
    return isinstance(event, CallRejected) and event.reason is RejectionReason.TENANT_NOT_CONFIGURED


def _ending(event: Terminal) -> Described:
    if isinstance(event, CallEnded):
        ended: Described = {
            attr.OUTCOME: "failed" if event.error_type is not None else str(event.reason),
            attr.END_REASON: str(event.reason),
            attr.CALL_DURATION: event.duration_seconds,
        }
        return ended if event.fault is None else {**ended, attr.FAULT: str(event.fault)}
    if isinstance(event, CallUnanswered):
        return {attr.OUTCOME: "unanswered", attr.UNANSWERED_REASON: str(event.reason)}
    if isinstance(event, CallAbandoned):
        return {attr.OUTCOME: "abandoned", attr.END_REASON: str(event.reason)}
    described: Described = {
        attr.OUTCOME: str(SetupOutcome.REJECTED),
        attr.REJECTION_REASON: str(event.reason),
        attr.CALL_SETUP_DURATION: event.setup_seconds,
    }
    if _wrong_number(event) and event.error_type is not None:
        described[attr.DIALLED_PROBLEM] = event.error_type
    if event.limit is not None:
        described |= {
            attr.CAPACITY_SCOPE: str(event.limit.scope),
            attr.LIMIT_VALUE: event.limit.limit,
            attr.LIMIT_IN_USE: event.limit.in_use,
        }
    return described


def _links(traceparent: str | None) -> tuple[Link, ...]:
    """Return a link to the trace of a ``traceparent`` (W3C Trace Context); none if it is invalid."""
    if not traceparent:
        return ()
    span_context = trace.get_current_span(_parse(traceparent)).get_span_context()
    return (Link(span_context),) if span_context.is_valid else ()


def _parse(traceparent: str | None) -> Context:
    """Return the context of a ``traceparent``; an empty one if there is none."""
    if not traceparent:
        return Context()
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
