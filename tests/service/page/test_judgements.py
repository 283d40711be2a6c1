"""Verdicts and calls that need attention: judged by the numbers, said in words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from service.api.capacity import RegisteredCall
from service.api.elsewhere import Coverage
from service.api.summary import EXAMPLE_WINDOW, MetricsSummary
from service.page.attention import LISTED, AttentionCall, needing_attention, reasons, worst_of
from service.page.verdicts import VerdictState, percent, processes_verdict, traffic_verdicts
from telemetry.calls.events import Phase
from telemetry.calls.lifecycle import CallState
from telemetry.recent.search import CallQuery
from telemetry.semconv.attributes import EndReason, RejectionReason
from telemetry.testing import TelemetryKit
from tests.support import calls


def figures(changed: Mapping[str, Any]) -> MetricsSummary:
    """An hour and five minutes without a blemish, but for what is changed."""
    clean = {
        "error_rate": 0.0,
        "rejection_rate": 0.0,
        "rejection_shares": dict.fromkeys((reason.value for reason in RejectionReason), 0.0),
        "turn_latency_seconds": dict.fromkeys(("p50", "p90", "p95", "p99"), 0.8),
    }
    window = {**EXAMPLE_WINDOW, **clean, **changed}
    windows = dict.fromkeys(("since_start", "5m", "1h", "24h"), window)
    return MetricsSummary.model_validate(
        {"as_of": "2026-11-22T20:00:00Z", "scope": "process", "tenant_id": None, "windows": windows}
    )


def judged(name: str, in_use: int = 3, running: tuple[RegisteredCall, ...] = (), **changed: object) -> tuple[str, str]:
    """State and text of one verdict."""
    verdicts = traffic_verdicts(figures(changed), in_use, running, home="/", search="/search?")
    (found,) = [(one.state.value, one.text) for one in verdicts if one.name == name]
    return found


UNREADABLE = (
    "2 of 3 processes do not answer (9d2f4b0e, 7c1f4b0e): their calls are not shown, as the records cannot be read."
)


@pytest.mark.parametrize("changed", [{}, {"error_rate": None, "rejection_rate": None}, {"error_rate": 0.5}])
def test_figures_of_one_process_of_several_say_so(changed: dict[str, Any]) -> None:
    """Each sentence that rests on them names whose they are; what the fleet shares, its slots, does not."""
    if changed:
        changed = {**changed, "turn_latency_seconds": dict.fromkeys(("p50", "p90", "p95", "p99"))}
    verdicts = traffic_verdicts(figures(changed), 8, (), home="/", search="/search?", own=True)
    said = {one.name: one.text for one in verdicts}
    assert said["capacity"] == "8 of 10 slots are in use; this process alone held at most 6 in the last hour."
    assert all("of this process" in said[name] for name in ("rejections", "failures", "answers")), said
    assert said["silence"] == "No call is running."


@pytest.mark.parametrize(
    ("coverage", "state", "text"),
    [
        (Coverage(2, 2), "well", "Both processes answer."),
        (Coverage(3, 3), "well", "All 3 processes answer."),
        (
            Coverage(1, 2, ("9d2f4b0e-5a39-4f1e",)),
            "attention",
            "1 of 2 processes does not answer (9d2f4b0e): its open calls are shown from their records.",
        ),
        (
            Coverage(1, 3, ("9d2f4b0e-5a39", "7c1f4b0e-5a39"), from_record=None),
            "attention",
            UNREADABLE,
        ),
    ],
    ids=["both", "all", "one is silent", "no records"],
)
def test_a_process_that_is_lost_is_told_of(coverage: Coverage, state: str, text: str) -> None:
    """With its id, and where its calls are told from."""
    found = processes_verdict(coverage, "/system#process")
    assert (found.state.value, found.text) == (state, text)


def attention(call_id: str, score: int, second: int = 0) -> AttentionCall:
    """One that a process tells."""
    at = datetime(2026, 11, 22, 20, 0, second, tzinfo=UTC)
    return AttentionCall(call_id=call_id, tenant_id="acme", received_at=at, running=False, score=score, reasons=())


def test_the_worst_of_several_processes_are_told_once() -> None:
    """The worst first, of equal ones the latest; of a call that two know, what the one knows that knows more."""
    told = [[attention("rtc_1", 3), attention("rtc_2", 1)], [attention("rtc_2", 5), attention("rtc_3", 3, second=1)]]
    found = [(call.call_id, call.score) for call in worst_of(told)]
    assert found == [("rtc_2", 5), ("rtc_3", 3), ("rtc_1", 3)]
    assert len(worst_of([[attention(f"rtc_{number}", 1) for number in range(20)]])) == LISTED


def silent(seconds: float) -> RegisteredCall:
    """A running call that was last heard of so long ago."""
    return RegisteredCall(
        call_id="rtc_1", tenant_id="acme", state=CallState.STARTED, age_seconds=90, last_seen_seconds=seconds
    )


WELL, ATTENTION, UNKNOWN = VerdictState.WELL.value, VerdictState.ATTENTION.value, VerdictState.UNKNOWN.value


@pytest.mark.parametrize(
    ("name", "given", "state", "text"),
    [
        ("capacity", {"in_use": 5}, WELL, "5 of 10 slots are in use; at most 6 in the last hour."),
        # A fleet holds more than this process ever did.
        ("capacity", {"in_use": 8}, WELL, "8 of 10 slots are in use."),
        ("capacity", {"in_use": 9}, ATTENTION, "9 of 10 slots are in use."),
        ("capacity", {"in_use": 10}, ATTENTION, "All 10 slots are taken: further calls are turned away."),
        ("failures", {}, WELL, "No call ended with an error in the last hour."),
        (
            "failures",
            {"error_rate": 0.0625},
            ATTENTION,
            "6.2 % of calls ended with an error in the last hour: 2 of 32.",
        ),
        ("failures", {"error_rate": None}, UNKNOWN, "No call has ended in the last hour."),
        ("answers", {}, WELL, "95 of 100 answers came within 800 ms in the last 5 minutes."),
        ("silence", {}, WELL, "No call is running."),
        ("silence", {"running": (silent(2),)}, WELL, "Every running call shows signs of life."),
        (
            "silence",
            {"running": (silent(2), silent(45))},
            ATTENTION,
            "1 running call has shown no sign of life for up to 45.0 s.",
        ),
        ("rejections", {"rejection_rate": None}, UNKNOWN, "No call was decided upon in the last hour."),
        ("rejections", {}, WELL, "No call was turned away in the last hour."),
    ],
)
def test_a_verdict_says_what_the_numbers_do(name: str, given: dict[str, Any], state: str, text: str) -> None:
    """Green, amber, or not known yet; never green for want of numbers."""
    assert judged(name, **given) == (state, text)


@pytest.mark.parametrize(("reason", "state"), [("capacity", ATTENTION), ("tenant_not_configured", WELL)])
def test_calls_turned_away_are_told_by_reason(reason: str, state: str) -> None:
    """A number that nobody has is the dialler's affair; anything else is ours."""
    shares = dict.fromkeys((each.value for each in RejectionReason), 0.0) | {reason: 0.04}
    said = {"capacity": "no free slot", "tenant_not_configured": "number without a tenant"}[reason]
    text = f"4.0 % of calls were turned away in the last hour: {said}."
    assert judged("rejections", rejection_rate=0.04, rejection_shares=shares) == (state, text)
    shares["carrier_error"] = 0.01
    two = f"5.0 % of calls were turned away in the last hour: 4.0 % {said}, 1.0 % carrier refused."
    assert judged("rejections", rejection_rate=0.05, rejection_shares=shares) == (ATTENTION, two)


