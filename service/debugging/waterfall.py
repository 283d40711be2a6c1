"""A call drawn over time, before it is decided how: panels of tracks with bars and marks. Times are in seconds."""

from dataclasses import dataclass
from enum import StrEnum


class Paint(StrEnum):
    """What a bar stands for."""

    SETUP = "setup"
    """The call before its media session."""
    SESSION = "session"
    """The media session."""
    PHASE = "phase"
    CALLER = "caller"
    AGENT = "agent"
    WAIT = "wait"
    """The caller waits for an answer."""
    TOOL = "tool"
    LEFT_OUT = "left_out"
    """Something was here and has not been kept."""
    FAILED = "failed"
    """A phase or a tool that failed."""


class Sign(StrEnum):
    """What a mark stands for."""

    STEP = "step"
    """A transition of the call's state."""
    INTERRUPTION = "interruption"
    """The caller cut the agent short."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that took time."""

    start: float
    end: float
    paint: Paint
    text: str
    """What it says when there is room, or when it is pointed at."""
    open: bool = False
    """It goes on: the end is merely now."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened."""

    at: float
    sign: Sign
    text: str


@dataclass(frozen=True, slots=True)
class Track:
    """A line of bars and marks of one kind."""

    label: str
    bars: tuple[Bar, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """Tracks on one axis of time, from 0 to ``end``."""

    title: str
    end: float
    tracks: tuple[Track, ...]
    open: bool = False
    """The call goes on past the right edge."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something worth reading in words."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The whole drawing."""

    title: str
    explanation: str
    """What happened, in a sentence."""
    facts: tuple[tuple[str, str], ...]
    """Names and values."""
    panels: tuple[Panel, ...]
    moments: tuple[Moment, ...]
    """What stands out, in order."""
    notes: tuple[str, ...]
    """What the drawing leaves out."""
