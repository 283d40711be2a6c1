"""The same call recorded on the plain SDK, by someone who knows it well.

Same instruments, attributes, spans and times. A call's telemetry is made in many places (the webhook, the acceptance,
the session's events), so what belongs to a call is kept in an object of its own; instruments and labels that can be
made once are. Unlike the library, it trusts its caller: nothing here is safe for threads, checked against a lifecycle,
counted once if reported twice, or caught if it fails.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, Meter, UpDownCounter
from opentelemetry.trace import Span, SpanKind, Tracer

from benchmarks.pipeline import Pipeline
from telemetry.calls.events import Phase, TokenUsage
from telemetry.clock import Clock, Instant
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import EndReason
from telemetry.semconv.instrument import Instrument

Labels = Mapping[str, str]

ORIGIN: Labels = {"voice.call.direction": "inbound", "voice.call.source": "direct"}
MODEL: Labels = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}


class Instruments:
    """Every instrument of a call, made once."""

    def __init__(self, meter: Meter) -> None:
        def counter(instrument: Instrument) -> Counter:
            return meter.create_counter(instrument.name, instrument.unit, instrument.description)

        def up_down(instrument: Instrument) -> UpDownCounter:
            return meter.create_up_down_counter(instrument.name, instrument.unit, instrument.description)

        def histogram(instrument: Instrument) -> Histogram:
            name, unit, description = instrument.name, instrument.unit, instrument.description
            return meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=instrument.boundaries
            )

        self.received = counter(catalogue.RECEIVED)
        self.pending = up_down(catalogue.PENDING)
        self.accepted = counter(catalogue.ACCEPTED)
        self.setup = histogram(catalogue.SETUP_DURATION)
        self.started = counter(catalogue.STARTED)
        self.active = up_down(catalogue.ACTIVE)
        self.first_audio = histogram(catalogue.CALL_FIRST_AUDIO)
        self.answer = histogram(catalogue.TURN_FIRST_AUDIO)
        self.tokens = histogram(catalogue.TOKEN_USAGE)
        self.time = counter(catalogue.CALL_TIME)
        self.ended = counter(catalogue.ENDED)
        self.duration = histogram(catalogue.DURATION)
        self.talk_share = histogram(catalogue.TALK_SHARE)


class ByHand:
    """Takes in calls."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._clock = pipeline.clock
        self._tracer = pipeline.tracer
        self._instruments = Instruments(pipeline.meter)
        self._labels: dict[str, Labels] = {}

    def received(self, call_id: str, tenant: str) -> "CallByHand":
        """A call has come in."""
        labels = self._labels.get(tenant)
        if labels is None:
            labels = self._labels[tenant] = {"tenant.id": tenant}
        return CallByHand(self._instruments, self._tracer, self._clock, call_id, labels)


