# ruff: noqa: ARG002 -- the signatures are the protocol's
"""One session against a carrier whose every answer the test decides."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import pytest

from service.gateway import session as session_module
from service.gateway.carriers.carrier import (
    NOT_OWNED,
    CallerSpeech,
    CarrierError,
    CarrierSession,
    OwnedCalls,
    PlaybackStarted,
    PlaybackStopped,
    ResponseBegun,
    ResponseDone,
    SessionClosedError,
    Signal,
    Tool,
    ToolAnswered,
    ToolRequest,
    Tries,
    TurnDetection,
    untimed,
)
from service.gateway.playback import SessionLimits
from service.gateway.session import CallSession, SessionEnd
from service.gateway.tools import tools_for
from telemetry.calls.call import Call
from telemetry.calls.events import SpeechEnded, TokenUsage
from telemetry.semconv.attributes import CallId, EndReason, Fault
from telemetry.testing import TelemetryKit

ORDERLY = SessionClosedError(orderly=True)
DROPPED = SessionClosedError(orderly=False, broken=True)
CRASHED = SessionClosedError(orderly=False, error_type="ws_1011", broken=True)
TARGETS = {"sales": "tel:+14155550110"}


class ScriptedSession:
    """Plays signals and ends as told."""

    def __init__(self, *signals: Signal | asyncio.Event, closed: SessionClosedError) -> None:
        self._signals, self._closed = signals, closed
        self.probes = self.asked = 0
        self.answers: list[str] = []
        self.sends = True
        self.left, self.answered = asyncio.Event(), asyncio.Event()

    async def signals(self) -> AsyncIterator[Signal]:
        for signal in self._signals:
            if isinstance(signal, asyncio.Event):
                await signal.wait()
            else:
                yield signal
        raise self._closed

    async def respond(self) -> None:
        self.asked += 1

    async def answer_tool(self, tool_call_id: str, output: str) -> None:
        if self.sends:
            self.answers.append(tool_call_id)
            self.answered.set()

    async def probe(self) -> None:
        self.probes += 1

    async def close(self) -> None:
        self.left.set()


class ScriptedCarrier:
    """Answers attaching and control requests as told, and notes them."""

    def __init__(self, *attaching: ScriptedSession | CarrierError, refuses: CarrierError | None = None) -> None:
        self._attaching = list(attaching)
        self._refuses = refuses
        self.asked: list[str] = []

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None: ...

    async def accept(
        self, call_id: CallId, instructions: str, tools: Sequence[Tool], *, transcribe: bool = False
    ) -> None: ...

    async def reject(self, call_id: CallId, sip_status: int) -> None: ...

    async def refer(self, call_id: CallId, target_uri: str) -> None:
        self._control("refer")

    async def hangup(self, call_id: CallId) -> None:
        self._control("hangup")

    @asynccontextmanager
    async def session(
        self, call_id: CallId, *, fresh: bool = True, tries: Tries = untimed
    ) -> AsyncIterator[CarrierSession]:
        self.asked.append("attach")
        answer = self._attaching.pop(0) if len(self._attaching) > 1 else self._attaching[0]
        if isinstance(answer, CarrierError):
            raise answer
        yield answer

    async def close(self) -> None: ...

    def _control(self, operation: str) -> None:
        self.asked.append(operation)
        if self._refuses is not None:
            raise self._refuses


NOT_FOUND = CarrierError("404", HTTPStatus.NOT_FOUND)
AWAY = CarrierError("503", HTTPStatus.SERVICE_UNAVAILABLE)


@pytest.fixture
def call(kit: TelemetryKit) -> Call:
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.started()
    return call


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "REATTACH_DELAYS", (0.0, 0.0, 0.0))


def following(
    kit: TelemetryKit,
    call: Call,
    carrier: ScriptedCarrier,
    first: ScriptedSession,
    *,
    owned: bool = True,
    limits: SessionLimits | None = None,
) -> CallSession:
    async def owns(_call_id: CallId) -> bool:
        return owned

    return CallSession(
        call,
        OwnedCalls(carrier, owns),
        first,
        model="model",
        transcription_model="transcriber",
        tools=tools_for(TARGETS),
        transfer_targets=TARGETS,
        clock=kit.clock,
        limits=limits or SessionLimits(),
    )


@pytest.mark.parametrize(
    ("closed", "end"),
    [
        (ORDERLY, (EndReason.COMPLETED, None, Fault.CARRIER)),
        (
            SessionClosedError(orderly=True, error_type="session_expired"),
            (EndReason.ERROR, "session_expired", Fault.MODEL),
        ),
    ],
)
async def test_a_session_closed_for_good_is_not_looked_for(
    kit: TelemetryKit, call: Call, closed: SessionClosedError, end: tuple[EndReason, str | None, Fault]
) -> None:
    """Nothing is asked of the carrier."""
    carrier = ScriptedCarrier(NOT_FOUND)
    reason, error_type, fault = end
    found = await following(kit, call, carrier, ScriptedSession(closed=closed)).run()
    assert found == SessionEnd(reason, kit.clock.now(), error_type, fault)
    assert carrier.asked == []


@pytest.mark.parametrize(
    ("closed", "reason", "error_type", "fault"),
    [(DROPPED, EndReason.HANGUP, None, Fault.CALLER), (CRASHED, EndReason.ERROR, "ws_1011", Fault.CARRIER)],
)
async def test_not_found_means_over_at_the_break(
    kit: TelemetryKit, call: Call, closed: SessionClosedError, reason: EndReason, error_type: str | None, fault: Fault
) -> None:
    """Tries that fail otherwise are followed by others; time that passes meanwhile is not the call's."""
    carrier, broke = ScriptedCarrier(AWAY, NOT_FOUND), kit.clock.now()
    end = await following(kit, call, carrier, ScriptedSession(closed=closed)).run()
    assert end == SessionEnd(reason, broke, error_type, fault)
    assert carrier.asked == ["attach", "attach"]


