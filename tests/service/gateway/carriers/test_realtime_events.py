"""What the Realtime API's events mean, and that no message, whatever it is, means more than it says."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent

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
from service.gateway.carriers.realtime_events import IGNORED, MAX_TOKENS, TRANSLATORS, translate
from telemetry.calls.events import TokenUsage
from telemetry.semconv.attributes import MessageProblem, Speaker

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
DETECTION = {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}}}
SEMANTIC = {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "auto"}}}}

OUTPUT = {"id": "item_1", "type": "function_call_output", "call_id": "call_1", "output": "{}"}


def told(event: dict[str, Any]) -> tuple[Signal, ...]:
    return translate(json.dumps({"event_id": "event_1", **event}).encode())


@pytest.mark.parametrize(
    ("event", "signal"),
    [
        ({"type": "input_audio_buffer.speech_started"}, CallerSpeech(speaking=True)),
        ({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 1}, CallerSpeech(speaking=False)),
        ({"type": "output_audio_buffer.started", "response_id": "resp_1"}, PlaybackStarted("resp_1")),
        ({"type": "output_audio_buffer.stopped", "response_id": "resp_1"}, PlaybackStopped("resp_1")),
        ({"type": "output_audio_buffer.cleared", "response_id": "r"}, PlaybackStopped("r", interrupted=True)),
        ({"type": "response.output_audio.delta", "response_id": "r"}, PlaybackStarted("r", exact=False)),
        ({"type": "response.output_audio_transcript.done", "transcript": "Hello"}, Words(Speaker.AGENT, "Hello")),
        ({"type": TRANSCRIBED, "item_id": "i", "transcript": "Hi"}, Words(Speaker.CALLER, "Hi", usage_id="i")),
        ({"type": TRANSCRIBED, "item_id": "i", "transcript": None}, Words(Speaker.CALLER, "", usage_id="i")),
        ({"type": "input_audio_buffer.dtmf_event_received", "event": "#", "received_at": 1}, KeyPressed("#")),
        ({"type": "error", "error": {"code": "session_expired"}}, SessionFault("session_expired", fatal=True)),
        ({"type": "error", "error": {"code": "No good: +14155550123"}}, SessionFault("_OTHER")),
        ({"type": "error", "error": {"type": "server_error", "code": None}}, SessionFault("server_error")),
        ({"type": "response.output_audio_transcript.delta", "delta": "He"}, LivenessSignal()),
        ({"type": "response.created", "response": {"id": "r"}}, ResponseBegun()),
        ({"item": OUTPUT, "type": "conversation.item.added"}, ToolAnswered("call_1")),
        ({"type": "conversation.item.done", "item": OUTPUT}, ToolAnswered("call_1")),
        ({"type": "conversation.item.added", "item": {"type": "message", "call_id": "c"}}, LivenessSignal()),
        ({"type": "conversation.item.added", "item": OUTPUT | {"call_id": {}}}, LivenessSignal()),
        ({"type": "conversation.item.added", "item": []}, LivenessSignal()),
        ({"type": "of.tomorrow", "transcript": "Hello"}, LivenessSignal()),
        ({"type": "session.created", "session": DETECTION}, TurnDetection(0.5)),
        ({"type": "session.updated", "session": SEMANTIC}, TurnDetection(None)),
        ({"type": "session.updated", "session": {"audio": None}}, TurnDetection(None)),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_an_event_is_a_signal(event: dict[str, Any], signal: Signal) -> None:
    """Each event that matters is told as what it means; all others show that the session is alive."""
    assert told(event) == (signal,)


@pytest.mark.parametrize("signal", [Words(Speaker.CALLER, "hush"), KeyPressed("hush")], ids=repr)
def test_what_was_said_is_not_displayed(signal: Signal) -> None:
    """Whoever prints a signal, in a log line or an error, does not print what the caller said."""
    assert "hush" not in repr(signal)


def test_the_types_are_those_of_the_official_sdk() -> None:
    """Each type of the SDK's union is either translated or known to be ignored; none is dropped unnoticed."""
    union = get_args(get_args(RealtimeServerEvent)[0])
    known = {kind for member in union for kind in get_args(member.model_fields["type"].annotation)}
    assert known >= set(TRANSLATORS)
    assert known - set(TRANSLATORS) == IGNORED & known
    assert not IGNORED & set(TRANSLATORS)


DONE: dict[str, Any] = {"id": "resp_1", "status": "completed", "output": []}


def done(**fields: Any) -> ResponseDone:  # noqa: ANN401 - JSON values
    signal = told({"type": "response.done", "response": DONE | fields})[-1]
    assert isinstance(signal, ResponseDone)
    return signal


@pytest.mark.parametrize(
    ("status", "reason", "interrupted"),
    [
        ("cancelled", "turn_detected", True),
        ("cancelled", "client_cancelled", False),
        ("completed", "turn_detected", False),
        ("incomplete", "max_output_tokens", False),
    ],
)
def test_only_the_caller_interrupts(status: str, reason: str, interrupted: bool) -> None:
    """A response that the gateway itself cancelled was not cut short by the caller."""
    assert done(status=status, status_details={"type": status, "reason": reason}).interrupted is interrupted


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ({}, None),
        ({"input_tokens": None, "output_tokens": None}, None),
        ({"input_tokens": 7}, TokenUsage(input=7)),
        ({"output_tokens": 7}, TokenUsage(output=7)),
        ({"input_tokens": 0, "output_tokens": 0}, TokenUsage(input=0, output=0)),
        (
            {
                "input_tokens": 132,
                "output_tokens": 121,
                "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64},
                "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
            },
            TokenUsage(132, 121, 64, 119, 13, 30, 91),
        ),
    ],
)
def test_usage_is_known_if_either_way_is(usage: object, tokens: TokenUsage | None) -> None:
    """A response is billed where its input or its output is known; what is not known is None, not 0."""
    assert done(usage=usage).usage == tokens


