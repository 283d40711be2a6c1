"""The Realtime API's server events, read from the sideband's bytes and translated into signals.

A carrier sends some fifty types of event, most of them many times a second, and a call needs a dozen. The type is found
without parsing; an event of a type that means nothing to a call is not parsed at all. What arrives is a stranger's
text: a message that cannot be used is told as :class:`Unusable` and ends nothing, and a number that cannot be right is
unknown.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from service.gateway.carriers.carrier import (
    CallerSpeech,
    KeyPressed,
    LivenessSignal,
    PlaybackStarted,
    PlaybackStopped,
    ResponseBegun,
    ResponseDone,
    SessionFault,
    Signal,
    ToolAnswered,
    ToolRequest,
    TurnDetection,
    Unusable,
    Words,
)
from telemetry.calls.events import TokenUsage
from telemetry.semconv.attributes import MessageProblem, Speaker

MAX_TOKENS: Final = 2**31 - 1
"""The most tokens one response can have used; a larger number is no count of tokens."""

MAX_SILENCE_MS: Final = 60_000
"""The longest silence, in milliseconds, after which a detection takes the caller's speech to be over."""

MAX_ID_CHARACTERS: Final = 128
"""Characters of an id that are kept; the carrier's have about thirty."""

TRANSCRIPTION_MODEL: Final = "gpt-transcribe"
"""The model asked to put into words what callers say; it is billed apart from the responses."""

ALIVE: Final = LivenessSignal()
_BEGUN: Final = ResponseBegun()

IGNORED: Final = frozenset(
    {
        "conversation.created",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.failed",
        "conversation.item.input_audio_transcription.segment",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "input_audio_buffer.cleared",
        "input_audio_buffer.committed",
        "input_audio_buffer.timeout_triggered",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "mcp_list_tools.in_progress",
        "rate_limits.updated",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.output_audio.done",
        "response.output_audio_transcript.delta",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.output_text.done",
    }
)
"""Types that say no more to a call than that its session is alive; they are not parsed."""

_TYPE = re.compile(rb'"type"\s*:\s*"([a-z0-9_.]+)"')
# Inside a string, quotes are escaped and cannot match. A nested object may come first; none has a type of such a name.

_ITEMS: Final = frozenset({"conversation.item.added", "conversation.item.created", "conversation.item.done"})
_OUTPUT: Final = b"function_call_output"
# Of the items that come and go with every turn, only a tool's output means something, and only that is parsed.

_CODE = re.compile(r"[a-z0-9_]{1,64}")
# Error codes are an open set that the carrier extends; anything that does not look like one is not passed on.

_FATAL_CODES: Final = frozenset({"session_expired"})

Event = Mapping[str, Any]
"""One JSON object, unchecked."""


class _ShapeError(Exception):
    """The event lacks what its type promises."""


class _NumberCheck:
    """One message being read; collects what is wrong with its numbers."""

    __slots__ = ("unknown_numbers",)

    def __init__(self) -> None:
        self.unknown_numbers = 0

    def number(self, value: object, largest: int) -> int | None:
        """Return a whole number from 0 to ``largest``; None for anything else, which is counted unless absent."""
        if value is None:
            return None
        if type(value) is int and 0 <= value <= largest:
            return value
        self.unknown_numbers += 1
        return None


def translate(message: bytes) -> tuple[Signal, ...]:
    """Return what a message of the sideband means; never raises, whatever the message is.

    Each number that cannot be right comes as an :class:`Unusable` of its own before the signal it was to be part of.
    """
    found = _TYPE.search(message)
    kind = "" if found is None else found[1].decode()
    if kind in IGNORED or (kind in _ITEMS and _OUTPUT not in message):
        return (ALIVE,)
    try:
        event = json.loads(message.decode())
    except (ValueError, RecursionError):
        # Not UTF-8, not JSON, nested without end, or a number of thousands of digits.
        return (Unusable(MessageProblem.NOT_JSON),)
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        return (Unusable(MessageProblem.NO_EVENT),)
    translator = TRANSLATORS.get(event["type"])
    if translator is None:
        return (ALIVE,)
    reading = _NumberCheck()
    try:
        signal = translator(event, reading)
    except _ShapeError:
        return (Unusable(MessageProblem.SHAPE, event["type"]),)
    return (*(Unusable(MessageProblem.NUMBER, event["type"]) for _ in range(reading.unknown_numbers)), signal)


def _session(event: Event, reading: _NumberCheck) -> Signal:
    """Translate the session's settings: how long the caller is silent before speech is taken to be over."""
    detection: Any = _object(event, "session")
    for key in ("audio", "input", "turn_detection"):
        detection = detection.get(key)
        if not isinstance(detection, dict):
            return TurnDetection()
    # With semantic detection the silence varies and is not told.
    milliseconds = reading.number(detection.get("silence_duration_ms"), MAX_SILENCE_MS)
    return TurnDetection(None if milliseconds is None else milliseconds / 1000)


