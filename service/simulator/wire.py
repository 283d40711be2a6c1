"""The sideband's server events, shaped as the carrier's published API describes them.

``event_id`` is left to whoever sends them; the DTMF event has none.
"""

from collections.abc import Mapping
from typing import Any

from service.simulator.script import ScriptedUsage

Event = dict[str, Any]
"""One JSON object on the sideband."""

_PCM = {"type": "audio/pcm", "rate": 24000}
_TURN_DETECTION = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}


def session(session_id: str, accepted: Mapping[str, Any], expires_at: int, silence_ms: int) -> Event:
    """Return the session as accepted, with the carrier's defaults where the gateway said nothing."""
    detection = _TURN_DETECTION | {"silence_duration_ms": silence_ms}
    audio = accepted.get("audio") or {}
    heard = {"format": _PCM, "transcription": None, "noise_reduction": None, "turn_detection": detection}
    spoken = {"format": _PCM, "voice": "marin", "speed": 1}
    defaults = {"output_modalities": ["audio"], "instructions": "", "tools": [], "tool_choice": "auto"}
    fixed = {"type": "realtime", "object": "realtime.session", "id": session_id, "expires_at": expires_at}
    settled = {"audio": {"input": heard | (audio.get("input") or {}), "output": spoken | (audio.get("output") or {})}}
    return defaults | {"max_output_tokens": "inf", "tracing": None, "prompt": None} | dict(accepted) | fixed | settled


def speech_started(item_id: str, at_ms: int) -> Event:
    """Return the event that the carrier hears the caller."""
    return {"type": "input_audio_buffer.speech_started", "audio_start_ms": at_ms, "item_id": item_id}


def speech_stopped(item_id: str, at_ms: int) -> Event:
    """Return the event that the carrier no longer hears the caller."""
    return {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at_ms, "item_id": item_id}


def committed(item_id: str, previous: str | None) -> Event:
    """Return the event that the caller's speech became an item of the conversation."""
    return {"type": "input_audio_buffer.committed", "previous_item_id": previous, "item_id": item_id}


def silence(item_id: str, start_ms: int, end_ms: int) -> Event:
    """Return the event that nobody spoke for the whole idle timeout."""
    kind = "input_audio_buffer.timeout_triggered"
    return {"type": kind, "audio_start_ms": start_ms, "audio_end_ms": end_ms, "item_id": item_id}


def dtmf(digit: str, received_at: int) -> Event:
    """Return the event of a pressed key, the only one with a wall-clock time and without an id."""
    return {"type": "input_audio_buffer.dtmf_event_received", "event": digit, "received_at": received_at}


def caller_item(item_id: str) -> Event:
    """Return the caller's speech as an item."""
    content = [{"type": "input_audio", "transcript": None}]
    head = {"id": item_id, "object": "realtime.item", "type": "message"}
    return head | {"status": "completed", "role": "user", "content": content}


def item_added(item: Mapping[str, Any], previous: str | None) -> Event:
    """Return the event that the conversation has a new item."""
    return {"type": "conversation.item.added", "previous_item_id": previous, "item": item}


def item_done(item: Mapping[str, Any], previous: str | None) -> Event:
    """Return the event that the conversation's new item is complete."""
    return {"type": "conversation.item.done", "previous_item_id": previous, "item": item}


def transcription(item_id: str, transcript: str, audio_tokens: int, text_tokens: int) -> Event:
    """Return the event of the caller's words as text, billed apart from the responses."""
    usage = {
        "type": "tokens",
        "total_tokens": audio_tokens + text_tokens,
        "input_tokens": audio_tokens,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio_tokens},
        "output_tokens": text_tokens,
    }
    kind = "conversation.item.input_audio_transcription.completed"
    return {"type": kind, "item_id": item_id, "content_index": 0, "transcript": transcript, "usage": usage}


def truncated(item_id: str, audio_end_ms: int) -> Event:
    """Return the event that the unplayed rest of an item is forgotten."""
    kind = "conversation.item.truncated"
    return {"type": kind, "item_id": item_id, "content_index": 0, "audio_end_ms": audio_end_ms}


