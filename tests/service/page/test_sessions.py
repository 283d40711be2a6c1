"""Sessions of people who signed in."""

from datetime import date

import pytest

from service.http.tokens import AdminTokens
from service.page import sessions as module
from service.page.sessions import IDLE_SECONDS, MAX_SECONDS, PageSessions


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


def test_a_session_is_found_by_its_id_alone(clock: Clock) -> None:
    """Ids are long and random, and kept as hashes; whatever else is sent finds nothing."""
    sessions = PageSessions(AdminTokens(["secret;read"]), monotonic=clock)
    first, second = sessions.open(b"secret", "mark"), sessions.open(b"secret", "mark")
    assert first != second
    assert len(first) >= 43
    found = sessions.find(first)
    assert found is not None
    assert (found.token.access.read_only, found.mark) == (True, "mark")
    assert [sessions.find(wrong) for wrong in ("", first[:-1], first.upper(), "\ud800", "secret")] == [None] * 5
    assert first not in repr(sessions._sessions)


@pytest.mark.parametrize(
    ("steps", "holds"),
    [([IDLE_SECONDS - 1] * 2, True), ([IDLE_SECONDS + 1], False), ([MAX_SECONDS / 4] * 4 + [1], False)],
    ids=["used now and then", "idle", "a day old"],
)
def test_a_session_ends_when_idle_and_after_a_day(clock: Clock, steps: list[float], holds: bool) -> None:
    """Each request keeps it alive, up to a day in all; one that is over is not kept."""
    sessions = PageSessions(AdminTokens(["secret"]), monotonic=clock)
    session_id = sessions.open(b"secret", "mark")
    found = None
    for step in steps:
        clock.now += step
        found = sessions.find(session_id)
    assert (found is not None, len(sessions)) == (holds, int(holds))


def test_a_session_ends_with_its_token(clock: Clock) -> None:
    """A token whose last day is over, or that is configured no more, has no session left."""
    today = [date(2027, 3, 31)]
    tokens = AdminTokens(["old;until=2027-03-31"], today=lambda: today[0])
    sessions = PageSessions(tokens, monotonic=clock)
    session_id = sessions.open(b"old", "mark")
    assert sessions.find(session_id) is not None
    today[0] = date(2027, 4, 1)
    assert sessions.find(session_id) is None
    sessions.open(b"not configured", "mark")
    assert all(sessions._holding(key) is None for key in list(sessions._sessions))


def test_signing_out_ends_it(clock: Clock) -> None:
    """A page that is still open learns of it with its next tick."""
    sessions = PageSessions(AdminTokens(["secret"]), monotonic=clock)
    session_id = sessions.open(b"secret", "mark")
    session = sessions.find(session_id)
    assert session is not None
    assert sessions.still(session)
    sessions.close(session)
    assert not sessions.still(session)
    assert sessions.find(session_id) is None


def test_there_is_a_bound(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more ends the session that has been idle longest."""
    monkeypatch.setattr(module, "MAX_SESSIONS", 3)
    sessions = PageSessions(AdminTokens(["secret"]), monotonic=clock)
    ids = [sessions.open(b"secret", "mark") for _ in range(3)]
    assert sessions.find(ids[0]) is not None
    ids.append(sessions.open(b"secret", "mark"))
    assert [sessions.find(session_id) is not None for session_id in ids] == [True, False, True, True]