async def test_a_break_is_bridged_by_another_connection(kit: TelemetryKit, call: Call) -> None:
    """The second connection's end is the call's; usage that is told twice is billed once."""
    done = ResponseDone("resp_1", usage=TokenUsage(input=10, output=5))
    second = ScriptedSession(done, closed=ORDERLY)
    carrier = ScriptedCarrier(second)
    end = await following(kit, call, carrier, ScriptedSession(done, closed=CRASHED)).run()
    assert end == SessionEnd(EndReason.COMPLETED, kit.clock.now(), fault=Fault.CARRIER)
    (usage,) = {name: s for name, s in kit.metrics().items() if name == "gen_ai.client.token.usage"}.values()
    assert sorted(usage.values()) == [(1, 5), (1, 10)]


async def test_all_tries_fail_and_the_call_is_hung_up(kit: TelemetryKit, call: Call) -> None:
    """One try for each delay, then one hang-up."""
    carrier = ScriptedCarrier(AWAY)
    end = await following(kit, call, carrier, ScriptedSession(closed=DROPPED)).run()
    assert end == SessionEnd(EndReason.ERROR, kit.clock.now(), "connection_lost", Fault.CARRIER)
    assert carrier.asked == ["attach"] * 3 + ["hangup"]


async def test_the_hang_up_finds_the_call_over(kit: TelemetryKit, call: Call) -> None:
    """404 on the hang-up, too, means over at the moment of the break."""
    carrier, broke = ScriptedCarrier(AWAY, refuses=NOT_FOUND), kit.clock.now()
    end = await following(kit, call, carrier, ScriptedSession(closed=DROPPED)).run()
    assert end == SessionEnd(EndReason.HANGUP, broke, fault=Fault.CALLER)


