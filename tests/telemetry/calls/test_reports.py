"""Reports in any order, some lost, some repeated: the same call in the end, or it says what was inferred."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.calls.lifecycle import Transition
from telemetry.calls.reports import (
    MAX_AHEAD_SECONDS,
    Report,
    ReportAnswer,
    ReportedCalls,
    ReportKind,
    ReportRefusedError,
)
from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import EndReason, RejectionReason, UnansweredReason
from telemetry.testing import FakeClock, TelemetryKit
from tests.telemetry import invariants

BEGAN_MS = FakeClock().now().unix_ms - 3_600_000
WAIT_SECONDS = 5.0

REASONS: dict[ReportKind, RejectionReason | UnansweredReason | EndReason] = {
    ReportKind.REJECTED: RejectionReason.CAPACITY,
    ReportKind.UNANSWERED: UnansweredReason.BUSY,
    ReportKind.ABANDONED: EndReason.ERROR,
    ReportKind.ENDED: EndReason.HANGUP,
}
PATHS = (
    (ReportKind.RECEIVED, ReportKind.REJECTED),
    (ReportKind.RECEIVED, ReportKind.UNANSWERED),
    (ReportKind.RECEIVED, ReportKind.ACCEPTED, ReportKind.ABANDONED),
    (ReportKind.RECEIVED, ReportKind.ACCEPTED, ReportKind.STARTED, ReportKind.ENDED),
    (
        ReportKind.RECEIVED,
        ReportKind.ACCEPTED,
        ReportKind.STARTED,
        ReportKind.CALLER_STARTED_SPEAKING,
        ReportKind.CALLER_STOPPED_SPEAKING,
        ReportKind.AGENT_STARTED_SPEAKING,
        ReportKind.HEARTBEAT,
        ReportKind.AGENT_STOPPED_SPEAKING,
        ReportKind.REFERRED,
        ReportKind.ENDED,
    ),
)
TRANSITIONS_ONLY = [path for path in PATHS if all(kind.transition for kind in path)]


def told(path: tuple[ReportKind, ...], *, numbered: bool, call_id: str = "call-1", step_ms: int = 750) -> list[Report]:
    return [
        Report(
            call_id,
            "acme",
            kind,
            BEGAN_MS + step_ms * position,
            sequence=position if numbered else None,
            reason=REASONS.get(kind),
        )
        for position, kind in enumerate(path)
    ]


class End(NamedTuple):
    """What is left of the reports: the call's outcome and times, and every number that counts calls."""

    outcome: CallOutcome | None
    duration: float
    turns: int
    counts: dict[str, int | float]


def end_of(kit: TelemetryKit, call_id: str = "call-1") -> End:
    found = kit.recent.call(call_id)
    assert found is not None
    counts = {name: round(value, 6) for name, value in kit.numbers().items() if name != "inferred_transitions"}
    return End(found.summary.outcome, round(found.summary.duration, 6), found.summary.turns, counts)


def make(reports: list[Report], *, pauses: Iterator[float] | None = None) -> tuple[End, tuple[Transition, ...]]:
    with TelemetryKit() as kit:
        calls = ReportedCalls(kit.tracker, max_wait_seconds=WAIT_SECONDS)
        for report in reports:
            calls.report(report)
            kit.clock.advance(next(pauses) if pauses else 0.0)
            invariants.check(kit.numbers())
        kit.clock.advance(WAIT_SECONDS)
        calls.release()
        assert calls.waiting == 0
        invariants.check(kit.numbers())
        found = kit.recent.call("call-1")
        assert found is not None
        assert found.inferred == calls.inferred("call-1")
        return end_of(kit), calls.inferred("call-1")


