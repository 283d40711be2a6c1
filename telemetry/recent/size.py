"""How full the record of calls is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordSize:
    """Counts since the process started, and the present fill."""

    announced: int
    """Calls whose tenant is still being looked up."""
    open_calls: int
    calls_over: int
    estimated_bytes: int
    evicted: int
    """Calls that were over and had to go."""
    left_out: int
    """Rows of calls that were left out because a bound was reached."""
