"""One JSON line a transition, with the ids that lead to the call's trace."""

import json
import logging
from collections.abc import Mapping

import pytest

from telemetry.calls.events import LimitHit
from telemetry.calls.sinks import FanOut
from telemetry.calls.tracker import CallTracker
from telemetry.logs.sink import LOGGER_NAME, LogSink
from telemetry.logs.throttle import LOG_SECONDS, NOT_LOGGED
from telemetry.semconv import attributes as attr
from telemetry.semconv.attributes import CapacityScope, EndReason, RejectionReason
from telemetry.testing import TelemetryKit

ALWAYS = {"ts", "level", "logger", "msg", "event", "tenant_id", "call_id", "trace_id", "span_id"}


def run_a_call(kit: TelemetryKit) -> None:
    call = kit.tracker.received("rtc_1", "acme", caller="+4915112345678", dialled="+18005550100")
    call.instructions_failed("OperationalError")
    call.fallback_used()
    kit.clock.advance(0.25)
    call.accepted()
    call.accepted()
    call.started()
    call.session_error("rate_limited")
    call.caller_started_speaking()
    kit.clock.advance(60)
    call.referred("front desk")
    call.ended(EndReason.ERROR, error_type="TimeoutError")


def said(line: Mapping[str, object]) -> dict[str, object]:
    """What a line says besides when, where and of whom."""
    return {key: line[key] for key in line if key not in ALWAYS - {"event", "level"} and line[key] is not None}


def test_each_transition_is_one_line(kit: TelemetryKit) -> None:
    """A call's lines tell what happened to it, in order, each with its level and what there is to say."""
    run_a_call(kit)
    assert [said(line) for line in kit.logs()] == [
        {"level": "INFO", "event": "call.received"},
        {"level": "ERROR", "event": "instructions.failed", "error.type": "OperationalError"},
        {"level": "WARNING", "event": "instructions.fallback_used"},
        {"level": "INFO", "event": "call.accepted", "duration_ms": 250.0},
        {
            "level": "WARNING",
            "event": "lifecycle.violated",
            "voice.lifecycle.violation": "duplicate",
            "voice.lifecycle.transition": "accepted",
        },
        {"level": "INFO", "event": "call.started"},
        {"level": "WARNING", "event": "session.error", "voice.session.error.code": "rate_limited"},
        {"level": "INFO", "event": "call.referred", "voice.transfer.target": "front desk"},
        {
            "level": "DEBUG",
            "event": "turn.ended",
            "voice.turn.number": 1,
            "voice.turn.end.reason": "call_ended",
            "duration_ms": 60000.0,
        },
        {
            "level": "WARNING",
            "event": "call.ended",
            "voice.call.end.reason": "error",
            "duration_ms": 60000.0,
            "error.type": "TimeoutError",
        },
    ]


def test_every_line_of_a_call_leads_to_its_trace(kit: TelemetryKit) -> None:
    """Each line has the call's id and tenant, the trace's id and an open span of it, from the first to the last."""
    run_a_call(kit)
    (root,) = kit.spans()
    assert all(set(line) >= ALWAYS for line in kit.logs())
    assert {line["trace_id"] for line in kit.logs()} == {root.trace_id}
    assert {(line["tenant_id"], line["call_id"], line["logger"]) for line in kit.logs()} == {
        ("acme", "rtc_1", LOGGER_NAME)
    }


def test_turned_away_and_abandoned_calls_say_why(kit: TelemetryKit) -> None:
    """A rejection's line has its reason and the limit; an abandoned call's line its reason and failure."""
    rejected = kit.tracker.received("rtc_1", "acme")
    rejected.rejected(RejectionReason.CAPACITY, limit=LimitHit(CapacityScope.GLOBAL, 100, 100))
    other = kit.tracker.received("rtc_2", "acme")
    other.rejected(RejectionReason.CARRIER_ERROR, error_type="Timeout")
    abandoned = kit.tracker.received("rtc_3", "acme")
    abandoned.accepted()
    abandoned.abandoned(EndReason.ERROR, error_type="ConnectError")
    lines = {line["call_id"]: line for line in kit.logs()}
    assert lines["rtc_1"].items() >= {
        ("event", "call.rejected"),
        ("voice.call.rejection.reason", "capacity"),
        ("voice.capacity.scope", "global"),
        ("voice.capacity.limit", 100),
        ("voice.capacity.in_use", 100),
        ("duration_ms", 0.0),
    }
    assert lines["rtc_2"]["error.type"] == "Timeout"
    assert lines["rtc_3"].items() >= {
        ("event", "call.abandoned"),
        ("level", "WARNING"),
        ("voice.call.end.reason", "error"),
        ("error.type", "ConnectError"),
    }