def _fault(event: Event, _reading: _NumberCheck) -> Signal:
    error = _object(event, "error")
    code = _code(error.get("code") or error.get("type"))
    return SessionFault(code, fatal=code in _FATAL_CODES)


def _item(event: Event, _reading: _NumberCheck) -> Signal:
    item = event.get("item")
    if not isinstance(item, dict) or item.get("type") != "function_call_output" or not _id(item.get("call_id")):
        return ALIVE
    return ToolAnswered(_id(item["call_id"]))


def _done(event: Event, reading: _NumberCheck) -> Signal:
    response = _object(event, "response")
    details = response.get("status_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    error = details.get("error") if isinstance(details, dict) else None
    output = response.get("output")
    status = response.get("status")
    return ResponseDone(
        response_id=_id(response.get("id")),
        interrupted=status == "cancelled" and reason == "turn_detected",
        usage=_usage(response.get("usage"), reading),
        tools=tuple(_tool(item) for item in output if _is_tool_request(item)) if isinstance(output, list) else (),
        error_code=_code(error.get("code") if isinstance(error, dict) else None) if status == "failed" else None,
    )


def _is_tool_request(item: object) -> bool:
    # A response cut short may carry a half-written call; only a completed one is meant.
    return (
        isinstance(item, dict)
        and item.get("type") == "function_call"
        and item.get("status") == "completed"
        and bool(_id(item.get("call_id")))
    )


def _tool(item: Event) -> ToolRequest:
    return ToolRequest(_id(item["call_id"]), _text(item.get("name")), _text(item.get("arguments")))


def _usage(usage: object, reading: _NumberCheck) -> TokenUsage | None:
    """Return the tokens a response was billed; None where neither the input nor the output is known."""
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("input_token_details"), usage.get("output_token_details")
    read = read if isinstance(read, dict) else {}
    written = written if isinstance(written, dict) else {}
    tokens = TokenUsage(
        input=reading.number(usage.get("input_tokens"), MAX_TOKENS),
        output=reading.number(usage.get("output_tokens"), MAX_TOKENS),
        cached_input=reading.number(read.get("cached_tokens"), MAX_TOKENS),
        input_text=reading.number(read.get("text_tokens"), MAX_TOKENS),
        input_audio=reading.number(read.get("audio_tokens"), MAX_TOKENS),
        output_text=reading.number(written.get("text_tokens"), MAX_TOKENS),
        output_audio=reading.number(written.get("audio_tokens"), MAX_TOKENS),
    )
    return None if tokens.input is None and tokens.output is None else tokens


def _transcribed(event: Event, reading: _NumberCheck) -> Signal:
    # Billed by tokens or by seconds, as the model has it; seconds are no tokens.
    return Words(
        Speaker.CALLER,
        _text(event.get("transcript")),
        usage=_usage(event.get("usage"), reading),
        usage_id=_id(event.get("item_id")),
    )


def _object(event: Event, key: str) -> Event:
    value = event.get(key)
    if not isinstance(value, dict):
        raise _ShapeError
    return value


def _response_id(event: Event) -> str:
    found = _id(event.get("response_id"))
    if not found:
        raise _ShapeError
    return found


def _id(value: object) -> str:
    return _text(value)[:MAX_ID_CHARACTERS]


def _text(value: object) -> str:
    """Return a text that can be stored: no halves of surrogate pairs, no NUL, which PostgreSQL lacks."""
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", "replace").decode().replace("\0", "")


def _code(code: object) -> str:
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "_OTHER"


TRANSLATORS: Final[Mapping[str, Callable[[Event, _NumberCheck], Signal]]] = {
    "session.created": _session,
    "session.updated": _session,
    "input_audio_buffer.speech_started": lambda _event, _: CallerSpeech(speaking=True),
    "input_audio_buffer.speech_stopped": lambda _event, _: CallerSpeech(speaking=False),
    "output_audio_buffer.started": lambda event, _: PlaybackStarted(_response_id(event)),
    "output_audio_buffer.stopped": lambda event, _: PlaybackStopped(_response_id(event)),
    "output_audio_buffer.cleared": lambda event, _: PlaybackStopped(_response_id(event), interrupted=True),
    "response.output_audio.delta": lambda event, _: PlaybackStarted(_response_id(event), exact=False),
    "response.output_audio_transcript.done": lambda event, _: Words(Speaker.AGENT, _text(event.get("transcript"))),
    "conversation.item.input_audio_transcription.completed": _transcribed,
    "input_audio_buffer.dtmf_event_received": lambda event, _: KeyPressed(_text(event.get("event"))),
    **dict.fromkeys(_ITEMS, _item),
    "response.created": lambda _event, _: _BEGUN,
    "response.done": _done,
    "error": _fault,
}
"""The types that matter to a call, and what each means."""
