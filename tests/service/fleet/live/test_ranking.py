"""Rankings of a fleet: pages are what sorting every tenant's windows gives, as the store moves on and windows slide."""

import json
from collections.abc import Callable
from itertools import count, product
from random import Random

import pytest
import redis

from service.fleet.live import ranking as fleet_ranking
from service.fleet.live.counts import FleetUnansweredError
from service.fleet.live.fields import read, written
from service.fleet.live.scripts import CHANGED, bucket_keys
from service.fleet.live.store import bucket_of
from service.fleet.store import Wanted
from telemetry.calls.lifecycle import CallState
from telemetry.metrics.figures import FIGURES, Window
from telemetry.metrics.history import Ranked, Ranking
from telemetry.metrics.past import WindowName
from telemetry.semconv.attributes import EndReason, TenantId
from tests.service.fleet.live.harness import CountingProcess, ended

pytestmark = pytest.mark.peers

TENANTS = tuple(f"tenant-{number:02}" for number in range(23))
MINUTES_AGO = (2, 3, 7, 20, 50, 70, 200, 1300, 1480)
"""Minutes before now that the past of these tests remembers, in and out of every window, and far from where it begins:
that moves by a step while the tests run."""


def traffic(processes: list[CountingProcess], seed: int) -> None:
    """Have calls of many tenants come, run and end in both."""
    rng, numbers = Random(seed), count()  # noqa: S311 -- reproducible, not secret
    for _ in range(60):
        process, tenant_id = rng.choice(processes), rng.choice(TENANTS)
        state = rng.choice((CallState.PENDING, CallState.ACCEPTED, CallState.STARTED))
        call = process.call(f"{seed}-{next(numbers)}", tenant_id, state)
        if state is CallState.STARTED and rng.random() < 0.8:
            process.kit.clock.advance(rng.uniform(1, 300))
            call.ended(rng.choice((EndReason.HANGUP, EndReason.COMPLETED)))


def remember(store_url: str, seed: int) -> None:
    """Give the store a past that it did not live through: sums of earlier minutes, none greater than a later one."""
    rng = Random(seed)  # noqa: S311 -- reproducible, not secret
    with redis.Redis.from_url(store_url, decode_responses=True) as client:
        now = int(client.time()[0]) // 60
        for tenant_id in TENANTS:
            keys = bucket_keys("test", bucket_of(tenant_id))
            client.hset(keys[2], "born", str((now - 3000) * 60_000))
            text = client.hget(keys[0], tenant_id)
            if text is None:
                continue
            row, lines = read(str(text)), []
            minutes = [now - ago for ago in sorted(rng.sample(MINUTES_AGO, rng.randrange(1, len(MINUTES_AGO))))]
            # A sum carries the minute that it changed in last, of which there is a line.
            client.hset(keys[0], tenant_id, json.dumps({**json.loads(str(text)), "m": minutes[0]}))
            for minute in minutes:
                row = [rng.randint(0, number) for number in row]
                lines.append(f"{minute} {written(row)}")
            client.hset(keys[1], tenant_id, "\n".join(lines))


def settled(window: Window) -> Window:
    """Return the window, its length rounded: readings are some milliseconds apart."""
    return Window(round(window.seconds / 60) * 60, window.numbers, window.peak_in_use, window.limit)


async def pages(process: CountingProcess, ranking: Ranking, size: int) -> list[Ranked]:
    """Go through a ranking page by page."""
    found: list[Ranked] = []
    while True:
        page = await process.counting.numbers.ranked(ranking, size, found[-1] if found else None)
        found += page.ranked
        if len(page.ranked) < size:
            return found


def rankings() -> list[Ranking]:
    timeless = [name for name in FIGURES if "mean" not in name]
    # What is divided by a window's length moves with every millisecond between two readings.
    return [
        Ranking(FIGURES[name], window, descending=descending)
        for name, window, descending in product(timeless, WindowName, (True, False))
    ]


async def test_pages_are_what_sorting_every_window_gives(both: list[CountingProcess], store_url: str) -> None:
    """Any figure, any window, either direction, through cursors; and again after more has happened."""
    one, two = both
    traffic(both, 1)
    for process in both:
        await process.publish()
    remember(store_url, 1)
    await compare(two)
    traffic(both, 2)
    for process in both:
        await process.publish()
    await two.counting.numbers.ranking._keep()
    await compare(two)
    remember(store_url, 3)  # as if other minutes had become those at which windows begin
    for bucket in two.counting.numbers.ranking._copy.buckets.values():
        bucket.begun_ms.clear()
    await two.counting.numbers.ranking._keep()
    await compare(two)
    assert await pages(one, rankings()[0], 5) == await pages(two, rankings()[0], 5)


async def compare(process: CountingProcess) -> None:
    windows = {tenant_id: await process.counting.numbers.windows(tenant_id) for tenant_id in TENANTS}
    seen = [tenant_id for tenant_id, (counts, _) in windows.items() if counts.seen]
    assert len(seen) > 15
    for ranking in rankings():
        expected = sorted(
            (Ranked(name, ranking.figure.of(settled(windows[name][1][ranking.window]))) for name in seen),
            key=ranking.place,
        )
        assert await pages(process, ranking, 7) == expected
    for name in WindowName:
        page = await process.counting.numbers.ranked(Ranking(FIGURES["received"], name, descending=True), 50)
        for tenant_id, window in page.windows.items():
            alone = windows[tenant_id][1][name]
            assert (list(window.numbers), window.peak_in_use, window.limit) == (
                list(alone.numbers),
                alone.peak_in_use,
                alone.limit,
            )
            assert abs(window.seconds - alone.seconds) < 60


