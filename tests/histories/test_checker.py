"""The judge itself: histories that are wrong in one way each, and must be found to be."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.histories.checker import judge
from tests.histories.events import By, Count, Event, Final, Kind, Seen, read, write
from tests.histories.shares import Excess

FINE = Final({}, 0, 2, 0)
BEFORE = (0.0, 0.0)
"""Before the first event of a history."""


def sight(in_use: int, own: int, living: int, rank: int, at: tuple[float, float] = BEFORE) -> Seen:
    """Return what a process saw between two moments, in total and of the tenant ``t``."""
    return Seen(Count(in_use, own, *at), Count(in_use, own, *at), living, rank, *at)


EMPTY = sight(0, 0, 1, 0)
"""A fleet of one process without a call."""


def history(*steps: str, seen: Mapping[str, Seen] | Seen | None = EMPTY) -> list[Event]:
    """Return a history of steps such as ``ok a p share``: kind, call, process, and how it was decided.

    A heartbeat, ``beat p 3``, was sent at that moment; each step takes a second. Shares stand on what was ``seen``.
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
            saw = (seen[process] if isinstance(seen, Mapping) else seen) if (kind, by) == ("ok", By.SHARE) else None
            events.append(Event(float(at), Kind(kind), process, call, call[0], by or default, float(at) - 0.5, saw))
    return events


def wrong(
    *steps: str, final: Final = FINE, seen: Mapping[str, Seen] | Seen | None = EMPTY, silence_seconds: float = 1.5
) -> str:
    """Return what is wrong with a history where two calls may run, and one of the tenant ``t``."""
    events = history(*steps, seen=seen)
    verdict = judge(events, final, total_limit=2, limits={"t": 1}, silence_seconds=silence_seconds)
    return "; ".join(verdict.violations)


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


SHARES = ("away two", "invoke a two", "ok a two share")


def test_a_share_is_what_a_process_held_and_its_part() -> None:
    """Of two places that were free it has one; a call that is another's by then is none of its own."""
    more = ("invoke b two", "ok b two share", "end a", "end b")
    half = sight(0, 0, 2, 0)
    assert wrong(*SHARES, "end a", *more[:2], "end b", seen=half) == ""
    assert "over its share: 2 of its calls run, of 1" in wrong(*SHARES, *more, seen=half)
    assert wrong(*SHARES, "moved a one", *more, seen=half) == ""
    assert "over its share: 1 of its calls run, of 0" in wrong(*SHARES, "end a", seen=sight(1, 0, 2, 1))
    assert "without having seen" in wrong(*SHARES, "end a", seen=None)


def test_a_share_of_a_tenants_places() -> None:
    """One place of a tenant is the first of two processes'."""
    share = ("away two", "invoke t1 two", "ok t1 two share", "end t1")
    assert wrong(*share, seen=sight(0, 0, 2, 0)) == ""
    assert "its share of the tenant's places: 1 of its calls run, of 0" in wrong(*share, seen=sight(0, 0, 2, 1))


def test_what_a_share_stands_on_must_have_been_so() -> None:
    """Slots that the store surely had while it was asked, and processes that surely lived, must have been seen."""
    steps = ("invoke c", "ok c", "away two", "invoke a two", "ok a two share", "end a", "end c")
    says = "counted on 0 slots in use of all, where the store had 1"
    assert says in wrong(*steps, seen=sight(0, 0, 2, 0, (2.5, 2.6)))
    assert wrong(*steps, seen=sight(0, 0, 2, 0, (1.9, 2.6))) == "", "it may have been asked before"
    ended = (*steps[:2], "end c", *steps[2:-1])
    assert wrong(*ended, seen=sight(0, 0, 2, 0, (2.5, 3.1))) == "", "it may have answered after the end"
    assert wrong(*steps[:2], "loss flush", *steps[2:], seen=sight(0, 0, 2, 0, (3.5, 3.6))) == ""
    lives = ("beat one 0.9", "beat two 1.9", *SHARES, "end a")
    says = "counted on 1 processes, itself in place 0, where 2 lived"
    assert says in wrong(*lives, seen=sight(0, 0, 1, 0, (2.1, 2.2)))
    assert wrong(*lives, seen=sight(0, 0, 1, 0, (2.1, 2.5))) == "", "it may have been fenced"
    assert wrong(*lives, seen=sight(0, 0, 1, 0, (1.5, 2.2))) == "", "its heartbeat may have come later"
    assert "itself in place 1" in wrong(*SHARES, "end a", seen=sight(0, 0, 1, 1))


def test_a_process_that_is_cut_off_can_exceed_the_limit_by_its_part() -> None:
    """The others fill all places meanwhile; how many were above, and how many might have been, is told."""
    others = ("invoke c", "ok c", "invoke d", "ok d")
    ends = ("end a", "end c", "end d")
    cut_off = history("beat two 0.5", *SHARES, *others, *ends, seen=sight(0, 1, 2, 0))
    verdict = judge(cut_off, FINE, total_limit=2, silence_seconds=60)
    assert (verdict.violations, verdict.most_above, verdict.episodes) == ([], Excess(1, 1), 1)


def test_a_share_applies_again_once_its_calls_are_over() -> None:
    """A process lets in its part again while another has let in its own."""
    others = ("away three", "invoke b three", "ok b three share", "end b")
    again = ("invoke c two", "ok c two share", "invoke d", "ok d", "invoke e", "ok e")
    steps = (*SHARES, "end a", *others, *again, "end c", "end d", "end e")
    verdict = judge(history(*steps, seen=sight(0, 0, 2, 0)), FINE, total_limit=2, silence_seconds=60)
    assert (verdict.violations, verdict.most_above) == ([], Excess(1, 1))


def test_a_process_that_may_be_fenced_can_exceed_the_limit_by_what_it_held_too() -> None:
    """The slots of its calls that are over are the others' then."""
    steps = ("beat two 0.5", *SHARES, "invoke b two", "ok b two share", "invoke c", "ok c", "invoke d", "ok d")
    cut_off = history(*steps, *ENDS, "end d", seen=sight(0, 1, 2, 0))
    fenced = judge(cut_off, FINE, total_limit=2, silence_seconds=7)
    assert (fenced.violations, fenced.most_above) == ([], Excess(2, 2))
    living = judge(cut_off, FINE, total_limit=2, silence_seconds=60)
    assert "4 calls run, and shares and losses account for 3" in living.violations[0]


def test_processes_that_see_the_same_share_the_places_once() -> None:
    """If nobody was let in since, all together keep to the limit; a process that takes a place for its own does not."""
    steps = ("invoke c", "ok c", "away one", "invoke b", "ok b one share", "away two", "invoke a two", "ok a two share")
    seen = {"one": sight(1, 1, 2, 0, (2.5, 2.6)), "two": sight(1, 1, 2, 1, (2.5, 2.6))}
    assert "3 calls run, and shares and losses account for 2" in wrong(*steps, *ENDS, seen=seen, silence_seconds=60)
    let_in = ("invoke d three", "ok d three", "invoke c three", "ok c three", *SHARES)
    both = (*let_in, "away one", "invoke b", "ok b one share", *ENDS, "end d")
    assert wrong(*both, seen={"one": sight(0, 0, 2, 0), "two": sight(0, 0, 2, 1)}) == "", "the store let two in since"


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
    events = history(
        "invoke a", "ok a", "beat one 1", "loss flush", "end a", "away two", "invoke b two", "ok b two share"
    )
    write(tmp_path / "history.jsonl", events)
    assert read(tmp_path / "history.jsonl") == events
