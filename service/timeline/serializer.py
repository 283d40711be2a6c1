"""Turns what is known of a call into its JSON: wall-clock times for offsets, a tree of spans, links."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from service.http.problems import writable
from service.http.schemas import moment
from service.timeline.detail import (
    CallDetail,
    DecisionDetail,
    EndingDetail,
    ErrorDetail,
    GapDetail,
    Limit,
    Links,
    LogDetail,
    PhaseDetail,
    Scalar,
    SpanDetail,
    SpanEventDetail,
    SpeechDetail,
    StretchDetail,
    TalkDetail,
    TokenDetail,
    ToolDetail,
    TraceDetail,
    TransitionDetail,
    TurnDetail,
)
from service.timeline.explain import explain, greeting_interrupted, silences, span_of_time
from service.timeline.past import WATCHED, StorySource
from telemetry.clock import Instant
from telemetry.recent.record import CallDetails, ErrorRow, SpanRow, Talk, Trace, TurnRow

CALLS = "/api/v1/calls"
TRACES = "/api/v1/traces"
UNSAMPLED = "Head sampling left this trace out: there are no spans, here or in a backend. All else is complete."
INCOMPLETE = "Some spans were left out: the first and the last ones of a call are kept."
CONTINUED = (
    "Taken over from another process: the spans of before, the first root among them, are in a trace backend only."
)
ROOT_LOST = (
    "The process that had the call before was lost, and with it every span that was open, the first root among them: "
    "what follows stands under a root that no backend has."
)
FROM_RECORD = " No process remembers the call: this is what its record keeps."
FROM_RECORD_SO_FAR = " Another process has the call: this is how its record stood when it was last written."
DECIMALS = 6
"""Of seconds: a microsecond is finer than anything here is measured."""


@dataclass(frozen=True, slots=True)
class Times:
    """The moments of one call."""

    received: Instant

    def at(self, offset: float) -> datetime:
        """Return the wall-clock time this many seconds after the reception."""
        return moment(self.received) + timedelta(seconds=offset)

    def at_nanos(self, unix_nanos: int) -> datetime:
        """Return the wall-clock time of a span or a log line."""
        return moment(Instant(0.0, unix_nanos))

    def since_received(self, unix_nanos: int) -> float:
        """Return the seconds from the reception to the time of a span, by the wall clock."""
        return rounded((unix_nanos - self.received.unix_nanos) / 1e9)

    def perhaps(self, offset: float | None) -> datetime | None:
        """Return the wall-clock time of a moment, None for one that has not come."""
        return None if offset is None else self.at(offset)

    def point(self, offset: float) -> dict[str, Any]:
        """Return the fields of something that happened at a moment."""
        return {"at": self.at(offset), "offset_seconds": rounded(offset)}

    def stretch(self, start: float, end: float | None) -> dict[str, Any]:
        """Return the fields of something that took time; its duration is None while it goes on."""
        return self.point(start) | {"duration_seconds": None if end is None else rounded(max(0.0, end - start))}


def rounded(seconds: float) -> float:
    """Return seconds as they are shown, to the microsecond."""
    return round(seconds, DECIMALS)


def rounded_if(seconds: float | None) -> float | None:
    """Return seconds as they are shown, None if they are not known."""
    return None if seconds is None else rounded(seconds)


_Below = Mapping[str | None, list[SpanRow]]


def span_tree(spans: Iterable[SpanRow], times: Times) -> tuple[SpanDetail, ...]:
    """Return the trees that the spans make; one whose parent is not among them stands at the top."""
    rows = list(spans)
    known = {row.span_id for row in rows}
    below: dict[str | None, list[SpanRow]] = {}
    for row in rows:
        below.setdefault(row.parent_id if row.parent_id in known else None, []).append(row)
    return _trees(below, None, times)


def plain(attributes: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return attributes as JSON can have them and people can read them."""
    return {writable(key): _plain(value) for key, value in attributes.items()}


