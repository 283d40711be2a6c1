"""The minutes of the last day that the store remembers: the last few, and further back one of five, or of an hour."""

from typing import Final

MINUTE_MS: Final = 60_000

STEPS: Final = ((6, 1), (66, 5), (1500, 60))
"""Minutes back to which something is remembered, and the length of a step there in minutes."""

STEP_IN_LUA: Final = f"""
-- The step that a minute belongs to, seen from another; nil for one that is forgotten.
local function step(start, minute)
  local age, size = minute - start, nil
  {" else".join(f"if age <= {most} then size = {size}" for most, size in STEPS)} else return nil end
  return size .. ':' .. math.floor(start / size)
end
"""
"""The function ``step(start, minute)`` for scripts: two minutes of one step have the same."""


def step_of(age: int) -> int:
    """Return the length of the step, in minutes, that something so many minutes old is remembered in."""
    return next((size for most, size in STEPS if age <= most), STEPS[-1][1])
