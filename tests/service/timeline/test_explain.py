"""The sentence that says what happened to a call."""

import re
from contextlib import suppress

import pytest

from service.gateway.tools import ToolError
from service.timeline.explain import explain, span_of_time
from telemetry.calls.events import LimitHit
from telemetry.semconv.attributes import (
    OTHER,
    UNKNOWN_TOOL,
    CapacityScope,
    EndReason,
    RejectionReason,
    UnansweredReason,
)
from telemetry.testing import TelemetryKit
from tests.support import calls


def told(kit: TelemetryKit) -> str:
    record = kit.recent.call("rtc_1")
    assert record is not None
    return explain(record)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 ms"),
        (0.0034, "3.4 ms"),
        (0.00994, "9.9 ms"),
        (0.012, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (308, "5 min 08 s"),
        (3599.6, "1 h 00 min"),
        (3725, "1 h 02 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    """A duration has two or three digits that matter, and never sixty of a unit."""
    assert span_of_time(seconds) == said


def test_a_rejection_names_the_limit_and_what_was_in_use(kit: TelemetryKit) -> None:
    """Turned away for want of a slot, the sentence has whose limit it was, its value, and how much was in use."""
    calls.announced(kit).rejected(RejectionReason.CAPACITY, limit=LimitHit(CapacityScope.GLOBAL, 100, 101))
    assert told(kit) == (
        "Turned away after 12 ms: there was no free slot; the global limit of 100 was reached, with 101 in use."
    )


@pytest.mark.parametrize("reason", list(RejectionReason))
def test_every_rejection_is_explained(kit: TelemetryKit, reason: RejectionReason) -> None:
    """Whatever a call was turned away for, the sentence has words for it, and no code."""
    calls.announced(kit).rejected(reason, error_type="CarrierTimeout")
    said = told(kit)
    assert said.startswith("Turned away after 12 ms: ")
    assert said.endswith(" (CarrierTimeout).")
    assert "_" not in said


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_end_is_explained(kit: TelemetryKit, reason: EndReason) -> None:
    """Whatever a call ended for, the sentence has words for it; one that failed is said to have failed."""
    calls.started(kit).ended(reason)
    assert told(kit).startswith("Failed after " if reason is EndReason.ERROR else "Ended after ")
    assert "no known reason" not in told(kit)


@pytest.mark.parametrize("reason", list(UnansweredReason))
def test_every_unanswered_call_is_explained(kit: TelemetryKit, reason: UnansweredReason) -> None:
    """Each reason for which a call was never answered has words of its own."""
    kit.tracker.received("rtc_1", "acme").unanswered(reason)
    assert re.fullmatch(r"Not answered: [a-z ]{15,}\.", told(kit))


def test_a_transfer_names_its_destination(kit: TelemetryKit) -> None:
    """A call that was handed off says where to."""
    calls.ordinary(kit)
    assert told(kit) == "Ended after 49.5 s: it was handed to billing."


@pytest.mark.parametrize("reason", [None, EndReason.HANGUP, EndReason.SILENCE])
def test_an_unknown_tool_is_told_in_words_alone(kit: TelemetryKit, reason: EndReason | None) -> None:
    """The tool has an article, and no code that says the same again; another error of it is named."""
    call = calls.started(kit)
    calls.greeting(kit, call)
    with suppress(ToolError), call.tool(OTHER, "call_1"):
        raise ToolError("there is no such tool", UNKNOWN_TOOL)
    if reason is not None:
        call.ended(reason)
    assert re.search(r"after an unknown tool failed\.", told(kit))


def test_another_error_of_an_unknown_tool_is_named(kit: TelemetryKit) -> None:
    """What the words do not say stands behind them."""
    call = calls.started(kit)
    calls.greeting(kit, call)
    with suppress(TimeoutError), call.tool(OTHER, "call_1"):
        raise TimeoutError
    call.ended(EndReason.HANGUP)
    assert told(kit).endswith("after an unknown tool failed (TimeoutError).")


def test_an_abandoned_call_is_not_called_ended(kit: TelemetryKit) -> None:
    """Accepted and never started is said so, with the error."""
    call = calls.announced(kit)
    call.accepted()
    call.abandoned(EndReason.ERROR, error_type="CarrierTimeout")
    assert told(kit) == "Accepted, but never started: it broke off (CarrierTimeout)."


def test_calls_under_way_say_how_far_they_are(kit: TelemetryKit) -> None:
    """Pending, accepted, running and ending calls each have their sentence, with the time so far."""
    call = calls.announced(kit)
    assert told(kit) == "Being decided upon for 12 ms."
    call.accepted()
    assert told(kit) == "Accepted 12 ms after it was received; its media session has not begun."
    call.started()
    kit.clock.advance(3)
    assert told(kit) == "Running for 3.0 s."
    call.referred("sales")
    assert told(kit) == "Ending, handed to sales, 3.0 s after its start."
