"""The marks on an axis of time: few, round, and named as people say durations."""

from typing import Final

_STEPS: Final = (
    *(base * 10.0**power for power in range(-4, 1) for base in (1, 2, 5)),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0),
)
# Seconds between two marks: round in milliseconds, then in minutes and hours.

_MINUTE: Final = 60
_HOUR: Final = 3600


def ticks(end: float, most: int = 8) -> tuple[float, ...]:
    """At most ``most`` moments from 0 to ``end``, evenly apart."""
    step = next((step for step in _STEPS if end / step <= most - 1), _STEPS[-1])
    return tuple(round(step * index, 9) for index in range(min(most, int(end / step + 1e-9) + 1)))


def tick_label(seconds: float, end: float) -> str:
    """The moment's name on an axis that ends at ``end``."""
    if end < 1:
        return f"{seconds * 1000:.0f} ms" if end >= 0.01 else f"{seconds * 1000:.1f} ms"  # noqa: PLR2004 -- 10 ms
    if end < _MINUTE:
        return f"{round(seconds, 2):g} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if end < _HOUR:
        return f"{minutes}:{rest:02d}"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}:{minutes:02d}:{rest:02d}"
