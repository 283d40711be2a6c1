"""The call that is recorded, from its announcement to its end with two turns: once through the library, once by hand.

By hand means: the same instruments, attributes, spans and times, made on the plain SDK by someone who knows it well and
keeps what can be kept (labels, contexts, instruments) instead of making it anew.
"""

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from benchmarks.pipeline import Pipeline
from telemetry import catalog
from telemetry.attributes import EndReason
from telemetry.catalog import Instrument, Kind
from telemetry.clock import Clock, Instant
from telemetry.events import Phase, TokenUsage
from telemetry.metrics import SYNCHRONOUS
from telemetry.tracker import CallTracker

MODEL = "gpt-realtime"
USAGE = TokenUsage(input=120, output=40)
BEFORE_ACCEPTING = (Phase.TENANT_LOOKUP, Phase.CAPACITY, Phase.INSTRUCTIONS, Phase.ACCEPT)
TURNS = 2

Step = Callable[[], object]
"""Called between the parts of a call; lets time pass where time is a fake."""

Labels = Mapping[str, str]


def through_the_library(tracker: CallTracker, call_id: str, tenant: str, tick: Step) -> None:
    """Record the call by reporting it."""
    call = tracker.received(call_id, tenant)
    for phase in BEFORE_ACCEPTING:
        with call.phase(phase):
            tick()
    call.accepted()
    with call.phase(Phase.CONNECT):
        tick()
    call.started()
    call.agent_started_speaking()
    tick()
    call.agent_stopped_speaking()
    for _ in range(TURNS):
        call.caller_started_speaking()
        tick()
        call.caller_stopped_speaking()
        tick()
        call.agent_started_speaking()
        tick()
        call.tokens_used(USAGE, MODEL)
        call.agent_stopped_speaking()
    tick()
    call.heartbeat()
    tick()
    call.ended(EndReason.HANGUP)


