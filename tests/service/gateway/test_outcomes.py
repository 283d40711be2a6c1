"""Every outcome of a call, per tenant, alike in the admin answers, Prometheus' text, the records and the truth."""

import asyncio
import re
import urllib.request
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.simulator.script import (
    AgentGreets,
    AgentHangsUp,
    AgentSpeaks,
    AgentTransfers,
    CallerHangsUp,
    CallerSpeaks,
    CallScript,
    Ending,
    LineGoesDead,
    RunsIntoLimit,
    SessionExpires,
    SidebandCloses,
)
from service.simulator.script_writer import Shares
from service.simulator.simulator import Simulator
from service.simulator.traffic import Plan
from telemetry.semconv.attributes import UNKNOWN_TENANT, EndReason, Fault
from tests.service.gateway.harness import GatewayHarness, fresh_id, on_the_air, running_harness, serving

SHARES = Shares(canceled=0.2, late=0.1, errors=0.15, refers=0.15, unknown=0.1)
RECORDS, USAGE = "/api/v1/call-records", "/api/v1/usage"
SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
SEEN_BY_THE_CARRIER = ("completed", "hangup", "referred", "error", "max_duration", "silence")

Outcomes = Counter[tuple[str, str]]
"""Calls by tenant and by what became of them."""


@pytest.fixture(autouse=True)
def scraped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service of a test serves Prometheus on a port of its own."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")


