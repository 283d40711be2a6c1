"""Attends running calls: attaches to each session, follows it to its end, hangs up where nobody else would."""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from service.gateway.admission import keeps_content
from service.gateway.carriers.carrier import Carrier, CarrierError, CarrierSession
from service.gateway.durability import DurabilityGate
from service.gateway.playback import SessionLimits
from service.gateway.session import CallSession
from service.gateway.tools import tools_for
from service.tenants.tenant import CallTenant
from telemetry.calls.call import Call
from telemetry.calls.events import Phase
from telemetry.clock import Clock
from telemetry.semconv.attributes import CallId, EndReason

_SESSIONS_AT_ONCE = 200
# Sessions reviewed before the event loop goes on: about a millisecond.

NO_LIMITS = SessionLimits()
"""Sessions that run for as long as they will."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A session that was attached to; closing :attr:`until` lets go of it."""

    session: CarrierSession
    until: AsyncExitStack
    greet: bool
    """Nobody has spoken to the caller yet."""


class SessionManager:
    """The sessions of this process."""

    def __init__(
        self,
        carrier: Carrier,
        gate: DurabilityGate,
        *,
        model: str,
        transcription_model: str,
        clock: Clock,
        limits: SessionLimits = NO_LIMITS,
    ) -> None:
        self._carrier = carrier
        self._gate = gate
        self.model = model
        """The model that speaks, as it is asked for."""
        self._transcription_model = transcription_model
        self._clock = clock
        self._limits = limits
        self._sessions: dict[CallId, CallSession] = {}
        self._hangups: set[asyncio.Task[None]] = set()

    @property
    def hanging_up(self) -> bool:
        """True while a hang-up is under way."""
        return bool(self._hangups)

    async def attend(self, call: Call, tenant: CallTenant) -> None:
        """Take an accepted call through its session to its end."""
        async with AsyncExitStack() as until:
            try:
                with call.phase(Phase.CONNECT):
                    session = await until.enter_async_context(
                        self._carrier.session(call.call_id, tries=call.attach_try)
                    )
            except CarrierError as error:
                if await self._gate.owns(call.call_id):
                    call.finish(EndReason.ERROR, error_type=error.error_type)
                    self.hang_up_later(call.call_id)
                return
            call.runs_on(self.model)
            call.started()
            self._gate.changed()
            await self._follow(call, tenant, session, greet=True)

    async def attach(self, call_id: CallId, *, greet: bool) -> Attached:
        """Attach to the session of a call that another process has let go of; ``greet`` if nobody has spoken yet.

        Raises:
            CarrierError: if there is none any more (status 404), or the carrier cannot be asked.
        """
        async with AsyncExitStack() as until:
            session = await until.enter_async_context(self._carrier.session(call_id, fresh=False))
            return Attached(session, until.pop_all(), greet)

    async def go_on(self, call: Call, tenant: CallTenant, attached: Attached) -> None:
        """Take a call to its end that another process accepted."""
        async with attached.until:
            await self._follow(call, tenant, attached.session, greet=attached.greet)

    async def check(self) -> None:
        """Probe quiet sessions, and end those that have reached a limit; the event loop goes on meanwhile."""
        sessions, quiet = list(self._sessions.values()), []
        for start in range(0, len(sessions), _SESSIONS_AT_ONCE):
            if start:
                # Not after the last ones: on a busy machine the time for this may be over before the loop comes back.
                await asyncio.sleep(0)
            quiet += [session for session in sessions[start : start + _SESSIONS_AT_ONCE] if session.review()]
        await asyncio.gather(*(session.probe() for session in quiet))

    async def hang_up(self, call_id: CallId) -> bool:
        """Hang up for an operator; return False if no session of this process has the call.

        Raises:
            CarrierError: if the carrier does not hang up; the call goes on.
        """
        session = self._sessions.get(call_id)
        if session is None:
            return False
        await session.hang_up()
        return True

    def hang_up_later(self, call_id: CallId) -> None:
        """Hang up a call that no process would attend to; if that fails, nothing changes here."""
        task = asyncio.create_task(self._hang_up(call_id), name="callscope-hangup")
        self._hangups.add(task)
        task.add_done_callback(self._hangups.discard)

    async def hung_up(self) -> None:
        """Wait until no hang-up is under way."""
        await asyncio.gather(*self._hangups, return_exceptions=True)

    async def _hang_up(self, call_id: CallId) -> None:
        with suppress(CarrierError):
            await self._carrier.hangup(call_id)

    async def _follow(self, call: Call, tenant: CallTenant, session: CarrierSession, *, greet: bool) -> None:
        targets = tenant.transfer_targets
        following = CallSession(
            call,
            self._carrier,
            session,
            model=self.model,
            transcription_model=self._transcription_model,
            clock=self._clock,
            limits=self._limits,
            tools=tools_for(targets),
            transfer_targets=targets,
            content=keeps_content(tenant),
        )
        self._sessions[call.call_id] = following
        try:
            end = await following.run(greet=greet)
        finally:
            del self._sessions[call.call_id]
        # A call that another process has taken over meanwhile is that one's to end.
        if await self._gate.owns(call.call_id):
            call.finish(end.reason, error_type=end.error_type, fault=end.fault, at=end.at)
