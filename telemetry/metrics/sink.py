"""Events become measurements: what is counted, by how much, under which labels."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, Protocol, TypeVar, cast

from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.trace import get_current_span

from telemetry.calls.events import (
    AgentInterrupted,
    CallAbandoned,
    CallAccepted,
    CallEnded,
    CallEvent,
    CallHandedOver,
    CallHeartbeat,
    CallReceived,
    CallRef,
    CallReferred,
    CallRejected,
    CallStarted,
    CallTakenOver,
    CallUnanswered,
    DeadAir,
    Event,
    FallbackUsed,
    FirstAudio,
    InstructionsFailed,
    LifecycleViolated,
    MessageUnusable,
    StageWaited,
    TalkedOver,
    TalkMeasured,
    TokensUsed,
    TokenUsage,
    ToolEnded,
    TransitionInferred,
    TurnAnswered,
    TurnInterrupted,
    WebhookReceived,
)
from telemetry.calls.lifecycle import UNSTARTED, CallState
from telemetry.calls.sinks import UNSAMPLED, Contexts, Handler, NoContexts
from telemetry.metrics.barrier import RecordingBarrier
from telemetry.metrics.cardinality import ErrorLabels, ModelLabels, SourceLabels, TenantLabels
from telemetry.metrics.live_table import Example, UnsampledExamples
from telemetry.semconv import attributes as attr
from telemetry.semconv import catalogue, genai
from telemetry.semconv.attributes import (
    CallDirection,
    EndReason,
    Fault,
    Label,
    MessageProblem,
    MetricAttributes,
    MetricKey,
    RejectionReason,
    SetupOutcome,
    Speaker,
    Stage,
    UnansweredReason,
    Violation,
    WebhookOutcome,
)
from telemetry.semconv.genai import GenAiSets
from telemetry.semconv.instrument import Instrument, Kind

_Value = TypeVar("_Value", bound=StrEnum)

SYNCHRONOUS = (Kind.COUNTER, Kind.UP_DOWN_COUNTER, Kind.HISTOGRAM)
"""The kinds that events are recorded on; the others are observed when somebody collects."""


def _by(key: MetricKey, values: type[_Value]) -> dict[_Value, MetricAttributes]:
    return {value: {key: Label(value.value)} for value in values}


_BY_WEBHOOK: Final = _by(attr.WEBHOOK_OUTCOME, WebhookOutcome)
_BY_REJECTION: Final = _by(attr.REJECTION_REASON, RejectionReason)
_BY_OUTCOME: Final = _by(attr.OUTCOME, SetupOutcome)
_BY_END: Final = _by(attr.END_REASON, EndReason)
_BY_PROBLEM: Final = _by(attr.MESSAGE_PROBLEM, MessageProblem)
_BY_UNANSWERED: Final = _by(attr.UNANSWERED_REASON, UnansweredReason)
_BY_STATE: Final = _by(attr.CALL_STATE, CallState)
_BY_DIRECTION: Final = _by(attr.DIRECTION, CallDirection)
_BY_SPEAKER: Final = _by(attr.SPEAKER, Speaker)
_BY_STAGE: Final = _by(attr.STAGE, Stage)
_BY_FAULT: Final = _by(attr.FAULT, Fault)
_BY_VIOLATION: Final = _by(attr.VIOLATION, Violation)
# What further measurements of an event carry, made once.


class Record(Protocol):
    """An instrument's recording method; unlike the API's own signature, it takes only what may be a label."""

    def __call__(self, amount: float, attributes: MetricAttributes, context: Context | None = None) -> None:
        """Make a measurement."""
        ...


class MetricsSink:
    """Records each event on the catalogue's instruments, all measurements of an event behind one barrier."""

    def __init__(
        self,
        meter: Meter,
        *,
        labels: TenantLabels,
        barrier: RecordingBarrier,
        contexts: Contexts | None = None,
        genai_sets: GenAiSets = GenAiSets.V1_41,
        unsampled: UnsampledExamples | None = None,
    ) -> None:
        self._labels = labels
        self._errors = ErrorLabels()
        self._sources = SourceLabels()
        self._models = ModelLabels()
        self._genai = genai_sets
        self._origins: dict[tuple[CallDirection, str], MetricAttributes] = {}
        self._contexts = contexts or NoContexts()
        self._unsampled = unsampled
        self._record = {i.name: _recorder(meter, i) for i in catalogue.INSTRUMENTS if i.kind in SYNCHRONOUS}
        # The observable has to exist for its callback to run in every collection; it never observes anything.
        meter.create_observable_gauge("callscope.live.barrier", [barrier.close])
        handlers: dict[type[Event], Handler] = {
            WebhookReceived: self._webhook,
            CallReceived: self._received,
            CallTakenOver: self._taken_over,
            CallRejected: self._rejected,
            CallUnanswered: self._unanswered,
            CallAccepted: self._accepted,
            CallStarted: self._started,
            CallAbandoned: self._abandoned,
            CallReferred: self._referred,
            CallHeartbeat: self._heartbeat,
            CallEnded: self._ended,
            CallHandedOver: self._handed_over,
            InstructionsFailed: self._instructions_failed,
            FallbackUsed: self._fallback_used,
            FirstAudio: self._first_audio,
            TurnAnswered: self._turn_answered,
            TurnInterrupted: self._turn_interrupted,
            AgentInterrupted: self._agent_interrupted,
            DeadAir: self._dead_air,
            TalkedOver: self._talked_over,
            StageWaited: self._stage_waited,
            TalkMeasured: self._talk_measured,
            TokensUsed: self._tokens_used,
            ToolEnded: self._tool_ended,
            MessageUnusable: self._unusable,
            LifecycleViolated: self._violated,
            TransitionInferred: self._inferred,
        }
        self._handlers = {kind: _behind_barrier(handle, barrier) for kind, handle in handlers.items()}

    @property
    def handlers(self) -> Mapping[type[Event], Handler]:
        """Handlers by event type, one for each event that an instrument counts."""
        return self._handlers

    # How a measurement is made ----------------------------------------------------------------------------------------

    def _failure(self, error_type: str | None) -> MetricAttributes:
        return {} if error_type is None else {attr.ERROR_TYPE: self._errors.label(error_type)}

    def _origin(self, call: CallRef) -> MetricAttributes:
        known = self._origins.get((call.direction, call.source))
        if known is not None:
            return known
        label = self._sources.label(call.source)
        # Kept under the label: sources past the budget share one entry, so the table is bounded as they are.
        made: MetricAttributes = {**_BY_DIRECTION[call.direction], attr.SOURCE: label}
        return self._origins.setdefault((call.direction, label), made)

    def _add(self, event: CallEvent, *amounts: tuple[Instrument, float]) -> None:
        call = event.call
        attributes, context = self._labels.attributes(call.tenant_id), self._contexts.context(call)
        for instrument, amount in amounts:
            self._record[instrument.name](amount, attributes, context)
        if context is not None and UNSAMPLED in context:
            self._note_examples(event, attributes, context, amounts)

    def _note_examples(
        self,
        event: CallEvent,
        attributes: MetricAttributes,
        context: Context,
        amounts: Iterable[tuple[Instrument, float]],
    ) -> None:
        """Keep what no exemplar will lead to."""
        if self._unsampled is None:
            return
        trace_id = get_current_span(context).get_span_context().trace_id
        for instrument, amount in amounts:
            if instrument.summarised:
                example = Example(amount, trace_id, event.at.unix_nanos, sampled=False)
                self._unsampled.note(instrument.name, attributes[attr.TENANT_ID], example)

    def _add_by(self, event: CallEvent, further: MetricAttributes, *amounts: tuple[Instrument, float]) -> None:
        call = event.call
        attributes, context = {**self._labels.attributes(call.tenant_id), **further}, self._contexts.context(call)
        for instrument, amount in amounts:
            self._record[instrument.name](amount, attributes, context)
        if context is not None and UNSAMPLED in context:
            self._note_examples(event, attributes, context, amounts)

    # What each event counts -------------------------------------------------------------------------------------------

    def _webhook(self, event: WebhookReceived) -> None:
        self._record[catalogue.WEBHOOKS.name](1, _BY_WEBHOOK[event.outcome])

    def _received(self, event: CallReceived) -> None:
        self._add(event, (catalogue.PENDING, 1))
        self._add_by(event, self._origin(event.call), (catalogue.RECEIVED, 1))

    def _taken_over(self, event: CallTakenOver) -> None:
        self._add_by(event, _BY_STATE[event.state], (catalogue.TAKEN_OVER, 1))

    def _rejected(self, event: CallRejected) -> None:
        self._add(event, (catalogue.PENDING, -1))
        self._add_by(event, {**_BY_REJECTION[event.reason], **self._origin(event.call)}, (catalogue.REJECTED, 1))
        self._decided(event, SetupOutcome.REJECTED, event.setup_seconds)

    def _unanswered(self, event: CallUnanswered) -> None:
        self._add(event, (catalogue.PENDING, -1))
        self._add_by(event, {**_BY_UNANSWERED[event.reason], **self._origin(event.call)}, (catalogue.UNANSWERED, 1))

    def _accepted(self, event: CallAccepted) -> None:
        self._add(event, (catalogue.ACCEPTED, 1))
        if not event.resumed:
            self._decided(event, SetupOutcome.ACCEPTED, event.setup_seconds)

    def _decided(self, event: CallEvent, outcome: SetupOutcome, seconds: float) -> None:
        self._add_by(event, _BY_OUTCOME[outcome], (catalogue.SETUP_DURATION, seconds))

    def _started(self, event: CallStarted) -> None:
        self._add(event, (catalogue.STARTED, 1), (catalogue.ACTIVE, 1), (catalogue.PENDING, -1))

    def _abandoned(self, event: CallAbandoned) -> None:
        self._add(event, (catalogue.PENDING, -1))
        self._add_by(event, _BY_END[event.reason], (catalogue.ABANDONED, 1))

    def _referred(self, event: CallReferred) -> None:
        self._add(event, (catalogue.REFERRED, 1))

    def _heartbeat(self, event: CallHeartbeat) -> None:
        self._add(event, (catalogue.CALL_TIME, event.seconds))

    def _ended(self, event: CallEnded) -> None:
        reason = {**_BY_END[event.reason], **self._origin(event.call)}
        fault = {} if event.fault is None else _BY_FAULT[event.fault]
        self._add(event, (catalogue.ACTIVE, -1), (catalogue.CALL_TIME, event.unbilled_seconds))
        failure = self._failure(event.error_type)
        if failure and event.model is not None:
            failure = {**failure, genai.REQUEST_MODEL: self._models.label(event.model)}
        self._add_by(event, {**reason, **fault, **failure}, (catalogue.ENDED, 1))
        self._add_by(event, reason, (catalogue.DURATION, event.duration_seconds))

    def _handed_over(self, event: CallHandedOver) -> None:
        held = catalogue.PENDING if event.state in UNSTARTED else catalogue.ACTIVE
        self._add(event, (held, -1), (catalogue.CALL_TIME, event.unbilled_seconds))
        self._add_by(event, _BY_STATE[event.state], (catalogue.HANDED_OVER, 1))

    def _instructions_failed(self, event: InstructionsFailed) -> None:
        self._add(event, (catalogue.INSTRUCTIONS_ERRORS, 1))

    def _fallback_used(self, event: FallbackUsed) -> None:
        self._add(event, (catalogue.INSTRUCTIONS_FALLBACKS, 1))

    def _first_audio(self, event: FirstAudio) -> None:
        self._add(event, (catalogue.CALL_FIRST_AUDIO, event.seconds))

    def _turn_answered(self, event: TurnAnswered) -> None:
        self._add(event, (catalogue.TURN_FIRST_AUDIO, event.seconds))

    def _turn_interrupted(self, event: TurnInterrupted) -> None:
        self._add_by(event, _BY_SPEAKER[Speaker.CALLER], (catalogue.INTERRUPTIONS, 1))

    def _agent_interrupted(self, event: AgentInterrupted) -> None:
        self._add_by(event, _BY_SPEAKER[Speaker.AGENT], (catalogue.INTERRUPTIONS, 1))

    def _dead_air(self, event: DeadAir) -> None:
        self._add(event, (catalogue.DEAD_AIR, event.seconds))

    def _talked_over(self, event: TalkedOver) -> None:
        self._add(event, (catalogue.TALK_OVER, event.seconds))

    def _stage_waited(self, event: StageWaited) -> None:
        self._add_by(event, _BY_STAGE[event.stage], (catalogue.STAGE_WAIT, event.seconds))

    def _talk_measured(self, event: TalkMeasured) -> None:
        if event.seconds:
            for speaker, talk in ((Speaker.CALLER, event.caller_seconds), (Speaker.AGENT, event.agent_seconds)):
                self._add_by(event, _BY_SPEAKER[speaker], (catalogue.TALK_SHARE, talk / event.seconds))

    def _tokens_used(self, event: TokensUsed) -> None:
        usage, model = event.usage, event.model
        if GenAiSets.V1_41 in self._genai:
            for direction, count in ((genai.INPUT, usage.input), (genai.OUTPUT, usage.output)):
                if count is not None:
                    self._add_by(event, genai.token_attributes(model, direction), (catalogue.TOKEN_USAGE, count))
        if GenAiSets.V0_1 in self._genai:
            self._inference(event, model, usage)

    def _inference(self, event: CallEvent, model: str, usage: TokenUsage) -> None:
        operation = genai.inference_attributes(model)
        read = (usage.input, usage.input_text, usage.input_audio)
        written = (usage.output, usage.output_text, usage.output_audio)
        for counter, histogram, (total, text, audio) in (
            (catalogue.INFERENCE_INPUT, catalogue.OPERATION_INPUT, read),
            (catalogue.INFERENCE_OUTPUT, catalogue.OPERATION_OUTPUT, written),
        ):
            if total is not None:
                self._add_by(event, operation, (histogram, total))
                for modality, count in genai.by_modality(total, text, audio):
                    self._add_by(event, genai.inference_attributes(model, modality), (counter, count))
        if usage.cached_input:
            self._add_by(event, operation, (catalogue.INFERENCE_CACHED, usage.cached_input))

    def _tool_ended(self, event: ToolEnded) -> None:
        further = {**genai.tool_attributes(event.tool), **self._failure(event.error_type)}
        self._add_by(event, further, (catalogue.TOOL_DURATION, event.at.since(event.started)))

    def _unusable(self, event: MessageUnusable) -> None:
        self._add_by(event, _BY_PROBLEM[event.problem], (catalogue.UNUSABLE_MESSAGES, 1))

    def _inferred(self, event: TransitionInferred) -> None:
        self._add_by(event, {attr.TRANSITION: Label(event.transition.value)}, (catalogue.INFERRED, 1))

    def _violated(self, event: LifecycleViolated) -> None:
        self._add_by(event, _BY_VIOLATION[event.violation], (catalogue.VIOLATIONS, 1))


def _behind_barrier(handle: Handler, barrier: RecordingBarrier) -> Handler:
    def record(event: Event) -> None:
        held = barrier.enter()
        try:
            handle(event)
        finally:
            barrier.leave(held)

    return record


def _recorder(meter: Meter, instrument: Instrument) -> Record:
    name, unit, description = instrument.name, instrument.unit, instrument.description
    if instrument.kind is Kind.COUNTER:
        return cast("Record", meter.create_counter(name, unit, description).add)
    if instrument.kind is Kind.UP_DOWN_COUNTER:
        return cast("Record", meter.create_up_down_counter(name, unit, description).add)
    histogram = meter.create_histogram(
        name, unit, description, explicit_bucket_boundaries_advisory=instrument.boundaries
    )
    return cast("Record", histogram.record)
