"""Sessions in the fleet's store: a real Redis, and processes that come, go and lose sight of it."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis

from service.app import app_of
from service.container import build_container
from service.fleet.connection import StoreConnection
from service.fleet.sessions import KEYS, SessionStore
from service.http.tokens import AdminTokens, digest
from service.page.sessions import MAX_SECONDS
from service.page.shared_sessions import PAUSE_SECONDS, STREAM_SECONDS, TRUSTED_SECONDS, SharedSessions
from service.settings import Settings
from tests.service.fleet.harness import FaultyStore
from tests.service.page.browsing import SAME
from tests.support.server import serving
from tests.support.stores import PREFIX

pytestmark = pytest.mark.peers

TOKEN = b"token-of-the-tests"
IDLE, LONGEST, MOST = 60.0, 600.0, 3
START = 1_800_000_000.0


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


MARK = "0123abcd"


class Process:
    """One process of the fleet, as far as sessions go."""

    def __init__(self, connection: StoreConnection, *tokens: str) -> None:
        self.clock = Clock()
        self.faulty = FaultyStore(connection)
        store = SessionStore(self.faulty, PREFIX, idle_seconds=IDLE, longest_seconds=LONGEST, most=MOST)
        taken = AdminTokens(tokens or (TOKEN.decode(),))
        self.sessions = SharedSessions(taken, store, monotonic=self.clock, wall=lambda: START + self.clock.now)

    async def lose_the_store(self) -> None:
        """Have the store go away, and notice it."""
        self.faulty.away = True
        self.clock.now += PAUSE_SECONDS
        assert not await self.holds("whatever")

    async def holds(self, session_id: str) -> bool:
        return await self.sessions.find(session_id) is not None

    def back(self) -> None:
        """Have the store answer again, and be asked again."""
        self.faulty.away = False
        self.clock.now += PAUSE_SECONDS


@pytest.fixture
def one(connection: StoreConnection) -> Process:
    """A process."""
    return Process(connection)


@pytest.fixture
def other(connection: StoreConnection) -> Process:
    """Another one."""
    return Process(connection)


@pytest.fixture
def client(store_url: str) -> Iterator[redis.Redis]:
    """Somebody who looks into the store."""
    with redis.Redis.from_url(store_url, decode_responses=True) as opened:
        yield opened


def key(name: str) -> str:
    return f"{{{PREFIX}:sessions}}:{name}"


async def test_one_sign_in_serves_every_process(one: Process, other: Process) -> None:
    """A session opened at one is found at the other with its access and mark, and a stranger's id nowhere."""
    session_id = await one.sessions.open(TOKEN, MARK)
    found = await other.sessions.find(session_id)
    assert found is not None
    assert (found.mark, found.token.access.tenants) == (MARK, None)
    assert await other.sessions.still(found)
    assert [await other.holds(wrong) for wrong in ("", session_id[:-1], "\ud800")] == [False] * 3
    assert (one.sessions.health().count, other.sessions.health().count) == (1, 1)


async def test_one_sign_out_ends_it_everywhere(one: Process, other: Process) -> None:
    """Requests at once, and pages that are open and live within some seconds."""
    session_id = await one.sessions.open(TOKEN, MARK)
    at_other = await other.sessions.find(session_id)
    assert at_other is not None
    assert await other.sessions.still(at_other)
    at_one = await one.sessions.find(session_id)
    assert at_one is not None
    await one.sessions.close(at_one)
    assert not await one.sessions.still(at_one)
    assert not await other.holds(session_id)
    other.clock.now += STREAM_SECONDS
    assert not await other.sessions.still(at_other)


async def test_a_removed_token_ends_its_sessions(one: Process, connection: StoreConnection) -> None:
    """A process without the token refuses the session, and leaves it to those that do not know of the change yet."""
    session_id = await one.sessions.open(TOKEN, MARK)
    changed = Process(connection, "another-token")
    assert not await changed.holds(session_id)
    assert await one.holds(session_id)


