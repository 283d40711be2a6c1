"""What a fleet counts together: each call once, whoever is asked, whatever dies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from service.fleet.connection import StoreConnection
from service.fleet.live.counts import FleetUnansweredError
from service.fleet.live.fields import NUMBER, read
from service.fleet.live.publisher import at_once
from service.fleet.live.store import TOTAL, Batch, LiveStore, Taken, bucket_of
from service.storage.database import Database
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import OTHER, EndReason
from tests.service.fleet.live.harness import CountingProcess, all_alike, ended, number
from tests.support.databases import migrated

pytestmark = pytest.mark.peers

Make = Callable[[str], Awaitable[CountingProcess]]


@pytest.fixture
async def process(connection: StoreConnection, database: Database) -> AsyncIterator[Make]:
    """Start a process of the fleet by its name."""
    made: list[CountingProcess] = []

    async def make(name: str) -> CountingProcess:
        made.append(CountingProcess(connection, name, database))
        await made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close()


async def test_each_says_the_same(process: Make) -> None:
    """What two processes count is one sum, which each of them tells."""
    one, two = await process("one"), await process("two")
    ended(one.call("a", "acme"), 90, one.kit)
    two.call("b", "acme", CallState.PENDING)
    ended(two.call("c", "globex"), 30, two.kit)
    rows = await all_alike([one, two])
    assert number(rows[None], "received_calls") == 3
    assert number(rows["acme"], "received_calls") == 2
    assert number(rows["acme"], "pending_calls") == 1
    assert (await one.numbers())["minutes_processed"] == 2.0
    assert number(rows["acme"], "active_calls") == 0
    found = (await two.counting.numbers.counts("globex")).distributions()["voice.call.duration"]
    assert (found.count, found.total) == (1, 30.0)


async def test_own_events_show_at_once(process: Make) -> None:
    """A process sees what it has counted itself before it was sent."""
    one, two = await process("one"), await process("two")
    await all_alike([one, two])
    one.call("a", "acme")
    assert (await one.numbers("acme"))["active_calls"] == 1
    assert "active_calls" not in await two.numbers("acme")
    await one.publish()
    assert (await two.numbers("acme"))["active_calls"] == 1


async def test_a_row_sent_twice_counts_once(process: Make) -> None:
    """The reply to what was sent is lost, and it is sent again."""
    one, two = await process("one"), await process("two")
    await all_alike([one, two])
    one.call("a", "acme")
    one.fleet.faulty.loses_replies = True
    with pytest.raises(Exception, match="ConnectionError"):
        await one.publisher.publish()
    one.fleet.faulty.loses_replies = False
    rows = await all_alike([one, two])
    assert number(rows["acme"], "received_calls") == 1


async def test_a_process_that_is_killed(process: Make) -> None:
    """Its open calls leave the sums, and count whole where they are taken over or found to be over."""
    one, two = await process("one"), await process("two")
    for call_id, state in (("a", CallState.STARTED), ("b", CallState.ACCEPTED), ("c", CallState.PENDING)):
        one.call(call_id, "acme", state)
    one.call("d", "acme")
    ended(one.call("e", "acme"), 60, one.kit)
    await all_alike([one, two])
    await two.fleet.store.leave(one.holder)  # as a heartbeat of any other does once it is silent
    await two.folding.fold_gone(one.holder)
    rows = await all_alike([two])
    assert number(rows["acme"], "received_calls") == number(rows["acme"], "ended_calls") == 1
    assert number(rows["acme"], "active_calls") == number(rows["acme"], "pending_calls") == 0
    two.takes_over("a", "acme", CallState.STARTED)
    two.takes_over("b", "acme", CallState.ACCEPTED)
    two.takes_over("c", "acme", CallState.PENDING)
    two.finds_over("d", "acme", CallState.STARTED)
    rows = await all_alike([two])
    assert number(rows["acme"], "received_calls") == 5
    assert number(rows["acme"], "accepted_calls") == 4
    assert number(rows["acme"], "started_calls") == 3
    assert number(rows["acme"], "ended_calls") == 2
    assert number(rows["acme"], "ended_calls_stale") == 1
    assert number(rows["acme"], "active_calls") == 1
    assert number(rows["acme"], "pending_calls") == 2


async def test_a_process_that_stops_leaves_its_counts(process: Make) -> None:
    """Whoever comes later counts on, also from an empty store."""
    one = await process("one")
    ended(one.call("a", "acme"), 60, one.kit)
    handed = one.call("b", "globex")
    one.kit.clock.advance(30)
    handed.handed_over()
    await one.publish()
    await one.counting.stop()
    await one.fleet.store.leave(one.holder)
    two = await process("two")
    two.takes_over("b", "globex", CallState.STARTED).ended(EndReason.COMPLETED)
    rows = await all_alike([two])
    assert number(rows[None], "received_calls") == number(rows[None], "ended_calls") == 2
    assert number(rows[None], "minutes_processed") == 90_000
    assert number(rows[None], "taken_over_calls") == number(rows[None], "handed_over_calls_started") == 1


async def test_an_emptied_store_is_filled_again(process: Make, flush: Callable[[], None]) -> None:
    """From the database comes what the gone have counted, from the living what they have."""
    one, two, three = await process("one"), await process("two"), await process("three")
    ended(three.call("a", "acme"), 60, three.kit)
    ended(one.call("b", "acme"), 60, one.kit)
    two.call("c", "globex")
    before = await all_alike([one, two, three])
    await three.counting.stop()
    await three.fleet.store.leave(three.holder)
    flush()
    with pytest.raises(FleetUnansweredError):
        await one.numbers()
    after = await all_alike([one, two])
    assert after == before
    assert one.publisher.health().sent_rows


@pytest.mark.parametrize("lost", ["fold", "rows"])
async def test_a_failover_that_loses_a_fold(process: Make, store_url: str, lost: str) -> None:
    """The database has what a process counted, and the store takes more of it, or never got all: it counts once."""
    one, two = await process("one"), await process("two")
    ended(one.call("a", "acme"), 60, one.kit)
    two.call("b", "acme")
    await all_alike([one, two])
    with redis.Redis.from_url(store_url) as client:
        before = {key: client.dump(key) for key in client.scan_iter("{test:live:*")}
        ended(one.call("c", "acme"), 60, one.kit)
        if lost == "rows":
            await one.publish()
        await two.fleet.store.leave(one.holder)
        await two.folding.fold_gone(one.holder)
        client.delete(*client.scan_iter("{test:live:*"))
        for key, value in before.items():
            client.restore(key, 0, value)
    if lost == "fold":
        await one.publisher.publish()  # before a heartbeat tells it
    for _ in range(3):
        for each in (one, two):
            await each.publish()
    rows = await all_alike([one, two])
    assert number(rows["acme"], "received_calls") == 3
    assert number(rows["acme"], "ended_calls") == 2


@pytest.mark.parametrize("tenant", [None, "acme", "globex"])
async def test_what_an_emptied_store_lacks_is_told(
    process: Make, flush: Callable[[], None], tenant: str | None
) -> None:
    """A number is less than was counted only where an answer says that some have not been heard of."""
    processes = [await process(name) for name in ("one", "two", "three")]
    for one in processes:
        ended(one.call(f"{one.fleet.name}-a", "acme"), 60, one.kit)
        one.call(f"{one.fleet.name}-b", "globex")
    before = (await all_alike(processes))[tenant]
    flush()
    whole, less = set(), 0
    for turn in range(6):
        for sender in processes:
            await sender.publish()
            for reader in processes:
                with suppress(FleetUnansweredError):
                    said = await reader.counting.numbers.counts(tenant)
                    rows, coverage = await reader.counting.numbers.rows([tenant or TOTAL])
                    heard = (said.coverage.speaking, coverage.speaking)
                    assert heard[0] <= said.coverage.processes == 3
                    assert said.row == before or heard[0] < 3
                    assert rows[tenant or TOTAL] == before or heard[1] < 3
                    less += said.row != before
                    whole |= {turn} if heard == (3, 3) else set()
    assert less
    assert max(whole) == 5, "at the end all are heard of"


async def test_a_process_that_was_fenced_and_lives(process: Make) -> None:
    """It goes on under a new epoch, and what it had sent before counts once."""
    one, two = await process("one"), await process("two")
    ended(one.call("a", "acme"), 60, one.kit)
    running = one.call("b", "acme")
    before = await all_alike([one, two])
    await two.fleet.store.leave(one.holder)
    await two.folding.fold_gone(one.holder)
    assert await all_alike([one, two]) == before
    ended(running, 60, one.kit)
    rows = await all_alike([one, two])
    assert number(rows["acme"], "ended_calls") == 2
    assert number(rows["acme"], "minutes_processed") == 120_000
    # Once more, and this time it dies.
    await two.fleet.store.leave(one.holder)
    await all_alike([one, two])
    await two.fleet.store.leave(one.holder)
    await two.folding.look(two.counting._living)
    assert await all_alike([two]) == rows


async def test_a_fenced_process_sends_nothing_more_under_its_epoch(process: Make, connection: StoreConnection) -> None:
    """What was on its way when it was fenced comes too late, and it finds out."""
    one, two = await process("one"), await process("two")
    one.call("a", "acme")
    await all_alike([one, two])
    await two.folding.fold_gone(one.holder)
    one.call("b", "acme")
    former = one.holder
    await one.publish()
    assert one.holder != former
    rows = await all_alike([one, two])
    assert number(rows["acme"], "received_calls") == number(rows["acme"], "active_calls") == 2
    late = Batch(bucket_of(TOTAL), former, 1000, {TOTAL: ('{"2":9}', '{"2":9}')})
    assert (await LiveStore(connection, "test").send(late)).taken is Taken.GONE


async def test_windows_begin_where_the_store_does(process: Make) -> None:
    """What was counted since the store was filled is in every window."""
    one, two = await process("one"), await process("two")
    ended(one.call("a", "acme"), 60, one.kit)
    await all_alike([one, two])
    _, windows = await two.counting.numbers.windows("acme")
    assert {name: window.numbers[0] for name, window in windows.items()} == dict.fromkeys(windows, 1)
    assert all(window.seconds < 3600 for window in windows.values())


async def test_of_a_tenant_that_may_count_with_others_nothing_is_known(process: Make) -> None:
    """Once a process keeps no more tenants apart, one that was never seen may be among those that count together."""
    one, two = await process("one"), await process("two")
    await one.publish()
    await two.publish()
    _, windows = await two.counting.numbers.windows("acme")
    assert all(window.known for window in windows.values())
    one.call("a", OTHER)
    await one.publish()
    counts, windows = await two.counting.numbers.windows("acme")
    assert (counts.seen, [window.known for window in windows.values()]) == (False, [False] * 4)
    one.call("b", "acme")
    _, windows = await one.counting.numbers.windows("acme")
    assert all(window.known for window in windows.values())


async def test_nothing_is_sent_that_is_not_on_record(process: Make) -> None:
    """Of a call that ends while the record is waited for, the row says what it was before."""
    one, two = await process("one"), await process("two")
    await all_alike([one, two])
    call = one.call("a", "acme")

    async def recorded() -> None:
        call.ended(EndReason.HANGUP)

    one.publisher._recorded = recorded
    await one.publisher.publish()
    one.publisher._recorded = at_once
    numbers = await two.numbers("acme")
    assert (numbers["active_calls"], numbers.get("ended_calls", 0)) == (1, 0)
    await all_alike([one, two])
    assert (await two.numbers("acme"))["ended_calls"] == 1


async def test_numbers_of_a_later_version_are_kept(
    process: Make, connection: StoreConnection, flush: Callable[[], None]
) -> None:
    """While versions are mixed, what one does not know stays in the sums and in the database, and is not shown."""
    one, newer = await process("one"), await process("newer")
    await all_alike([one, newer])
    store, number, text = LiveStore(connection, "test"), bucket_of("acme"), '{"2":1,"900":7}'
    await store.send(Batch(number, newer.holder, 1000, {"acme": (text, text)}))
    one.call("a", "acme")
    await one.publish()
    assert (await one.numbers("acme"))["received_calls"] == 2
    await one.fleet.store.leave(newer.holder)
    await one.folding.fold_gone(newer.holder)
    flush()
    await one.publish()
    assert '"900":7' in (await store.sum_of("acme", one.holder)).sum
    assert (await one.numbers("acme"))["received_calls"] == 2


async def test_rows_are_sent_one_after_the_other(process: Make) -> None:
    """A comparison of the ledgers sends what is counted while the process itself does."""
    one, two = await process("one"), await process("two")
    await all_alike([one, two])
    for number_ in range(20):
        one.call(f"rtc_{number_}", "acme")
        await asyncio.gather(*(one.publisher.publish() for _ in range(3)))
    assert one.publisher.health().resent == 0
    rows = await all_alike([one, two])
    assert number(rows["acme"], "received_calls") == 20


async def test_a_bucket_that_is_lost_is_filled_by_all(process: Make, store_url: str) -> None:
    """Also with the rows of processes in which its tenants are quiet, once anybody has asked or counted there."""
    one, two = await process("one"), await process("two")
    ended(one.call("a", "acme"), 60, one.kit)
    ended(two.call("b", "acme"), 60, two.kit)
    before = await all_alike([one, two])
    with redis.Redis.from_url(store_url) as client:
        for key in client.scan_iter(f"{{test:live:{bucket_of('acme')}}}:*"):
            client.delete(key)
    with pytest.raises(FleetUnansweredError):
        await one.numbers("acme")
    for _ in range(2):
        for each in (one, two):
            await each.publish()
    assert await all_alike([one, two]) == before


async def test_fleets_of_one_database_count_apart(
    process: Make, connection: StoreConnection, database: Database, flush: Callable[[], None]
) -> None:
    """By the prefix of their keys, in the database too."""
    one = await process("one")
    ended(one.call("a", "acme"), 60, one.kit)
    await one.publish()
    await one.counting.stop()
    flush()
    other = CountingProcess(connection, "other", database, prefix="another")
    try:
        await other.start()
        await other.publish()
        assert await other.numbers() == {}
    finally:
        other.close()


async def test_sums_of_another_database_are_put_aside(
    process: Make, connection: StoreConnection, tmp_path: Path
) -> None:
    """A fleet that begins with a new database begins to count, whatever the store still has."""
    one = await process("one")
    ended(one.call("a", "acme"), 60, one.kit)
    await one.publish()
    await one.counting.stop()
    await one.fleet.store.leave(one.holder)
    url = f"sqlite+aiosqlite:///{tmp_path / 'new.db'}"
    await migrated(url)
    async with Database.from_url(url) as fresh:
        two = CountingProcess(connection, "two", fresh)
        try:
            await two.start()
            await two.publish()
            assert await two.numbers() == {}
        finally:
            two.close()


async def test_long_numbers_are_kept_whole(process: Make, connection: StoreConnection) -> None:
    """Up to what a double holds, which the store's own encoder cuts at fourteen digits."""
    one = await process("one")
    await one.publish()
    store, number_of = LiveStore(connection, "test"), bucket_of("acme")
    for sequence, value in ((1000, 123_456_789_012_345), (1001, 9_007_199_254_740_991), (1002, 7)):
        text = f'{{"39":{value}}}'
        await store.send(Batch(number_of, one.holder, sequence, {"acme": (text, text)}))
        assert read((await store.sum_of("acme", one.holder)).sum)[NUMBER["minutes_processed"]] == value
