"""Usage over HTTP: call time of a period, as JSON or CSV."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from service.http.database import database_needed
from service.http.openapi import JSON, Responses, Tag, declared, declared_invalid
from service.http.problems import ProblemError, invalid_request
from service.http.responses import admin_router
from service.http.schemas import FrozenSchema
from service.http.security import AdminCheck
from service.usage.period import Grouping, Period, PeriodError
from service.usage.report import UsageLine, UsageReader
from service.usage.rules import UnknownTenantError
from service.usage.serializer import MINUTES_ROUNDING, Lines, UsageHead, as_csv, as_json

PATH = "/api/v1/usage"
CSV = "text/csv; charset=utf-8"

Seconds = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]{3}$", description="Exact seconds, as a decimal text.")]


class UsageFigures(FrozenSchema):
    """Figures of a line, or of all."""

    calls: int = Field(description="Calls that started here or, if they never started, were received here.")
    answered_calls: int = Field(description="Of these, those whose media session began.")
    open_calls: int = Field(description="Of these, those that are not over: their time grows.")
    split_calls: int = Field(
        description="Calls of which a part is in another line or period; what rounding adds counts where they end."
    )
    seconds: Seconds
    rounded_seconds: Seconds
    rounded_minutes: str = Field(
        pattern=r"^[0-9]+\.[0-9]{2}$", description="Half up to hundredths; the total is the sum of the lines."
    )


class UsageEntry(UsageFigures):
    """One line; it has the fields that lines are told apart by."""

    month: str | None = Field(None, description="The local month.", examples=["2026-11"])
    day: str | None = Field(None, description="The local date.", examples=["2026-11-01"])
    hour: str | None = Field(None, description="When the local hour began.", examples=["2026-11-01T13:00:00+01:00"])
    tenant_id: str | None = None
    outcome: str | None = Field(None, description="The outcome of the calls; `open` for those that are not over.")
    reason: str | None = None
    rounding: tuple[str, ...] = Field(
        description="Rules that hold in the period, the first one first; `by start`: a call counts where it started."
    )


class UsageReport(FrozenSchema):
    """Usage of a period."""

    from_: str = Field(alias="from", description="The first moment.")
    to: str = Field(description="The first moment that no longer belongs.")
    tz: str
    group_by: tuple[str, ...]
    tenant_id: str | None
    freezes: tuple[int, ...] = Field(
        description="Numbers of the freezes that cover a part of the period: what was billed there is theirs to say."
    )
    minutes_rounding: str = Field(description="The rounding of minutes, in words.")
    lines: tuple[UsageEntry, ...]
    total: UsageFigures


class UsageFormat(StrEnum):
    """Forms of the answer."""

    JSON = "json"
    CSV = "csv"


_FIGURES = {
    "calls": 2,
    "answered_calls": 2,
    "open_calls": 0,
    "split_calls": 0,
    "seconds": "92.250",
    "rounded_seconds": "120.000",
    "rounded_minutes": "2.00",
}
EXAMPLE: dict[str, Any] = {
    "from": "2026-11-01T00:00:00+01:00",
    "to": "2026-12-01T00:00:00+01:00",
    "tz": "Europe/Berlin",
    "group_by": ["tenant"],
    "tenant_id": None,
    "freezes": [],
    "minutes_rounding": MINUTES_ROUNDING,
    "lines": [{"tenant_id": "acme", **_FIGURES, "rounding": ["per_started_minute"]}],
    "total": _FIGURES,
}
"""A report, for the OpenAPI document."""

NO_SUCH_TENANT = declared(
    ProblemError(HTTPStatus.NOT_FOUND, str(UnknownTenantError("acmee"))),
    "No tenant has this id, and no call was recorded under it.",
    f"{PATH}?tenant_id=acmee",
)
"""Declares the answer to a tenant that nobody knows."""
_CSV_EXAMPLE = (
    "from,2026-11-01T00:00:00+01:00\r\n"
    "to,2026-12-01T00:00:00+01:00\r\n"
    "\r\n"
    "tenant_id,calls,answered_calls,open_calls,split_calls,seconds,rounded_seconds,rounded_minutes,rounding\r\n"
    "acme,2,2,0,0,92.250,120.000,2.00,per_started_minute\r\n"
    "\r\n"
    "total,rounded_seconds,120.000\r\n"
    "lines,1\r\n"
)

_RESPONSES: Responses = {
    200: {
        "model": UsageReport,
        "description": "The usage of the period. Sums of several periods that follow each other are the sum of all.",
        "content": {JSON: {"example": EXAMPLE}, CSV: {"schema": {"type": "string"}, "example": _CSV_EXAMPLE}},
    },
    404: NO_SUCH_TENANT,
    422: declared_invalid(f"{PATH}?from=2026-11-01&to=2026-10-01", "query.to", "must be later than from"),
}

_MOMENT = "A date, which begins at midnight in `tz`, or a moment; without an offset it is local too."
_From = Annotated[
    str, Query(alias="from", max_length=40, description=f"The first moment. {_MOMENT}", examples=["2026-11-01"])
]
_To = Annotated[
    str, Query(max_length=40, description="The first moment that no longer belongs.", examples=["2026-12-01"])
]
_GroupBy = Annotated[
    str,
    Query(
        max_length=40,
        description="Facts that tell lines apart: `tenant`, one of `month`, `day`, `hour`, and `outcome`.",
        examples=["tenant,day"],
    ),
]
_Zone = Annotated[
    str, Query(max_length=64, description="IANA time zone of months, days and hours.", examples=["Europe/Berlin"])
]
_Tenant = Annotated[
    str | None, Query(max_length=63, pattern=r"^[^\x00-\x1f\x7f]+$", description="Of this tenant alone.")
]
_Format = Annotated[UsageFormat | None, Query(alias="format", description="CSV also if `Accept` asks for `text/csv`.")]
_Bare = Annotated[bool, Query(description="Of CSV the lines alone, without the blocks that tell period and total.")]
_Accept = Annotated[str, Header(include_in_schema=False)]


def usage_router(*, usage: UsageReader, admin: AdminCheck) -> APIRouter:
    """Return the route ``/api/v1/usage``; ``admin`` decides who may use it."""
    router = admin_router(Tag.USAGE, admin)

    @router.get(PATH, summary="Call time of a period", operation_id="usage", responses=_RESPONSES)
    async def usage_of_period(
        start: _From,
        to: _To,
        group_by: _GroupBy = "tenant",
        tz: _Zone = "UTC",
        tenant_id: _Tenant = None,
        form: _Format = None,
        bare: _Bare = False,
        accept: _Accept = "",
    ) -> Response:
        """Add up call time, exact to the millisecond, with each tenant's rounding beside it.

        A call's time counts where it ran: one that runs across midnight counts on both days, each with its part. The
        call itself counts where it started, and what rounding adds where it ended; a rule that goes `by start` counts
        the whole call where it started. Days on which clocks change have their real length. Calls that reached no
        tenant are in no line.
        """
        head = usage_head(start, to, tz, group_by, tenant_id)
        with database_needed(), tenant_known():
            head = replace(head, freezes=await usage.covering(head.period, tenant_id))
            lines = usage.lines(head.period, head.grouping, tenant_id=tenant_id)
            first = await anext(lines, None)
        if form is UsageFormat.CSV or (form is None and "text/csv" in accept):
            pieces = as_csv(_all(first, lines), head, bare=bare)
            return StreamingResponse(pieces, headers=file_headers(f"{head.file_name}.csv"), media_type=CSV)
        return StreamingResponse(as_json(_all(first, lines), head), headers=_HEADERS, media_type=JSON)

    return router


_HEADERS = {"Cache-Control": "no-store"}


def file_headers(name: str) -> dict[str, str]:
    """Return the headers of an answer that is saved under a name."""
    return _HEADERS | {"Content-Disposition": f'attachment; filename="{name}"'}


def usage_head(start: str, end: str, zone: str, group_by: str, tenant_id: str | None) -> UsageHead:
    """Return the question of a request; raise a 422 problem that names the wrong parameter."""
    try:
        period = Period.parse(start, end, zone)
        return UsageHead(period, Grouping.parse(group_by, period), tenant_id)
    except PeriodError as error:
        raise invalid_parameter(error) from None


@contextmanager
def tenant_known() -> Iterator[None]:
    """Raise a 404 problem for a tenant that nobody knows."""
    try:
        yield
    except UnknownTenantError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from None


def invalid_parameter(error: PeriodError, where: str = "query") -> ProblemError:
    """Return the 422 problem that names the wrong parameter."""
    return invalid_request([{"loc": (where, error.field), "msg": str(error)}])


async def _all(first: UsageLine | None, rest: Lines) -> AsyncGenerator[UsageLine, None]:
    async with aclosing(rest):
        if first is not None:
            yield first
        async for line in rest:
            yield line
