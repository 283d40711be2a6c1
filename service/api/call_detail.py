"""Everything about one call: as data, as a picture, and by its trace."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Path
from starlette.responses import Response

from service.api.elsewhere import CALL_HEADERS, CallsElsewhere, Scope, ToldCall, demand_scope
from service.http.access import RequestAccess
from service.http.openapi import Responses, Tag, declared, declared_invalid, success
from service.http.problems import ProblemError
from service.http.responses import MetricsScope, admin_router, json_response, records_unavailable
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
from telemetry.calls.lifecycle import CallState
from telemetry.recent.calls import RecentCalls
from telemetry.recent.record import CallDetails
from telemetry.semconv.attributes import CallId

SVG = "image/svg+xml"

UNKNOWN_CALL = "There is no call with this id, neither in memory nor on record."
UNKNOWN_TRACE = "There is no call with this trace, neither in memory nor on record."
UNANSWERED = "Not every process of the fleet answered; without scope=fleet the answer is what is known."

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
_CALL: Responses = {200: success(CallDetail, "Everything known of the call.", EXAMPLE, CALL_HEADERS)}
_PICTURE: Responses = {
    200: {
        "description": "The call over time, as a picture of its own.",
        "headers": CALL_HEADERS,
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
    *,
    recent: RecentCalls,
    admin: AdminCheck,
    urls: TraceUrls = NO_BACKEND,
    past: PastCalls = NO_PAST,
    elsewhere: CallsElsewhere | None = None,
) -> APIRouter:
    """Return the routes of single calls and traces; ``admin`` decides who may use them.

    Calls that other processes of a fleet have are told by these; those that nobody remembers, or of a process that does
    not answer, from their records, if ``past`` has them.
    """
    router = admin_router(Tag.CALLS, admin)
    lookup = CallLookup(recent, past, urls, elsewhere)

    # One call is written without FastAPI's own serialisation, which runs on the event loop: thousands of spans and log
    # records take many milliseconds, in which other calls would wait. They take a thread.

    async def responded(found: Awaitable[tuple[Response, Mapping[str, str]]], scope: MetricsScope | None) -> Response:
        response, headers = await found
        if scope is MetricsScope.FLEET and "X-Calls-Silent" in headers:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, UNANSWERED, headers={"Retry-After": "1", **headers})
        response.headers.update(headers)
        return response

    @router.get(
        f"{CALLS}/{{call_id:path}}/timeline.svg",
        summary="One call as a picture",
        operation_id="callTimeline",
        response_class=Response,
        responses=_PICTURE | _NO_CALL,
    )
    async def timeline(call_id: CallInPath, access: RequestAccess, scope: Scope = None) -> Response:
        """Draw the call over time: phases, speech, waits, interruptions, tools, errors; fit to put into a ticket."""
        return await responded(lookup.looked_up(call_id, access, _drawn, scope), scope)

    @router.get(
        f"{CALLS}/{{call_id:path}}",
        summary="One call",
        operation_id="call",
        responses=_CALL | _NO_CALL,
    )
    async def call(call_id: CallInPath, access: RequestAccess, scope: Scope = None) -> Response:
        """Show everything known of a call under way or lately over: decision and reason, phases, turns, spans, logs.

        Of a call of another process of the fleet, show what that one tells; of an earlier process, of long ago, or of
        one that does not answer, show what the record keeps.
        """
        return await responded(lookup.looked_up(call_id, access, _written, scope), scope)

    @router.get(
        f"{TRACES}/{{trace_id}}", summary="The call of a trace", operation_id="callOfTrace", responses=_CALL | _NO_TRACE
    )
    async def call_of_trace(trace_id: TraceInPath, access: RequestAccess, scope: Scope = None) -> Response:
        """Show the call whose trace this is: the way back from an exemplar, a log line or a trace backend."""
        return await responded(lookup.looked_up_by_trace(trace_id, access, _written, scope), scope)

    return router


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A call that is looked for."""

    question: Mapping[str, str]
    """As other processes are asked for it."""
    own: CallDetails | None
    """As this process has it in memory."""
    on_record: Callable[[], Awaitable[StoredCall | None]]
    unknown: str
    """The sentence for one that is nowhere."""


