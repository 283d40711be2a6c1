"""A process that has not seen the others yet: its heartbeats count them, and the store does not say who they are."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from service.api import fleet_calls
from service.fleet.errors import StoreAwayError
from service.fleet.fleet import Fleet
from tests.service.fleet.pair import Pair, pair, plain
from tests.support.patience import PATIENT_SECONDS

pytestmark = pytest.mark.peers

CALLS = "/api/v1/calls"


@pytest.fixture
async def unseen(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Pair, str]]:
    """Two services of which the second cannot see the first, with a call of the first, on record."""

    async def fail(_fleet: Fleet) -> None:
        raise StoreAwayError("TimeoutError")

    async with pair(tmp_path, store_url) as both:
        monkeypatch.setattr(Fleet, "view", fail)
        call_id = await both.talking()
        assert await both.first.container.records.flush(PATIENT_SECONDS)
        yield both, call_id
        await both.over()


async def test_nobody_is_told_that_these_are_all_calls(unseen: tuple[Pair, str]) -> None:
    """Lists count the process that the heartbeat knows of as one that says nothing, and stand on the records."""
    both, call_id = unseen
    listed = await both.second.client.get(CALLS)
    assert [call["call_id"] for call in plain(listed)["calls"]] == [call_id]
    assert (listed.headers["X-Calls-Processes"], listed.headers["X-Calls-From-Record"]) == ("1/2", "1")
    found = await both.second.client.get(f"{CALLS}?state=started")
    assert (found.headers["X-Calls-Processes"], found.headers["X-Calls-From-Record"]) == ("1/2", "unknown")
    for path in (CALLS, f"{CALLS}?limit=1"):
        joint = "&" if "?" in path else "?"
        assert (await both.second.client.get(f"{path}{joint}scope=fleet")).status_code == 503
    said = {one["name"]: one["text"] for one in plain(await both.second.client.get("/api/v1/overview"))["verdicts"]}
    assert said["processes"].startswith("1 of 2 processes does not answer (not seen yet): its open calls are")


async def test_the_process_that_has_a_call_is_asked(unseen: tuple[Pair, str]) -> None:
    """Its record names the holder, which tells of the call and hangs up, seen or not."""
    both, call_id = unseen
    assert plain(await both.second.client.get(f"{CALLS}/{call_id}"))["from_record"] is False
    assert (await both.second.client.post(f"{CALLS}/{call_id}/hang-up")).status_code == 204


@pytest.mark.parametrize("known", [True, False], ids=["seen before", "never seen"])
async def test_an_emptied_store_hides_nobody(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """The first has not come back to an emptied store yet: it tells of its call itself, or it counts as silent."""
    if known:  # what was seen a moment ago would hide the fault; where nobody was, it is part of what is held
        monkeypatch.setattr(fleet_calls, "SEEN_SECONDS", 0.0)
    async with pair(tmp_path, store_url) as both:
        call_id = await both.talking()
        first, second = both.first.container.fleet, both.second.container.fleet
        assert first is not None
        assert second is not None
        await second.member.beat()
        if known:
            assert (await both.second.client.get(CALLS)).headers["X-Calls-Processes"] == "2/2"
        await first.member.stop()
        async with Redis.from_url(store_url) as store:
            await store.flushall()
        for _ in range(2):
            answer = await both.second.client.get(f"{CALLS}?scope=fleet")
            if known:
                assert [call["call_id"] for call in plain(answer)["calls"]] == [call_id]
            assert (answer.status_code, answer.headers["X-Calls-Processes"]) == (
                (200, "2/2") if known else (503, "1/2")
            )
            await second.member.beat()
        first.member.start()
        await both.over()
