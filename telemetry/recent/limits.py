"""How much is kept of one call, and of all calls."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """How many rows of one kind a call keeps: its first ones and its last."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RecentLimits:
    """The bounds of the record. The defaults hold a call of 500 turns in about 130 kB."""

    calls: int = 5_000
    """Calls that are over. Running ones are kept besides; their number is the tracker's to bound."""
    total_bytes: int = 64 * 1024 * 1024
    """Of all calls together. Past it the oldest calls that are over go; with none left to go, details are refused."""
    announced: int = 10_000
    """Calls announced and not received yet, or never; past this the oldest is forgotten."""
    phases: Kept = Kept(16, 16)
    turns: Kept = Kept(20, 60)
    speech: Kept = Kept(40, 120)
    tools: Kept = Kept(16, 48)
    errors: Kept = Kept(8, 24)
    spans: Kept = Kept(32, 64)
    logs: Kept = Kept(16, 32)
    open_at_once: int = 64
    """Phases, tools or spans of one call that may be under way at the same time."""
    text: int = 256
    """Characters of one text: an attribute's value, a log line's message."""

    def kept(self, kind: str) -> Kept:
        """How many rows of a kind a call keeps."""
        kept: Kept = getattr(self, kind)
        return kept

    def __post_init__(self) -> None:
        """Refuse bounds that keep nothing."""
        for name in ("calls", "total_bytes", "announced", "open_at_once", "text"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