@settings(max_examples=150)
@given(st.data())
def test_any_order_and_any_repetition_end_as_the_ordered_whole(data: st.DataObject) -> None:
    """Nothing lost: however the reports are mixed, doubled and delayed, record and counts are the same."""
    numbered = data.draw(st.booleans())
    whole = told(data.draw(st.sampled_from(PATHS if numbered else TRANSITIONS_ONLY)), numbered=numbered)
    repeated = whole + data.draw(st.lists(st.sampled_from(whole), max_size=6))
    pauses = (data.draw(st.floats(0, 0.2)) for _ in repeated)
    assert make(data.draw(st.permutations(repeated)), pauses=pauses) == make(whole)


@settings(max_examples=150)
@given(st.data())
def test_what_is_lost_is_inferred_and_said(data: st.DataObject) -> None:
    """With the end in hand the outcome and the counts stand; each lost transition before it is named as inferred."""
    path = data.draw(st.sampled_from(TRANSITIONS_ONLY))
    whole = told(path, numbered=data.draw(st.booleans()))
    lost = set(data.draw(st.lists(st.integers(0, len(whole) - 2), max_size=len(whole) - 1)))
    heard = [report for position, report in enumerate(whole) if position not in lost]
    (found, inferred), (ordered, _) = make(data.draw(st.permutations(heard))), make(whole)
    minutes = "minutes_processed"
    assert found.outcome == ordered.outcome
    assert {**found.counts, minutes: 0} == {**ordered.counts, minutes: 0}
    assert found.counts[minutes] <= ordered.counts[minutes]
    assert {transition.value for transition in inferred} == {path[position].value for position in lost}
    if not lost:
        assert found == ordered