class ByHand:
    """Records the call on the plain SDK."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._clock: Clock = pipeline.clock
        self._tracer = pipeline.tracer
        meter = pipeline.meter

        def made(instrument: Instrument) -> Any:  # noqa: ANN401 -- each kind of instrument has a method of its own
            if instrument.kind is Kind.COUNTER:
                return meter.create_counter(instrument.name, instrument.unit, instrument.description)
            if instrument.kind is Kind.UP_DOWN_COUNTER:
                return meter.create_up_down_counter(instrument.name, instrument.unit, instrument.description)
            return meter.create_histogram(
                instrument.name,
                instrument.unit,
                instrument.description,
                explicit_bucket_boundaries_advisory=instrument.boundaries,
            )

        instruments = {i.name: made(i) for i in catalog.INSTRUMENTS if i.kind in SYNCHRONOUS}
        self._received = instruments[catalog.RECEIVED.name]
        self._pending = instruments[catalog.PENDING.name]
        self._accepted = instruments[catalog.ACCEPTED.name]
        self._setup = instruments[catalog.SETUP_DURATION.name]
        self._started = instruments[catalog.STARTED.name]
        self._active = instruments[catalog.ACTIVE.name]
        self._first_audio = instruments[catalog.CALL_FIRST_AUDIO.name]
        self._answer = instruments[catalog.TURN_FIRST_AUDIO.name]
        self._tokens = instruments[catalog.TOKEN_USAGE.name]
        self._time = instruments[catalog.CALL_TIME.name]
        self._ended = instruments[catalog.ENDED.name]
        self._duration = instruments[catalog.DURATION.name]

    def record(self, call_id: str, tenant: str, tick: Step) -> None:
        """Record the call."""
        labels = {"tenant.id": tenant}
        received = self._clock.now()
        root = self._tracer.start_span(
            "call",
            Context(),
            SpanKind.SERVER,
            {"voice.call.id": call_id, "tenant.id": tenant},
            start_time=received.unix_nanos,
        )
        within = trace.set_span_in_context(root, Context())
        self._received.add(1, labels, within)
        self._pending.add(1, labels, within)
        for phase in BEFORE_ACCEPTING:
            self._phase(phase.value, labels, within, tick)
        accepted = self._clock.now()
        root.set_attributes({"voice.call.outcome": "accepted", "voice.call.setup.duration_s": accepted.since(received)})
        self._accepted.add(1, labels, within)
        self._setup.record(accepted.since(received), {**labels, "voice.call.outcome": "accepted"}, within)
        self._phase(Phase.CONNECT.value, labels, within, tick)
        started = self._clock.now()
        session = self._tracer.start_span(
            "session",
            within,
            SpanKind.INTERNAL,
            {"tenant.id": tenant, "voice.call.id": call_id},
            start_time=started.unix_nanos,
        )
        in_session = trace.set_span_in_context(session, within)
        self._started.add(1, labels, within)
        self._active.add(1, labels, within)
        self._pending.add(-1, labels, within)
        greeted = self._clock.now()
        root.set_attribute("voice.call.time_to_first_audio_s", greeted.since(received))
        self._first_audio.record(greeted.since(received), labels, within)
        tick()
        self._speech(in_session, labels, "agent", greeted.unix_nanos)
        turn = self._turns(session, in_session, within, labels, tick)
        self._end(root, session, turn, within, labels, started, tick)

    def _turns(self, session: Span, in_session: Context, within: Context, labels: Labels, tick: Step) -> Span:
        turn: Span = trace.INVALID_SPAN
        usage = {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}
        for number in range(1, TURNS + 1):
            spoke = self._clock.now()
            if number > 1:
                turn.set_attribute("voice.turn.end.reason", "completed")
                turn.end(spoke.unix_nanos)
            turn = self._tracer.start_span(
                "turn",
                in_session,
                SpanKind.INTERNAL,
                {**labels, "voice.turn.number": number},
                start_time=spoke.unix_nanos,
            )
            in_turn = trace.set_span_in_context(turn, in_session)
            tick()
            silent = self._speech(in_turn, labels, "caller", spoke.unix_nanos)
            tick()
            answered = self._clock.now()
            turn.set_attribute("voice.turn.time_to_first_audio_s", answered.since(silent))
            self._answer.record(answered.since(silent), labels, within)
            tick()
            usage["gen_ai.usage.input_tokens"] += USAGE.input or 0
            usage["gen_ai.usage.output_tokens"] += USAGE.output or 0
            session.set_attributes(usage)
            self._count_tokens(labels, within)
            self._speech(in_turn, labels, "agent", answered.unix_nanos)
        return turn

    def _count_tokens(self, labels: Labels, within: Context) -> None:
        for direction, count in (("input", USAGE.input), ("output", USAGE.output)):
            described = {
                **labels,
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": MODEL,
                "gen_ai.token.type": direction,
            }
            self._tokens.record(count, described, within)

    def _end(
        self, root: Span, session: Span, turn: Span, within: Context, labels: Labels, started: Instant, tick: Step
    ) -> None:
        tick()
        billed = self._clock.now().since(started)
        self._time.add(billed, labels, within)
        tick()
        ended = self._clock.now()
        duration = ended.since(started)
        turn.set_attribute("voice.turn.end.reason", "call_ended")
        turn.end(ended.unix_nanos)
        self._active.add(-1, labels, within)
        self._time.add(duration - billed, labels, within)
        by_reason = {**labels, "voice.call.end.reason": "hangup"}
        self._ended.add(1, by_reason, within)
        self._duration.record(duration, by_reason, within)
        session.end(ended.unix_nanos)
        root.set_attributes({"voice.call.end.reason": "hangup", "voice.call.duration_s": duration})
        root.end(ended.unix_nanos)

    def _phase(self, name: str, labels: Labels, parent: Context, tick: Step) -> None:
        with self._tracer.start_as_current_span(
            name,
            parent,
            attributes=labels,
            start_time=self._clock.now().unix_nanos,
            end_on_exit=False,
        ) as span:
            tick()
        span.end(self._clock.now().unix_nanos)

    def _speech(self, parent: Context, labels: Labels, speaker: str, began: int) -> Instant:
        over = self._clock.now()
        self._tracer.start_span(
            "speech", parent, SpanKind.INTERNAL, {**labels, "voice.speaker": speaker}, start_time=began
        ).end(over.unix_nanos)
        return over
