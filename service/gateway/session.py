"""One running call: the carrier's signals become facts about the call, and the model's requests are carried out."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from random import uniform
from typing import Any, Final

from service.gateway.carriers.carrier import (
    NOT_OWNED,
    CallerSpeech,
    Carrier,
    CarrierError,
    CarrierSession,
    KeyPressed,
    PlaybackStarted,
    PlaybackStopped,
    ResponseBegun,
    ResponseDone,
    SessionClosedError,
    SessionFault,
    Signal,
    ToolAnswered,
    ToolRequest,
    TurnDetection,
    Unusable,
    Words,
)
from service.gateway.playback import Playback, SessionLimits, VoiceActivity
from service.gateway.tools import CallTool, ToolError, read_arguments
from telemetry.calls.call import Call
from telemetry.calls.events import Content, Phase
from telemetry.clock import Clock, Instant
from telemetry.semconv.attributes import OTHER, UNKNOWN_TOOL, EndReason, Fault, Speaker

_logger = logging.getLogger(__name__)

MAX_TOOLS_AT_ONCE: Final = 8
"""Tool requests of one call that run at the same time; further ones are answered with an error."""

REATTACH_DELAYS: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each try to attach again to a session whose connection broke, each varied by half either way."""

DISPROVING_TURNS: Final = 2
"""Answered turns after a transfer that show that it did not happen: one may be a thank-you while it is under way."""

MAX_BILLED: Final = 64
"""Responses whose tokens are remembered as counted, in case the carrier tells of one again."""

MAX_UNHEARD: Final = 64
"""Outputs of tools kept in case they have to be sent again; of a carrier that acknowledges none, the latest."""

_SAID: Final = {Speaker.CALLER: Content.CALLER_SAID, Speaker.AGENT: Content.AGENT_SAID}

