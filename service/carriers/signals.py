"""What the carrier says inside a session, in terms any voice carrier could use."""

from dataclasses import dataclass, field

from telemetry.events import Speaker, TokenUsage


@dataclass(frozen=True, slots=True)
class CallerSpeech:
    """The caller begins or stops speaking."""

    speaking: bool


@dataclass(frozen=True, slots=True)
class PlaybackStarted:
    """The caller begins to hear a response."""

    response_id: str
    exact: bool = True
    """Whether the carrier reports playback itself; otherwise this is the first audio it sent, and the end of the
    response is all that will be known of the playback's end."""


@dataclass(frozen=True, slots=True)
class PlaybackStopped:
    """A response has played to its end, or the caller cut it short."""

    response_id: str
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """The model wants a tool to run."""

    tool_call_id: str
    name: str
    arguments: str
    """JSON as the model wrote it, which may not be JSON at all."""


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """A response is complete, cut short or failed; it is billed in any case."""

    response_id: str
    interrupted: bool = False
    usage: TokenUsage | None = None
    tools: tuple[ToolRequest, ...] = ()
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """What somebody said, as text; of the caller only where the session transcribes."""

    speaker: Speaker
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller presses a key of the telephone."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionFault:
    """The carrier reports an error; only ``fatal`` ones end the session."""

    code: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """Anything else: the session lives."""


Signal = (
    CallerSpeech | PlaybackStarted | PlaybackStopped | ResponseDone | Words | KeyPressed | SessionFault | SignOfLife
)
