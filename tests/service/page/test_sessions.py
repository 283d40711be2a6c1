"""Sessions of people who signed in."""

from datetime import date

import pytest

from service.http.tokens import AdminTokens
from service.page import sessions as module
from service.page.sessions import IDLE_SECONDS, MAX_SECONDS, LocalSessions


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At zero."""
    return Clock()


async def test_a_session_is_found_by_its_id_alone(clock: Clock) -> None:
    """Ids are long and random, and kept as hashes; whatever else is sent finds nothing."""
    sessions = LocalSessions(AdminTokens(["secret;read"]), monotonic=clock)
    first, second = await sessions.open(b"secret", "mark"), await sessions.open(b"secret", "mark")
    assert first != second
    assert len(first) >= 43
    found = await sessions.find(first)
    assert found is not None
    assert (found.token.access.read_only, found.mark) == (True, "mark")
    assert [await sessions.find(wrong) for wrong in ("", first[:-1], first.upper(), "\ud800", "secret")] == [None] * 5
    assert first not in repr(sessions._sessions)


@pytest.mark.parametrize(
    ("steps", "holds"),
    [([IDLE_SECONDS - 1] * 2, True), ([IDLE_SECONDS + 1], False), ([MAX_SECONDS / 4] * 4 + [1], False)],
    ids=["used now and then", "idle", "a day old"],
)
async def test_a_session_ends_when_idle_and_after_a_day(clock: Clock, steps: list[float], holds: bool) -> None:
    """Each request keeps it alive, up to a day in all; one that is over is not kept."""
    sessions = LocalSessions(AdminTokens(["secret"]), monotonic=clock)
    session_id = await sessions.open(b"secret", "mark")
    found = None
    for step in steps:
        clock.now += step
        found = await sessions.find(session_id)
    assert (found is not None, sessions.health().count) == (holds, int(holds))


async def test_a_session_ends_with_its_token(clock: Clock) -> None:
    """A token whose last day is over, or that is configured no more, has no session left."""
    today = [date(2027, 3, 31)]
    tokens = AdminTokens(["old;until=2027-03-31"], today=lambda: today[0])
    sessions = LocalSessions(tokens, monotonic=clock)
    session_id = await sessions.open(b"old", "mark")
    assert await sessions.find(session_id) is not None
    today[0] = date(2027, 4, 1)
    assert await sessions.find(session_id) is None
    await sessions.open(b"not configured", "mark")
    assert all(sessions._holding(key) is None for key in list(sessions._sessions))


async def test_signing_out_ends_it(clock: Clock) -> None:
    """A page that is still open learns of it with its next tick."""
    sessions = LocalSessions(AdminTokens(["secret"]), monotonic=clock)
    session_id = await sessions.open(b"secret", "mark")
    session = await sessions.find(session_id)
    assert session is not None
    assert await sessions.still(session)
    await sessions.close(session)
    assert not await sessions.still(session)
    assert await sessions.find(session_id) is None


async def test_there_is_a_bound(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more ends the session that has been idle longest, and is counted."""
    monkeypatch.setattr(module, "MAX_SESSIONS", 3)
    sessions = LocalSessions(AdminTokens(["secret"]), monotonic=clock)
    ids = [await sessions.open(b"secret", "mark") for _ in range(3)]
    assert await sessions.find(ids[0]) is not None
    ids.append(await sessions.open(b"secret", "mark"))
    assert [await sessions.find(session_id) is not None for session_id in ids] == [True, False, True, True]
    assert (sessions.health().count, sessions.health().evicted) == (3, 1)
