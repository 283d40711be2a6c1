"""From a histogram to a call in one step."""

from bisect import bisect_left

import httpx2
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from service.api.exemplars import SUMMARISED
from service.http.tokens import HEADER
from telemetry.recent.limits import RecentLimits
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import EndReason, RejectionReason
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support import calls
from tests.support.server import serving

ACME = "/api/v1/metrics/live/acme/exemplars"


def test_every_filled_bucket_has_a_call(admin: httpx2.Client, gateway: Gateway) -> None:
    """Each histogram of a tenant's calls names, for each bucket that holds anything, a call that fell into it."""
    calls.ordinary(gateway.kit)
    histograms = admin.get(ACME).json()["histograms"]
    assert histograms.keys() == {instrument.name for instrument in SUMMARISED}
    for name, histogram in histograms.items():
        assert histogram["buckets"], name
        for bucket in histogram["buckets"]:
            assert bucket["example"]["call_id"] == "rtc_1"
            assert (bucket["over"] or 0) <= bucket["example"]["value"] <= (bucket["up_to"] or 1e9)


def test_the_slowest_turn_leads_to_its_call(admin: httpx2.Client, gateway: Gateway) -> None:
    """Of many calls, the example in the slowest bucket is the call that was slow, and its links lead there."""
    kit = gateway.kit
    for number in range(5):
        call = calls.started(kit, f"rtc_{number}")
        calls.greeting(kit, call)
        calls.turn(kit, call, wait=9 if number == 3 else 0.4)
        call.ended(EndReason.HANGUP)
    turns = admin.get(ACME).json()["histograms"][catalogue.TURN_FIRST_AUDIO.name]
    slowest = turns["buckets"][-1]
    assert (slowest["count"], slowest["example"]["call_id"]) == (1, "rtc_3")
    assert slowest["example"]["value"] == pytest.approx(9)
    found = admin.get(slowest["example"]["links"]["call"]).json()
    assert found["longest_wait_seconds"] == pytest.approx(9)
    assert found["trace"]["trace_id"] == slowest["example"]["trace_id"]
    assert (turns["count"], turns["total"], sum(bucket["count"] for bucket in turns["buckets"])) == (
        5,
        pytest.approx(10.6),
        5,
    )


def test_percentiles_lie_in_the_bucket_that_holds_them(admin: httpx2.Client, gateway: Gateway) -> None:
    """The percentiles told beside the buckets are theirs."""
    kit = gateway.kit
    call = calls.started(kit)
    for wait in (0.25, 0.25, 0.25, 6.0):
        calls.turn(kit, call, wait=wait)
    turns = admin.get(ACME).json()["histograms"][catalogue.TURN_FIRST_AUDIO.name]
    bounds = catalogue.TURN_FIRST_AUDIO.boundaries
    assert bisect_left(bounds, turns["p50"]) == bisect_left(bounds, 0.25)
    assert bisect_left(bounds, turns["p99"]) == bisect_left(bounds, 6.0)


def test_an_example_outlives_its_call() -> None:
    """When the call has been let go, the example still has its trace and the link to a trace backend."""
    with TelemetryKit(recent_limits=RecentLimits(calls=1)) as kit, serving(Gateway(kit).app()) as url:
        calls.at_once(kit)
        calls.announced(kit, "rtc_2").rejected(RejectionReason.CAPACITY)
        answer = httpx2.get(url + ACME, headers={HEADER: TOKEN}, trust_env=False).json()
    (bucket,) = answer["histograms"][catalogue.DURATION.name]["buckets"]
    assert bucket["example"]["call_id"] is None
    assert bucket["example"]["links"].keys() == {"trace", "trace_backend"}
    assert bucket["example"]["links"]["trace_backend"].endswith(bucket["example"]["trace_id"])


def test_an_unsampled_call_is_an_example_too() -> None:
    """Head sampling leaves traces out, and no call: the example leads to it, and to no backend; it is not exported."""
    with TelemetryKit(sampler=ALWAYS_OFF) as kit, serving(Gateway(kit).app()) as url:
        call = calls.started(kit)
        calls.greeting(kit, call)
        calls.turn(kit, call, wait=6)
        call.ended(EndReason.HANGUP)
        answer = httpx2.get(url + ACME, headers={HEADER: TOKEN}, trust_env=False).json()
        (bucket,) = answer["histograms"][catalogue.TURN_FIRST_AUDIO.name]["buckets"]
        example = bucket["example"]
        found = httpx2.get(url + example["links"]["trace"], headers={HEADER: TOKEN}, trust_env=False).json()
    assert (example["call_id"], example["sampled"], example["value"]) == ("rtc_1", False, pytest.approx(6))
    assert example["links"].keys() == {"call", "timeline", "trace"}
    assert found["call_id"] == "rtc_1"
    distributions = kit.store.series
    assert all(not series.exemplars for stream in distributions._streams.values() for series in stream.ordered)


def test_a_configured_tenant_without_calls_has_empty_histograms(admin: httpx2.Client) -> None:
    """A tenant nobody has called has its histograms, with nothing in them."""
    histograms = admin.get("/api/v1/metrics/live/globex/exemplars").json()["histograms"]
    assert {h["count"] for h in histograms.values()} == {0}
    assert all((h["buckets"], h["p99"]) == ([], None) for h in histograms.values())


def test_a_tenant_that_does_not_exist_is_404(admin: httpx2.Client, gateway: Gateway) -> None:
    """A tenant neither configured nor seen is not there; if that cannot be found out, it is 503."""
    assert admin.get("/api/v1/metrics/live/nobody/exemplars").status_code == 404
    gateway.tenants.broken = True
    assert admin.get("/api/v1/metrics/live/nobody/exemplars").status_code == 503
