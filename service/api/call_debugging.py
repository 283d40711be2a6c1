"""Everything about one call: as data, as a picture, and by its trace."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import JSONResponse, Response

from service.api import tags
from service.api.answers import ADMIN_ANSWERS, Answers, answer, json_answer
from service.debugging.detail import CallDetail
from service.debugging.drawing import waterfall
from service.debugging.example import EXAMPLE
from service.debugging.svg import render_svg
from service.debugging.writing import CALLS, NO_BACKEND, TRACES, TraceUrls, call_detail
from service.problems import ProblemError, declared, declared_invalid
from service.security import AdminCheck
from telemetry.recent.calls import RecentCalls
from telemetry.recent.record import CallRecord

SVG = "image/svg+xml"

UNKNOWN_CALL = "This process knows no such call, or no longer."
UNKNOWN_TRACE = "No call this process knows has this trace."

_PICTURE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
# The picture is a document: opened by itself, a browser must take nothing in it for more than a picture.

_NO_CALL: Answers = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_CALL),
        "The call is neither under way nor among the last that are over, in the process that answers.",
        f"{CALLS}/rtc_0",
    )
}
_NO_TRACE: Answers = {
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, UNKNOWN_TRACE),
        "The trace belongs to no call that is under way or among the last that are over.",
        f"{TRACES}/{'0' * 31}1",
    ),
    422: declared_invalid(f"{TRACES}/1", "path.trace_id", "String should match pattern '^[0-9a-f]{32}$'"),
}
_CALL: Answers = {200: answer(CallDetail, "Everything known of the call.", EXAMPLE)}
_PICTURE: Answers = {
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


def call_debugging_router(*, recent: RecentCalls, admin: AdminCheck, urls: TraceUrls = NO_BACKEND) -> APIRouter:
    """The routes of single calls and traces; ``admin`` decides who may use them."""
    router = APIRouter(
        tags=[tags.CALLS],
        dependencies=[Depends(admin)],
        responses=ADMIN_ANSWERS,
        default_response_class=JSONResponse,
    )

    # The routes are not ``async``: a big record takes milliseconds to write, which belong on a thread of its own.

    @router.get(
        f"{CALLS}/{{call_id:path}}/timeline.svg",
        summary="One call as a picture",
        operation_id="callTimeline",
        response_class=Response,
        responses=_PICTURE | _NO_CALL,
    )
    def timeline(call_id: CallInPath) -> Response:
        """Draw the call over time: phases, speech, waits, interruptions, tools, errors; fit to put into a ticket."""
        detail = call_detail(_known(recent.call(call_id), UNKNOWN_CALL), urls)
        return Response(render_svg(waterfall(detail)).encode(), headers=_PICTURE_HEADERS, media_type=SVG)

    @router.get(
        f"{CALLS}/{{call_id:path}}",
        summary="One call",
        operation_id="call",
        responses=_CALL | _NO_CALL,
    )
    def call(call_id: CallInPath) -> Response:
        """Show everything known of a call under way or lately over: decision and reason, phases, turns, spans, logs."""
        return _answer(recent.call(call_id), UNKNOWN_CALL)

    @router.get(
        f"{TRACES}/{{trace_id}}", summary="The call of a trace", operation_id="callOfTrace", responses=_CALL | _NO_TRACE
    )
    def call_of_trace(trace_id: TraceInPath) -> Response:
        """Show the call whose trace this is: the way back from an exemplar, a log line or a trace backend."""
        return _answer(recent.by_trace(trace_id), UNKNOWN_TRACE)

    def _answer(record: CallRecord | None, unknown: str) -> Response:
        return json_answer(call_detail(_known(record, unknown), urls).model_dump(mode="json"))

    return router


def _known(record: CallRecord | None, unknown: str) -> CallRecord:
    if record is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, unknown)
    return record