@pytest.mark.parametrize(
    ("name", "given", "state", "figure"),
    [
        ("failures", {"error_rate": 5 / 244}, ATTENTION, "2.05 % of"),
        ("failures", {"error_rate": 5 / 252}, WELL, "1.98 % of"),
        ("failures", {"error_rate": 0.02}, ATTENTION, "2.0 % of"),
        ("failures", {"error_rate": 0.0199999}, WELL, "1.99999 % of"),
        ("failures", {"error_rate": 0.05}, ATTENTION, "5.0 % of"),
        ("answers", {"turn_latency_seconds": dict.fromkeys(("p50", "p90", "p95", "p99"), 2.004)}, ATTENTION, "2.004 s"),
        ("answers", {"turn_latency_seconds": dict.fromkeys(("p50", "p90", "p95", "p99"), 1.96)}, WELL, "1.96 s"),
    ],
)
def test_a_figure_is_told_from_its_limit(name: str, given: dict[str, Any], state: str, figure: str) -> None:
    """No two judgements differ where the figures that they state do not."""
    seen, text = judged(name, **given)
    assert (seen, figure in text) == (state, True), text


@pytest.mark.parametrize(
    ("rate", "state", "figure"), [(0.0099, WELL, "0.99 %"), (0.0102, ATTENTION, "1.02 %"), (0.01, ATTENTION, "1.0 %")]
)
def test_a_share_turned_away_is_told_from_its_limit(rate: float, state: str, figure: str) -> None:
    """The whole, and the part each of several reasons has in it."""
    shares = dict.fromkeys((each.value for each in RejectionReason), 0.0)
    shares |= {"capacity": rate, "tenant_not_configured": 0.5}
    seen, text = judged("rejections", rejection_rate=rate, rejection_shares=shares)
    assert (seen, text.count(f"{figure} ")) == (state, 2), text


