"""Derived figures over HTTP: those computed by hand, per window, and null where there is nothing to compute from."""

from typing import Any

import httpx2
import pytest

from service.api.summary import EXAMPLE_WINDOW, WindowSummary
from telemetry.metrics.figures import FIGURES
from telemetry.metrics.past import WindowName
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT, EndReason, RejectionReason, TenantId
from tests.service.api.gateway import Gateway
from tests.support import calls

SUMMARY = "/api/v1/metrics/summary"

Json = dict[str, Any]


def minutes_pass(gateway: Gateway, minutes: int) -> None:
    """So many minutes, sampled as the service does."""
    for _ in range(minutes):
        gateway.kit.live()
        gateway.history.sample(gateway.kit.clock.advance(60))


def a_scripted_hour(gateway: Gateway) -> None:
    """Of acme's: an hour ago ten calls of a minute at once, one of them failed; just now a call with two turns."""
    kit = gateway.kit
    gateway.limits.replace_own({TenantId("acme"): 20})
    accepted = [kit.tracker.received(f"rtc_{number}", "acme") for number in range(10)]
    for call in accepted:
        call.accepted()
        call.started()
    kit.clock.advance(60)
    for number, call in enumerate(accepted):
        call.ended(EndReason.HANGUP, error_type="carrier_closed" if number == 0 else None)
    minutes_pass(gateway, 59)
    call = calls.started(kit, "rtc_late")
    calls.turn(kit, call, wait=0.6)
    calls.turn(kit, call, wait=0.6)
    kit.tracker.received("rtc_full", "acme").rejected(RejectionReason.CAPACITY)


def windows(admin: httpx2.Client, path: str = f"{SUMMARY}/acme") -> dict[str, Json]:
    """The windows of an answer."""
    found: dict[str, Json] = admin.get(path).json()["windows"]
    return found


def test_the_figures_of_a_scripted_hour_are_those_computed_by_hand(admin: httpx2.Client, gateway: Gateway) -> None:
    """Each window has the numbers of its own stretch, and the rates that follow from them."""
    a_scripted_hour(gateway)
    found = windows(admin)
    assert list(found) == ["since_start", "5m", "1h", "24h"]
    whole, lately = found["since_start"], found["5m"]
    for window in (whole, found["1h"], found["24h"]):
        assert [window[name] for name in ("received", "started", "ended", "failed")] == [12, 11, 10, 1]
        rates = [window[name] for name in ("error_rate", "answer_rate", "rejection_rate")]
        assert rates == [0.1, 0.916667, 0.083333]
        assert window["duration_seconds"] == {"p50": 52.5, "p90": 58.5, "p95": 59.25, "p99": 59.85}
    assert [lately[name] for name in ("received", "started", "ended", "failed")] == [2, 1, 0, 0]
    assert (lately["error_rate"], lately["answer_rate"], lately["rejection_rate"]) == (None, 1 / 2, 1 / 2)
    assert lately["rejection_shares"] == {
        "capacity": 1 / 2,
        "tenant_not_configured": 0,
        "tenant_lookup_failed": 0,
        "instructions_missing": 0,
        "carrier_error": 0,
    }
    assert lately["duration_seconds"] == dict.fromkeys(("p50", "p90", "p95", "p99"))


def test_percentiles_are_interpolated_inside_their_bucket(admin: httpx2.Client, gateway: Gateway) -> None:
    """Two answers after 0.6 s lie between the bounds 0.5 and 0.75: half of them below the middle."""
    a_scripted_hour(gateway)
    bounds = catalogue.TURN_FIRST_AUDIO.boundaries
    lower = max(bound for bound in bounds if bound < 0.6)
    width = min(bound for bound in bounds if bound > 0.6) - lower
    assert windows(admin)["5m"]["turn_latency_seconds"] == pytest.approx(
        {"p50": lower + width / 2, "p90": lower + width * 0.9, "p95": lower + width * 0.95, "p99": lower + width * 0.99}
    )


def test_peak_and_mean_use_of_capacity(admin: httpx2.Client, gateway: Gateway) -> None:
    """The peak of an hour ago is in the long windows alone; means are call time by time; both over the limit."""
    a_scripted_hour(gateway)
    found = windows(admin)
    whole, lately = found["since_start"]["capacity"], found["5m"]["capacity"]
    assert (whole["limit"], whole["peak_in_use"], whole["peak_utilization"]) == (20, 10, 10 / 20)
    assert (lately["limit"], lately["peak_in_use"], lately["peak_utilization"]) == (20, 1, 1 / 20)
    mean = found["since_start"]["minutes"] * 60 / found["since_start"]["seconds"]
    assert whole["mean_active"] == pytest.approx(mean, rel=1e-3)
    assert whole["mean_utilization"] == pytest.approx(mean / 20, rel=1e-3)
    assert found["since_start"]["minutes"] == 10
    assert lately["mean_active"] == 0