def _samples(harness: GatewayHarness, name: str) -> list[tuple[dict[str, str], float]]:
    scraped = harness.container.telemetry.pipelines.scraped
    assert scraped is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{scraped.port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return [
        (dict(LABEL.findall(labels)), float(value)) for family, labels, value in SAMPLE.findall(text) if family == name
    ]


async def _told(harness: GatewayHarness) -> tuple[Outcomes, Outcomes]:
    """Return what the live numbers and Prometheus' text say of one process."""
    live, prometheus = Outcomes(), Outcomes()
    await harness.numbers()
    for tenant_id in harness.container.telemetry.live.store.tenants():
        numbers = await harness.numbers(tenant_id)
        live[tenant_id, "unanswered"] += round(numbers["unanswered_calls"])
        summary = await harness.get(f"/api/v1/metrics/summary/{tenant_id}")
        assert summary["windows"]["since_start"]["unanswered"] == numbers["unanswered_calls"]
        for reason in SEEN_BY_THE_CARRIER:
            live[tenant_id, reason] += round(numbers[f"ended_calls_{reason}"])
    for family, label in (
        ("voice_call_ended_total", "voice_call_end_reason"),
        ("voice_call_unanswered_total", "voice_call_unanswered_reason"),
    ):
        for labels, value in await asyncio.to_thread(_samples, harness, family):
            outcome = labels[label].replace("canceled", "unanswered")
            prometheus[labels["tenant_id"], outcome] += round(value)
            assert (labels["voice_call_direction"], labels["voice_call_source"]) == ("inbound", "direct")
            if family == "voice_call_ended_total":
                assert labels["voice_call_fault"] in set(Fault)
    return live, prometheus


async def _recorded(harness: GatewayHarness) -> Outcomes:
    """Return what the records of all processes say."""
    assert await harness.container.records.flush(60)
    found, cursor = Outcomes(), None
    while True:
        parameters: dict[str, Any] = {"limit": 500} | ({} if cursor is None else {"cursor": cursor})
        page = (await harness.client.get(RECORDS, params=parameters)).raise_for_status().json()
        for row in page["calls"]:
            if row["state"] in ("ended", "unanswered"):
                found[row["tenant_id"], row["outcome"].replace("failed", "error")] += 1
                assert row["state"] == "ended" or row["reason"] == "canceled"
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def _reconciled(harness: GatewayHarness) -> Outcomes:
    """Return the unanswered calls by reconciliation, in which this process and its records agree."""
    found = await harness.get("/api/v1/metrics/reconcile")
    assert found["consistent"], (found["differences"], found["calls"])
    unanswered = Outcomes()
    for tenant_id, ledgers in found["tenants"].items():
        (number,) = {ledgers[name]["figures"].get("unanswered_canceled", 0) for name in ("live", "records")}
        unanswered[tenant_id, "unanswered"] = number
    return unanswered


async def _billed(harness: GatewayHarness) -> Outcomes:
    """Return the unanswered calls of usage, which counts them and bills nothing for them."""
    today = datetime.now(UTC)
    days = {"from": f"{today - timedelta(days=1):%Y-%m-%d}", "to": f"{today + timedelta(days=2):%Y-%m-%d}"}
    answer = (await harness.client.get(USAGE, params=days | {"group_by": "tenant,outcome"})).raise_for_status().json()
    lines = [line for line in answer["lines"] if line["outcome"] == "unanswered"]
    assert {(line["answered_calls"], float(line["seconds"]), float(line["rounded_seconds"])) for line in lines} <= {
        (0, 0.0, 0.0)
    }
    return Outcomes({(line["tenant_id"], "unanswered"): line["calls"] for line in lines})


def _true(tenants: Mapping[str, Mapping[str, float]]) -> Outcomes:
    return Outcomes(
        {
            (tenant_id, outcome): round(row[field])
            for tenant_id, row in tenants.items()
            for outcome, field in (
                ("unanswered", "unanswered_calls_canceled"),
                *((reason, f"ended_calls_{reason}") for reason in SEEN_BY_THE_CARRIER),
            )
        }
    )


def _script(limit: Any) -> CallScript:  # noqa: ANN401 -- one of two words
    """Return a call that one limit ends; short, so that no other can be meant."""
    return CallScript(limit, (AgentGreets(AgentSpeaks("Hello")),), RunsIntoLimit(limit, seconds=100_000.0))


async def test_every_outcome_is_the_same_in_every_view(tmp_path: Path) -> None:
    """A process of ordinary traffic, and two with a limit each, on one database: every number is the carrier's."""
    live, prometheus = Outcomes(), Outcomes()
    limits: dict[str, dict[str, Any]] = {
        "max_duration": {"max_call_seconds": 0.5},
        "silence": {"max_silence_seconds": 0.5},
    }
    async with on_the_air(tenants=3) as carrier:
        async with serving(carrier, tmp_path, max_concurrent_calls=500) as harness:
            await harness.traffic(Plan("outcomes", seed=5, calls_per_second=50, calls=100, shares=SHARES))
            for seen, told in zip((live, prometheus), await _told(harness), strict=True):
                seen.update(told)
            reconciled, billed = await _reconciled(harness), await _billed(harness)
        for limit, chosen in limits.items():
            async with serving(
                carrier, tmp_path, call_heartbeat_seconds=0.05, stale_call_seconds=300, **chosen
            ) as harness:
                await asyncio.gather(*(harness.place(_script(limit), number=number) for number in carrier.numbers))
                await harness.settled()
                for seen, told in zip((live, prometheus), await _told(harness), strict=True):
                    seen.update(told)
                recorded = await _recorded(harness)
        truth = _true(carrier.ground_truth()["tenants"])
    assert +live == +truth
    assert +prometheus == +truth
    assert +recorded == +truth
    assert +reconciled == +billed == Outcomes({key: n for key, n in truth.items() if n and key[1] == "unanswered"})
    outcomes = Counter[str]()
    for (_, outcome), calls in truth.items():
        outcomes[outcome] += calls
    assert min(outcomes.values()) > 0, outcomes
    assert not any(truth[UNKNOWN_TENANT, outcome] for outcome in outcomes)


@pytest.mark.parametrize(
    ("ending", "reason", "fault"),
    [
        (CallerHangsUp(), EndReason.HANGUP, Fault.CALLER),
        (AgentHangsUp(), EndReason.COMPLETED, Fault.AGENT),
        (AgentTransfers("sales"), EndReason.REFERRED, Fault.AGENT),
        (SessionExpires(), EndReason.ERROR, Fault.MODEL),
        (SidebandCloses(1011), EndReason.ERROR, Fault.CARRIER),
        (SidebandCloses(1000), EndReason.COMPLETED, Fault.CARRIER),
        (LineGoesDead(), EndReason.STALE, Fault.CARRIER),
        (RunsIntoLimit("silence", 100_000.0), EndReason.SILENCE, Fault.AGENT),
        (RunsIntoLimit("max_duration", 100_000.0), EndReason.MAX_DURATION, Fault.SERVICE),
    ],
    ids=repr,
)
async def test_whose_doing_an_end_was(tmp_path: Path, ending: Ending, reason: EndReason, fault: Fault) -> None:
    """Each end says so on its metric, as far as the gateway knows; a question without an answer is the agent's."""
    limits: dict[str, Any] = {
        EndReason.SILENCE: {"max_silence_seconds": 0.5},
        EndReason.MAX_DURATION: {"max_call_seconds": 0.5},
        EndReason.STALE: {"stale_call_seconds": 0.5},
    }.get(reason, {})
    async with running_harness(
        tmp_path, call_heartbeat_seconds=0.05, **{"stale_call_seconds": 300, **limits}
    ) as harness:
        call_id = fresh_id()
        steps = (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hello?"))
        await harness.call(CallScript("end", steps, ending), call_id=call_id)
        ending_shown = harness.record(call_id).ending
        assert ending_shown is not None
        assert (ending_shown.reason, ending_shown.fault) == (reason, fault)
        await harness.numbers()
        (sample,) = await asyncio.to_thread(_samples, harness, "voice_call_ended_total")
        assert (sample[0]["voice_call_fault"], sample[1]) == (fault, 1)


async def test_a_call_that_a_stop_ends_is_the_services_doing(tmp_path: Path) -> None:
    """Hung up because the process ends."""
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        script = CallScript("long", (AgentGreets(AgentSpeaks("Hello")),), RunsIntoLimit("silence", 100_000.0))
        placing = asyncio.create_task(harness.place(script, call_id=call_id))
        await harness.until(lambda: _started(harness.carrier), "the call to run")
        await harness.container.manager.drain(60)
        await placing
        shown = harness.record(call_id).ending
        assert shown is not None
        assert (shown.reason, shown.fault) == (EndReason.SHUTDOWN, Fault.SERVICE)


def _started(carrier: Simulator) -> bool:
    return bool(carrier.counts()["global"]["active_calls"])
