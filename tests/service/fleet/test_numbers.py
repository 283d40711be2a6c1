"""Numbers of a fleet over HTTP: alike whichever process is asked, and each answer says what it covers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.app import app_of
from service.fleet.live.counting import FleetCounting
from service.simulator.script import CallScript
from tests.peers.peers import Peers
from tests.service.fleet.pair import SHORT, Pair, pair, plain, published
from tests.service.gateway.harness import GatewayHarness, fresh_id, running_harness
from tests.support.contract import Contract

pytestmark = pytest.mark.peers

METRICS = "/api/v1/metrics"
OF_ALL = (f"{METRICS}/live", f"{METRICS}/summary", f"{METRICS}/tenants", f"{METRICS}/capacity/debug")
OF_ONE = (f"{METRICS}/live/tenant-001", f"{METRICS}/summary/tenant-001", f"{METRICS}/live/tenant-001/exemplars")
WINDOWS = ("since_start", "5m", "1h", "24h")


@pytest.fixture
async def both(tmp_path: Path, store_url: str) -> AsyncIterator[Pair]:
    """Two services of a fleet, whose answers are held against the document."""
    async with pair(tmp_path, store_url) as opened:
        for harness in (opened.first, opened.second):
            harness.client.event_hooks = {"response": [checking(Contract.of("fleet", app_of(harness.container)))]}
        yield opened


def checking(contract: Contract) -> Callable[[httpx2.Response], Awaitable[None]]:
    """What holds each answer against the document."""

    async def checked(response: httpx2.Response) -> None:
        await response.aread()
        contract.check(response)

    return checked


def counting(harness: GatewayHarness) -> FleetCounting:
    assert harness.container.counting is not None
    return harness.container.counting


async def calls(both: Pair, of: GatewayHarness, number: int, script: CallScript = SHORT) -> None:
    """Have so many calls of this service come and end."""
    both.carrier.target = str(of.client.base_url)
    await asyncio.gather(*(of.place(script, call_id=fresh_id()) for _ in range(number)))
    await of.settled()


async def test_both_say_the_same(both: Pair) -> None:
    """The numbers of both processes are one sum, that of all and that of a tenant, with what they cover."""
    await calls(both, both.first, 3)
    await calls(both, both.second, 2)
    running = await both.talking(both.first)
    await published(both)
    own = [plain(await harness.client.get(f"{METRICS}/live?scope=process")) for harness in (both.first, both.second)]
    for path in (f"{METRICS}/live", f"{METRICS}/live/tenant-001"):
        for harness in (both.first, both.second):
            answer = await harness.client.get(path)
            told = plain(answer)
            assert (told["accepted_calls"], told["ended_calls"], told["active_calls"]) == (6, 5, 1)
            assert told.keys() == own[0].keys()
            headers = {name: answer.headers[f"X-Metrics-{name}"] for name in ("Scope", "Processes")}
            assert headers == {"Scope": "fleet", "Processes": "2/2"}
            assert int(answer.headers["X-Metrics-Age-Ms"]) >= 0
            since = datetime.fromisoformat(answer.headers["X-Metrics-Since"])
            assert since.timestamp() * 1000 == counting(harness).numbers.since_ms
    assert [numbers["accepted_calls"] for numbers in own] == [4, 2]
    assert running
    await both.over()
    await published(both)
    told = plain(await both.second.client.get(f"{METRICS}/live"))
    minutes = [await harness.numbers() for harness in (both.first, both.second)]
    assert told["minutes_processed"] == pytest.approx(sum(one["minutes_processed"] for one in minutes), abs=1e-4)
    assert told["ended_calls"] == 6


async def test_ones_own_events_show_at_once(both: Pair) -> None:
    """Before anything of it was sent, a call is in the answer of the process that has it."""
    await counting(both.second)._publisher._worker.stop()
    await both.talking(both.second)
    assert plain(await both.second.client.get(f"{METRICS}/live/tenant-001"))["active_calls"] == 1
    assert plain(await both.first.client.get(f"{METRICS}/live/tenant-001"))["active_calls"] == 0
    counting(both.second)._publisher.start()
    await published(both)
    assert plain(await both.first.client.get(f"{METRICS}/live/tenant-001"))["active_calls"] == 1
    await both.over()


async def test_whichever_scope_is_asked_for(both: Pair) -> None:
    """The fleet answers unless the process is asked for, and bodies that name a scope name that one."""
    await calls(both, both.first, 1)
    await published(both)
    for path in (*OF_ALL, *OF_ONE):
        for query, scope in (("", "fleet"), ("?scope=fleet", "fleet"), ("?scope=process", "process")):
            answer = await both.first.client.get(f"{path}{query}")
            assert answer.status_code == 200, answer.text
            assert answer.headers["X-Metrics-Scope"] == scope
            assert answer.headers["X-Metrics-Processes"] == ("2/2" if scope == "fleet" else "1/1")
            assert answer.json().get("scope", scope) == scope
        assert (await both.first.client.get(f"{path}?scope=world")).status_code == 422


async def test_a_tenant_that_only_the_other_has_seen(both: Pair) -> None:
    """It is known to both, and has nothing in the one; a tenant that nobody knows is 404, and of whom is said."""
    both.carrier.target = str(both.first.client.base_url)
    await both.first.place(SHORT, number="+15550009999", call_id=fresh_id())
    await published(both)
    assert plain(await both.second.client.get(f"{METRICS}/live/_unknown"))["rejected_calls_tenant_not_configured"] == 1
    for path in (f"{METRICS}/live", f"{METRICS}/summary"):
        assert (await both.second.client.get(f"{path}/_unknown")).status_code == 200
        assert (await both.second.client.get(f"{path}/nobody")).status_code == 404
        of_process = await both.second.client.get(f"{path}/nobody?scope=process")
        assert (of_process.status_code, of_process.headers["X-Metrics-Scope"]) == (404, "process")
    own = plain(await both.second.client.get(f"{METRICS}/live/_unknown?scope=process"))
    assert own["rejected_calls_tenant_not_configured"] == 0
    assert (await both.second.client.get("/api/v1/calls?tenant_id=nobody")).status_code == 404


async def test_windows_and_rankings_are_those_of_the_fleet(both: Pair) -> None:
    """Summaries are alike from both, and a ranking goes through the tenants by them, page by page."""
    numbers = sorted(both.carrier.numbers)
    for harness, number, times in (
        (both.first, numbers[0], 2),
        (both.second, numbers[1], 3),
        (both.first, numbers[1], 1),
    ):
        both.carrier.target = str(harness.client.base_url)
        await asyncio.gather(*(harness.place(SHORT, number=number, call_id=fresh_id()) for _ in range(times)))
        await harness.settled()
    await published(both)
    told = [plain(await harness.client.get(f"{METRICS}/summary")) for harness in (both.first, both.second)]
    for window in WINDOWS:
        one, two = (without_time(summary["windows"][window]) for summary in told)
        assert one == two
        assert (one["received"], one["ended"], one["setup_seconds"]["p50"] is not None) == (6, 6, True)
    ranked: list[tuple[str, float]] = []
    cursor = ""
    while True:
        page = plain(await both.second.client.get(f"{METRICS}/tenants?sort=received&limit=1{cursor}"))
        ranked += [(tenant["tenant_id"], tenant["value"]) for tenant in page["tenants"]]
        for tenant in page["tenants"]:
            alone = plain(await both.first.client.get(f"{METRICS}/summary/{tenant['tenant_id']}"))["windows"]["1h"]
            assert without_time(tenant["summary"]) == without_time(alone)
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert ranked == [("tenant-002", 4), ("tenant-001", 2)]


def without_time(window: dict[str, Any]) -> dict[str, Any]:
    """A window without what depends on the millisecond at which it was read."""
    capacity = {name: value for name, value in window["capacity"].items() if "mean" not in name}
    return {**window, "seconds": None, "capacity": capacity}


async def test_example_calls_of_all(both: Pair) -> None:
    """Buckets are the fleet's, and an example of another process leads to its call."""
    await calls(both, both.first, 1)
    await published(both)
    path = f"{METRICS}/live/tenant-001/exemplars"
    answer = await both.second.client.get(path)
    duration = plain(answer)["histograms"]["voice.call.duration"]
    (bucket,) = duration["buckets"]
    assert (duration["count"], bucket["count"]) == (1, 1)
    assert (await both.second.client.get(bucket["example"]["links"]["call"])).status_code == 200
    assert (
        plain(await both.second.client.get(f"{path}?scope=process"))["histograms"]["voice.call.duration"]["count"] == 0
    )
    assert both.first.container.mailbox is not None
    await both.first.container.mailbox.stop()
    assert both.second.container.mailbox is not None
    both.second.container.mailbox.answer_seconds = 0.05
    left = await both.second.client.get(path)
    assert left.headers["X-Calls-Silent"] == both.first.container.instance_id
    (bucket,) = plain(left)["histograms"]["voice.call.duration"]["buckets"]
    assert (bucket["count"], bucket["example"]) == (1, None)