def test_a_window_says_how_long_it_really_is(admin: httpx2.Client, gateway: Gateway) -> None:
    """While the process is younger than a window, the window is as long as the process is old."""
    gateway.kit.clock.advance(100)
    assert {window["seconds"] for window in windows(admin, SUMMARY).values()} == {100.0}
    minutes_pass(gateway, 30)
    seconds = {name: window["seconds"] for name, window in windows(admin, SUMMARY).items()}
    assert (seconds["since_start"], seconds["1h"], seconds["24h"]) == (1900.0, 1900.0, 1900.0)
    assert 270 <= seconds["5m"] <= 390


def test_the_total_is_of_all_tenants(admin: httpx2.Client, gateway: Gateway) -> None:
    """Without a tenant, the figures are those of everybody's calls, over the limit of all."""
    a_scripted_hour(gateway)
    calls.at_once(gateway.kit)
    gateway.kit.tracker.received("rtc_globex", "globex").rejected(RejectionReason.CARRIER_ERROR)
    answer = admin.get(SUMMARY).json()
    assert (answer["tenant_id"], answer["scope"]) == (None, "process")
    assert answer["windows"]["1h"]["rejection_shares"]["carrier_error"] > 0
    assert answer["windows"]["1h"]["capacity"]["limit"] == 100


def test_before_the_first_call_nothing_is_a_false_zero(admin: httpx2.Client) -> None:
    """Counts are zero, and every rate, share and percentile is null."""
    for window in windows(admin, SUMMARY).values():
        assert [window[name] for name in ("received", "started", "ended", "failed", "minutes")] == [0, 0, 0, 0, 0]
        nulls = [window["error_rate"], window["answer_rate"], window["rejection_rate"]]
        nulls += [value for name in FIGURES if "_seconds." in name for value in window[name.partition(".")[0]].values()]
        assert set(nulls) == {None}


def test_headers_say_what_is_covered_and_how_old_it_is(admin: httpx2.Client, gateway: Gateway) -> None:
    """As those of the live numbers do."""
    a_scripted_hour(gateway)
    headers = admin.get(f"{SUMMARY}/acme").headers
    assert (headers["x-metrics-scope"], headers["x-metrics-age-ms"]) == ("process", "0")
    assert headers["cache-control"] == "no-store"


def test_a_configured_tenant_without_calls_has_zeros_and_nulls(admin: httpx2.Client) -> None:
    """It exists, and nothing can be said of it."""
    window = windows(admin, f"{SUMMARY}/globex")["1h"]
    assert (window["received"], window["error_rate"], window["capacity"]["limit"]) == (0, None, 10)


def test_a_tenant_neither_configured_nor_seen_is_not_found(admin: httpx2.Client, gateway: Gateway) -> None:
    """404, and 503 if it cannot be found out."""
    assert admin.get(f"{SUMMARY}/nobody").status_code == 404
    gateway.tenants.broken = True
    assert admin.get(f"{SUMMARY}/nobody").status_code == 503


@pytest.mark.parametrize("tenant_id", ["%00", "a%0Ab", "x" * 201])
def test_absurd_tenant_ids_are_refused(admin: httpx2.Client, tenant_id: str) -> None:
    """422 that names the path's part."""
    answer = admin.get(f"{SUMMARY}/{tenant_id}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "path.tenant_id")


@pytest.mark.parametrize("label", [UNKNOWN_TENANT, OTHER])
def test_labels_of_several_tenants_have_no_limit(admin: httpx2.Client, gateway: Gateway, label: str) -> None:
    """What stands for many has figures, but neither limit nor peak."""
    gateway.kit.tracker.received("rtc_1", label).rejected(RejectionReason.TENANT_NOT_CONFIGURED)
    window = windows(admin, f"{SUMMARY}/{label}")["5m"]
    assert window["rejection_shares"]["tenant_not_configured"] == 1
    capacity = window["capacity"]
    assert [capacity[name] for name in ("limit", "peak_in_use", "peak_utilization", "mean_utilization")] == [None] * 4


def test_a_token_is_needed(anyone: httpx2.Client) -> None:
    """401 without one."""
    assert {anyone.get(path).status_code for path in (SUMMARY, f"{SUMMARY}/acme")} == {401}


def test_an_answer_has_every_figure_and_no_other() -> None:
    """The document's fields are the table of figures, so that one that is added is shown, or the test fails."""
    leaves = {"seconds"} | set(FIGURES)
    assert _leaves(EXAMPLE_WINDOW) == leaves
    declared = {
        f"{name}.{part}" if part else name
        for name, field in WindowSummary.model_fields.items()
        for part in getattr(field.annotation, "model_fields", None) or [""]
    }
    assert declared == leaves
    assert {name.value for name in WindowName} == {"since_start", "5m", "1h", "24h"}


def _leaves(values: Json, prefix: str = "") -> set[str]:
    return {
        leaf
        for name, value in values.items()
        for leaf in (_leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"})
    }