def response(response_id: str, status: str, **fields: Any) -> Event:  # noqa: ANN401 - JSON values of any type
    """Return a response object; ``fields`` replace its defaults."""
    return {
        "object": "realtime.response",
        "id": response_id,
        "status": status,
        "status_details": None,
        "output": [],
        "conversation_id": f"conv_{response_id.removeprefix('resp_')}",
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "audio": {"output": {"format": _PCM, "voice": "marin"}},
        "usage": None,
        "metadata": None,
    } | fields


def response_created(response_id: str) -> Event:
    """Return the event that the model began to answer."""
    return {"type": "response.created", "response": response(response_id, "in_progress")}


def response_done(final: Event) -> Event:
    """Return the event that the model is done with a response, whatever became of it."""
    return {"type": "response.done", "response": final}


def usage(tokens: ScriptedUsage) -> Event:
    """Return the usage of a response."""
    cached = {"text_tokens": tokens.cached_text, "audio_tokens": tokens.cached_audio, "image_tokens": 0}
    return {
        "total_tokens": tokens.input + tokens.output,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "input_token_details": {
            "text_tokens": tokens.input_text,
            "audio_tokens": tokens.input_audio,
            "image_tokens": 0,
            "cached_tokens": tokens.cached,
            "cached_tokens_details": cached,
        },
        "output_token_details": {"text_tokens": tokens.output_text, "audio_tokens": tokens.output_audio},
    }


def output_item(kind: str, response_id: str, item: Mapping[str, Any]) -> Event:
    """Return ``response.output_item.added`` or ``.done``, by ``kind``."""
    return {"type": f"response.output_item.{kind}", "response_id": response_id, "output_index": 0, "item": item}


def content(kind: str, response_id: str, item_id: str, **fields: Any) -> Event:  # noqa: ANN401 - JSON values
    """Return an event about the first content of a response's first item; ``kind`` is its type after ``response.``."""
    place = {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}
    return {"type": f"response.{kind}", **place, **fields}


def agent_item(item_id: str, status: str, text: str | None = None) -> Event:
    """Return the agent's message; without text it has no content yet."""
    said = [] if text is None else [{"type": "output_audio", "transcript": text}]
    head = {"id": item_id, "object": "realtime.item", "type": "message"}
    return head | {"status": status, "role": "assistant", "content": said}


def function_item(item_id: str, status: str, name: str, tool_call_id: str, arguments: str) -> Event:
    """Return the model's call of a function."""
    head = {"id": item_id, "object": "realtime.item", "type": "function_call", "status": status}
    return head | {"name": name, "call_id": tool_call_id, "arguments": arguments}


def arguments_done(response_id: str, item: Mapping[str, Any]) -> Event:
    """Return the event that the arguments of a function call are complete."""
    place = {"response_id": response_id, "item_id": item["id"], "output_index": 0}
    called = {"call_id": item["call_id"], "name": item["name"], "arguments": item["arguments"]}
    return {"type": "response.function_call_arguments.done", **place, **called}


def playback(kind: str, response_id: str) -> Event:
    """Return ``output_audio_buffer.started``, ``.stopped`` or ``.cleared``, by ``kind``."""
    return {"type": f"output_audio_buffer.{kind}", "response_id": response_id}


def rate_limits(remaining_tokens: int) -> Event:
    """Return the event that tells the rest of the account's allowance."""
    requests = {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 60}
    tokens = {"name": "tokens", "limit": 50000, "remaining": remaining_tokens, "reset_seconds": 60}
    return {"type": "rate_limits.updated", "rate_limits": [requests, tokens]}


def error(code: str, message: str, *, cause: str | None = None, kind: str = "invalid_request_error") -> Event:
    """Return an ``error`` event; ``cause`` is the id of the client's event that brought it about."""
    what = {"type": kind, "code": code, "message": message, "param": None, "event_id": cause}
    return {"type": "error", "error": what}
