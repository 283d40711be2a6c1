"""Events become one trace a call: the root from received to the end, a child for each phase, turn, speech and tool.

A child leaves as soon as it is finished, so an hour-long call does not wait an hour to be seen. Only the root (and the
session below it) stay open for as long as the call, and they are closed whatever way it ends.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry import attributes as attr
from telemetry import genai
from telemetry.attributes import CallId, MetricKey, Outcome, TraceKey
from telemetry.clock import Instant
from telemetry.events import (
    CallAbandoned,
    CallAccepted,
    CallAnnounced,
    CallEnded,
    CallEvent,
    CallReceived,
    CallRef,
    CallReferred,
    CallRejected,
    CallStarted,
    Event,
    FallbackUsed,
    FirstAudio,
    InstructionsFailed,
    Phase,
    PhaseEnded,
    PhaseStarted,
    SessionError,
    SpeechEnded,
    TokensUsed,
    ToolEnded,
    ToolStarted,
    TurnAnswered,
    TurnEnded,
    TurnInterrupted,
    TurnStarted,
)
from telemetry.privacy import Privacy

ROOT_NAME = "call"
"""The root span's name; tail sampling and dashboards look for it."""

Described = dict[MetricKey | TraceKey, str | int | float | bool]


@dataclass(slots=True)
class _Open:
    """One open span and the context its children are made in."""

    span: Span
    context: Context


@dataclass(slots=True)
class _CallTrace:
    """The open spans of one call."""

    root: _Open
    session: _Open | None = None
    phases: dict[Phase, _Open] = field(default_factory=dict)
    turns: dict[int, _Open] = field(default_factory=dict)
    tools: dict[str, _Open] = field(default_factory=dict)
    tokens: dict[TraceKey, int] = field(default_factory=dict)
    rejection: CallRejected | None = None
    """Counted already, while the carrier is still being told."""

    @property
    def body(self) -> _Open:
        """Where turns and tools hang: the session once it runs."""
        return self.session or self.root

    @property
    def innermost(self) -> _Open:
        """Where code that runs now hangs: the phase under way, if one is."""
        return next(reversed(self.phases.values())) if self.phases else self.body

    def open_spans(self) -> Iterator[Span]:
        """Every open span but the root, innermost first."""
        for opened in (*self.tools.values(), *self.turns.values(), *reversed(self.phases.values())):
            yield opened.span
        if self.session is not None:
            yield self.session.span