async def test_a_call_of_another_process_is_left_alone(kit: TelemetryKit, call: Call) -> None:
    """Whoever lost the claim attaches no more, hangs nothing up, and refers nobody."""
    carrier, broke = ScriptedCarrier(ScriptedSession(closed=ORDERLY)), kit.clock.now()
    lost = following(kit, call, carrier, ScriptedSession(closed=DROPPED), owned=False)
    assert await lost.run() == SessionEnd(EndReason.ERROR, broke, NOT_OWNED, Fault.SERVICE)
    with pytest.raises(CarrierError, match=NOT_OWNED):
        await lost.transfer("sales")
    with pytest.raises(CarrierError, match=NOT_OWNED):
        await lost.end()
    assert not carrier.asked


SPOKEN = (CallerSpeech(speaking=True), CallerSpeech(speaking=False))


def turn(number: int) -> tuple[Signal, ...]:
    response = f"resp_{number}"
    return (*SPOKEN, PlaybackStarted(response), ResponseDone(response), PlaybackStopped(response))


@pytest.mark.parametrize(
    ("turns", "reason"),
    [(0, EndReason.REFERRED), (1, EndReason.REFERRED), (2, EndReason.COMPLETED), (3, EndReason.COMPLETED)],
)
async def test_turns_after_a_transfer_disprove_it(kit: TelemetryKit, call: Call, turns: int, reason: EndReason) -> None:
    """One turn may be a thank-you on the way; with more the caller is evidently still here."""
    referred = asyncio.Event()
    after = [signal for number in range(turns) for signal in turn(number)]
    following_ = following(kit, call, ScriptedCarrier(NOT_FOUND), ScriptedSession(referred, *after, closed=ORDERLY))
    running = asyncio.create_task(following_.run())
    await following_.transfer("sales")
    referred.set()
    assert (await running).reason is reason
    counted = list(kit.metrics().get("voice.call.referred", {}).values())
    assert counted == ([1] if reason is EndReason.REFERRED else [])


class SlowToAnswer(ScriptedCarrier):
    """Ends the session before its answer to a transfer arrives."""

    def __init__(self, *, refuses: CarrierError | None = None) -> None:
        super().__init__(NOT_FOUND, refuses=refuses)
        self.passed_on, self.answers = asyncio.Event(), asyncio.Event()

    async def refer(self, call_id: CallId, target_uri: str) -> None:
        self.passed_on.set()
        await self.answers.wait()
        await super().refer(call_id, target_uri)


@pytest.mark.parametrize(
    ("refuses", "reason"), [(None, EndReason.REFERRED), (NOT_FOUND, EndReason.COMPLETED)], ids=["passed_on", "refused"]
)
@pytest.mark.parametrize("broken", [False, True], ids=["closed", "broken"])
async def test_a_session_that_ends_before_a_transfer_is_answered(
    kit: TelemetryKit, call: Call, refuses: CarrierError | None, reason: EndReason, *, broken: bool
) -> None:
    """The answer, read after the end that it explains, says what that was."""
    carrier = SlowToAnswer(refuses=refuses)
    closed = SessionClosedError(orderly=True, broken=broken)
    following_ = following(kit, call, carrier, ScriptedSession(carrier.passed_on, closed=closed))
    running = asyncio.create_task(following_.run())
    transfer = asyncio.create_task(following_.transfer("sales"))
    await carrier.passed_on.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    carrier.answers.set()
    await asyncio.gather(transfer, return_exceptions=True)
    assert (await running).reason is reason
    assert list(kit.metrics().get("voice.call.referred", {}).values()) == ([1] if refuses is None else [])


