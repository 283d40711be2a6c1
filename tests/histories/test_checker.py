"""The judge itself: histories that are wrong in one way each, and must be found to be."""

from pathlib import Path

import pytest

from tests.histories.checker import judge
from tests.histories.events import By, Event, Final, Kind, read, write

FINE = Final({}, 0, 2, 0)


def history(*steps: str) -> list[Event]:
    """Return a history of steps such as ``ok a p share``: kind, call, process, and how it was decided.

    A heartbeat, ``beat p 3``, was sent at that moment; each step takes a second.
    """
    events = []
    for at, step in enumerate(steps, start=1):
        kind, *words = step.split()
        if kind == "beat":
            events.append(Event(float(at), Kind.BEAT, process=words[0], since=float(words[1])))
        elif kind in ("kill", "stop", "away"):
            events.append(Event(float(at), Kind(kind), process=words[0]))
        elif kind in ("loss", "fault"):
            events.append(Event(float(at), Kind(kind), by=words[0]))
        else:
            call, process, by = (*words, "one", "")[:3] if len(words) == 1 else (*words, "")[:3]
            default = By.STORE if kind == "ok" else By.LIMIT if kind == "refused" else ""
            events.append(Event(float(at), Kind(kind), process, call, call[0], by or default, float(at) - 0.5))
    return events


def wrong(*steps: str, final: Final = FINE) -> str:
    """Return what is wrong with a history where two calls may run, and one of the tenant ``t``."""
    return "; ".join(judge(history(*steps), final, total_limit=2, limits={"t": 1}).violations)


def test_a_history_that_is_right() -> None:
    """Calls that come, are refused at the limit and go are no violation."""
    steps = (
        "invoke a",
        "invoke b",
        "ok a",
        "ok b",
        "invoke c",
        "refused c",
        "end a",
        "invoke d",
        "ok d",
        "end b",
        "end d",
    )
    verdict = judge(history(*steps), FINE, total_limit=2)
    assert (verdict.violations, verdict.most, verdict.most_outside, verdict.over_seconds) == ([], 2, 2, 0.0)
    assert verdict.decided == {By.STORE: 3, By.LIMIT: 1}


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (("invoke a", "invoke b", "invoke c", "ok a", "ok b", "ok c", "end a", "end b", "end c"), "over the limit"),
        (("invoke t1", "ok t1", "invoke t2 two", "ok t2 two", "end t1", "end t2"), "over its tenant's limit: 2"),
        (("invoke a", "ok a", "ok a", "end a"), "decided twice"),
        (("invoke a", "refused a", "ok a", "end a"), "decided twice"),
        (("invoke a", "ok a", "end a", "ok a"), "decided twice"),
        (("invoke a", "ok a two", "end a"), "not announced to"),
        (("ok a", "end a"), "not announced to"),
        (("invoke a", "invoke a", "refused a"), "announced twice"),
        (("invoke a",), "was never decided"),
        (("invoke a", "ok a"), "1 calls never ended"),
        (("invoke a", "refused a", "end a"), "ended without running"),
    ],
)
def test_a_history_that_is_wrong(steps: tuple[str, ...], says: str) -> None:
    """Calls over a limit, decided twice, never, or by the wrong process, and ends that cannot be, are found."""
    assert says in wrong(*steps)


@pytest.mark.parametrize(
    ("final", "says"),
    [
        (Final({"a": "one"}, 1, 2, 1), "slots were left over: {'a': 'one'}"),
        (Final({}, 1, 2, 0), "the counters say 1 slots, and there are 0"),
        (Final({}, 0, 2, 1), "the processes hold 1 slots, and the store has 0"),
        (Final({}, 0, 1, 0), "1 calls were let in, of 2"),
        (Final({}, 0, 3, 0), "3 calls were let in, of 2"),
    ],
)
def test_an_end_that_is_wrong(final: Final, says: str) -> None:
    """Slots left over, counters that are off, and places that are missing or too many at the end are found."""
    assert says in wrong("invoke a", "ok a", "end a", final=final)


