"""Traffic, deliveries and clean ends, with a truth that equals what the gateway observed."""

import asyncio
from collections import Counter
from random import Random

import httpx2
import pytest

from service.simulator.call import Delivery, dial
from service.simulator.script import CallScript, LineGoesDead, Pause
from service.simulator.script_writer import Shares
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.timing import NATURAL, TimeScale
from service.simulator.traffic import Plan, Traffic
from tests.service.simulator.harness import ACME, SECRET, SimulatorHarness
from tests.support.patience import PATIENT_SECONDS
from tests.support.server import TIMEOUT_SECONDS, TLS

SHORT = CallScript("short", (Pause(0.1),))


async def test_truth_equals_what_the_gateway_saw(harness: SimulatorHarness) -> None:
    """After calls of every kind, faults aside, both ends agree on calls, turns, tokens and transfers."""
    shares = Shares(hangups=0.25, refers=0.2, errors=0.2, silent=0.1, late=0, unknown=0.1, duplicates=0.3)
    traffic = Traffic(harness.carrier, Plan("run", seed=11, calls=120, calls_per_second=100, shares=shares))
    await traffic.run()
    await harness.gateway.settled()
    totals, seen = harness.totals, harness.gateway.seen
    assert not harness.gateway.failures
    assert totals["violations"] == 0
    assert (totals["placed"], totals["received"], traffic.placed, traffic.shed) == (120, 120, 120, 0)
    for field, noted in {
        "accepted_calls": "accepted",
        "started_calls": "started",
        "ended_calls": "ended",
        "referred_calls": "referred",
        "turns": "input_audio_buffer.speech_stopped",
        "interruptions": "output_audio_buffer.cleared",
        "silences": "input_audio_buffer.timeout_triggered",
        "session_errors": "error",
        "keys_pressed": "input_audio_buffer.dtmf_event_received",
        "tool_calls": "tools",
        "tokens_input": "tokens_input",
        "tokens_output": "tokens_output",
    }.items():
        assert totals[field] == seen[noted], field
    assert min(totals["referred_calls"], totals["failed_calls"], totals["interruptions"]) > 10


async def test_minutes_are_those_of_the_sidebands(harness: SimulatorHarness) -> None:
    """The minutes of the truth are the seconds of its calls, by tenant."""
    reports = await asyncio.gather(*(harness.call(SHORT) for _ in range(5)))
    row = harness.carrier.counts()["tenants"]["acme"]
    assert row["minutes_processed"] == pytest.approx(sum(report.seconds for report in reports) / 60)


async def test_repeated_deliveries_share_an_id_unless_they_are_to_have_their_own(harness: SimulatorHarness) -> None:
    """A repeated delivery carries the same body; only one under a new id has another ``webhook-id``."""
    report = await harness.call(SHORT, delivery=Delivery(repeats=1, repeats_after_end=1, under_new_ids=1))
    ids = Counter(webhook_id for webhook_id, _ in harness.gateway.webhooks)
    assert sorted(ids.values()) == [1, 3]
    assert len({event.data.call_id for _, event in harness.gateway.webhooks}) == 1
    assert report.deliveries == (200,) * 4
    assert (harness.totals["duplicates_sent"], harness.totals["deliveries"], harness.totals["received"]) == (3, 4, 1)


async def test_a_refused_delivery_is_tried_again(harness: SimulatorHarness) -> None:
    """After an answer that is no 2xx the same ``webhook-id`` comes again, signed anew."""
    harness.gateway.responses = [503, 302]
    report = await harness.call(SHORT)
    assert report.deliveries == (503, 302, 200)
    assert len({webhook_id for webhook_id, _ in harness.gateway.webhooks}) == 1
    assert report.started


async def test_a_call_that_cannot_be_delivered_is_over(harness: SimulatorHarness) -> None:
    """After the last attempt the caller is gone, and the call was never received."""
    harness.gateway.responses = [500, 500, 500]
    report = await harness.call(SHORT)
    assert (report.end, report.deliveries) == ("undelivered", (500, 500, 500))
    assert (harness.totals["received"], harness.totals["undelivered"]) == (0, 1)


async def test_a_gateway_that_is_not_there_is_no_error(harness: SimulatorHarness) -> None:
    """A refused connection is an attempt without a status."""
    harness.carrier.target = "http://127.0.0.1:9"
    report = await harness.call(SHORT)
    assert (report.end, report.deliveries) == ("undelivered", (0, 0, 0))


async def test_too_many_calls_at_a_time_are_not_placed(harness: SimulatorHarness) -> None:
    """Beyond the limit calls are shed and counted, and the rate of the others does not suffer."""
    plan = Plan("run", calls=30, calls_per_second=5000, max_running=4, shares=Shares(late=0, duplicates=0))
    traffic = Traffic(harness.carrier, plan)
    await traffic.run()
    assert traffic.placed + traffic.shed == 30
    assert traffic.shed > 0
    assert harness.totals["placed"] == traffic.placed