@pytest.mark.parametrize(
    ("limits", "reason", "fault"),
    [
        (SessionLimits(max_call_seconds=60), EndReason.MAX_DURATION, Fault.SERVICE),
        (SessionLimits(max_silence_seconds=60), EndReason.SILENCE, Fault.CALLER),
        (SessionLimits(max_call_seconds=61, max_silence_seconds=60), EndReason.SILENCE, Fault.CALLER),
    ],
)
async def test_a_limit_is_enforced_at_the_heartbeat(
    kit: TelemetryKit, call: Call, limits: SessionLimits, reason: EndReason, fault: Fault
) -> None:
    """Not a moment early; once hung up, a session that stays open is left at the next heartbeat."""
    carrier, over = ScriptedCarrier(NOT_FOUND), asyncio.Event()
    first = ScriptedSession(over, closed=ORDERLY)
    limited = following(kit, call, carrier, first, limits=limits)
    running = asyncio.create_task(limited.run())
    kit.clock.advance(59.9)
    await limited.check()
    await asyncio.sleep(0)
    assert carrier.asked == []
    kit.clock.advance(0.1)
    await limited.check()
    await asyncio.sleep(0.01)
    assert carrier.asked == ["hangup"]
    await limited.check()
    await first.left.wait()
    over.set()
    assert await running == SessionEnd(reason, kit.clock.now(), fault=fault)


@pytest.mark.parametrize("refuses", [None, NOT_FOUND], ids=["answered 200", "answered 404"])
async def test_a_session_that_stays_open_after_any_hang_up_is_left(
    kit: TelemetryKit, call: Call, refuses: CarrierError | None
) -> None:
    """A whole heartbeat after the carrier said that it hung up, or that there is no such call."""
    carrier, over = ScriptedCarrier(NOT_FOUND, refuses=refuses), asyncio.Event()
    first = ScriptedSession(over, closed=ORDERLY)
    followed = following(kit, call, carrier, first)
    running = asyncio.create_task(followed.run())
    with suppress(CarrierError):
        await followed.end()
    await followed.check()
    await asyncio.sleep(0)
    assert not first.left.is_set()
    await followed.check()
    await first.left.wait()
    over.set()
    assert await running == SessionEnd(EndReason.COMPLETED, kit.clock.now(), fault=Fault.AGENT)


async def test_the_agents_silence_is_the_agents_doing(kit: TelemetryKit, call: Call) -> None:
    """A call that ends silent while the caller waits for an answer."""
    over = asyncio.Event()
    first = ScriptedSession(*SPOKEN, over, closed=ORDERLY)
    limited = following(kit, call, ScriptedCarrier(NOT_FOUND), first, limits=SessionLimits(max_silence_seconds=60))
    running = asyncio.create_task(limited.run())
    await asyncio.sleep(0)
    kit.clock.advance(60)
    await limited.check()
    await asyncio.sleep(0.01)
    over.set()
    end = await running
    assert (end.reason, end.fault) == (EndReason.SILENCE, Fault.AGENT)


async def test_of_overlapping_responses_the_agent_speaks_until_the_last_stops(kit: TelemetryKit, call: Call) -> None:
    """One speech, from the first response's beginning to the last one's end, in whichever order they stop."""
    overlap, tail = asyncio.Event(), asyncio.Event()
    first = ScriptedSession(
        PlaybackStarted("r1"),
        PlaybackStarted("r2"),
        overlap,
        PlaybackStopped("r2"),
        tail,
        PlaybackStopped("r1", interrupted=True),
        closed=ORDERLY,
    )
    followed = following(kit, call, ScriptedCarrier(NOT_FOUND), first, limits=SessionLimits(max_silence_seconds=60))
    began = kit.clock.now()
    running = asyncio.create_task(followed.run())
    await asyncio.sleep(0)
    kit.clock.advance(100)
    overlap.set()
    await asyncio.sleep(0.01)
    kit.clock.advance(100)
    await followed.check()
    tail.set()
    assert (await running).reason is EndReason.COMPLETED
    (speech,) = [event for event in kit.events if isinstance(event, SpeechEnded)]
    assert (speech.started, speech.at.since(began), speech.interrupted) == (began, 200, True)


