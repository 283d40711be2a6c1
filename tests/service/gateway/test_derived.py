"""Derived figures of a running service against what the carrier saw."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.simulator.script_writer import Shares
from service.simulator.traffic import Plan
from tests.service.gateway.harness import MILLISECOND, GatewayHarness, running_harness

SUMMARY = "/api/v1/metrics/summary"
RANKING = "/api/v1/metrics/tenants"

REJECTIONS = ("capacity", "tenant_not_configured", "instructions_missing")


async def test_rates_are_those_of_the_carriers_truth(tmp_path: Path) -> None:
    """After some hundred calls, with a sample in their midst, each tenant's rates follow from the truth's counts."""
    shares = Shares(duplicates=0.1, late=0.05, errors=0.2, unknown=0.1)
    async with running_harness(tmp_path, tenants=4, tenant_limit=5, max_concurrent_calls=12) as harness:
        for seed in (3, 4):
            await harness.traffic(Plan("derived", seed=seed, calls_per_second=150, calls=150, shares=shares))
            await harness.container.sampler.sample()
        ground_truth = harness.carrier.ground_truth()
        calls = Counter(report["tenant_id"] for report in ground_truth["calls"])
        minutes = await harness.minutes()
        _agree(ground_truth["global"], calls.total(), sum(minutes.values()), await harness.get(SUMMARY))
        for tenant_id, row in ground_truth["tenants"].items():
            answer = await harness.client.get(f"{SUMMARY}/{tenant_id}")
            if answer.status_code == 404:
                assert not any(row.values())
            else:
                _agree(row, calls[tenant_id], minutes.get(tenant_id, 0.0), answer.json())
        await _ranked_by_the_truth(harness, ground_truth["tenants"])


def _agree(ground_truth: Mapping[str, float], calls: int, minutes: float, answer: Mapping[str, Any]) -> None:
    """Every window is longer than the service has run, so each has all there is."""
    decided = calls - ground_truth["unanswered_calls_canceled"]  # on a busy machine a caller gives up here and there
    for window in answer["windows"].values():
        counted = [window[name] for name in ("received", "started", "ended", "failed")]
        assert counted == [
            calls,
            ground_truth["started_calls"],
            ground_truth["ended_calls"],
            ground_truth["failed_calls"],
        ]
        assert window["error_rate"] == _ratio(ground_truth["failed_calls"], ground_truth["ended_calls"])
        for reason in REJECTIONS:
            assert window["rejection_shares"][reason] == _ratio(ground_truth[f"rejected_calls_{reason}"], decided)
        assert window["answer_rate"] == _ratio(ground_truth["started_calls"], calls)
        assert window["minutes"] == pytest.approx(minutes, abs=calls * MILLISECOND / 60)
        if ground_truth["started_calls"]:
            capacity = window["capacity"]
            assert 1 <= capacity["peak_in_use"] <= capacity["limit"]
            assert 0 < capacity["mean_active"] <= capacity["peak_in_use"]
            assert window["duration_seconds"]["p50"] > 0


def _ratio(part: float, whole: float) -> float | None:
    """Return the share with the decimal places that answers have."""
    return round(part / whole, 6) if whole else None


async def _ranked_by_the_truth(harness: GatewayHarness, tenants: Mapping[str, Mapping[str, float]]) -> None:
    answer = await harness.get(f"{RANKING}?sort=error_rate&window=5m")
    rates = {tenant_id: _ratio(row["failed_calls"], row["ended_calls"]) for tenant_id, row in tenants.items()}
    found = {tenant["tenant_id"]: tenant["value"] for tenant in answer["tenants"]}
    assert found == {tenant_id: rates.get(tenant_id) for tenant_id in found}
    known = [value for value in found.values() if value is not None]
    assert known == sorted(known, reverse=True)
    assert len(known) >= 2


async def test_readiness_says_how_sampling_goes(tmp_path: Path) -> None:
    """The samples taken, those that failed, and how long ago the last one was."""
    async with running_harness(tmp_path) as harness:
        assert (await harness.get("/readyz"))["information"]["sampling"] == {
            "samples": 0,
            "failures": 0,
            "last_sample_seconds": None,
        }
        await harness.container.sampler.sample()
        sampling = (await harness.get("/readyz"))["information"]["sampling"]
    assert (sampling["samples"], sampling["failures"], sampling["last_sample_seconds"] >= 0) == (1, 0, True)