class CallByHand:
    """One call: its open spans and their contexts, and since when what is under way."""

    def __init__(self, instruments: Instruments, tracer: Tracer, clock: Clock, call_id: str, labels: Labels) -> None:
        self._instruments = instruments
        self._tracer = tracer
        self._clock = clock
        self._call_id = call_id
        self._labels = labels
        self._received = clock.now()
        by_origin = {**labels, **ORIGIN}
        described = {**by_origin, "voice.call.id": call_id}
        self._root = tracer.start_span(
            "call", Context(), SpanKind.SERVER, described, start_time=self._received.unix_nanos
        )
        self._context = self._body_context = trace.set_span_in_context(self._root, Context())
        self._turn_context: Context | None = None
        self._session: Span = trace.INVALID_SPAN
        self._turn: Span = trace.INVALID_SPAN
        self._turns = 0
        self._usage = {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}
        self._talked = {"caller": 0.0, "agent": 0.0}
        self._heard = False
        self._billed = 0.0
        self._started: Instant | None = None
        self._speaking: Instant | None = None
        self._waiting: Instant | None = None
        instruments.received.add(1, by_origin, self._context)
        instruments.pending.add(1, labels, self._context)

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Time a phase of the call's path."""
        with self._tracer.start_as_current_span(
            phase.value,
            self._body_context,
            attributes=self._labels,
            start_time=self._clock.now().unix_nanos,
            end_on_exit=False,
        ) as span:
            try:
                yield
            finally:
                span.end(self._clock.now().unix_nanos)

    def accepted(self) -> None:
        """The carrier took the acceptance."""
        seconds = self._clock.now().since(self._received)
        self._root.set_attribute("voice.call.setup.duration_s", seconds)
        self._instruments.accepted.add(1, self._labels, self._context)
        by_outcome = {**self._labels, "voice.call.outcome": "accepted"}
        self._instruments.setup.record(seconds, by_outcome, self._context)

    def started(self) -> None:
        """The media session runs."""
        self._started = self._clock.now()
        described = {
            **self._labels,
            **MODEL,
            "voice.call.id": self._call_id,
            "gen_ai.conversation.id": self._call_id,
        }
        self._session = self._span("session", self._context, described, self._started)
        self._body_context = trace.set_span_in_context(self._session, self._context)
        self._instruments.started.add(1, self._labels, self._context)
        self._instruments.active.add(1, self._labels, self._context)
        self._instruments.pending.add(-1, self._labels, self._context)

    def caller_started_speaking(self) -> None:
        """A turn begins."""
        now = self._speaking = self._clock.now()
        self._waiting = None
        self._end_turn("completed", now)
        self._turns += 1
        self._turn = self._span("turn", self._body_context, {**self._labels, "voice.turn.number": self._turns}, now)
        self._turn_context = trace.set_span_in_context(self._turn, self._body_context)

    def caller_stopped_speaking(self) -> None:
        """The wait for the answer begins."""
        self._waiting = self._speech("caller")

    def agent_started_speaking(self) -> None:
        """The answer is heard."""
        now = self._speaking = self._clock.now()
        if not self._heard:
            self._heard = True
            seconds = now.since(self._received)
            self._root.set_attribute("voice.call.time_to_first_audio_s", seconds)
            self._instruments.first_audio.record(seconds, self._labels, self._context)
        if self._waiting is not None:
            seconds = now.since(self._waiting)
            self._waiting = None
            self._turn.set_attribute("voice.turn.time_to_first_audio_s", seconds)
            self._instruments.answer.record(seconds, self._labels, self._context)

    def agent_stopped_speaking(self) -> None:
        """The answer is over."""
        self._speech("agent")

    def tokens_used(self, usage: TokenUsage, model: str) -> None:
        """A response was billed."""
        self._usage["gen_ai.usage.input_tokens"] += usage.input or 0
        self._usage["gen_ai.usage.output_tokens"] += usage.output or 0
        self._session.set_attributes({"gen_ai.request.model": model, **self._usage})
        for direction, count in (("input", usage.input), ("output", usage.output)):
            if count is not None:
                by_direction = {
                    **self._labels,
                    **MODEL,
                    "gen_ai.request.model": model,
                    "gen_ai.token.type": direction,
                }
                self._instruments.tokens.record(count, by_direction, self._context)

    def heartbeat(self) -> None:
        """The call runs, and its time is counted up to here."""
        if self._started is not None:
            seconds = self._clock.now().since(self._started)
            self._instruments.time.add(seconds - self._billed, self._labels, self._context)
            self._billed = seconds

    def ended(self, reason: EndReason) -> None:
        """The call is over."""
        now = self._clock.now()
        duration = now.since(self._started or now)
        self._end_turn("call_ended", now)
        self._instruments.active.add(-1, self._labels, self._context)
        self._instruments.time.add(duration - self._billed, self._labels, self._context)
        by_reason = {**self._labels, **ORIGIN, "voice.call.end.reason": reason.value}
        self._instruments.ended.add(1, by_reason, self._context)
        self._instruments.duration.record(duration, by_reason, self._context)
        for speaker, seconds in self._talked.items():
            by_speaker = {**self._labels, "voice.speaker": speaker}
            self._instruments.talk_share.record(seconds / duration if duration else 0.0, by_speaker, self._context)
        self._session.end(now.unix_nanos)
        self._root.set_attributes(
            {
                "voice.call.outcome": reason.value,
                "voice.call.end.reason": reason.value,
                "voice.call.duration_s": duration,
            }
        )
        self._root.end(now.unix_nanos)

    def _end_turn(self, reason: str, now: Instant) -> None:
        if self._turns:
            self._turn.set_attribute("voice.turn.end.reason", reason)
            self._turn.end(now.unix_nanos)

    def _speech(self, speaker: str) -> Instant:
        now = self._clock.now()
        began = self._speaking or now
        self._talked[speaker] += now.since(began)
        described = {**self._labels, "voice.speaker": speaker}
        parent = self._turn_context or self._body_context
        self._span("speech", parent, described, began).end(now.unix_nanos)
        return now

    def _span(self, name: str, parent: Context, described: Mapping[str, str | int], began: Instant) -> Span:
        return self._tracer.start_span(name, parent, SpanKind.INTERNAL, described, start_time=began.unix_nanos)