_logged: set[tuple[str, str]] = set()
# Kinds of unusable message this process has logged; as many as there are problems and types it knows.


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The end of a session."""

    reason: EndReason
    at: Instant
    """The moment the connection ended, or the last at which the call is known to have run."""
    error_type: str | None = None
    """Set if the end is an error."""
    fault: Fault | None = None
    """The party whose doing it was; None if that is not known."""


class CallSession:
    """Drives a started call until it is over, over as many connections as it takes."""

    def __init__(
        self,
        call: Call,
        carrier: Carrier,
        session: CarrierSession,
        *,
        model: str,
        transcription_model: str,
        tools: Mapping[str, CallTool],
        transfer_targets: Mapping[str, str],
        clock: Clock,
        limits: SessionLimits,
        content: bool = False,
    ) -> None:
        self._call = call
        call.runs_on(model)
        self._carrier = carrier
        self._session = session
        self._model = model
        self._transcription_model = transcription_model
        self._tools = tools
        self._transfer_targets = transfer_targets
        self._clock = clock
        self._limits = limits
        self._content = content
        self._playback = Playback(call)
        self._voice = VoiceActivity(clock.now())
        self._unheard: dict[str, str] = {}
        """Outputs of tools by the ids of their calls, until the model is seen to have them."""
        self._awaits_response = False
        """True from asking for a response until one begins."""
        self._running: set[asyncio.Task[None]] = set()
        self._billed: deque[str] = deque(maxlen=MAX_BILLED)
        self._end_reason: EndReason | None = None
        self._end_fault: Fault | None = None
        self._referred_to: str | None = None
        self._turns_since_transfer = 0
        self._transfers: list[asyncio.Event] = []
        self._hung_up: tuple[EndReason, Fault] | None = None
        """The reason of a hang-up that the carrier has answered, so that the session is to end."""
        self._overdue = False
        """True once a heartbeat has come and gone since that answer."""
        self._hanging_up: asyncio.Task[None] | None = None
        self._silence_seconds = 0.0
        self._quiet = False
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            TurnDetection: self._turn_detection,
            CallerSpeech: self._caller_speech,
            PlaybackStarted: self._playback_started,
            PlaybackStopped: self._playback_stopped,
            ToolAnswered: self._tool_answered,
            ResponseBegun: self._response_begun,
            ResponseDone: self._response_done,
            Words: self._words,
            KeyPressed: self._key_pressed,
            SessionFault: self._fault,
            Unusable: self._unusable,
        }

    async def run(self, *, greet: bool = True) -> SessionEnd:
        """Follow the session to its end; a connection that breaks meanwhile is replaced."""
        if greet:
            self._awaits_response = True
            await self._session.respond()
        try:
            async with AsyncExitStack() as attached:
                while True:
                    closed = await self._follow()
                    # Taken before anything is waited for: what is asked of others now is not the call's time.
                    over = self._clock.now()
                    await self._transfers_answered()
                    end = await self._reattach(closed, over, attached) if closed.broken else self._end(closed, over)
                    if end is not None:
                        return self._reported(end)
        finally:
            await self._stop_tasks()

    async def check(self) -> None:
        """Probe a session that has been quiet since the last heartbeat, and end one that has reached a limit."""
        if self.review():
            await self.probe()

    def review(self) -> bool:
        """End a session that has reached a limit; return True if it was quiet since the last review."""
        self._enforce_limits(self._clock.now())
        was_quiet, self._quiet = self._quiet, True
        return was_quiet

    async def probe(self) -> None:
        """Have the carrier show that the session is alive."""
        await self._session.probe()

    # What tools can do ------------------------------------------------------------------------------------------------

    @property
    def transfer_targets(self) -> Mapping[str, str]:
        """The tenant's transfer destinations: name to URI."""
        return self._transfer_targets

    async def transfer(self, target: str) -> None:
        """Have the carrier hand the caller to a destination; the session's end shows that it did.

        An answer of 200 says that the request was passed on, not that anybody took the call.
        """
        answered = asyncio.Event()
        self._transfers.append(answered)
        try:
            with self._call.phase(Phase.TRANSFER, target):
                await self._carrier.refer(self._call.call_id, self._transfer_targets[target])
            self._end_reason, self._end_fault = EndReason.REFERRED, Fault.AGENT
            self._referred_to, self._turns_since_transfer = target, 0
            self._call.ending()
        finally:
            self._transfers.remove(answered)
            answered.set()

    async def _transfers_answered(self) -> None:
        """Wait for answers about transfers: the session may end before the carrier's answer to what ends it is read."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TRANSFER_SECONDS):
                for answered in list(self._transfers):
                    await answered.wait()

    async def end(self) -> None:
        """Hang up; the carrier then ends the session."""
        await self._hang_up(EndReason.COMPLETED, Fault.AGENT)

    # What operators can do --------------------------------------------------------------------------------------------

    async def hang_up(self) -> None:
        """Hang up for an operator; raise :class:`CarrierError` if the carrier does not."""
        await self._hang_up(EndReason.OPERATOR, Fault.SERVICE)

    # What signals mean ------------------------------------------------------------------------------------------------

    async def _follow(self) -> SessionClosedError:
        """Take the connection's signals until it ends."""
        try:
            async for signal in self._session.signals():
                self._take(signal)
        except SessionClosedError as closed:
            return closed
        return SessionClosedError(orderly=True)

    def _take(self, signal: Signal) -> None:
        self._quiet = False
        self._call.seen()
        handler = self._handlers.get(type(signal))
        if handler is not None:
            handler(signal)

    def _turn_detection(self, signal: TurnDetection) -> None:
        self._silence_seconds = signal.silence_seconds or 0.0

    def _caller_speech(self, signal: CallerSpeech) -> None:
        now = self._clock.now()
        self._voice.caller(now, speaking=signal.speaking)
        if signal.speaking:
            self._call.caller_started_speaking(now)
        else:
            # The silence it took to be sure is part of the caller's wait.
            self._call.caller_stopped_speaking(now.minus(self._silence_seconds))

    def _playback_started(self, signal: PlaybackStarted) -> None:
        if self._voice.agent(self._clock.now(), speaking=True) and self._referred_to is not None:
            self._turn_after_transfer()
        self._playback.started(signal.response_id, exact=signal.exact)

    def _turn_after_transfer(self) -> None:
        self._turns_since_transfer += 1
        if self._turns_since_transfer >= DISPROVING_TURNS:
            self._goes_on()

    def _playback_stopped(self, signal: PlaybackStopped) -> None:
        self._playback.stopped(signal.response_id, interrupted=signal.interrupted)
        self._agent_heard()

    def _agent_heard(self) -> None:
        """Note that the agent was heard until now, and whether it still is."""
        self._voice.agent(self._clock.now(), speaking=self._playback.audible)

    def _response_done(self, signal: ResponseDone) -> None:
        if self._playback.response_done(signal.response_id, interrupted=signal.interrupted):
            self._agent_heard()
        if signal.usage is not None and self._bills(signal.response_id):
            self._call.tokens_used(signal.usage, self._model, signal.response_id)
        if signal.error_code is not None:
            self._call.session_error(signal.error_code)
        for request in signal.tools:
            self._start_tool(request)

    def _bills(self, usage_id: str) -> bool:
        """Return True the first time tokens are billed under an id, and always where there is no id."""
        if not usage_id:
            return True
        if usage_id in self._billed:
            return False
        self._billed.append(usage_id)
        return True

    def _words(self, signal: Words) -> None:
        if signal.usage is not None and self._bills(signal.usage_id):
            self._call.tokens_used(signal.usage, self._transcription_model, signal.usage_id)
        self._heard(_SAID[signal.speaker], signal.text)

    def _key_pressed(self, signal: KeyPressed) -> None:
        self._voice.active(self._clock.now())
        self._heard(Content.KEY_PRESSED, signal.key)

    def _heard(self, content: Content, text: str | None, tool_call_id: str | None = None) -> None:
        """Report content, of a tenant that allows it; of any other it goes no further than here."""
        if self._content and text:
            self._call.heard(content, text, tool_call_id)

    def _fault(self, signal: SessionFault) -> None:
        self._call.session_error(signal.code)

    def _unusable(self, signal: Unusable) -> None:
        self._call.unusable_message(signal.problem)
        kind = (signal.problem.value, signal.event_type)
        if kind not in _logged:
            _logged.add(kind)
            _logger.warning(
                "call %s: a session's message cannot be used (%s%s); further ones of this kind are only counted",
                self._call.call_id,
                signal.problem.value,
                f" in {signal.event_type}" if signal.event_type else "",
            )

    # How it ends ------------------------------------------------------------------------------------------------------

    def _end(self, closed: SessionClosedError, at: Instant) -> SessionEnd:
        """Return how a call that is over ended, by the way its connection did."""
        if self._end_reason is not None and (closed.broken or closed.error_type is None):
            return SessionEnd(self._end_reason, at, fault=self._end_fault)
        if closed.error_type is not None:
            # An error that the session told of is the model's; one of the connection itself is the carrier's.
            fault = Fault.CARRIER if closed.broken else Fault.MODEL
            return SessionEnd(EndReason.ERROR, at, closed.error_type, fault)
        if closed.orderly:
            return SessionEnd(EndReason.COMPLETED, at, fault=Fault.CARRIER)
        return SessionEnd(EndReason.HANGUP, at, fault=Fault.CALLER)

    def _reported(self, end: SessionEnd) -> SessionEnd:
        if end.reason is EndReason.REFERRED:
            self._call.referred(self._referred_to, end.at)
        return end

    async def _reattach(
        self, closed: SessionClosedError, broke: Instant, attached: AsyncExitStack
    ) -> SessionEnd | None:
        """Go on over another connection and return None; or return how the call ended, if there is none to be had."""
        self._call.unobserved(broke)
        try:
            self._session = await self._try_to_attach(attached)
        except CarrierError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                # The call was over when the connection broke.
                return self._end(closed, broke)
            return await self._given_up(closed, broke, error)
        self._call.passed(Phase.REATTACH, broke)
        self._call.heartbeat()
        self._playback = Playback(self._call)
        self._voice = VoiceActivity(self._clock.now())
        await self._say_again()
        return None

    async def _try_to_attach(self, attached: AsyncExitStack) -> CarrierSession:
        await attached.aclose()
        last: CarrierError | None = None
        for resends, delay in enumerate(REATTACH_DELAYS):
            await asyncio.sleep(delay * uniform(0.5, 1.5))  # noqa: S311 -- spreads load, keeps no secret
            began = self._clock.now()
            try:
                session = await attached.enter_async_context(self._connection())
            except CarrierError as error:
                if error.status == HTTPStatus.NOT_FOUND or error.error_type == NOT_OWNED:
                    raise
                self._call.passed(Phase.ATTACH, began, error_type=error.error_type, resends=resends)
                last = error
            else:
                self._call.passed(Phase.ATTACH, began, resends=resends)
                return session
        raise last or CarrierError(OTHER)

    def _connection(self) -> AbstractAsyncContextManager[CarrierSession]:
        return self._carrier.session(self._call.call_id, fresh=False)

    async def _given_up(self, closed: SessionClosedError, broke: Instant, error: CarrierError) -> SessionEnd:
        """Hang up a call that can be neither followed nor found to be over, unless another process follows it."""
        if error.error_type == NOT_OWNED:
            return SessionEnd(EndReason.ERROR, broke, NOT_OWNED, Fault.SERVICE)
        self._call.passed(Phase.REATTACH, broke, error_type=error.error_type)
        _logger.warning(
            "call %s: its session broke and could not be attached again (%s); hanging up",
            self._call.call_id,
            error.error_type,
        )
        try:
            with self._call.phase(Phase.HANGUP):
                await self._carrier.hangup(self._call.call_id)
        except CarrierError as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return self._end(closed, broke)
            return SessionEnd(EndReason.ERROR, broke, closed.error_type or CONNECTION_LOST, Fault.CARRIER)
        # The carrier had the call to hang up, so it has run until now.
        now = self._clock.now()
        self._call.heartbeat(now)
        return SessionEnd(EndReason.ERROR, now, closed.error_type or CONNECTION_LOST, Fault.CARRIER)

    def _enforce_limits(self, now: Instant) -> None:
        """Hang up a call that has reached a limit, and leave the session of one that is hung up and does not end."""
        if self._hanging_up is not None and not self._hanging_up.done():
            return
        if self._hung_up is not None:
            if self._overdue:
                self._end_reason, self._end_fault = self._hung_up
                self._hanging_up = asyncio.create_task(self._session.close())
            self._overdue = True
            return
        reached = self._limits.reached(self._call.snapshot().started, self._voice, now)
        if reached is not None:
            self._hanging_up = asyncio.create_task(self._end_at_limit(*reached))

    async def _end_at_limit(self, reason: EndReason, fault: Fault) -> None:
        """Hang up; the next heartbeat tries again if that failed, and leaves the session if it did not end for it."""
        _logger.info("call %s: hung up, as it reached a limit (%s)", self._call.call_id, reason.value)
        with suppress(CarrierError):
            await self._hang_up(reason, fault)
        self._overdue = self._hung_up is not None

    async def _hang_up(self, reason: EndReason, fault: Fault) -> None:
        self._end_reason, self._end_fault, self._referred_to = reason, fault, None
        self._call.ending()
        try:
            with self._call.phase(Phase.HANGUP):
                await self._carrier.hangup(self._call.call_id)
        except CarrierError as error:
            self._goes_on()
            if error.status == HTTPStatus.NOT_FOUND:
                self._hung_up = reason, fault
            raise
        self._hung_up = reason, fault

    def _goes_on(self) -> None:
        """Forget that an end was under way."""
        self._end_reason = self._end_fault = self._referred_to = None
        self._call.ending(under_way=False)

    # Tools ------------------------------------------------------------------------------------------------------------

    def _start_tool(self, request: ToolRequest) -> None:
        task = asyncio.create_task(self._answer(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, request: ToolRequest) -> None:
        output = await self._output(request)
        if output is None:
            return
        while len(self._unheard) >= MAX_UNHEARD:
            self._unheard.pop(next(iter(self._unheard)))
        self._unheard[request.tool_call_id], self._awaits_response = output, True
        await self._session.answer_tool(request.tool_call_id, output)

    async def _say_again(self) -> None:
        """Send again what the model was not seen to have heard: it was lost if the connection broke on its way."""
        for tool_call_id, output in list(self._unheard.items()):
            await self._session.answer_tool(tool_call_id, output)
        if self._awaits_response and not self._unheard:
            await self._session.respond()

    def _tool_answered(self, signal: ToolAnswered) -> None:
        self._unheard.pop(signal.tool_call_id, None)

    def _response_begun(self, _signal: ResponseBegun) -> None:
        # One that began before the model had an output is not the one that the output asks for.
        self._awaits_response = bool(self._unheard)

    async def _output(self, request: ToolRequest) -> str | None:
        """Return what the model is told; a tool's failure is told too, and ends nothing."""
        name = request.name if request.name in self._tools else OTHER
        try:
            with self._call.tool(name, request.tool_call_id):
                return await self._perform(request)
        except ToolError as error:
            return _error(str(error))
        except CarrierError:
            return _error("the carrier refused")
        except Exception as error:  # noqa: BLE001 -- whatever a tool does wrong, the call goes on
            # Its message may hold what the caller said; its kind is enough to look further.
            _logger.error("tool %s failed: %s", name, type(error).__name__)  # noqa: TRY400
            return _error("the tool failed")

    async def _perform(self, request: ToolRequest) -> str | None:
        known = self._tools.get(request.name)
        if known is None:
            raise ToolError("there is no such tool", UNKNOWN_TOOL)
        if len(self._running) > MAX_TOOLS_AT_ONCE:
            raise ToolError("too many tools run at once", "too_many_tools")
        self._heard(Content.TOOL_ARGUMENTS, request.arguments, request.tool_call_id)
        output = await known.handle(self, read_arguments(request.arguments))
        self._heard(Content.TOOL_RESULT, output, request.tool_call_id)
        return output

    async def _stop_tasks(self) -> None:
        running = [*self._running, *([self._hanging_up] if self._hanging_up else [])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


TRANSFER_SECONDS: Final = 2.0
"""The longest wait for the answer to a transfer once the session is over."""

CONNECTION_LOST: Final = "connection_lost"
"""The error of a call whose connection ended without a word and could not be replaced."""


def _error(problem: str) -> str:
    return json.dumps({"error": problem})