async def test_the_store_holds_nothing_that_opens_a_door(one: Process, client: redis.Redis) -> None:
    """Neither ids nor tokens nor their plain hashes are in it; every key is below the prefix, and expires."""
    session_id = await one.sessions.open(TOKEN, MARK)
    names = sorted(client.scan_iter("*"))
    assert names == sorted(map(key, KEYS))
    assert all(0 < client.pttl(name) <= LONGEST * 1000 for name in names)
    kept = repr(client.hgetall(key("entries"))) + repr(client.zrange(key("seen"), 0, -1))
    for secret in (session_id, TOKEN.decode(), digest(TOKEN).hex()):
        assert secret not in kept
    # The proof belongs to this session alone: under another id it proves nothing.
    (entry,) = client.hvals(key("entries"))
    client.hset(key("entries"), digest(b"forged").hex(), entry)
    client.zadd(key("seen"), {digest(b"forged").hex(): 2**48})
    assert not await one.holds("forged")


@pytest.mark.parametrize("older", ["seen", "entries"])
async def test_a_session_ends_when_idle_and_after_its_longest(one: Process, client: redis.Redis, older: str) -> None:
    """By the store's clock, which all processes share; one that is over is taken out."""
    session_id = await one.sessions.open(TOKEN, MARK)
    (name,) = client.hkeys(key("entries"))
    if older == "seen":
        client.zincrby(key("seen"), -(IDLE * 1000 + 1), name)
    else:
        (entry,) = client.hvals(key("entries"))
        began, _, rest = str(entry).partition("|")
        client.hset(key("entries"), name, f"{int(began) - round(LONGEST * 1000) - 1}|{rest}")
    assert not await one.holds(session_id)
    assert (client.hlen(key("entries")), client.zcard(key("seen"))) == (0, 0)


async def test_there_is_a_bound_for_the_fleet(one: Process, other: Process, client: redis.Redis) -> None:
    """One more ends the session that has been idle longest, wherever it was opened, and is counted."""
    ids = [await one.sessions.open(TOKEN, MARK) for _ in range(MOST)]
    for place, session_id in enumerate(ids):
        client.zincrby(key("seen"), place - MOST, digest(session_id.encode()).hex())
    ids.append(await other.sessions.open(TOKEN, MARK))
    assert [await other.holds(session_id) for session_id in ids] == [False, True, True, True]
    assert (other.sessions.health().count, other.sessions.health().evicted) == (MOST, 1)


async def test_without_the_store_a_known_session_holds_for_a_while(one: Process, other: Process) -> None:
    """In the process that has seen it lately; in no other one, and not for ever."""
    session_id = await one.sessions.open(TOKEN, MARK)
    for process in (one, other):
        process.clock.now += 60
        await process.lose_the_store()
    assert await one.holds(session_id)
    assert not await other.holds(session_id)
    assert (one.sessions.health().away, one.sessions.health().count) == (True, None)
    one.clock.now += TRUSTED_SECONDS + 1
    assert not await one.holds(session_id)
    one.back()
    assert await one.holds(session_id)


async def test_a_sign_in_without_the_store_is_shared_once_it_is_back(one: Process, other: Process) -> None:
    """Until then it counts in its process alone, which says so."""
    one.faulty.away = True
    session_id = await one.sessions.open(TOKEN, MARK)
    assert await one.holds(session_id)
    assert one.sessions.health().alone == 1
    assert not await other.holds(session_id)
    one.back()
    assert await one.holds(session_id)
    assert one.sessions.health().alone == 0
    assert await other.holds(session_id)


async def test_a_sign_in_during_an_outage_serves_every_process(one: Process, other: Process) -> None:
    """A ticket made since the store went away is taken by all who have its token, with its access and mark."""
    await one.lose_the_store()
    await other.lose_the_store()
    session_id = await one.sessions.open(TOKEN, MARK)
    found = await other.sessions.find(session_id)
    assert found is not None
    assert found.mark == MARK
    assert await other.sessions.still(found)
    await other.sessions.close(found)
    assert not await other.holds(session_id)