def violations(kit: TelemetryKit) -> list[tuple[object, ...]]:
    """Return kind, transition, call and lines left out before, of each line about a violation."""
    keys = ("voice.lifecycle.violation", "voice.lifecycle.transition", "tenant_id", "call_id", NOT_LOGGED)
    return [tuple(map(line.get, keys)) for line in kit.logs() if line["event"] == "lifecycle.violated"]


def test_violations_name_the_call_once_a_minute_of_each_kind(kit: TelemetryKit) -> None:
    """A source at fault fills no log: the first of each kind names its call, the next a minute later counts the rest.

    The metric counts every one of them.
    """
    call = kit.tracker.received("rtc_1", "acme")
    for number in range(1_000):
        kit.tracker.call(f"lost_{number}").ended(EndReason.HANGUP)
        kit.tracker.call(f"lost_{number}").accepted()
    call.started()
    kit.clock.advance(LOG_SECONDS)
    kit.tracker.call("lost_1000").ended(EndReason.HANGUP)
    call.ended(EndReason.HANGUP)
    assert violations(kit) == [
        ("unknown_call", "ended", "_unknown", "lost_0", None),
        ("out_of_order", "started", "acme", "rtc_1", None),
        ("unknown_call", "ended", "_unknown", "lost_1000", 1_999),
        ("out_of_order", "ended", "acme", "rtc_1", None),
    ]
    assert sum(kit.metrics()["voice.lifecycle.violations"].values()) == 2_003  # type: ignore[arg-type] # a counter's


def test_any_report_about_an_unknown_call_names_it_once_a_minute(kit: TelemetryKit) -> None:
    """A heartbeat, speech or tokens of a call that was never received are not dropped in silence."""
    for _ in range(10):
        kit.tracker.call("lost").heartbeat()
        kit.tracker.call("lost").caller_started_speaking()
    assert violations(kit) == [("unknown_call", "heartbeat", "_unknown", "lost", None)]
    assert sum(kit.metrics()["voice.lifecycle.violations"].values()) == 20  # type: ignore[arg-type] # a counter's


def test_a_line_that_nobody_reads_is_not_taken_for_written(caplog: pytest.LogCaptureFixture) -> None:
    """While the level hides violations, none is counted as left out; the first one that shows is a line."""
    tracker = CallTracker(FanOut([LogSink()], strict=True))
    with caplog.at_level(logging.ERROR, LOGGER_NAME):
        tracker.call("lost_1").accepted()
    with caplog.at_level(logging.WARNING, LOGGER_NAME):
        tracker.call("lost_2").accepted()
    assert [vars(record)[attr.CALL_ID] for record in caplog.records] == ["lost_2"]


def test_nothing_personal_is_logged(kit: TelemetryKit) -> None:
    """No line of a call, at any level, has a digit of the caller's or the dialled number."""
    run_a_call(kit)
    assert not any(secret in json.dumps(kit.logs()) for secret in ("5678", "0100"))


def test_details_are_only_made_when_they_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At INFO the turns of a conversation pass by; by default the lines go to the logger of call transitions."""
    tracker = CallTracker(FanOut([LogSink()], strict=True))
    with caplog.at_level(logging.INFO, LOGGER_NAME):
        call = tracker.received("rtc_1", "acme")
        call.caller_started_speaking()
        call.finish(EndReason.ERROR)
    assert [record.getMessage() for record in caplog.records] == ["call received", "call rejected"]


def test_what_is_no_ones_call_is_not_logged(kit: TelemetryKit) -> None:
    """Events without a line of their own, and those without a call, pass by."""
    kit.tracker.received("rtc_1", "acme").caller_started_speaking()
    assert [line["event"] for line in kit.logs()] == ["call.received"]
