"""What the Realtime API's events mean, parsed as the official SDK parses them."""

import json
from typing import Any

import pytest
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from service.gateway.carriers.carrier import (
    CallerSpeech,
    KeyPressed,
    PlaybackStarted,
    SessionFault,
    Signal,
    SignOfLife,
    Words,
)
from service.gateway.carriers.realtime_events import translate
from telemetry.calls.events import Speaker

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


@pytest.mark.parametrize(
    ("event", "signal"),
    [
        ({"type": "input_audio_buffer.speech_started"}, CallerSpeech(speaking=True)),
        ({"type": "output_audio_buffer.started", "response_id": "resp_1"}, PlaybackStarted("resp_1")),
        ({"type": "response.output_audio_transcript.done", "transcript": "Hello"}, Words(Speaker.AGENT, "Hello")),
        ({"type": TRANSCRIBED, "item_id": "item_1", "transcript": "Hi"}, Words(Speaker.CALLER, "Hi")),
        ({"type": TRANSCRIBED, "item_id": "item_1", "transcript": None}, Words(Speaker.CALLER, "")),
        ({"type": "input_audio_buffer.dtmf_event_received", "event": "#", "received_at": 1}, KeyPressed("#")),
        ({"type": "error", "error": {"code": "session_expired"}}, SessionFault("session_expired", fatal=True)),
        ({"type": "error", "error": {"code": "No good: +14155550123"}}, SessionFault("_OTHER")),
        ({"type": "response.output_audio_transcript.delta", "delta": "He"}, SignOfLife()),
        ({"type": "of.tomorrow", "transcript": "Hello"}, SignOfLife()),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_an_event_is_a_signal(event: dict[str, Any], signal: Signal) -> None:
    """Each event that matters is told as what it means; all others are signs of life."""
    assert translate(_parsed(event)) == signal


@pytest.mark.parametrize("signal", [Words(Speaker.CALLER, "hush"), KeyPressed("hush")], ids=repr)
def test_what_was_said_is_not_displayed(signal: Signal) -> None:
    """Whoever prints a signal, in a log line or an error, does not print what the caller said."""
    assert "hush" not in repr(signal)


def _parsed(event: dict[str, Any]) -> object:
    """The event as the SDK reads it off a socket."""
    raw = json.dumps({"event_id": "event_1", **event})
    connection: AsyncRealtimeConnection = AsyncRealtimeConnection.__new__(AsyncRealtimeConnection)
    return connection.parse_event(raw)