LOOKUPS_FAILED = "75 % number without a tenant, 25 % tenant could not be looked up."


@pytest.mark.parametrize(
    ("received", "lookups", "state", "text"),
    [
        (14, 0.0, WELL, "14 calls to numbers no tenant has, in the last hour."),
        (1, 0.0, WELL, "1 call to numbers no tenant has, in the last hour."),
        (
            20,
            0.25,
            ATTENTION,
            "20 calls reached no tenant in the last hour: " + LOOKUPS_FAILED,
        ),
    ],
)
def test_calls_of_no_tenant_are_counted(received: int, lookups: float, state: str, text: str) -> None:
    """All of them are turned away, which is no share worth stating, and no praise either."""
    shares = dict.fromkeys((each.value for each in RejectionReason), 0.0)
    shares |= {"tenant_not_configured": 1 - lookups, "tenant_lookup_failed": lookups}
    given = figures({"received": received, "rejection_rate": 1.0, "rejection_shares": shares})
    nobodys = given.model_copy(update={"tenant_id": "_unknown"})
    verdicts = traffic_verdicts(nobodys, 0, (), home="/", search="/search?")
    assert [(one.state.value, one.text) for one in verdicts if one.name == "rejections"] == [(state, text)]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.0004, "< 0.1 %"),
        (0.031, "3.1 %"),
        (0.12, "12 %"),
        (0.996, "99 %"),
        (0.9999, "> 99.9 %"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, text: str) -> None:
    """One call of ten thousand that failed is not 0 %."""
    assert percent(share) == text


def test_the_worst_calls_come_first_with_their_reasons(kit: TelemetryKit) -> None:
    """A failure before a slow answer, and a call without a fault not at all."""
    fine = calls.started(kit, "rtc_fine")
    calls.turn(kit, fine)
    fine.finish(EndReason.HANGUP)
    slow = calls.started(kit, "rtc_slow")
    calls.turn(kit, slow, wait=6.0)
    slow.finish(EndReason.HANGUP)
    failed = calls.started(kit, "rtc_failed")
    calls.turn(kit, failed, wait=7.0)
    failed.finish(EndReason.ERROR, error_type="SessionLost")
    full = kit.tracker.received("rtc_full", "acme")
    full.rejected(RejectionReason.CAPACITY)
    broken = kit.tracker.received("rtc_broken", "acme")
    with broken.phase(Phase.ACCEPT):
        kit.clock.advance(0.1)
    broken.rejected(RejectionReason.CARRIER_ERROR, error_type="503")
    calls.started(kit, "rtc_silent")
    found = needing_attention(kit.recent.search(CallQuery()).calls, {"rtc_silent": 45.0})
    assert [(call.call_id, call.score, call.running) for call in found] == [
        ("rtc_failed", 5, False),
        ("rtc_silent", 2, True),
        ("rtc_broken", 2, False),
        ("rtc_slow", 2, False),
    ]
    assert found[0].reasons == (
        "failed (SessionLost)",
        "somebody waited 9.4 s",
    )  # from the announcement to the first audio
    assert found[1].reasons == ("no sign of life for 45.0 s",)
    assert [call.call_id for call in needing_attention(kit.recent.search(CallQuery()).calls, {}, most=1)] == [
        "rtc_failed"
    ]


def test_a_call_over_is_not_silent(kit: TelemetryKit) -> None:
    """Silence is of calls that run; one that is over has nothing to say any more."""
    call = calls.started(kit)
    call.finish(EndReason.HANGUP)
    (summary,) = kit.recent.search(CallQuery()).calls
    assert list(reasons(summary, 3600.0)) == []
