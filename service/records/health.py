"""What the records say of themselves."""

from dataclasses import dataclass
from enum import StrEnum


class RecordsState(StrEnum):
    """How safe records are at the moment, from best to worst."""

    WRITING = "writing"
    """The database takes everything."""
    CATCHING_UP = "catching_up"
    """The database takes everything; what was spilled is being replayed."""
    SPILLING = "spilling"
    """The database is away; records are safe on the local disk."""
    REFUSING = "refusing"
    """Neither the database nor the local disk takes records: they wait in memory, and past its bound they are lost."""


@dataclass(frozen=True, slots=True)
class RecordsHealth:
    """For ``/readyz``: calls go on in every state."""

    state: RecordsState
    open: int
    """Calls whose records are open."""
    waiting: int
    """Records that wait to be written."""
    spilled_bytes: int
    refused: int
    """Records lost since the start."""
    unkept: int
    """Calls that went on since the start although their record was, at that moment, kept nowhere but in memory."""
    damaged_lines: int
    """Spilled states found unreadable since the start."""
    database_away_seconds: float | None
    last_error: str | None
    """The kind of the last failure since the start."""
