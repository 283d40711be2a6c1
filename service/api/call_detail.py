"""Everything about one call: as data, as a picture, and by its trace."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Path
from starlette.responses import Response

from service.http.access import RequestAccess
from service.http.openapi import Responses, Tag, declared, declared_invalid, success
from service.http.problems import ProblemError
from service.http.responses import admin_router, json_response, records_unavailable
from service.http.security import AdminCheck
from service.http.tokens import FULL_ACCESS, Access
from service.records.record import StoredCall
from service.timeline.detail import EXAMPLE, CallDetail
from service.timeline.past import (
    WATCHED,
    NoPastCalls,
    PastCalls,
    PastUnavailableError,
    StorySource,
    remembered,
    source_of,
)
from service.timeline.serializer import CALLS, NO_BACKEND, TRACES, TraceUrls, call_detail
from service.timeline.svg import render_svg
from service.timeline.timeline import waterfall
from telemetry.recent.calls import RecentCalls
from telemetry.recent.record import CallDetails
from telemetry.semconv.attributes import CallId

SVG = "image/svg+xml"

UNKNOWN_CALL = "No call this process knows, nor any on record, has this id."
UNKNOWN_TRACE = "No call this process knows, nor any on record, has this trace."

T = TypeVar("T")

NO_PAST: Final = NoPastCalls()
"""No records are kept."""

PICTURE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
# The picture is a document: opened by itself, a browser must take nothing in it for more than a picture.

_NO_CALL: Responses = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL),
        "The process that answers has no such call, and there is no record of one.",
        f"{CALLS}/rtc_0",
    )
}
_NO_TRACE: Responses = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_TRACE),
        "The process that answers has no call of this trace, and there is no record of one.",
        f"{TRACES}/{'0' * 31}1",
    ),
    422: declared_invalid(f"{TRACES}/1", "path.trace_id", "String should match pattern '^[0-9a-f]{32}$'"),
}
_CALL: Responses = {200: success(CallDetail, "Everything known of the call.", EXAMPLE)}
_PICTURE: Responses = {
    200: {
        "description": "The call over time, as a picture of its own.",
        "content": {SVG: {"schema": {"type": "string"}, "example": "<svg xmlns='http://www.w3.org/2000/svg'>…</svg>"}},
    }
}

CallInPath = Annotated[str, Path(description="The carrier's id of the call.", examples=["rtc_1"])]
TraceInPath = Annotated[
    str,
    Path(
        description="A trace's id, 32 hexadecimal digits, as logs, exemplars and trace backends show it.",
        pattern="^[0-9a-f]{32}$",
        examples=["0af7651916cd43dd8448eb211c80319c"],
    ),
]


def call_debugging_router(
    *, recent: RecentCalls, admin: AdminCheck, urls: TraceUrls = NO_BACKEND, past: PastCalls = NO_PAST
) -> APIRouter:
    """Return the routes of single calls and traces; ``admin`` decides who may use them.

    Calls that ``recent`` has forgotten, or that other processes had, are told from their records, if ``past`` has them.
    """
    router = admin_router(Tag.CALLS, admin)
    lookup = CallLookup(recent, past, urls)

    # One call is written without FastAPI's own serialisation, which runs on the event loop: thousands of spans and log
    # records take many milliseconds, in which other calls would wait. They take a thread.

    @router.get(
        f"{CALLS}/{{call_id:path}}/timeline.svg",
        summary="One call as a picture",
        operation_id="callTimeline",
        response_class=Response,
        responses=_PICTURE | _NO_CALL,
    )
    async def timeline(call_id: CallInPath, access: RequestAccess) -> Response:
        """Draw the call over time: phases, speech, waits, interruptions, tools, errors; fit to put into a ticket."""
        return await lookup.responded(call_id, access, _drawn)

    @router.get(
        f"{CALLS}/{{call_id:path}}",
        summary="One call",
        operation_id="call",
        responses=_CALL | _NO_CALL,
    )
    async def call(call_id: CallInPath, access: RequestAccess) -> Response:
        """Show everything known of a call under way or lately over: decision and reason, phases, turns, spans, logs.

        Of a call of an earlier process, or of long ago, show what its record keeps.
        """
        return await lookup.responded(call_id, access, _written)

    @router.get(
        f"{TRACES}/{{trace_id}}", summary="The call of a trace", operation_id="callOfTrace", responses=_CALL | _NO_TRACE
    )
    async def call_of_trace(trace_id: TraceInPath, access: RequestAccess) -> Response:
        """Show the call whose trace this is: the way back from an exemplar, a log line or a trace backend."""
        return await lookup.of_trace(trace_id, access, _written)

    return router


class CallLookup:
    """Finds calls in memory, and on record those that are no longer there."""

    __slots__ = ("_past", "_recent", "_urls")

    def __init__(self, recent: RecentCalls, past: PastCalls, urls: TraceUrls) -> None:
        self._recent = recent
        self._past = past
        self._urls = urls

    async def detail(self, call_id: str, access: Access = FULL_ACCESS) -> CallDetail:
        """Return everything known of the call.

        Raises:
            ProblemError: 404 if there is no such call for this access, 503 if that cannot be known now.
        """
        return await self.responded(call_id, access, lambda detail: detail)

    async def responded(self, call_id: str, access: Access, write: Callable[[CallDetail], T]) -> T:
        """Return what ``write``, in a thread, makes of the call; raise as :meth:`detail` does."""
        details = await asyncio.to_thread(self._recent.call, call_id)
        source = WATCHED
        if details is None:
            row = await self._recorded(call_id)
            if row is None:
                raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL)
            details, source = remembered(row), source_of(row)
        return await self._told(details, source, access, UNKNOWN_CALL, write)

    async def of_trace(self, trace_id: str, access: Access, write: Callable[[CallDetail], T]) -> T:
        """Return what ``write``, in a thread, makes of the call with this trace id; raise as :meth:`detail` does."""
        details, source = await asyncio.to_thread(self._recent.by_trace, trace_id), WATCHED
        if details is None:
            try:
                row = await self._past.find_by_trace(trace_id)
            except PastUnavailableError:
                raise records_unavailable() from None
            if row is None:
                raise ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_TRACE)
            details, source = remembered(row), source_of(row)
        return await self._told(details, source, access, UNKNOWN_TRACE, write)

    async def _told(
        self, details: CallDetails, source: StorySource, access: Access, unknown: str, write: Callable[[CallDetail], T]
    ) -> T:
        if not access.covers(details.summary.tenant_id):
            raise ProblemError(HTTPStatus.NOT_FOUND, unknown)
        return await asyncio.to_thread(lambda: write(call_detail(details, self._urls, source)))

    async def _recorded(self, call_id: str) -> StoredCall | None:
        if "\x00" in call_id:  # no record has this character in its id, and no server takes it
            return None
        try:
            return await self._past.find(CallId(call_id))
        except PastUnavailableError:
            raise records_unavailable() from None


def _written(detail: CallDetail) -> Response:
    return json_response(detail.model_dump(mode="json"))


def _drawn(detail: CallDetail) -> Response:
    return Response(render_svg(waterfall(detail)).encode(), headers=PICTURE_HEADERS, media_type=SVG)
