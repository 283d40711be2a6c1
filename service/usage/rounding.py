"""How call time is rounded for billing: per call, to a first interval and then to steps."""

import re
from dataclasses import dataclass
from typing import Final, Self

MAX_SECONDS = 86_400
"""The longest interval a rule may name: a day."""

_INTERVALS = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")


class RoundingError(ValueError):
    """Not a rounding rule; the message says what is one."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """A call that ran at all costs its first interval, and from there on each begun step whole.

    ``6/6`` costs in steps of six seconds, ``60/1`` a minute at least and then by the second. ``per_started_minute`` is
    another name for ``60/60``. A call of no length costs nothing under every rule.
    """

    initial_ms: int
    step_ms: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rule by its name, or in the form INITIAL/STEP in seconds."""
        initial, step = _NAMED.get(text) or _intervals(text)
        return cls(initial * 1000, step * 1000)

    def rounded(self, duration_ms: int) -> int:
        """What a call of this length costs, in milliseconds; never less than the length."""
        if duration_ms <= 0:
            return 0
        if duration_ms <= self.initial_ms:
            return self.initial_ms
        return self.initial_ms + -(-(duration_ms - self.initial_ms) // self.step_ms) * self.step_ms

    def __str__(self) -> str:
        intervals = (self.initial_ms // 1000, self.step_ms // 1000)
        return next((name for name, named in _NAMED.items() if named == intervals), f"{intervals[0]}/{intervals[1]}")


_NAMED: Final[dict[str, tuple[int, int]]] = {"per_second": (1, 1), "per_started_minute": (60, 60)}

PER_SECOND: Final = Rounding(1000, 1000)
"""What holds where nothing was agreed."""


def _intervals(text: str) -> tuple[int, int]:
    found = _INTERVALS.fullmatch(text)
    intervals = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(0 < seconds <= MAX_SECONDS for seconds in intervals):
        raise RoundingError(
            f"{text[:40]!r} is not a rounding: use per_second, per_started_minute, or INITIAL/STEP in whole seconds"
            f" from 1 to {MAX_SECONDS}, such as 6/6"
        )
    return intervals
