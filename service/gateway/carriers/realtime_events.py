"""The Realtime API's server events, translated into signals.

Events are told apart by ``type`` alone: the SDK parses types it does not know as whatever class its union names first.
Unknown types are signs of life and nothing else.
"""

import re
from collections.abc import Callable
from typing import Any

from service.gateway.carriers.carrier import (
    CallerSpeech,
    KeyPressed,
    PlaybackStarted,
    PlaybackStopped,
    ResponseDone,
    SessionFault,
    Signal,
    SignOfLife,
    ToolRequest,
    Words,
)
from telemetry.calls.events import Speaker, TokenUsage

_FATAL_CODES = frozenset({"session_expired"})

_CODE = re.compile(r"[a-z0-9_]{1,64}")
# Error codes are an open set that the carrier extends; anything that does not look like one is not passed on.

LIFE = SignOfLife()


def translate(event: Any) -> Signal:  # noqa: ANN401 -- an SDK event, of whatever class it was parsed as
    """What an event means."""
    translator = _TRANSLATORS.get(event.type)
    return LIFE if translator is None else translator(event)


def _fault(event: Any) -> Signal:  # noqa: ANN401
    code = _code(getattr(event.error, "code", None) or getattr(event.error, "type", None))
    return SessionFault(code, fatal=code in _FATAL_CODES)


def _done(event: Any) -> Signal:  # noqa: ANN401
    response = event.response
    details = response.status_details
    reason = getattr(details, "reason", None)
    error = getattr(details, "error", None)
    return ResponseDone(
        response_id=response.id or "",
        interrupted=response.status == "cancelled" and reason == "turn_detected",
        usage=_usage(response.usage),
        tools=tuple(_tool(item) for item in response.output or () if _is_tool_request(item)),
        error_code=_code(getattr(error, "code", None)) if response.status == "failed" else None,
    )


def _is_tool_request(item: Any) -> bool:  # noqa: ANN401
    # A response cut short may carry a half-written call; only a completed one is meant.
    return item.type == "function_call" and item.status == "completed" and bool(item.call_id)


def _tool(item: Any) -> ToolRequest:  # noqa: ANN401
    return ToolRequest(item.call_id, item.name or "", item.arguments or "")


def _usage(usage: Any) -> TokenUsage | None:  # noqa: ANN401
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    read, written = usage.input_token_details, usage.output_token_details
    return TokenUsage(
        input=usage.input_tokens,
        output=usage.output_tokens,
        cached_input=getattr(read, "cached_tokens", None),
        input_text=getattr(read, "text_tokens", None),
        input_audio=getattr(read, "audio_tokens", None),
        output_text=getattr(written, "text_tokens", None),
        output_audio=getattr(written, "audio_tokens", None),
    )


def _text(said: object) -> str:
    return said if isinstance(said, str) else ""


def _code(code: object) -> str:
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "_OTHER"


_TRANSLATORS: dict[str, Callable[[Any], Signal]] = {
    "input_audio_buffer.speech_started": lambda _: CallerSpeech(speaking=True),
    "input_audio_buffer.speech_stopped": lambda _: CallerSpeech(speaking=False),
    "output_audio_buffer.started": lambda event: PlaybackStarted(event.response_id),
    "output_audio_buffer.stopped": lambda event: PlaybackStopped(event.response_id),
    "output_audio_buffer.cleared": lambda event: PlaybackStopped(event.response_id, interrupted=True),
    "response.output_audio.delta": lambda event: PlaybackStarted(event.response_id, exact=False),
    "response.output_audio_transcript.done": lambda event: Words(Speaker.AGENT, _text(event.transcript)),
    "conversation.item.input_audio_transcription.completed": lambda event: Words(
        Speaker.CALLER, _text(event.transcript)
    ),
    "input_audio_buffer.dtmf_event_received": lambda event: KeyPressed(_text(event.event)),
    "response.done": _done,
    "error": _fault,
}