def test_many_calls_mixed_hold_the_invariants_at_every_moment() -> None:
    """The reports of hundreds of calls in one shuffled stream, a tenth lost, a tenth doubled: no number contradicts."""
    random = Random(12)  # noqa: S311 -- a fixed shuffle
    stream = [
        report
        for number in range(300)
        for report in told(random.choice(PATHS), numbered=bool(number % 2), call_id=f"call-{number}")
        if random.random() > 0.1
    ]
    stream += random.sample(stream, len(stream) // 10)
    random.shuffle(stream)
    with TelemetryKit() as kit:
        calls = ReportedCalls(kit.tracker, max_wait_seconds=WAIT_SECONDS)
        for position, report in enumerate(stream):
            calls.report(report)
            if not position % 40:
                kit.clock.advance(0.5)
                calls.release()
                invariants.check(kit.numbers())
        kit.clock.advance(WAIT_SECONDS)
        calls.release()
        numbers = kit.numbers()
        invariants.check(numbers)
        assert calls.waiting == 0
        assert numbers["lifecycle_violations"] == 0
        assert numbers["received_calls"] == len({report.call_id for report in stream})


@pytest.mark.endurance
def test_a_hundred_thousand_orders_end_alike() -> None:
    """A thousand calls whose reports come in a hundred random orders: counts and minutes are those of the ordered."""
    random = Random(99)  # noqa: S311 -- a fixed shuffle
    ordered = [
        report
        for number in range(1_000)
        for report in told(random.choice(PATHS), numbered=True, call_id=f"call-{number}")
    ]

    def counts(stream: list[Report]) -> dict[str, int | float]:
        with TelemetryKit() as kit:
            calls = ReportedCalls(kit.tracker, max_wait_seconds=WAIT_SECONDS)
            for report in stream:
                calls.report(report)
                if random.random() < 0.02:
                    invariants.check(kit.numbers())
            assert calls.waiting == 0
            return {name: round(value, 6) for name, value in kit.numbers().items()}

    whole = counts(ordered)
    assert all(counts(random.sample(ordered, len(ordered))) == whole for _ in range(100))


def test_durations_are_the_sources_and_silence_is_judged_by_arrival() -> None:
    """An hour late, a call still lasts as long as its source says; it is silent only once no report arrives."""
    with TelemetryKit() as kit:
        calls = ReportedCalls(kit.tracker)
        *running, end = told(PATHS[3], numbered=True, step_ms=60_000)
        for report in running:
            kit.clock.advance(100)
            calls.report(report)
        assert kit.tracker.sweep(120) == []
        assert kit.tracker.oldest_silence() == 0
        kit.clock.advance(119)
        assert kit.tracker.sweep(120) == []
        calls.report(end)
        assert kit.live("acme")["minutes_processed"] == 1.0
        assert kit.tracker.usage().peak_in_use == 0


def test_a_report_too_far_ahead_is_refused_by_its_field() -> None:
    """Five minutes ahead is allowed for clocks that differ; more is a mistake and names ``at``."""
    with TelemetryKit() as kit:
        calls = ReportedCalls(kit.tracker)
        (report, *_) = told(PATHS[0], numbered=False)
        ahead = kit.clock.now().unix_ms + int(MAX_AHEAD_SECONDS * 1000)
        assert calls.report(replace(report, at_ms=ahead)) is ReportAnswer.APPLIED
        with pytest.raises(ReportRefusedError, match=r"^at: more than 300 s ahead") as refused:
            calls.report(replace(report, call_id="call-2", at_ms=ahead + 1))
        assert refused.value.field == "at"
        assert not kit.tracker.knows("call-2")


@pytest.mark.parametrize("kind", list(REASONS))
def test_a_report_that_needs_a_reason_names_the_legal_ones(kind: ReportKind) -> None:
    """Without a reason of the kind's vocabulary the report is refused; nothing is counted."""
    with TelemetryKit() as kit:
        report = Report("call-1", "acme", kind, BEGAN_MS)
        with pytest.raises(ReportRefusedError, match=f"reason: {kind} needs one of .*{REASONS[kind].value}"):
            ReportedCalls(kit.tracker).report(report)
        assert kit.metrics() == {}


def test_each_report_is_answered_with_what_became_of_it() -> None:
    """Before its predecessors a report waits; repeated it is a duplicate; after the end, or given up, it is late."""
    with TelemetryKit() as kit:
        calls = ReportedCalls(kit.tracker, max_wait_seconds=WAIT_SECONDS)
        received, accepted, started, heartbeat, end = told(
            (*PATHS[3][:3], ReportKind.HEARTBEAT, ReportKind.ENDED), numbered=True
        )
        assert calls.report(started) is ReportAnswer.WAITING
        assert calls.report(started) is ReportAnswer.DUPLICATE
        assert calls.report(received) is ReportAnswer.APPLIED
        assert calls.report(replace(received, source="another", sequence=None)) is ReportAnswer.DUPLICATE
        assert calls.report(accepted) is ReportAnswer.APPLIED
        assert calls.waiting == 0
        assert calls.report(end) is ReportAnswer.WAITING
        kit.clock.advance(WAIT_SECONDS)
        assert calls.release() == 1
        assert calls.report(heartbeat) is ReportAnswer.LATE
        assert kit.numbers()["lifecycle_violations"] == 0


def test_only_so_many_reports_of_a_call_wait() -> None:
    """Past the bound the first in order is applied without its predecessors, which are inferred."""
    with TelemetryKit() as kit:
        calls = ReportedCalls(kit.tracker, max_waiting=3)
        heartbeats = told((*PATHS[3][:3], *[ReportKind.HEARTBEAT] * 4), numbered=True)[3:]
        answers = [calls.report(heartbeat) for heartbeat in reversed(heartbeats)]
        assert answers == [ReportAnswer.WAITING] * 3 + [ReportAnswer.APPLIED]
        assert calls.inferred("call-1") == (Transition.RECEIVED, Transition.ACCEPTED, Transition.STARTED)
        assert calls.waiting == 0


def test_only_so_many_calls_are_put_into_order() -> None:
    """A call that is over makes room for another; while all are open a further one is refused by its id."""
    with TelemetryKit() as kit:
        calls = ReportedCalls(kit.tracker, max_calls=1)
        received, rejected = told(PATHS[0], numbered=True)
        other = replace(received, call_id="call-2")
        calls.report(received)
        with pytest.raises(ReportRefusedError, match=r"^call_id: 1 calls"):
            calls.report(other)
        calls.report(rejected)
        assert calls.report(other) is ReportAnswer.APPLIED