class CallTraces:
    """The sink that opens and closes spans; also what puts other code and measurements into a call's context.

    Terminal events are taken by :attr:`endings`, a sink of its own that stands last in the fan-out: a measurement made
    of the same event still finds the call's context.
    """

    def __init__(self, tracer: Tracer, *, privacy: Privacy | None = None) -> None:
        self._tracer = tracer
        self._privacy = privacy or Privacy()
        self._traces: dict[CallId, _CallTrace] = {}
        self._handlers: dict[type[Event], Callable[[Any, _CallTrace], None]] = {
            CallReceived: self._received,
            PhaseStarted: self._phase_started,
            PhaseEnded: self._phase_ended,
            InstructionsFailed: self._instructions_failed,
            FallbackUsed: self._fallback_used,
            CallAccepted: self._accepted,
            CallStarted: self._started,
            CallReferred: self._referred,
            FirstAudio: self._first_audio,
            SpeechEnded: self._speech_ended,
            TurnStarted: self._turn_started,
            TurnAnswered: self._turn_answered,
            TurnInterrupted: self._turn_interrupted,
            TurnEnded: self._turn_ended,
            TokensUsed: self._tokens_used,
            ToolStarted: self._tool_started,
            ToolEnded: self._tool_ended,
            SessionError: self._session_error,
        }
        self.endings = _Endings(self._traces)

    def emit(self, event: Event) -> None:
        """Open, describe or close what the event is about."""
        if isinstance(event, CallAnnounced | CallReceived) and event.call.call_id not in self._traces:
            self._traces[event.call.call_id] = self._open_root(event)
        handler = self._handlers.get(type(event))
        if handler is not None and isinstance(event, CallEvent):
            call_trace = self._traces.get(event.call.call_id)
            if call_trace is not None:
                handler(event, call_trace)

    def context(self, call: CallRef) -> Context | None:
        """The context measurements of the call are made in."""
        call_trace = self._traces.get(call.call_id)
        return None if call_trace is None else call_trace.root.context

    @contextmanager
    def scope(self, call: CallRef) -> Iterator[None]:
        """Within it, the call's innermost open span is the current one."""
        call_trace = self._traces.get(call.call_id)
        if call_trace is None:
            yield
            return
        token = attach(call_trace.innermost.context)
        try:
            yield
        finally:
            detach(token)

    # Opening and closing ----------------------------------------------------------------------------------------------

    def _open_root(self, event: CallAnnounced | CallReceived) -> _CallTrace:
        described: Described = {attr.CALL_ID: event.call.call_id}
        return _CallTrace(
            self._open(ROOT_NAME, event.at, Context(), described, kind=SpanKind.SERVER, links=_links(event.traceparent))
        )

    def _open(
        self,
        name: str,
        at: Instant,
        parent: Context,
        described: Described,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: tuple[Link, ...] = (),
    ) -> _Open:
        span = self._tracer.start_span(
            name,
            context=parent,
            kind=kind,
            attributes=_plain(described),
            links=links,
            start_time=at.unix_nanos,
        )
        return _Open(span, trace.set_span_in_context(span, parent))

    def _child(self, event: CallEvent, name: str, at: Instant, parent: _Open, described: Described) -> _Open:
        return self._open(name, at, parent.context, {attr.TENANT_ID: event.call.tenant_id, **described})

    # What each event does ---------------------------------------------------------------------------------------------

    def _received(self, event: CallReceived, call: _CallTrace) -> None:
        described = self._privacy.describe(event.caller, event.dialled)
        call.root.span.set_attributes(_plain({attr.TENANT_ID: event.call.tenant_id, **described}))

    def _phase_started(self, event: PhaseStarted, call: _CallTrace) -> None:
        call.phases[event.phase] = self._child(event, event.phase.value, event.at, call.body, {})

    def _phase_ended(self, event: PhaseEnded, call: _CallTrace) -> None:
        opened = call.phases.pop(event.phase, None)
        if opened is None:
            opened = self._child(event, event.phase.value, event.started, call.body, {})
        _fail(opened.span, event.error_type)
        opened.span.end(event.at.unix_nanos)
        if event.phase is Phase.REJECT and call.rejection is not None:
            self.endings.close(call.rejection, event.at)

    def _instructions_failed(self, event: InstructionsFailed, call: _CallTrace) -> None:
        call.innermost.span.add_event("instructions.failed", {attr.ERROR_TYPE: event.error_type}, event.at.unix_nanos)

    def _fallback_used(self, event: FallbackUsed, call: _CallTrace) -> None:  # noqa: ARG002 -- a handler's signature
        call.root.span.set_attribute(attr.FALLBACK_USED, True)

    def _accepted(self, event: CallAccepted, call: _CallTrace) -> None:
        call.root.span.set_attributes(
            {attr.OUTCOME: Outcome.ACCEPTED.value, attr.CALL_SETUP_DURATION: event.setup_seconds}
        )

    def _started(self, event: CallStarted, call: _CallTrace) -> None:
        call.session = self._child(event, "session", event.at, call.root, {attr.CALL_ID: event.call.call_id})

    def _referred(self, event: CallReferred, call: _CallTrace) -> None:
        described = {attr.TRANSFER_TARGET: event.target} if event.target else {}
        call.body.span.add_event("call.referred", _plain(described), event.at.unix_nanos)

    def _first_audio(self, event: FirstAudio, call: _CallTrace) -> None:
        call.root.span.set_attribute(attr.CALL_FIRST_AUDIO, event.seconds)

    def _speech_ended(self, event: SpeechEnded, call: _CallTrace) -> None:
        described: Described = {attr.SPEAKER: event.speaker.value}
        if event.interrupted:
            described[attr.TURN_INTERRUPTED] = True
        parent = next(iter(call.turns.values()), call.body)
        self._child(event, "speech", event.started, parent, described).span.end(event.at.unix_nanos)

    def _turn_started(self, event: TurnStarted, call: _CallTrace) -> None:
        call.turns[event.number] = self._child(event, "turn", event.at, call.body, {attr.TURN_NUMBER: event.number})

    def _turn_answered(self, event: TurnAnswered, call: _CallTrace) -> None:
        opened = call.turns.get(event.number)
        if opened is not None:
            opened.span.set_attribute(attr.TURN_FIRST_AUDIO, event.seconds)

    def _turn_interrupted(self, event: TurnInterrupted, call: _CallTrace) -> None:
        opened = call.turns.get(event.number)
        if opened is not None:
            opened.span.set_attribute(attr.TURN_INTERRUPTED, True)

    def _turn_ended(self, event: TurnEnded, call: _CallTrace) -> None:
        opened = call.turns.pop(event.number, None)
        if opened is not None:
            opened.span.set_attribute(attr.TURN_END_REASON, event.reason.value)
            opened.span.end(event.at.unix_nanos)

    def _tokens_used(self, event: TokensUsed, call: _CallTrace) -> None:
        for key, count in (
            (genai.INPUT_TOKENS, event.usage.input),
            (genai.OUTPUT_TOKENS, event.usage.output),
            (genai.CACHED_INPUT_TOKENS, event.usage.cached_input),
            (genai.INPUT_AUDIO_TOKENS, event.usage.input_audio),
            (genai.OUTPUT_AUDIO_TOKENS, event.usage.output_audio),
        ):
            if count is not None:
                call.tokens[key] = call.tokens.get(key, 0) + count
        call.body.span.set_attributes(_plain(call.tokens))

    def _tool_started(self, event: ToolStarted, call: _CallTrace) -> None:
        described: Described = {
            genai.OPERATION_NAME: genai.EXECUTE_TOOL,
            genai.TOOL_NAME: event.tool,
            genai.TOOL_CALL_ID: event.tool_call_id,
            genai.TOOL_TYPE: genai.FUNCTION,
        }
        call.tools[event.tool_call_id] = self._child(
            event, f"execute_tool {event.tool}", event.at, call.body, described
        )

    def _tool_ended(self, event: ToolEnded, call: _CallTrace) -> None:
        opened = call.tools.pop(event.tool_call_id, None)
        if opened is not None:
            _fail(opened.span, event.error_type)
            opened.span.end(event.at.unix_nanos)

    def _session_error(self, event: SessionError, call: _CallTrace) -> None:
        described = {attr.SESSION_ERROR_CODE: event.code}
        call.body.span.add_event("session.error", _plain(described), event.at.unix_nanos)