async def test_traffic_ends_by_its_seconds(harness: SimulatorHarness) -> None:
    """No call begins after the plan's seconds are over."""
    plan = Plan("run", seconds=0.2, calls_per_second=50)
    traffic = Traffic(harness.carrier, plan)
    await traffic.run()
    due = sum(1 for total in _running_sums(plan, 200) if total <= 0.2)
    assert traffic.placed == due


def _running_sums(plan: Plan, count: int) -> list[float]:
    sums = [plan.gap(0)]
    for place in range(1, count):
        sums.append(sums[-1] + plan.gap(place))
    return sums


@pytest.mark.parametrize("hang_up", [True, False])
async def test_traffic_stops_cleanly(harness: SimulatorHarness, *, hang_up: bool) -> None:
    """After a stop no call begins; those running are over when the run is, by their own end or by hanging up."""
    traffic = Traffic(harness.carrier, Plan("run", calls_per_second=100))
    running = asyncio.create_task(traffic.run())
    await harness.until(lambda: harness.totals["active_calls"] >= 3)
    traffic.stop(hang_up=hang_up)
    async with asyncio.timeout(PATIENT_SECONDS):
        await running
    await harness.gateway.settled()
    totals = harness.totals
    assert totals["active_calls"] == 0
    assert totals["started_calls"] == totals["ended_calls"] == harness.gateway.seen["ended"]
    assert harness.carrier.running == 0
    ends = {call["end"] for call in harness.carrier.ground_truth()["calls"]}
    assert ("stopped" in ends) is hang_up


async def test_a_stop_waits_for_no_silent_gateway(harness: SimulatorHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that is never answered is broken off soon after everybody had to hang up."""
    monkeypatch.setattr("service.simulator.traffic.HANG_UP_SECONDS", 0.05)
    async with await asyncio.start_server(_read_silently, "127.0.0.1", 0) as server:
        harness.carrier.target = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        traffic = Traffic(harness.carrier, Plan("run", calls_per_second=100, shares=Shares(late=0)))
        running = asyncio.create_task(traffic.run())
        await harness.until(lambda: harness.carrier.running >= 3)
        traffic.stop(hang_up=True)
        async with asyncio.timeout(PATIENT_SECONDS / 2):  # a delivery has the whole of it
            await running
    assert harness.carrier.running == 0


async def _read_silently(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read and say nothing until the other end is gone."""
    while await reader.read(65536):
        pass
    writer.close()


async def test_going_off_the_air_ends_what_runs(harness: SimulatorHarness) -> None:
    """A call that runs when the carrier stops is over, with its end noted."""
    async with Simulator(
        CarrierOptions(secret=SECRET, time_scale=TimeScale(0.01)), target=harness.gateway.address
    ) as carrier:
        harness.gateway.client = harness.gateway.client.with_options(base_url=carrier.base_url)
        call = dial(ACME, CallScript("dead", (), LineGoesDead()), rng=Random(1))  # noqa: S311 - not secret
        placed = asyncio.create_task(carrier.place_call(call))
        await harness.until(lambda: harness.gateway.seen["session.created"] == 1)
    report = await placed
    assert (report.end, report.tenant_id) == ("stopped", "_unknown")
    assert carrier.counts()["global"]["active_calls"] == 0


async def test_the_truth_can_be_asked_for(harness: SimulatorHarness) -> None:
    """Beside the carrier's interface the truth is served, the same that the simulator gives."""
    await harness.call(SHORT, call_id="rtc_1")
    async with httpx2.AsyncClient(verify=TLS, trust_env=False, timeout=TIMEOUT_SECONDS) as client:
        ground_truth = (await client.get(harness.carrier.base_url.removesuffix("/v1") + "/truth")).json()
    assert ground_truth["global"] == harness.carrier.ground_truth()["global"]
    assert [call["call_id"] for call in ground_truth["calls"]] == ["rtc_1"]


async def test_a_taken_port_is_an_error(harness: SimulatorHarness) -> None:
    """Going on the air on somebody's port raises instead of serving nobody."""
    port = int(harness.carrier.base_url.rpartition(":")[2].removesuffix("/v1"))
    with pytest.raises(OSError, match="in use"):
        await Simulator(CarrierOptions(secret=SECRET, port=port)).__aenter__()


def test_time_can_be_scaled_but_not_turned() -> None:
    """A negative scale is refused; the usual one is natural."""
    assert NATURAL.scale == 1.0
    with pytest.raises(ValueError, match="time scale"):
        TimeScale(scale=-1.0)


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_caller_waits_only_so_long(harness: SimulatorHarness, *, accepted: bool) -> None:
    """A gateway that does nothing, or accepts and never opens the sideband, loses the caller after the ring time."""

    async def dawdle(call_id: str) -> None:
        if accepted:
            await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")

    harness.gateway.take = dawdle
    async with Simulator(CarrierOptions(secret=SECRET, ring_seconds=0.3), target=harness.gateway.address) as carrier:
        harness.gateway.client = harness.gateway.client.with_options(base_url=carrier.base_url)
        report = await carrier.place_call(dial(ACME, SHORT, rng=Random(1)))  # noqa: S311 - not secret
    assert report.end in ({"abandoned", "unanswered"} if accepted else {"unanswered"})
    assert not report.started
