"""The queue of what waits holds no more than it may, and loses nothing it was given."""

from hypothesis import given
from hypothesis import strategies as st

from telemetry.export.batches import WaitingItems

STEPS = st.lists(st.tuples(st.sampled_from(["add", "take", "settle", "put back"]), st.integers(1, 5)), max_size=60)


@given(capacity=st.integers(1, 8), steps=STEPS)
def test_items_are_bounded_ordered_and_accounted_for(capacity: int, steps: list[tuple[str, int]]) -> None:
    """Whatever comes and goes: never more than the capacity, settled in order, and every item somewhere."""
    queue = WaitingItems[int](capacity)
    accepted, settled = list[int](), list[int]()
    taken: list[int] = []
    for step, number in steps:
        match step:
            case "add":
                item = len(accepted)
                if queue.add(item):
                    accepted.append(item)
            case "take" if not taken:
                taken = queue.take(number)
            case "settle":
                queue.settle(taken)
                settled, taken = settled + taken, []
            case "put back":
                queue.put_back(taken)
                taken = []
        assert queue.unsettled == len(accepted) - len(settled) <= capacity
        assert len(queue) == queue.unsettled - len(taken)
    assert settled == accepted[: len(settled)]


def test_a_closed_queue_takes_nothing_and_gives_what_it_has() -> None:
    """After the end, additions are refused and what waits can still be taken."""
    queue = WaitingItems[str](2)
    queue.add("before")
    queue.close()
    assert not queue.add("after")
    assert queue.take(5) == ["before"]