class _Endings:
    """Closes what is open of a call, the root last."""

    def __init__(self, traces: dict[CallId, _CallTrace]) -> None:
        self._traces = traces

    def emit(self, event: Event) -> None:
        """Close the call's trace if the event is terminal.

        A rejection counts at once, so that no slot waits for the carrier to be told; its trace waits to show that too.
        """
        if not isinstance(event, CallRejected | CallAbandoned | CallEnded):
            return
        call_trace = self._traces.get(event.call.call_id)
        if call_trace is None:
            return
        if isinstance(event, CallRejected) and Phase.REJECT in call_trace.phases:
            call_trace.rejection = event
        else:
            self.close(event, event.at)

    def close(self, event: CallRejected | CallAbandoned | CallEnded, at: Instant) -> None:
        """End every open span of the call, the root last."""
        call_trace = self._traces.pop(event.call.call_id)
        for span in call_trace.open_spans():
            _fail(span, event.error_type)
            span.end(at.unix_nanos)
        root = call_trace.root.span
        root.set_attributes(_plain(_ending(event)))
        _fail(root, event.error_type)
        root.end(at.unix_nanos)


def _ending(event: CallRejected | CallAbandoned | CallEnded) -> Described:
    if isinstance(event, CallEnded):
        return {attr.END_REASON: event.reason.value, attr.CALL_DURATION: event.duration_seconds}
    if isinstance(event, CallAbandoned):
        return {attr.END_REASON: event.reason.value}
    described: Described = {
        attr.OUTCOME: Outcome.REJECTED.value,
        attr.REJECTION_REASON: event.reason.value,
        attr.CALL_SETUP_DURATION: event.setup_seconds,
    }
    if event.limit is not None:
        described |= {
            attr.CAPACITY_SCOPE: event.limit.scope.value,
            attr.LIMIT_VALUE: event.limit.limit,
            attr.LIMIT_IN_USE: event.limit.in_use,
        }
    return described


def _fail(span: Span, error_type: str | None) -> None:
    if error_type is not None:
        span.set_attribute(attr.ERROR_TYPE, error_type)
        span.set_status(Status(StatusCode.ERROR))


def _links(traceparent: str | None) -> tuple[Link, ...]:
    """A link to the trace a header named, if it names a valid one (W3C Trace Context)."""
    if not traceparent:
        return ()
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    span_context = trace.get_current_span(context).get_span_context()
    return (Link(span_context),) if span_context.is_valid else ()


def _plain(described: object) -> Mapping[str, str | int | float | bool]:
    # Both kinds of key are strings; the SDK's signature knows only those.
    return cast("Mapping[str, str | int | float | bool]", described)
