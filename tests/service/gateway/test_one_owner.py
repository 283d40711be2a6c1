"""A call has one owner: whoever else is told of it counts nothing, remembers nothing and asks the carrier nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from service.gateway import durability
from service.gateway.carriers.carrier import CarrierError
from service.simulator.faults import NO_FAULTS, CallFaults, Operation, Refuse
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from service.simulator.simulator import Simulator
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import CallId
from tests.service.gateway.harness import GatewayHarness, announcement, fresh_id, on_the_air, serving

TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), Pause(100_000.0)), CallerHangsUp())
SHORT = CallScript("short", (AgentGreets(AgentSpeaks("Hello")), Pause(1.0)), CallerHangsUp())
REFUSED = (400, 403, 404, 409, 422, 500)
DEDUPED = {"ok": True, "deduped": True}
COUNTED = (
    "received_calls",
    "accepted_calls",
    "started_calls",
    "ended_calls",
    "rejected_calls_carrier_error",
    "unanswered_calls",
)


Pair = tuple[Simulator, GatewayHarness, GatewayHarness]


@asynccontextmanager
async def two_processes(folder: Path) -> AsyncIterator[Pair]:
    """Two services on one database; the carrier announces its calls to the first."""
    async with on_the_air() as carrier, serving(carrier, folder) as first:
        target = carrier.target
        async with serving(carrier, folder) as second:
            carrier.target = target
            yield carrier, first, second


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_harness_pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """The same for all tests that leave both as they were."""
    async with two_processes(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest_asyncio.fixture(loop_scope="module")
async def pair(module_harness_pair: Pair) -> Pair:
    """The same for one of them, which finds nothing counted yet."""
    for harness in module_harness_pair[1:]:
        await harness.count_anew()
    return module_harness_pair


def asked(carrier: Simulator, call_id: str) -> Mapping[Operation, int]:
    """How often each request about the call reached the carrier."""
    return dict(carrier._registry.find(call_id).requests)


async def counted(harness: GatewayHarness) -> dict[str, float]:
    """What the process counted of calls."""
    numbers = await harness.numbers()
    return {field: numbers[field] for field in COUNTED}


def deliver_to(carrier: Simulator, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have the carrier announce each call to all of these at once."""
    deliver = carrier._sender.deliver

    async def to_all(_target: Callable[[], str], webhook_id: str, body: bytes) -> list[int]:
        answers = await asyncio.gather(*(deliver(partial(str, address), webhook_id, body) for address in addresses))
        return [status for statuses in answers for status in statuses]

    monkeypatch.setattr(carrier._sender, "deliver", to_all)


def cut_off(*harnesses: GatewayHarness) -> None:
    """Take the database from the records of these processes."""
    for harness in harnesses:
        attempts = harness.container.records._writer._database
        attempts.failed(ConnectionError())
        attempts._next_attempt = float("inf")


@pytest.mark.parametrize("status", [None, *REFUSED])
async def test_a_delivery_to_a_second_process_is_a_duplicate(pair: Pair, status: int | None) -> None:
    """Whatever the first was answered to its accept, the second does nothing but say so."""
    faults = NO_FAULTS if status is None else CallFaults(accept=Refuse(status))
    carrier, first, second = pair
    call_id = fresh_id()
    placing = asyncio.create_task(first.place(TALK, call_id=call_id, faults=faults))
    over = {None: CallState.STARTED, 404: CallState.UNANSWERED}.get(status, CallState.REJECTED)
    tracker = first.container.telemetry.tracker
    await first.until(lambda: tracker.knows(call_id) and tracker.call(call_id).state is over, "a decision")
    await first.until(lambda: status is None or not first.container.manager.busy, "the carrier to be told")
    before = asked(carrier, call_id)
    answer = await second.deliver(announcement(call_id))
    assert (answer.status_code, answer.json()) == (200, DEDUPED)
    assert asked(carrier, call_id) == before
    assert before[Operation.ACCEPT] == 1
    assert await counted(second) == dict.fromkeys(COUNTED, 0)
    assert second.container.telemetry.recent.call(CallId(call_id)) is None
    assert second.container.records.health().open == 0
    carrier.hang_up_all()
    await placing
    await first.settled()
    assert carrier.ground_truth()["violations"] == []


