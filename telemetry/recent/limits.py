"""The bounds of the history of calls."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowBounds:
    """Number of rows of one kind that a call keeps: its first ones and its last."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RecentLimits:
    """The bounds of the history. With the defaults a call of 500 turns takes about 130 kB."""

    calls: int = 5_000
    """Calls that are over. Open ones are kept besides; the tracker bounds their number."""
    total_bytes: int = 64 * 1024 * 1024
    """Bytes of all calls together. Past it the oldest calls that are over go; with none left, rows are refused."""
    announced: int = 10_000
    """Calls announced and not received; past this the oldest is forgotten."""
    phases: RowBounds = RowBounds(16, 16)
    turns: RowBounds = RowBounds(20, 60)
    speech: RowBounds = RowBounds(40, 120)
    tools: RowBounds = RowBounds(16, 48)
    errors: RowBounds = RowBounds(8, 24)
    spans: RowBounds = RowBounds(32, 64)
    logs: RowBounds = RowBounds(16, 32)
    dead_airs: RowBounds = RowBounds(8, 24)
    talk_overs: RowBounds = RowBounds(8, 24)
    open_at_once: int = 64
    """Tools of one call that may run at the same time."""
    text: int = 256
    """Characters of one text: an attribute's value, a log line's message."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a bound below 1."""
        for name in ("calls", "total_bytes", "announced", "open_at_once", "text"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    def rows(self, kind: str) -> RowBounds:
        """Return the bounds of a kind of row."""
        bounds: RowBounds = getattr(self, kind)
        return bounds
