"""Usage over HTTP: how long calls ran, as JSON or CSV."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from service.http import tags
from service.http.problems import ProblemError, declared_invalid, invalid_request
from service.http.responses import JSON, Answers, admin_router, database_needed
from service.http.security import AdminCheck
from service.usage.period import Grouping, Period, PeriodError
from service.usage.report import UsageLine, UsageReader
from service.usage.writing import Asked, Lines, as_csv, as_json

PATH = "/api/v1/usage"
CSV = "text/csv; charset=utf-8"

Seconds = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]{3}$", description="Exact seconds, as a decimal text.")]


class UsageFigures(BaseModel):
    """What was used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = Field(description="Calls that started here or, if they never started, were received here.")
    answered_calls: int = Field(description="Of these, those whose media session began.")
    open_calls: int = Field(description="Of these, those that are not over: their time grows.")
    seconds: Seconds
    rounded_seconds: Seconds


class UsageEntry(UsageFigures):
    """One line; it has the fields that lines are told apart by."""

    day: str | None = Field(None, description="The local date.", examples=["2026-11-01"])
    hour: str | None = Field(None, description="When the local hour began.", examples=["2026-11-01T13:00:00+01:00"])
    tenant_id: str | None = None
    outcome: str | None = Field(None, description="How calls turned out; `open` for those that are not over.")
    reason: str | None = None
    rounding: tuple[str, ...] = Field(description="The rounding rules that hold in the period, the first one first.")


class UsageReport(BaseModel):
    """Usage of a period."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_: str = Field(alias="from", description="The first moment.")
    to: str = Field(description="The first moment that no longer belongs.")
    tz: str
    group_by: tuple[str, ...]
    tenant_id: str | None
    lines: tuple[UsageEntry, ...]
    total: UsageFigures


class Format(StrEnum):
    """How the answer is written."""

    JSON = "json"
    CSV = "csv"


_FIGURES = {"calls": 2, "answered_calls": 2, "open_calls": 0, "seconds": "92.250", "rounded_seconds": "120.000"}
EXAMPLE: dict[str, Any] = {
    "from": "2026-11-01T00:00:00+01:00",
    "to": "2026-12-01T00:00:00+01:00",
    "tz": "Europe/Berlin",
    "group_by": ["tenant"],
    "tenant_id": None,
    "lines": [{"tenant_id": "acme", **_FIGURES, "rounding": ["per_started_minute"]}],
    "total": _FIGURES,
}
"""What the OpenAPI document shows."""

_CSV_EXAMPLE = (
    "tenant_id,calls,answered_calls,open_calls,seconds,rounded_seconds,rounding\r\n"
    "acme,2,2,0,92.250,120.000,per_started_minute\r\n"
)

_ANSWERS: Answers = {
    200: {
        "model": UsageReport,
        "description": "The usage of the period. Sums of several periods that follow each other are the sum of all.",
        "content": {JSON: {"example": EXAMPLE}, CSV: {"schema": {"type": "string"}, "example": _CSV_EXAMPLE}},
    },
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
        description="What lines are told apart by: `tenant`, `day` or `hour`, `outcome`, or several of them.",
        examples=["tenant,day"],
    ),
]
_Zone = Annotated[
    str, Query(max_length=64, description="Whose days and hours: an IANA time zone.", examples=["Europe/Berlin"])
]
_Tenant = Annotated[
    str | None, Query(max_length=63, pattern=r"^[^\x00-\x1f\x7f]+$", description="Of this tenant alone.")
]
_Format = Annotated[Format | None, Query(alias="format", description="CSV also if `Accept` asks for `text/csv`.")]
_Accept = Annotated[str, Header(include_in_schema=False)]


def usage_router(*, usage: UsageReader, admin: AdminCheck) -> APIRouter:
    """The route ``/api/v1/usage``; ``admin`` decides who may use it."""
    router = admin_router(tags.USAGE, admin)

    @router.get(PATH, summary="How long calls ran", operation_id="usage", responses=_ANSWERS)
    async def usage_of_period(
        start: _From,
        to: _To,
        group_by: _GroupBy = "tenant",
        tz: _Zone = "UTC",
        tenant_id: _Tenant = None,
        form: _Format = None,
        accept: _Accept = "",
    ) -> Response:
        """Add up call time, exact to the millisecond, with each tenant's rounding beside it.

        A call's time counts where it ran: one that runs across midnight counts on both days, each with its part. The
        call itself counts where it started, and what rounding adds where it ended. Days on which clocks change have
        their real length.
        """
        asked = asked_for(start, to, tz, group_by, tenant_id)
        lines = usage.lines(asked.period, asked.grouping, tenant_id=tenant_id)
        with database_needed():
            first = await anext(lines, None)
        if form is Format.CSV or (form is None and "text/csv" in accept):
            return StreamingResponse(as_csv(_all(first, lines), asked), headers=_CSV_HEADERS, media_type=CSV)
        return StreamingResponse(as_json(_all(first, lines), asked), headers=_HEADERS, media_type=JSON)

    return router


_HEADERS = {"Cache-Control": "no-store"}
_CSV_HEADERS = _HEADERS | {"Content-Disposition": 'attachment; filename="usage.csv"'}


def asked_for(start: str, end: str, zone: str, group_by: str, tenant_id: str | None) -> Asked:
    """What a request asks for; raises a 422 problem that names the parameter."""
    try:
        period = Period.parse(start, end, zone)
        return Asked(period, Grouping.parse(group_by, period), tenant_id)
    except PeriodError as error:
        raise invalid_parameter(error) from None


def invalid_parameter(error: PeriodError, where: str = "query") -> ProblemError:
    """The 422 problem that names the wrong parameter."""
    return invalid_request([{"loc": (where, error.field), "msg": str(error)}])


async def _all(first: UsageLine | None, rest: Lines) -> AsyncGenerator[UsageLine, None]:
    async with aclosing(rest):
        if first is not None:
            yield first
        async for line in rest:
            yield line