class CallLookup:
    """Finds calls in memory, at other processes of a fleet, and on record."""

    __slots__ = ("_elsewhere", "_past", "_recent", "_urls")

    def __init__(
        self, recent: RecentCalls, past: PastCalls, urls: TraceUrls, elsewhere: CallsElsewhere | None = None
    ) -> None:
        self._recent = recent
        self._past = past
        self._urls = urls
        self._elsewhere = elsewhere

    async def detail(self, call_id: str, access: Access = FULL_ACCESS) -> CallDetail:
        """Return everything known of the call.

        Raises:
            ProblemError: 404 if there is no such call for this access, 503 if that cannot be known now.
        """
        return await self.responded(call_id, access, lambda detail: detail)

    async def responded(self, call_id: str, access: Access, write: Callable[[CallDetail], T]) -> T:
        """Return what ``write``, in a thread, makes of the call; raise as :meth:`detail` does."""
        return (await self.looked_up(call_id, access, write))[0]

    async def of_trace(self, trace_id: str, access: Access, write: Callable[[CallDetail], T]) -> T:
        """Return what ``write``, in a thread, makes of the call with this trace id; raise as :meth:`detail` does."""
        return (await self.looked_up_by_trace(trace_id, access, write))[0]

    async def looked_up(
        self, call_id: str, access: Access, write: Callable[[CallDetail], T], scope: MetricsScope | None = None
    ) -> tuple[T, Mapping[str, str]]:
        """Return the same as :meth:`responded` with the headers that say who told it; raise likewise."""
        own = await asyncio.to_thread(self._recent.call, call_id)
        on_record = partial(self._recorded, call_id)
        return await self._found(_Wanted({"call_id": call_id}, own, on_record, UNKNOWN_CALL), access, write, scope)

    async def looked_up_by_trace(
        self, trace_id: str, access: Access, write: Callable[[CallDetail], T], scope: MetricsScope | None = None
    ) -> tuple[T, Mapping[str, str]]:
        """Return the same for the call with this trace id; raise likewise."""
        own = await asyncio.to_thread(self._recent.by_trace, trace_id)
        on_record = partial(self._past.find_by_trace, trace_id)
        return await self._found(_Wanted({"trace_id": trace_id}, own, on_record, UNKNOWN_TRACE), access, write, scope)

    def own(self, question: Mapping[str, str]) -> CallDetail | None:
        """Return a call as this process has it in memory, None if it has not; in answer to another process."""
        if "trace_id" in question:
            details = self._recent.by_trace(question["trace_id"])
        else:
            details = self._recent.call(question["call_id"])
        return None if details is None else call_detail(details, self._urls)

    async def _found(
        self, wanted: _Wanted, access: Access, write: Callable[[CallDetail], T], scope: MetricsScope | None
    ) -> tuple[T, Mapping[str, str]]:
        demand_scope(scope, self._elsewhere)
        elsewhere = None if scope is MetricsScope.PROCESS else self._elsewhere
        own = wanted.own
        if own is not None and (elsewhere is None or own.summary.state is not CallState.HANDED_OVER):
            said = {} if elsewhere is None else ToldCall(None, elsewhere.instance_id).headers()
            return await self._told(own, WATCHED, access, wanted.unknown, write), said
        row, away = None, False
        try:
            row = await wanted.on_record()
        except PastUnavailableError:
            away = True
        if row is not None and not access.covers(row.tenant_id):
            raise ProblemError(HTTPStatus.NOT_FOUND, wanted.unknown)
        said = {}
        if elsewhere is not None:
            told = await elsewhere.call(wanted.question, None if row is None else row.instance_id)
            said = told.headers()
            if told.detail is not None:
                return await self._covered(told.detail, access, wanted.unknown, write), said
        if row is not None:
            return await self._told(remembered(row), source_of(row), access, wanted.unknown, write), said
        if own is not None:
            return await self._told(own, WATCHED, access, wanted.unknown, write), said
        if away:
            raise records_unavailable()
        raise ProblemError(HTTPStatus.NOT_FOUND, wanted.unknown, headers=said)

    async def _told(
        self, details: CallDetails, source: StorySource, access: Access, unknown: str, write: Callable[[CallDetail], T]
    ) -> T:
        if not access.covers(details.summary.tenant_id):
            raise ProblemError(HTTPStatus.NOT_FOUND, unknown)
        return await asyncio.to_thread(lambda: write(call_detail(details, self._urls, source)))

    async def _covered(self, detail: CallDetail, access: Access, unknown: str, write: Callable[[CallDetail], T]) -> T:
        if not access.covers(detail.tenant_id):
            raise ProblemError(HTTPStatus.NOT_FOUND, unknown)
        return await asyncio.to_thread(write, detail)

    async def _recorded(self, call_id: str) -> StoredCall | None:
        if "\x00" in call_id:  # no record has this character in its id, and no server takes it
            return None
        return await self._past.find(CallId(call_id))


def _written(detail: CallDetail) -> Response:
    return json_response(detail.model_dump(mode="json"))


def _drawn(detail: CallDetail) -> Response:
    return Response(render_svg(waterfall(detail)).encode(), headers=PICTURE_HEADERS, media_type=SVG)