@pytest.mark.parametrize("number", ["1.5", "-5", "1e309", "NaN", "-Infinity", str(2**70), '"7"', "true", "[]"])
def test_a_number_that_cannot_be_right_is_unknown(number: str) -> None:
    """It is counted, and what else the message says is still taken."""
    usage = f'{{"input_tokens": {number}, "output_tokens": 5, "output_token_details": {{"audio_tokens": {number}}}}}'
    signals = translate(f'{{"type": "response.done", "response": {{"id": "r", "usage": {usage}}}}}'.encode())
    unknown = Unusable(MessageProblem.NUMBER, "response.done")
    assert signals == (unknown, unknown, ResponseDone("r", usage=TokenUsage(output=5)))


def test_the_largest_number_is_still_one() -> None:
    """The bound itself is taken; the next number is not."""
    assert done(usage={"input_tokens": MAX_TOKENS}).usage == TokenUsage(input=MAX_TOKENS)
    assert done(usage={"input_tokens": MAX_TOKENS + 1}).usage is None


def test_a_transcription_is_billed_by_tokens_or_by_seconds() -> None:
    """Seconds are no tokens."""
    tokens = {"type": "tokens", "input_tokens": 13, "output_tokens": 9, "input_token_details": {"audio_tokens": 13}}
    words = [
        told({"type": TRANSCRIBED, "item_id": "i", "transcript": "x", "usage": usage})
        for usage in (tokens, {"type": "duration", "seconds": 2.5})
    ]
    assert words == [
        (Words(Speaker.CALLER, "x", TokenUsage(13, 9, input_audio=13), "i"),),
        (Words(Speaker.CALLER, "x", None, "i"),),
    ]


def test_only_a_completed_function_call_runs() -> None:
    """A response cut short carries half-written calls; what is no call is passed over."""
    call = {"type": "function_call", "status": "completed", "call_id": "c", "name": "end_call", "arguments": "{}"}
    output = [call, call | {"status": "incomplete"}, call | {"call_id": None}, {"type": "message"}, 7, None]
    assert done(output=output).tools == (ToolRequest("c", "end_call", "{}"),)
    assert done(output={"0": call}).tools == ()


UNUSABLE: dict[bytes, MessageProblem] = {
    b"": MessageProblem.NOT_JSON,
    b"hello": MessageProblem.NOT_JSON,
    b"\x00\x01\xfe\xff": MessageProblem.NOT_JSON,
    b'{"type": "error\xff"}': MessageProblem.NOT_JSON,
    b'{"type": "error", "n": ' + b"9" * 5_000 + b"}": MessageProblem.NOT_JSON,
    b"[" * 100_000: MessageProblem.NOT_JSON,
    b"[]": MessageProblem.NO_EVENT,
    b"null": MessageProblem.NO_EVENT,
    b"7": MessageProblem.NO_EVENT,
    b'"type"': MessageProblem.NO_EVENT,
    b"{}": MessageProblem.NO_EVENT,
    b'{"type": null}': MessageProblem.NO_EVENT,
    b'{"type": ["error"]}': MessageProblem.NO_EVENT,
    b'{"type": "response.done"}': MessageProblem.SHAPE,
    b'{"type": "response.done", "response": null}': MessageProblem.SHAPE,
    b'{"type": "response.done", "response": [1]}': MessageProblem.SHAPE,
    b'{"type": "error"}': MessageProblem.SHAPE,
    b'{"type": "error", "error": "boom"}': MessageProblem.SHAPE,
    b'{"type": "session.created"}': MessageProblem.SHAPE,
    b'{"type": "output_audio_buffer.started"}': MessageProblem.SHAPE,
    b'{"type": "output_audio_buffer.cleared", "response_id": 7}': MessageProblem.SHAPE,
    b'{"type": "response.output_audio.delta", "response_id": ""}': MessageProblem.SHAPE,
}


@pytest.mark.parametrize(("message", "problem"), UNUSABLE.items(), ids=lambda value: repr(value)[:60])
def test_a_message_that_cannot_be_used_says_why(message: bytes, problem: MessageProblem) -> None:
    """None raises, whatever it is."""
    (signal,) = translate(message)
    assert isinstance(signal, Unusable)
    assert signal.problem is problem


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_keys = ("response", "session", "error", "response_id", "usage", "output", "status_details", "transcript", "event")


@given(st.sampled_from(sorted(TRANSLATORS)), st.dictionaries(st.sampled_from(_keys), _json))
def test_no_shape_of_an_event_raises(kind: str, fields: dict[str, Any]) -> None:
    """Whatever stands where, each message is told as signals, and each text in them can be stored."""
    for signal in translate(json.dumps({"type": kind, **fields}).encode()):
        if isinstance(signal, Words):
            signal.text.encode()


@given(st.binary())
def test_no_bytes_raise(message: bytes) -> None:
    """Whatever comes off the socket is told as signals."""
    assert translate(message)


def test_texts_can_be_stored() -> None:
    r"""Halves of surrogate pairs and NUL, which JSON can spell out, reach no database."""
    (signal,) = translate(rb'{"type": "response.output_audio_transcript.done", "transcript": "a\ud800\u0000b"}')
    assert signal == Words(Speaker.AGENT, "a?b")


def test_a_type_within_a_text_is_no_type() -> None:
    """A transcript may spell out an event; only the event's own type counts."""
    said = 'I said "type": "response.created" and "type":"rate_limits.updated"'
    assert told({"transcript": said, "type": "response.output_audio_transcript.done"}) == (Words(Speaker.AGENT, said),)