async def test_peaks_rank_too(both: list[CountingProcess]) -> None:
    """By the most slots held at once, which the store has of every tenant."""
    one, two = both
    for tenant_id, calls in (("tenant-01", 1), ("tenant-02", 3), ("tenant-03", 2)):
        for number in range(calls):
            call_id = one.call(f"{tenant_id}-{number}", tenant_id).call_id
            await one.fleet.store.acquire(one.holder, [Wanted(call_id, 1, TenantId(tenant_id), 9, certain=True)], 99)
    await one.publish()
    ranking = Ranking(FIGURES["capacity.peak_in_use"], WindowName.FIVE_MINUTES, descending=True)
    found = await two.counting.numbers.ranked(ranking, 2)
    assert found.ranked == [("tenant-02", 3), ("tenant-03", 2)]
    assert found.windows["tenant-02"].peak_in_use == 3


async def test_a_copy_is_followed_and_let_go_of(both: list[CountingProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is brought up to date while somebody asks, tells its age, and takes no room once nobody does."""
    one, two = both
    ranking = Ranking(FIGURES["received"], WindowName.HOUR, descending=True)
    copies = two.counting.numbers.ranking
    await copies._keep()
    assert copies._shown is None
    ended(one.call("a", "acme"), 5, one.kit)
    await one.publish()
    first = await two.counting.numbers.ranked(ranking, 9)
    ended(one.call("b", "acme"), 5, one.kit)
    await one.publish()
    stood = await two.counting.numbers.ranked(ranking, 9)
    assert first.ranked == stood.ranked == [("acme", 1)]
    assert 0 < first.coverage.age_seconds < stood.coverage.age_seconds
    await copies._keep()
    assert (await two.counting.numbers.ranked(ranking, 9)).ranked == [("acme", 2)]
    monkeypatch.setattr(fleet_ranking, "KEPT_SECONDS", -1.0)
    await copies._keep()
    assert (copies._shown, copies._copy.tenants) == (None, [])


async def test_a_store_that_was_filled_again_is_copied_anew(
    both: list[CountingProcess], flush: Callable[[], None]
) -> None:
    """Nothing of the former filling is left in a ranking."""
    _, two = both
    ranking = Ranking(FIGURES["received"], WindowName.SINCE_START, descending=True)
    for process in both:
        ended(process.call(f"{process.fleet.name}-a", "acme"), 5, process.kit)
        await process.publish()
    assert (await two.counting.numbers.ranked(ranking, 9)).ranked == [("acme", 2)]
    flush()
    with pytest.raises(FleetUnansweredError):
        await two.counting.numbers.ranking._keep()
    for _ in range(2):
        for process in both:
            await process.publish()
    await two.counting.numbers.ranking._keep()
    assert (await two.counting.numbers.ranked(ranking, 9)).ranked == [("acme", 2)]


async def test_a_copy_that_is_long_on_its_way(both: list[CountingProcess]) -> None:
    """Nobody waits for it longer than is said; it comes all the same, and the next question has it."""
    one, two = both
    ranking = Ranking(FIGURES["received"], WindowName.HOUR, descending=True)
    ended(one.call("a", "acme"), 5, one.kit)
    await one.publish()
    two.fleet.faulty.hanging.add(CHANGED)
    copies = two.counting.numbers.ranking
    copies.fill_seconds = 0.01
    with pytest.raises(FleetUnansweredError, match="being copied"):
        await two.counting.numbers.ranked(ranking, 9)
    two.fleet.faulty.go_on.set()
    copies.fill_seconds = 60.0
    assert (await two.counting.numbers.ranked(ranking, 9)).ranked == [("acme", 1)]
    two.fleet.faulty.go_on.clear()
    assert copies._shown is not None
    copies._shown._taken -= 30.0
    copies.fill_seconds = 0.01
    assert (await two.counting.numbers.ranked(ranking, 9)).coverage.age_seconds > 30
    two.fleet.faulty.go_on.set()
    await copies.stop()


async def test_more_tenants_than_are_ranked_is_said(
    both: list[CountingProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ranking without some of the tenants is no ranking."""
    monkeypatch.setattr(fleet_ranking, "MAX_TENANTS", 2)
    for tenant_id in TENANTS[:3]:
        both[0].call(tenant_id, tenant_id)
    await both[0].publish()
    with pytest.raises(FleetUnansweredError, match="more than 2 tenants"):
        await both[1].counting.numbers.ranked(rankings()[0], 5)


async def test_a_store_that_is_away(both: list[CountingProcess]) -> None:
    """Nobody ranks without it."""
    both[1].fleet.faulty.away = True
    with pytest.raises(FleetUnansweredError, match="does not answer"):
        await both[1].counting.numbers.ranked(rankings()[0], 5)