async def test_deliveries_at_once_are_taken_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty calls announced to both at the same moment: each is counted and accepted by one of them."""
    carrier, first, second = pair
    deliver_to(carrier, monkeypatch, *(str(each.client.base_url).rstrip("/") for each in (first, second)))
    await asyncio.gather(*(first.place(SHORT) for _ in range(20)))
    await asyncio.gather(first.settled(), second.settled())
    numbers = [await counted(harness) for harness in (first, second)]
    assert sum(each["received_calls"] for each in numbers) == 20
    assert sum(each["accepted_calls"] for each in numbers) == 20
    assert sum(each["ended_calls"] for each in numbers) == 20
    assert carrier.ground_truth()["violations"] == []


@pytest.mark.parametrize("status", REFUSED)
async def test_a_call_assumed_by_two_is_ended_by_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """With the database away both take the call; the one whose accept is refused leaves the other's alone."""
    async with two_processes(tmp_path) as (carrier, first, second):
        cut_off(first, second)
        monkeypatch.setattr(durability, "RECORD_SECONDS", 0.5)  # which a record waits for in vain
        call_id = fresh_id()
        placing = asyncio.create_task(first.place(TALK, call_id=call_id))
        tracker = first.container.telemetry.tracker
        await first.until(
            lambda: tracker.knows(call_id) and tracker.call(call_id).state is CallState.STARTED, "a session"
        )

        async def refuse(*_: Any, **_options: Any) -> None:  # noqa: ANN401 -- an accept's own arguments
            raise CarrierError(str(status), status)

        monkeypatch.setattr(second.container.carrier, "accept", refuse)
        answer = await second.deliver(announcement(call_id))
        assert answer.json() == {"ok": True}
        await second.settled()
        assert asked(carrier, call_id)[Operation.REJECT] == asked(carrier, call_id)[Operation.HANGUP] == 0
        assert second.container.records.health().assumed == 1
        for harness in (second, first):
            harness.container.records._writer._database._next_attempt = 0.0
            assert await harness.container.records.flush(60)
        record = await first.container.records.find(CallId(call_id))
        assert record is not None
        assert (record.instance_id, record.state) == (first.container.instance_id, CallState.STARTED)
        carrier.hang_up_all()
        assert (await placing).end == "stopped"
        await first.settled()


async def test_a_delivery_repeated_after_a_restart_is_a_duplicate(tmp_path: Path) -> None:
    """The call is over and on record: nothing is asked, nothing is counted, and it still shows as it ended."""
    async with on_the_air() as carrier:
        call_id = fresh_id()
        async with serving(carrier, tmp_path) as first:
            await first.call(SHORT, call_id=call_id)
        before = asked(carrier, call_id)
        async with serving(carrier, tmp_path) as second:
            shown = await second.get(f"/api/v1/calls/{call_id}")
            answer = await second.deliver(announcement(call_id))
            assert (answer.status_code, answer.json()) == (200, DEDUPED)
            await second.settled()
            assert asked(carrier, call_id) == before
            assert await counted(second) == dict.fromkeys(COUNTED, 0)
            again = await second.get(f"/api/v1/calls/{call_id}")
            assert (again["state"], again["outcome"]) == (shown["state"], shown["outcome"]) == ("ended", "hangup")


async def test_a_call_that_was_lost_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session is left, nothing is asked of the carrier, no end is counted; the registry stays consistent."""
    async with two_processes(tmp_path) as (carrier, first, second):
        call_id = CallId(fresh_id())
        placing = asyncio.create_task(first.place(TALK, call_id=call_id))
        tracker = first.container.telemetry.tracker
        await first.until(
            lambda: tracker.knows(call_id) and tracker.call(call_id).state is CallState.STARTED, "a session"
        )
        assert await first.container.records.flush(60)

        async def find_it_dead() -> frozenset[str]:
            return frozenset({first.container.instance_id})

        monkeypatch.setattr(second.container.records, "_look", find_it_dead)
        await second.container.recovery.look()
        await first.container.records.check_claims()
        await first.settled()
        numbers = await first.numbers()
        assert (numbers["active_calls"], numbers["ended_calls"], numbers["handed_over_calls_started"]) == (0, 0, 1)
        assert first.container.capacity.in_use == 0
        assert asked(carrier, call_id)[Operation.HANGUP] == 0
        assert (await first.get("/api/v1/metrics/capacity/debug"))["inconsistencies"] == []
        while second.container.recovery._left:
            await second.container.recovery.look()
        taken = await second.numbers()
        assert (taken["active_calls"], taken["taken_over_calls"]) == (1, 1)
        carrier.hang_up_all()
        assert (await placing).end == "stopped"
        await second.settled()
        assert (await second.numbers())["ended_calls"] == 1