async def test_an_outage_takes_no_other_ticket(one: Process, other: Process, connection: StoreConnection) -> None:
    """Neither one from before, which may be signed out, nor one that is forged, late, or of a token not configured."""
    before = await one.sessions.open(TOKEN, MARK)
    stranger = Process(connection, "another-token")
    for process in (one, other, stranger):
        process.clock.now += 60
        await process.lose_the_store()
    assert not await other.holds(before)
    session_id = await one.sessions.open(TOKEN, MARK)
    assert not await stranger.holds(session_id)
    forged = [session_id[:-4] + "AAAA", "AAAA" + session_id[4:], session_id[:-4], session_id + "AAAA", "\ud800"]
    assert [await other.holds(wrong) for wrong in forged] == [False] * len(forged)
    other.clock.now += MAX_SECONDS + 1
    assert not await other.holds(session_id)


async def test_a_sign_out_without_the_store_is_told_once_it_is_back(one: Process, other: Process) -> None:
    """The session ends at once where it was ended, and elsewhere with the next request there after the outage."""
    session_id = await one.sessions.open(TOKEN, MARK)
    session = await one.sessions.find(session_id)
    assert session is not None
    assert await other.holds(session_id)
    one.faulty.away = True
    await one.sessions.close(session)
    assert not await one.holds(session_id)
    one.back()
    assert not await one.holds(session_id)
    assert not await other.holds(session_id)


async def test_a_store_that_is_away_is_left_alone_for_a_moment(one: Process) -> None:
    """Many pages do not wait for it again and again."""
    session_id = await one.sessions.open(TOKEN, MARK)
    one.faulty.away = True
    asked = len(one.faulty.asked)
    for _ in range(5):
        assert await one.holds(session_id)
    assert len(one.faulty.asked) == asked + 1


async def test_open_pages_ask_once_in_a_while(one: Process) -> None:
    """A hundred pages of one session, a tick each, cost the store one look."""
    session = await one.sessions.find(await one.sessions.open(TOKEN, MARK))
    assert session is not None
    asked = len(one.faulty.asked)
    for _ in range(100):
        assert await one.sessions.still(session)
    assert len(one.faulty.asked) == asked + 1


def settings_for(sqlite_url: str, store_url: str, folder: Path) -> Settings:
    values: dict[str, object] = {
        "app_env": "test",
        "admin_token": TOKEN.decode(),
        "database_url": sqlite_url,
        "redis_url": store_url,
        "spill_folder": folder / "spill",
        "openai_api_key": "simulated",
        "openai_webhook_secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    }
    return Settings.model_validate(values)


def test_two_processes_over_http(sqlite_url: str, store_url: str, tmp_path: Path) -> None:
    """A browser whose requests go to either process signs in once and out once; the page shows both processes."""
    apps = [app_of(build_container(settings_for(sqlite_url, store_url, tmp_path))) for _ in range(2)]
    with (
        serving(apps[0]) as first,
        serving(apps[1]) as second,
        httpx2.Client(headers=SAME, timeout=60) as browser,
    ):
        answer = browser.post(f"{first}/sign-in", data={"token": TOKEN.decode()})
        assert answer.status_code == 303
        for base in (first, second):
            page = browser.get(f"{base}/system")
            assert page.status_code == 200
            assert "in the fleet&#39;s store" in page.text
        assert page.text.count("this one") == 1
        assert browser.post(f"{second}/sign-out").status_code == 303
        cookies = {"callscope": answer.cookies["callscope"]}
        with httpx2.Client(headers=SAME, timeout=60, cookies=cookies) as thief:
            assert [thief.get(base).status_code for base in (first, second)] == [303, 303]
