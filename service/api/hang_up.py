"""Hanging up a running call: an operator's doing, which the audit of its tenant keeps."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response

from service.api.call_detail import UNKNOWN_CALL, CallInPath
from service.api.tenants.problems import tenant_problems
from service.api.tenants.schemas import Actor
from service.gateway.carriers.carrier import CarrierError
from service.http.access import RequestAccess
from service.http.openapi import Responses, Tag, declared
from service.http.problems import ProblemError
from service.http.responses import admin_router
from service.http.security import AdminCheck
from service.http.tokens import Access
from service.tenants.repository import TenantRepository
from service.timeline.serializer import CALLS
from telemetry.calls.lifecycle import CallState
from telemetry.calls.tracker import CallTracker
from telemetry.semconv.attributes import CallId

NOT_RUNNING: Final = "The call does not run here: it has not started, is over, or another process has it."
_REFUSED: Final = "The carrier did not hang up; the call goes on."
_PATH: Final = f"{CALLS}/{{call_id:path}}/hang-up"

_HUNG_UP: Responses = {
    204: {"description": "The carrier was told to end the call; its end is counted when the session closes."},
    404: declared(ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL), "There is no such call.", f"{CALLS}/rtc_0/hang-up"),
    409: declared(ProblemError(HTTPStatus.CONFLICT, NOT_RUNNING), "The call does not run.", f"{CALLS}/rtc_1/hang-up"),
    502: declared(ProblemError(HTTPStatus.BAD_GATEWAY, _REFUSED), "The carrier refused.", f"{CALLS}/rtc_1/hang-up"),
}


class HangUps:
    """Hangs up calls of this process for operators, each noted in its tenant's audit first.

    Args:
        tracker: Knows the calls.
        tenants: Keeps the audit.
        hang_up: Has the carrier end a call; returns False if the call does not run.
    """

    def __init__(
        self, tracker: CallTracker, tenants: TenantRepository, hang_up: Callable[[CallId], Awaitable[bool]]
    ) -> None:
        self._tracker = tracker
        self._tenants = tenants
        self._hang_up = hang_up

    async def hang_up(self, call_id: str, access: Access, actor: str) -> None:
        """End a call that runs.

        Raises:
            ProblemError: 404 for a call that is not known, or not to this access; 409 if it does not run; 502 if the
                carrier refuses; 503 if nobody could be told afterwards who did it, since the database is away.
        """
        if not self._tracker.knows(call_id):
            raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL)
        call = self._tracker.call(call_id).snapshot()
        if not access.covers(call.tenant_id):
            raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL)
        if call.state is not CallState.STARTED:
            raise ProblemError(HTTPStatus.CONFLICT, NOT_RUNNING)
        with tenant_problems():
            await self._tenants.note_hang_up(call.tenant_id, call.call_id, actor=actor)
        try:
            ended = await self._hang_up(call.call_id)
        except CarrierError as error:
            raise ProblemError(HTTPStatus.BAD_GATEWAY, f"{_REFUSED} ({error.error_type})") from None
        if not ended:
            raise ProblemError(HTTPStatus.CONFLICT, NOT_RUNNING)


def hang_up_router(*, hang_ups: HangUps, admin: AdminCheck) -> APIRouter:
    """Return the route that hangs up; ``admin`` decides who may use it."""
    router = admin_router(Tag.CALLS, admin)

    @router.post(_PATH, summary="Hang up", operation_id="hangUp", status_code=HTTPStatus.NO_CONTENT, responses=_HUNG_UP)
    async def hang_up(call_id: CallInPath, access: RequestAccess, actor: Actor) -> Response:
        """Have the carrier end a running call. Its tenant's audit keeps who did it."""
        await hang_ups.hang_up(call_id, access, actor)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return router