def test_an_order_that_is_wrong() -> None:
    """Events must come in the order of their time."""
    verdict = judge(history("invoke a", "ok a", "end a")[::-1], FINE, total_limit=2)
    assert any("not in order" in violation for violation in verdict.violations)


LOCAL = ("away two", "invoke a two", "ok a two share", "invoke b two", "ok b two share", "invoke c", "ok c")
ENDS = ("end a", "end b", "end c")


def test_a_share_is_a_window_until_the_next_heartbeat() -> None:
    """What a share let in counts from its process's next heartbeat; one that was sent before does not tell of it."""
    assert wrong(*LOCAL, *ENDS) == ""
    another = ("invoke c", "ok c")
    assert wrong(*LOCAL[:5], "beat two 4.5", *another, *ENDS) == "", "sent before the last was let in"
    assert "over the limit: 3" in wrong(*LOCAL[:5], "beat two 5.5", *another, *ENDS)


def test_a_share_applies_only_while_the_store_is_away() -> None:
    """A process that has not found it away, or has reached it since, or is told to be closed, may let nothing in."""
    share = ("invoke a", "ok a one share", "end a")
    assert wrong("away one", *share) == ""
    says = "by a share that did not apply"
    assert says in wrong(*share)
    assert says in wrong("away two", *share)
    assert says in wrong("away one", "beat one 1.5", *share)
    closed = judge(history("away one", *share), FINE, total_limit=2, shares=False)
    assert says in closed.violations[0]


def test_a_share_over_the_limit_shows() -> None:
    """Calls over the limit inside a window are no violation, and how long they were over is told."""
    verdict = judge(history(*LOCAL, *ENDS), FINE, total_limit=2)
    assert (verdict.violations, verdict.most, verdict.most_outside, verdict.over_seconds) == ([], 3, 0, 1.0)


def test_a_loss_is_a_window_until_each_process_has_sent_a_heartbeat() -> None:
    """Slots that the store may have lost count again once their process has told of them."""
    lost = ("invoke a", "ok a", "invoke b two", "ok b two", "loss flush")
    assert wrong(*lost, "invoke c", "ok c", *ENDS) == ""
    assert wrong(*lost, "beat one 4.5", "beat two 4.5", "invoke c", "ok c", *ENDS) == "", "sent before the loss"
    assert "over the limit" in wrong(*lost, "beat one 5.5", "beat two 5.5", "invoke c", "ok c", *ENDS)
    assert wrong(*lost, "beat one 5.5", "invoke c", "ok c", *ENDS) == "", "the other has not told"


def test_a_call_that_was_asked_about_before_a_loss_is_in_its_window() -> None:
    """The store may have forgotten it between the decision and its arrival."""
    steps = ("invoke a", "loss flush", "ok a", "invoke b", "ok b", "invoke c", "ok c", *ENDS)
    assert wrong(*steps) == ""
    assert "over the limit" in wrong(*steps[:3], "beat one 3.5", *steps[3:])


def test_a_dead_process_calls_count_once_taken_over() -> None:
    """Kills open no window; after a loss a dead process's calls count once another has taken them over."""
    dead = ("invoke a two", "ok a two", "invoke b two", "ok b two", "kill two")
    assert "over the limit" in wrong(*dead, "invoke c", "ok c", *ENDS)
    assert wrong(*dead, "loss flush", "invoke c", "ok c", *ENDS) == ""
    taken = (*dead, "loss flush", "taken a one", "taken b one")
    assert wrong(*taken, "beat one 7.5", "invoke c", "ok c", *ENDS) == "", "sent before all were taken over"
    assert "over the limit" in wrong(*taken, "beat one 8.5", "invoke c", "ok c", *ENDS)
    assert wrong("invoke a two", "kill two") == "", "nobody will ever decide it"


def test_a_history_on_disk(tmp_path: Path) -> None:
    """A history that was written reads the same."""
    events = history("invoke a", "ok a", "beat one 1", "loss flush", "end a")
    write(tmp_path / "history.jsonl", events)
    assert read(tmp_path / "history.jsonl") == events