def _plain(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return writable(value)
    return rounded(value) if isinstance(value, float) else value


def _trees(below: _Below, parent: str | None, times: Times) -> tuple[SpanDetail, ...]:
    return tuple(_node(row, _trees(below, row.span_id, times), times) for row in below.get(parent, ()))


def _node(row: SpanRow, children: tuple[SpanDetail, ...], times: Times) -> SpanDetail:
    ended = row.end_unix_nanos
    start = times.since_received(row.start_unix_nanos)
    return SpanDetail(
        span_id=row.span_id,
        parent_span_id=row.parent_id,
        name=writable(row.name),
        kind=row.kind,
        scope=row.scope,
        at=times.at_nanos(row.start_unix_nanos),
        offset_seconds=start,
        duration_seconds=None if ended is None else rounded(max(0, ended - row.start_unix_nanos) / 1e9),
        open=ended is None,
        error=row.error,
        attributes=plain(row.attributes),
        events=tuple(
            SpanEventDetail(name=writable(e.name), at=times.at_nanos(e.unix_nanos), attributes=plain(e.attributes))
            for e in row.events
        ),
        linked_trace_ids=row.linked_trace_ids,
        children=children,
    )


@dataclass(frozen=True, slots=True)
class TraceUrls:
    """Addresses of traces in a trace backend; there are none if no template is configured."""

    template: str | None = None
    """With ``{trace_id}`` in the id's place."""

    def url(self, trace_id: str) -> str | None:
        """Return the address of one trace's page, None without a backend."""
        return self.template.replace("{trace_id}", trace_id) if self.template else None


NO_BACKEND: Final = TraceUrls()
"""No trace backend is configured."""


def call_path(call_id: str) -> str:
    """Return the path of a call's resource."""
    return f"{CALLS}/{quote(writable(call_id), safe='')}"


def call_detail(record: CallDetails, urls: TraceUrls, source: StorySource = WATCHED) -> CallDetail:
    """Return a call as the API shows it; ``source`` says what its rows rest on."""
    call, times = record.summary, Times(record.summary.received)
    said, from_record = explain(record), source.from_record or record.summary.lost
    return CallDetail(
        call_id=writable(call.call_id),
        tenant_id=writable(call.tenant_id),
        state=call.state,
        outcome=call.outcome,
        explanation=writable(said + _resting_on(record, source)),
        caller=call.caller,
        caller_hash=call.caller_hash,
        dialled=record.summary.dialled,
        received_at=times.at(0.0),
        started_at=times.perhaps(call.started),
        ended_at=times.perhaps(call.ended),
        as_of=times.at(record.as_of),
        duration_seconds=rounded(call.duration),
        duration_basis=call.duration_basis,
        setup_seconds=rounded_if(record.decision.setup_seconds if record.decision else None),
        time_to_first_audio_seconds=rounded_if(record.time_to_first_audio),
        longest_wait_seconds=rounded(call.longest_wait) if source.conversation_counted else None,
        last_seen_seconds=rounded(call.last_seen),
        decision=_decision(record, times),
        ending=_ending(record, times),
        unanswered_reason=call.unanswered_reason,
        direction=call.direction,
        source=writable(call.source),
        inferred=record.inferred,
        talk=None if record.talk is None else _talk(record.talk),
        referred_to=_perhaps(record.referred_to),
        fallback_instructions=record.fallback_instructions,
        from_record=from_record,
        resumed=record.resumed,
        seen_from_seconds=rounded_if(record.seen_from),
        transitions=tuple(TransitionDetail(transition=s.transition, **times.point(s.at)) for s in record.steps),
        phases=tuple(
            PhaseDetail(
                phase=p.phase,
                target=_perhaps(p.target),
                tool_call_id=_perhaps(p.tool_call_id),
                resends=p.resends,
                error_type=_perhaps(p.error_type),
                **times.stretch(p.start, p.end),
            )
            for p in record.phases
        ),
        flags=None if source.from_record else call.flags,
        turn_count=call.turns if source.conversation_counted else None,
        interruption_count=call.interruptions if source.conversation_counted else None,
        greeting_interrupted=None if from_record else greeting_interrupted(record),
        talked_over_count=None if from_record else call.talked_over,
        longest_silence_seconds=None if from_record else rounded(call.longest_silence),
        talked_over=tuple(
            StretchDetail(**times.stretch(row.start, record.as_of if row.end is None else row.end))
            for row in record.talk_overs
        ),
        silences=()
        if from_record
        else tuple(StretchDetail(**times.stretch(quiet.start, quiet.end)) for quiet in silences(record)),
        turns=tuple(_turn(turn, times, record.as_of) for turn in record.turns),
        speech=tuple(
            SpeechDetail(speaker=s.speaker, interrupted=s.interrupted, **times.stretch(s.start, s.end))
            for s in record.speech
        ),
        tools=tuple(
            ToolDetail(
                tool=writable(t.tool),
                tool_call_id=writable(t.tool_call_id),
                error_type=_perhaps(t.error_type),
                cut_off=t.cut_off,
                **times.stretch(t.start, t.end),
            )
            for t in record.tools
        ),
        errors=tuple(ErrorDetail(trouble=e.trouble, detail=_error(e), **times.point(e.at)) for e in record.errors),
        tokens=_tokens(record),
        trace=None if record.trace is None else _trace(record, record.trace, times, urls),
        logs=_logs(record, times),
        events_truncated=record.events_truncated,
        dropped=dict(record.dropped),
        gaps=tuple(
            GapDetail(
                kind=gap.kind,
                count=gap.count,
                offset_seconds=rounded(gap.start),
                duration_seconds=rounded_if(None if gap.end is None else max(0.0, gap.end - gap.start)),
            )
            for gap in record.gaps
        ),
        links=_links(record, urls),
    )


def _resting_on(record: CallDetails, source: StorySource) -> str:
    if source.from_record or record.summary.lost:
        return FROM_RECORD if record.summary.state.terminal else FROM_RECORD_SO_FAR
    if record.seen_from is None:
        return ""
    left = "another process" if record.handed_over else "a process that was lost"
    return f" Taken over from {left} {span_of_time(record.seen_from)} after it was received."


def _perhaps(text: str | None) -> str | None:
    return None if text is None else writable(text)


def _decision(record: CallDetails, times: Times) -> DecisionDetail | None:
    decision = record.decision
    if decision is None:
        return None
    limit = decision.limit
    return DecisionDetail(
        outcome=decision.outcome,
        setup_seconds=rounded(decision.setup_seconds),
        reason=decision.reason,
        limit=None if limit is None else Limit(scope=limit.scope, limit=limit.limit, in_use=limit.in_use),
        error_type=_perhaps(decision.error_type),
        **times.point(decision.at),
    )


def _ending(record: CallDetails, times: Times) -> EndingDetail | None:
    ending = record.ending
    if ending is None:
        return None
    return EndingDetail(reason=ending.reason, error_type=_perhaps(ending.error_type), **times.point(ending.at))


def _turn(turn: TurnRow, times: Times, now: float) -> TurnDetail:
    return TurnDetail(
        number=turn.number,
        time_to_first_audio_seconds=rounded_if(turn.time_to_first_audio),
        waited_from_seconds=rounded_if(turn.caller_stopped),
        waited_seconds=rounded_if(turn.waited(now)),
        interrupted=turn.interrupted,
        end_reason=turn.reason,
        **times.stretch(turn.start, turn.end),
    )


def _error(row: ErrorRow) -> str:
    return writable(row.detail if row.violation is None else f"{row.detail}: {row.violation}")


def _talk(talk: Talk) -> TalkDetail:
    return TalkDetail.model_validate({name: rounded(value) for name, value in asdict(talk).items()})


def _tokens(record: CallDetails) -> TokenDetail:
    tokens = record.tokens
    return TokenDetail(
        **asdict(tokens.usage),
        responses=tokens.responses,
        partial=tokens.partial,
        models=tuple(map(writable, tokens.models)),
    )


def _trace(record: CallDetails, trace: Trace, times: Times, urls: TraceUrls) -> TraceDetail:
    note = None if trace.sampled else UNSAMPLED
    if record.seen_from is not None or record.summary.lost:
        note = CONTINUED if record.handed_over else ROOT_LOST
    if record.dropped.get("spans"):
        note = INCOMPLETE
    return TraceDetail(
        trace_id=trace.trace_id,
        root_span_id=trace.root_span_id,
        sampled=trace.sampled,
        note=note,
        url=urls.url(trace.trace_id),
        spans=span_tree(trace.spans, times),
    )


def _logs(record: CallDetails, times: Times) -> tuple[LogDetail, ...]:
    return tuple(
        LogDetail(
            at=times.at_nanos(row.unix_nanos),
            level=row.level,
            logger=row.logger,
            message=writable(row.message),
            span_id=row.span_id,
            attributes=plain(row.attributes),
        )
        for row in record.logs
    )


def _links(record: CallDetails, urls: TraceUrls) -> Links:
    itself = call_path(record.summary.call_id)
    trace_id = record.summary.trace_id
    return Links(
        self=itself,
        timeline=f"{itself}/timeline.svg",
        trace=f"{TRACES}/{trace_id}" if trace_id else None,
        trace_backend=urls.url(trace_id) if trace_id else None,
    )
