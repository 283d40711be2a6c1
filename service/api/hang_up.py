"""Hanging up a running call: an operator's doing, which the audit of its tenant keeps with what became of it."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response

from service.api.call_detail import UNKNOWN_CALL, CallInPath
from service.api.elsewhere import CallsElsewhere, HangUpAnswer, HangUpOutcome
from service.api.tenants.problems import tenant_problems
from service.api.tenants.schemas import Actor
from service.gateway.carriers.carrier import NOT_OWNED, CarrierError
from service.http.access import RequestAccess
from service.http.openapi import Responses, Tag, declared
from service.http.problems import ProblemError
from service.http.responses import admin_router, records_unavailable
from service.http.security import AdminCheck
from service.http.tokens import Access
from service.storage.database import DATABASE_ERRORS
from service.tenants.repository import TenantRepository
from service.tenants.tenant import HangUpNote
from service.timeline.past import PastCalls, PastUnavailableError
from service.timeline.serializer import CALLS
from telemetry.calls.lifecycle import CallState
from telemetry.calls.tracker import CallTracker
from telemetry.semconv.attributes import CallId

_logger = logging.getLogger(__name__)

NOT_RUNNING: Final = "The call does not run: it has not started, is over, or is just changing processes."
OVER: Final = "The call was over already: the carrier does not have it any more."
_REFUSED: Final = "The carrier did not hang up; the call goes on."
_PATH: Final = f"{CALLS}/{{call_id:path}}/hang-up"


def not_reached(holder: str) -> str:
    """Return the sentence for a call whose process cannot be asked."""
    return f"Process {holder} has the call, and the fleet cannot reach it now: nothing was hung up. Try again."


def not_answered(holder: str) -> str:
    """Return the sentence for a call whose process did not say what became of the hang-up."""
    return f"Process {holder} has the call and did not answer in time; it may hang up yet."


def not_here(holder: str) -> str:
    """Return the sentence for a call of a process that shares the database and no fleet."""
    return f"Process {holder} has the call: ask that one. With REDIS_URL, processes ask each other."


_HOLDER: Final = "9d2f4b0e-5a39-4f1e-8f6a-2f6d6c1f9b77"
_HUNG_UP: Responses = {
    204: {"description": "The carrier was told to end the call; its end is counted when the session closes."},
    404: declared(ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL), "There is no such call.", f"{CALLS}/rtc_0/hang-up"),
    409: declared(
        ProblemError(HTTPStatus.CONFLICT, not_reached(_HOLDER)),
        "The call does not run, or the process that has it cannot be reached.",
        f"{CALLS}/rtc_1/hang-up",
    ),
    502: declared(ProblemError(HTTPStatus.BAD_GATEWAY, _REFUSED), "The carrier refused.", f"{CALLS}/rtc_1/hang-up"),
}


class HangUps:
    """Hangs up calls for operators, those of other processes through these; each is noted in its tenant's audit first.

    Args:
        tracker: Knows the calls of this process.
        tenants: Keeps the audit.
        past: Knows from records whose a call is.
        hang_up: Has the carrier end a call of this process; returns False if the call does not run.
        elsewhere: The other processes of the fleet; None without one.
    """

    def __init__(
        self,
        tracker: CallTracker,
        tenants: TenantRepository,
        past: PastCalls,
        hang_up: Callable[[CallId], Awaitable[bool]],
        elsewhere: CallsElsewhere | None = None,
    ) -> None:
        self._tracker = tracker
        self._tenants = tenants
        self._past = past
        self._hang_up = hang_up
        self._elsewhere = elsewhere

    async def hang_up(self, call_id: str, access: Access, actor: str) -> None:
        """End a call that runs.

        Raises:
            ProblemError: 404 for a call that is not known, or not to this access; 409 if it does not run, or the
                process that has it cannot be reached; 502 if the carrier refuses; 503 if nobody could be told
                afterwards who did it, since the database is away.
        """
        if self._tracker.knows(call_id):
            call = self._tracker.call(call_id).snapshot()
            if not access.covers(call.tenant_id):
                raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL)
            if call.state is CallState.STARTED:
                note = await self._noted(call.tenant_id, call_id, actor)
                await self._settle(note, await self.perform(call_id), "")
                return
            if call.state is not CallState.HANDED_OVER:
                raise ProblemError(HTTPStatus.CONFLICT, NOT_RUNNING)
        await self._forward(call_id, access, actor)

    async def perform(self, call_id: str) -> HangUpAnswer:
        """Have the carrier end a call of this process, for itself or for another one; return what became of it."""
        try:
            ended = await self._hang_up(CallId(call_id))
        except CarrierError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return HangUpAnswer(HangUpOutcome.OVER)
            if error.error_type == NOT_OWNED:
                return HangUpAnswer(HangUpOutcome.NOT_RUNNING)
            return HangUpAnswer(HangUpOutcome.REFUSED, error.error_type)
        return HangUpAnswer(HangUpOutcome.HUNG_UP if ended else HangUpOutcome.NOT_RUNNING)

    async def _forward(self, call_id: str, access: Access, actor: str) -> None:
        """Have the process hang up that holds the call, as its record says."""
        try:
            row = None if "\x00" in call_id else await self._past.find(CallId(call_id))
        except PastUnavailableError:
            raise records_unavailable() from None
        if row is None or not access.covers(row.tenant_id):
            raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL)
        if row.ended_ms is not None:
            raise ProblemError(HTTPStatus.CONFLICT, NOT_RUNNING)
        holder = row.instance_id
        if self._elsewhere is None:
            raise ProblemError(HTTPStatus.CONFLICT, not_here(holder))
        if holder == self._elsewhere.instance_id:
            raise ProblemError(HTTPStatus.CONFLICT, NOT_RUNNING)
        note = await self._noted(row.tenant_id, call_id, actor)
        await self._settle(note, await self._elsewhere.hang_up(call_id, holder), holder)

    async def _noted(self, tenant_id: str, call_id: str, actor: str) -> HangUpNote:
        with tenant_problems():
            return await self._tenants.note_hang_up(tenant_id, call_id, actor=actor)

    async def _settle(self, note: HangUpNote, answer: HangUpAnswer, holder: str) -> None:
        """Give the note its outcome, and raise the problem that it is."""
        match answer.outcome:
            case HangUpOutcome.HUNG_UP:
                await self._noted_as(note, None)
            case HangUpOutcome.OVER:
                await self._noted_as(note, "over")
                raise ProblemError(HTTPStatus.CONFLICT, OVER)
            case HangUpOutcome.NOT_RUNNING:
                await self._noted_as(note, "not_running")
                raise ProblemError(HTTPStatus.CONFLICT, NOT_RUNNING)
            case HangUpOutcome.REFUSED:
                await self._noted_as(note, answer.error_type or "refused")
                raise ProblemError(HTTPStatus.BAD_GATEWAY, f"{_REFUSED} ({answer.error_type})")
            case HangUpOutcome.GONE:
                await self._noted_as(note, "unreachable")
                raise ProblemError(HTTPStatus.CONFLICT, not_reached(holder))
            case HangUpOutcome.SILENT:
                # The note stays as it is: the outcome is not known.
                raise ProblemError(HTTPStatus.CONFLICT, not_answered(holder))

    async def _noted_as(self, note: HangUpNote, error: str | None) -> None:
        try:
            await self._tenants.settle_hang_up(note, error=error)
        except DATABASE_ERRORS as failed:
            # What happened has happened; the audit says that its outcome is not known.
            _logger.warning("the outcome of a hang-up could not be audited: %s", type(failed).__name__)


def hang_up_router(*, hang_ups: HangUps, admin: AdminCheck) -> APIRouter:
    """Return the route that hangs up; ``admin`` decides who may use it."""
    router = admin_router(Tag.CALLS, admin)

    @router.post(_PATH, summary="Hang up", operation_id="hangUp", status_code=HTTPStatus.NO_CONTENT, responses=_HUNG_UP)
    async def hang_up(call_id: CallInPath, access: RequestAccess, actor: Actor) -> Response:
        """Have the carrier end a running call, whichever process of the fleet has it.

        Its tenant's audit keeps who did it, and what became of it.
        """
        await hang_ups.hang_up(call_id, access, actor)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return router