async def test_speech_is_no_silence(kit: TelemetryKit, call: Call) -> None:
    """While somebody speaks nothing is silent, however long it takes; the silence begins when they stop."""
    silent, over = asyncio.Event(), asyncio.Event()
    carrier = ScriptedCarrier(NOT_FOUND)
    first = ScriptedSession(PlaybackStarted("r"), silent, PlaybackStopped("r"), over, closed=ORDERLY)
    limited = following(kit, call, carrier, first, limits=SessionLimits(max_silence_seconds=60))
    running = asyncio.create_task(limited.run())
    await asyncio.sleep(0)
    kit.clock.advance(1_000)
    await limited.check()
    silent.set()
    await asyncio.sleep(0.01)
    kit.clock.advance(59)
    await limited.check()
    await asyncio.sleep(0.01)
    assert carrier.asked == []
    kit.clock.advance(1)
    await limited.check()
    await asyncio.sleep(0.01)
    assert carrier.asked == ["hangup"]
    over.set()
    assert (await running).reason is EndReason.SILENCE


async def test_only_a_quiet_session_is_probed(kit: TelemetryKit, call: Call) -> None:
    """Quiet since the heartbeat before: one probe a heartbeat, none for a session that is heard."""
    over = asyncio.Event()
    first = ScriptedSession(over, closed=ORDERLY)
    quiet = following(kit, call, ScriptedCarrier(NOT_FOUND), first)
    running = asyncio.create_task(quiet.run())
    for probes in (0, 1, 2):
        await quiet.check()
        assert first.probes == probes
    over.set()
    await running


async def test_a_turns_wait_begins_with_the_silence(kit: TelemetryKit, call: Call) -> None:
    """The half second by which the carrier detects the end of speech is part of the wait."""
    spoken, answered = asyncio.Event(), asyncio.Event()
    first = ScriptedSession(
        TurnDetection(0.5),
        CallerSpeech(speaking=True),
        spoken,
        CallerSpeech(speaking=False),
        answered,
        PlaybackStarted("r"),
        closed=ORDERLY,
    )
    running = asyncio.create_task(following(kit, call, ScriptedCarrier(NOT_FOUND), first).run())
    for passed, then in ((3.0, spoken), (1.0, answered)):
        await asyncio.sleep(0.01)
        kit.clock.advance(passed)
        then.set()
    await running
    (waits,) = kit.metrics()["voice.turn.time_to_first_audio"].values()
    assert waits == (1, 1.5)


async def test_a_tool_waits_for_a_connection_to_answer_on(kit: TelemetryKit, call: Call) -> None:
    """An output that could not be sent goes out on the connection that follows."""
    second_is_open = asyncio.Event()
    request = ToolRequest("call_1", "current_time", "{}")
    first = ScriptedSession(ResponseDone("r", tools=(request,)), second_is_open, closed=CRASHED)
    first.sends = False
    answered = asyncio.Event()
    second = ScriptedSession(answered, closed=ORDERLY)
    running = asyncio.create_task(following(kit, call, ScriptedCarrier(second), first).run())
    await asyncio.sleep(0.01)
    second_is_open.set()
    await second.answered.wait()
    answered.set()
    await running
    assert (first.answers, second.answers) == ([], ["call_1"])


@pytest.mark.parametrize(
    ("seen", "again"),
    [
        ((), (["call_1"], 0)),
        ((ResponseBegun(),), (["call_1"], 0)),
        ((ToolAnswered("call_2"),), (["call_1"], 0)),
        ((ToolAnswered("call_1"),), ([], 1)),
        ((ToolAnswered("call_1"), ResponseBegun()), ([], 0)),
    ],
    ids=repr,
)
async def test_what_the_model_was_seen_to_hear_is_not_said_again(
    kit: TelemetryKit, call: Call, seen: tuple[Signal, ...], again: tuple[list[str], int]
) -> None:
    """After a break an output is sent again unless the model has it, and a response asked for again unless it began."""
    request = ToolRequest("call_1", "current_time", "{}")
    first = ScriptedSession(closed=CRASHED)
    first._signals = (ResponseBegun(), ResponseDone("r", tools=(request,)), first.answered, *seen)
    second = ScriptedSession(closed=ORDERLY)
    await following(kit, call, ScriptedCarrier(second), first).run()
    assert (first.answers, first.asked) == (["call_1"], 1)
    assert (second.answers, second.asked) == again
