"""The comparison of minutes itself: records that are wrong in one way each, and must be found to be."""

import pytest

from service.records.record import Row
from tests.service.fleet.carrier import Watched
from tests.service.fleet.minutes import wrong_minutes

WATCHED = Watched([(10.0, 20.0)], ended=20.0)
LEFT = Watched([(10.0, 20.0)], ended=25.0)
BEGUN_TWICE = Watched([(10.0, 10.2), (14.0, 20.0)], ended=20.0)


def record(started: float, ended: float, billed: float, reason: str = "hangup") -> Row:
    return {
        "started_ms": round(1000 * started),
        "ended_ms": round(1000 * ended),
        "duration_ms": round(1000 * billed),
        "reason": reason,
    }


def wrong(call: Watched, row: Row, *, others: int = 0) -> str:
    """Return what is wrong with a call's record, among others that are right."""
    calls = {"a": call, **{f"other-{n}": WATCHED for n in range(others)}}
    rows = {"a": row, **{f"other-{n}": record(10, 20, 10) for n in range(others)}}
    return "; ".join(wrong_minutes(calls, rows, 0.0, heartbeat=1.0, note=3.0))


@pytest.mark.parametrize(
    ("call", "row"),
    [
        (WATCHED, record(10, 20, 10)),
        (WATCHED, record(10, 21, 11)),
        (LEFT, record(10, 19.1, 9.1, "stale")),
        (LEFT, record(10, 20, 10, "stale")),
        (BEGUN_TWICE, record(14, 20, 6)),
        (BEGUN_TWICE, record(10, 20, 10)),
    ],
    ids=["whole", "its end seen late", "up to the last heartbeat", "up to its death", "begun anew", "begun at once"],
)
def test_minutes_that_are_right(call: Watched, row: Row) -> None:
    """A heartbeat may be missing, and what passed before the start was noted down; an end may be seen late."""
    assert wrong(call, row) == ""


@pytest.mark.parametrize(
    ("call", "row", "says"),
    [
        (WATCHED, record(10, 20, 10.5), "too many"),
        (WATCHED, record(10, 24, 14), "too many"),
        (WATCHED, record(10, 20, 6), "too few"),
        (LEFT, record(10, 16, 5, "stale"), "too few"),
        (LEFT, record(10, 25, 15, "stale"), "too many"),
        (BEGUN_TWICE, record(14, 20, 2), "too few"),
        (WATCHED, {**record(0, 20, 0), "started_ms": None}, "no start on record"),
    ],
    ids=["beyond the end", "an end not seen", "minutes lost", "heartbeats lost", "nobody there", "both", "no start"],
)
def test_minutes_that_are_wrong(call: Watched, row: Row, says: str) -> None:
    """What is beyond the end as it was seen, and what is missing beyond a heartbeat and a note, is found."""
    assert says in wrong(call, row, others=20)


def test_most_notes_are_prompt() -> None:
    """A call that is a second short is one of those on a busy machine, unless there are more of them."""
    assert wrong(WATCHED, record(11, 20, 9), others=20) == ""
    assert "one call in ten is 1.00 s short" in wrong(WATCHED, record(11, 20, 9), others=5)
