"""Long work steps back for others."""

from itertools import count

from telemetry.metrics.cooperative import PAUSE_SECONDS, WORK_SECONDS, yielding


def test_after_each_stretch_of_work_there_is_a_pause() -> None:
    """With a clock that moves a little less than half of that between two looks, there is one after each third part."""
    looks = count()
    pauses: list[float] = []
    done = list(yielding(range(10), sleep=pauses.append, monotonic=lambda: next(looks) * WORK_SECONDS * 0.4))
    assert done == list(range(10))
    assert pauses == [PAUSE_SECONDS] * 3
