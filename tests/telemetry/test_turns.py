"""Long work steps back for others."""

from itertools import count

from telemetry.turns import PAUSE_SECONDS, in_turns


def test_after_each_millisecond_of_work_there_is_a_pause() -> None:
    """With a clock that moves 0.4 ms between two looks at it, there is a pause after each third part; none is lost."""
    looks = count()
    pauses: list[float] = []
    done = list(in_turns(range(10), sleep=pauses.append, monotonic=lambda: next(looks) * 0.0004))
    assert done == list(range(10))
    assert pauses == [PAUSE_SECONDS] * 3
