"""The script of one simulated call, as data: steps in order, then an ending. Times are natural seconds."""

import json
from dataclasses import dataclass, field
from typing import Literal

TRANSFER_TOOL = "transfer_call"
"""The function the model calls to hand the caller over, with ``{"target": "<name>"}``."""

END_TOOL = "end_call"
"""The function the model calls to end the call."""


@dataclass(frozen=True, slots=True)
class ScriptedUsage:
    """Tokens of one response by direction and modality; the cached ones are part of the input."""

    input_text: int = 120
    input_audio: int = 40
    cached_text: int = 64
    cached_audio: int = 0
    output_text: int = 30
    output_audio: int = 90

    @property
    def input(self) -> int:
        """All input tokens, cached ones included."""
        return self.input_text + self.input_audio

    @property
    def cached(self) -> int:
        """Input tokens served from the cache."""
        return self.cached_text + self.cached_audio

    @property
    def output(self) -> int:
        """All output tokens."""
        return self.output_text + self.output_audio

    def by_kind(self) -> dict[str, int]:
        """Return the tokens by kind; ``input`` and ``output`` are the totals of theirs."""
        return {
            "input": self.input,
            "input_text": self.input_text,
            "input_audio": self.input_audio,
            "cached": self.cached,
            "output": self.output,
            "output_text": self.output_text,
            "output_audio": self.output_audio,
        }


USAGE = ScriptedUsage()
"""A plausible response's usage, for scripts that do not care."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing happens on the line."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CallerSpeaks:
    """The caller says something; whatever the agent is still saying is cut off."""

    transcript: str
    seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class AgentSpeaks:
    """One spoken response. Generating it is faster than saying it."""

    text: str
    think_seconds: float = 0.4
    """From the response's creation to its first audio."""
    generate_seconds: float = 0.6
    """From the first audio to ``response.done``."""
    speak_seconds: float = 2.0
    """From the first audio to the end of the playback."""
    cut_after: float | None = None
    """The script goes on so many seconds into the playback, with the agent still talking."""
    usage: ScriptedUsage = USAGE


@dataclass(frozen=True, slots=True)
class AgentGreets:
    """The agent speaks first, if and when the gateway asks for it with ``response.create``."""

    speech: AgentSpeaks


@dataclass(frozen=True, slots=True)
class AgentUsesTool:
    """A response that calls a function; the model waits for its output and a ``response.create``."""

    name: str
    arguments: str = "{}"
    think_seconds: float = 0.3
    usage: ScriptedUsage = ScriptedUsage(output_text=25, output_audio=0)


@dataclass(frozen=True, slots=True)
class CallerPressesKey:
    """One key of the telephone."""

    digit: str


@dataclass(frozen=True, slots=True)
class CallerStaysSilent:
    """Silence long enough for the carrier to report it (``input_audio_buffer.timeout_triggered``)."""

    seconds: float = 6.0


@dataclass(frozen=True, slots=True)
class SessionWarns:
    """An ``error`` event after which the session goes on."""

    code: str = "invalid_value"
    message: str = "Invalid value in the client event."


@dataclass(frozen=True, slots=True)
class SendsUnusable:
    """The carrier sends a message that no gateway can use; the session goes on."""

    message: str | bytes
    """Bytes go out as a text frame if ``as_text``, whether or not they are UTF-8; else as a binary one."""
    as_text: bool = False


@dataclass(frozen=True, slots=True)
class ResponseFails:
    """A response that ends as ``failed``; the session goes on."""

    code: str = "server_error"
    message: str = "The server had an error while processing your request."
    think_seconds: float = 0.5


Step = (
    Pause
    | CallerSpeaks
    | AgentSpeaks
    | AgentGreets
    | AgentUsesTool
    | CallerPressesKey
    | CallerStaysSilent
    | SessionWarns
    | SendsUnusable
    | ResponseFails
)
"""One thing that happens in a call."""


@dataclass(frozen=True, slots=True)
class CallerHangsUp:
    """The connection breaks without a close frame, which is all a gateway learns of a caller who leaves."""


@dataclass(frozen=True, slots=True)
class AgentHangsUp:
    """The model calls :data:`END_TOOL`; the gateway is expected to ask the carrier for a hang-up."""

    usage: ScriptedUsage = ScriptedUsage(output_text=12, output_audio=0)


@dataclass(frozen=True, slots=True)
class AgentTransfers:
    """The model calls :data:`TRANSFER_TOOL`; the gateway is expected to ask the carrier for a refer."""

    target: str = "sales"
    usage: ScriptedUsage = ScriptedUsage(output_text=18, output_audio=0)

    def as_tool_use(self) -> AgentUsesTool:
        """Return the function call that asks for it."""
        return AgentUsesTool(TRANSFER_TOOL, json.dumps({"target": self.target}), usage=self.usage)


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """An ``error`` event of code ``session_expired``, then a close in good order."""


@dataclass(frozen=True, slots=True)
class SidebandCloses:
    """The carrier closes the sideband with a code of its own; 1011 is a crash at its end."""

    code: int = 1011


@dataclass(frozen=True, slots=True)
class LineGoesDead:
    """No further event, no answer to what the gateway says; the connection stays open until the gateway acts."""


@dataclass(frozen=True, slots=True)
class RunsIntoLimit:
    """The call goes on until the gateway hangs up, by a limit of its own; a caller whom none ends hangs up at last."""

    limit: Literal["max_duration", "silence"]
    """A call that lasts too long is one in which caller and agent talk on; in a silent one nobody says a word."""
    seconds: float = 3600.0
    """So long the caller stays."""


Ending = CallerHangsUp | AgentHangsUp | AgentTransfers | SessionExpires | SidebandCloses | LineGoesDead | RunsIntoLimit
"""The way a call is over."""


@dataclass(frozen=True, slots=True)
class CallScript:
    """One call from the sideband's opening to its end."""

    kind: str
    """A short name of what the script is about, for reports."""
    steps: tuple[Step, ...] = ()
    ending: Ending = field(default_factory=CallerHangsUp)
