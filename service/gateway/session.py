"""One running call: the carrier's signals become facts about the call, and the model's requests are carried out."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from service.gateway.carriers.carrier import (
    CallerSpeech,
    Carrier,
    CarrierError,
    CarrierSession,
    KeyPressed,
    PlaybackStarted,
    PlaybackStopped,
    ResponseDone,
    SessionClosedError,
    SessionFault,
    Signal,
    ToolRequest,
    Words,
)
from service.gateway.tools import CallTool, ToolError, read_arguments
from telemetry.calls.call import Call
from telemetry.calls.events import Content, Phase, Speaker
from telemetry.semconv.attributes import OTHER, EndReason


class Playback:
    """Carriers report playback in pieces and sometimes twice; the call is told each fact once.

    Where the carrier does not report playback itself, the first audio of a response stands for its beginning, and the
    completion of the response for its end.
    """

    __slots__ = ("_call", "_exact", "_heard", "_playing")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._exact = False
        self._playing: str | None = None
        self._heard: str | None = None

    def started(self, response_id: str, *, exact: bool) -> None:
        """Audio of the response begins, or goes on."""
        self._exact = self._exact or exact
        if response_id == self._heard:
            return
        self._heard = self._playing = response_id
        self._call.agent_started_speaking()

    def stopped(self, response_id: str, *, interrupted: bool) -> None:
        """Audio of the response ended or was cut short."""
        if response_id == self._playing:
            self._playing = None
            self._call.agent_stopped_speaking(interrupted=interrupted)

    def response_done(self, response_id: str, *, interrupted: bool) -> None:
        """The response is complete; playback of it may go on where the carrier reports that."""
        if not self._exact:
            self.stopped(response_id, interrupted=interrupted)


_logger = logging.getLogger(__name__)
MAX_TOOLS_AT_ONCE: Final = 8
"""Tool requests of one call that run at the same time; further ones are answered with an error."""
_SAID: Final = {Speaker.CALLER: Content.CALLER_SAID, Speaker.AGENT: Content.AGENT_SAID}


class CallSession:
    """Drives a started call until it is over; says why it ended."""

    def __init__(
        self,
        call: Call,
        carrier: Carrier,
        session: CarrierSession,
        *,
        model: str,
        tools: Mapping[str, CallTool],
        transfer_targets: Mapping[str, str],
        content: bool = False,
    ) -> None:
        self._call = call
        self._carrier = carrier
        self._session = session
        self._model = model
        self._tools = tools
        self._transfer_targets = transfer_targets
        self._content = content
        self._playback = Playback(call)
        self._running: set[asyncio.Task[None]] = set()
        self._end_reason: EndReason | None = None
        self._quiet = False
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            CallerSpeech: self._caller_speech,
            PlaybackStarted: self._playback_started,
            PlaybackStopped: self._playback_stopped,
            ResponseDone: self._response_done,
            Words: self._words,
            KeyPressed: self._key_pressed,
            SessionFault: self._fault,
        }

    async def run(self, *, greet: bool = True) -> tuple[EndReason, str | None]:
        """Follow the session to its end; answers why it ended and, if in error, the error's type."""
        if greet:
            await self._session.greet()
        try:
            async for signal in self._session.signals():
                self._take(signal)
        except SessionClosedError as closed:
            return self._reason(closed)
        finally:
            await self._stop_tools()
        return EndReason.COMPLETED, None

    async def check_life(self) -> None:
        """Called at every heartbeat: a session that has been quiet since the last one is asked for a sign of life."""
        was_quiet, self._quiet = self._quiet, True
        if was_quiet:
            await self._session.probe()

    # What tools can do ------------------------------------------------------------------------------------------------

    @property
    def transfer_targets(self) -> Mapping[str, str]:
        """The tenant's transfer destinations: name to URI."""
        return self._transfer_targets

    async def transfer(self, target: str) -> None:
        """Hand the caller to one of them; the carrier then ends the session."""
        with self._call.phase(Phase.TRANSFER):
            await self._carrier.refer(self._call.call_id, self._transfer_targets[target])
        self._end_reason = EndReason.REFERRED
        self._call.referred(target)

    async def end(self) -> None:
        """Hang up; the carrier then ends the session."""
        self._end_reason = EndReason.COMPLETED
        self._call.ending()
        with self._call.phase(Phase.HANGUP):
            await self._carrier.hangup(self._call.call_id)

    # What signals mean ------------------------------------------------------------------------------------------------

    def _take(self, signal: Signal) -> None:
        self._quiet = False
        self._call.seen()
        handler = self._handlers.get(type(signal))
        if handler is not None:
            handler(signal)

    def _caller_speech(self, signal: CallerSpeech) -> None:
        if signal.speaking:
            self._call.caller_started_speaking()
        else:
            self._call.caller_stopped_speaking()

    def _playback_started(self, signal: PlaybackStarted) -> None:
        self._playback.started(signal.response_id, exact=signal.exact)

    def _playback_stopped(self, signal: PlaybackStopped) -> None:
        self._playback.stopped(signal.response_id, interrupted=signal.interrupted)

    def _response_done(self, signal: ResponseDone) -> None:
        self._playback.response_done(signal.response_id, interrupted=signal.interrupted)
        if signal.usage is not None:
            self._call.tokens_used(signal.usage, self._model, signal.response_id)
        if signal.error_code is not None:
            self._call.session_error(signal.error_code)
        for request in signal.tools:
            self._start_tool(request)

    def _words(self, signal: Words) -> None:
        self._heard(_SAID[signal.speaker], signal.text)

    def _key_pressed(self, signal: KeyPressed) -> None:
        self._heard(Content.KEY_PRESSED, signal.key)

    def _heard(self, content: Content, text: str | None, tool_call_id: str | None = None) -> None:
        """Report content, of a tenant that allows it; of any other it goes no further than here."""
        if self._content and text:
            self._call.heard(content, text, tool_call_id)

    def _fault(self, signal: SessionFault) -> None:
        self._call.session_error(signal.code)

    def _reason(self, closed: SessionClosedError) -> tuple[EndReason, str | None]:
        if closed.error_type is not None:
            return EndReason.ERROR, closed.error_type
        if self._end_reason is not None:
            return self._end_reason, None
        return (EndReason.COMPLETED if closed.orderly else EndReason.HANGUP), None

    # Tools ------------------------------------------------------------------------------------------------------------

    def _start_tool(self, request: ToolRequest) -> None:
        task = asyncio.create_task(self._answer(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, request: ToolRequest) -> None:
        output = await self._output(request)
        if output is not None:
            await self._session.answer_tool(request.tool_call_id, output)

    async def _output(self, request: ToolRequest) -> str | None:
        """What the model is told; a tool's failure is told too, and ends nothing."""
        name = request.name if request.name in self._tools else OTHER
        try:
            with self._call.tool(name, request.tool_call_id):
                return await self._perform(request)
        except ToolError as error:
            return _told(str(error))
        except CarrierError:
            self._end_reason = None
            return _told("the carrier refused")
        except Exception as error:  # noqa: BLE001 -- whatever a tool does wrong, the call goes on
            # Its message may hold what the caller said; its kind is enough to look further.
            _logger.error("tool %s failed: %s", name, type(error).__name__)  # noqa: TRY400
            return _told("the tool failed")

    async def _perform(self, request: ToolRequest) -> str | None:
        known = self._tools.get(request.name)
        if known is None:
            raise ToolError("there is no such tool")
        if len(self._running) > MAX_TOOLS_AT_ONCE:
            raise ToolError("too many tools run at once")
        self._heard(Content.TOOL_ARGUMENTS, request.arguments, request.tool_call_id)
        output = await known.handle(self, read_arguments(request.arguments))
        self._heard(Content.TOOL_RESULT, output, request.tool_call_id)
        return output

    async def _stop_tools(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _told(problem: str) -> str:
    return json.dumps({"error": problem})
