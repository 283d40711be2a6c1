"""The fleet over HTTP: who lives, who holds what, and what disagrees."""

import pytest

from service.api.fleet import disagreements
from service.fleet.store import FleetView, Process

ONE = Process("one:5", 0.5, None, 2, {"held": 2, "calls": 2, "mode": "fleet", "version": "1", "pid": 7, "host": "a"})


@pytest.mark.parametrize(
    ("process", "says"),
    [
        (Process("two:6", None, 3.0, 1, {}), "is gone and 1 slots of it wait"),
        (Process("two:6", 5.0, None, 1, {"held": 1}), "has not shown for 5.0 s that it lives"),
        (Process("two:6", 0.1, None, 1, {"held": 1, "mode": "local"}), "decided about slots by itself"),
        (Process("two:6", 0.1, None, 1, {"held": 3}), "held 3 slots at its last heartbeat, and 1 are under its name"),
        (Process("two:6", 0.1, None, 1, {"held": 1, "version": "2"}), "several versions run: 1, 2"),
    ],
)
def test_what_does_not_fit_is_said(process: Process, says: str) -> None:
    """Each kind of disagreement has a sentence of its own."""
    (sentence,) = disagreements(FleetView([ONE, process], 3, 60.0))
    assert says in sentence


def test_slots_that_nobody_holds_are_said() -> None:
    """Slots in use that are under no process's name are a leak."""
    assert list(disagreements(FleetView([ONE], 5, 60.0))) == ["the processes' slots add up to 2, and 5 are in use"]
    assert list(disagreements(FleetView([ONE], 2, 60.0))) == []