async def test_the_store_goes_away(tmp_path: Path, peers: Peers) -> None:
    """Each answers for itself and says so; whoever asks for the fleet is told why not."""
    store = peers.redis()
    async with pair(tmp_path, store.url) as both:
        await calls(both, both.first, 2)
        await published(both)
        assert plain(await both.second.client.get(f"{METRICS}/live"))["ended_calls"] == 2
        store.kill()
        for path in (*OF_ALL, *OF_ONE):
            refused = await both.first.client.get(f"{path}?scope=fleet")
            assert refused.status_code == 503
            assert "store of the fleet does not answer" in refused.json()["detail"]
            answer = await both.first.client.get(path)
            assert (answer.status_code, answer.headers["X-Metrics-Scope"]) == (200, "process")
            assert answer.json().get("scope", "process") == "process"
        assert plain(await both.second.client.get(f"{METRICS}/live"))["ended_calls"] == 0
        assert plain(await both.first.client.get(f"{METRICS}/live"))["ended_calls"] == 2


async def test_a_process_alone(tmp_path: Path) -> None:
    """Without REDIS_URL it answers for itself, and a fleet that is asked for is refused with what to set."""
    async with running_harness(tmp_path) as harness:
        for path in (*OF_ALL, *OF_ONE):
            answer = await harness.client.get(path)
            assert (answer.headers["X-Metrics-Scope"], answer.headers["X-Metrics-Processes"]) == ("process", "1/1")
            assert datetime.fromisoformat(answer.headers["X-Metrics-Since"]).tzinfo is not None
            refused = await harness.client.get(f"{path}?scope=fleet")
            assert (refused.status_code, "REDIS_URL" in refused.json()["detail"]) == (503, True)
