"""Frozen periods over HTTP: sealed sums, the calls behind them, later differences, and their settlement."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from pydantic import Field, TypeAdapter
from starlette.responses import Response, StreamingResponse

from service.api.tenants.conditions import IF_MATCH, Conditions, conditions
from service.api.usage import CSV, NO_SUCH_TENANT, Seconds, file_headers, invalid_parameter, tenant_known
from service.api.usage import PATH as USAGE
from service.http.bodies import body_responses, declared_body, json_body, stated
from service.http.database import database_needed
from service.http.openapi import Responses, Tag, declared, declared_invalid, header, success
from service.http.parameters import ONE_LINE
from service.http.problems import FieldProblem, ProblemError
from service.http.responses import admin_router, json_response
from service.http.schemas import FrozenSchema
from service.http.security import AdminCheck
from service.usage.documents import BilledCall, BilledSums, ChangedCall, Document
from service.usage.freezing import (
    Adjustment,
    Correction,
    DifferencesChangedError,
    Examined,
    Freezer,
    FreezeRefusedError,
    ListedFreeze,
    NoSuchFreezeError,
)
from service.usage.period import Period, PeriodError
from service.usage.report import seconds
from service.usage.serializer import calls_as_csv

PATH = f"{USAGE}/freezes"

DEFAULT_ACTOR = "api"
"""Author of a document whose request names none."""

MAX_BODY_BYTES: Final = 16 * 1024
"""Bytes of a request; a period and a name need no more."""

NO_SUCH = "Nothing was frozen under this number."

SignedSeconds = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{3}$", description="Exact seconds, as a decimal text.")]


class FreezeRequest(FrozenSchema):
    """A period to freeze."""

    from_: str = Field(alias="from", max_length=40, description="The first moment, or a date that begins in `tz`.")
    to: str = Field(max_length=40, description="The first moment that no longer belongs, or such a date.")
    tz: str = Field("UTC", max_length=64, description="An IANA time zone.")
    tenant_id: str | None = Field(
        None, max_length=63, pattern=r"^[a-z0-9_][a-z0-9_-]*$", description="One tenant's calls alone; `null`: all."
    )
    accept_gap: bool = Field(False, description="Also if the last frozen period ends before this one begins.")
    by: str = Field(
        DEFAULT_ACTOR, min_length=1, max_length=200, pattern=ONE_LINE, description="The person who freezes it."
    )


class SettlementRequest(FrozenSchema):
    """The acceptance of what differs from a frozen period."""

    by: str = Field(
        DEFAULT_ACTOR, min_length=1, max_length=200, pattern=ONE_LINE, description="The person who accepts it."
    )


class FrozenPeriod(FrozenSchema):
    """A frozen period."""

    freeze_id: int
    tenant_id: str | None = Field(description="The one tenant it is about; `null`: all.")
    from_: datetime = Field(alias="from")
    to: datetime
    tz: str
    frozen_at: datetime
    by: str
    checksum: str = Field(
        pattern="^[0-9a-f]{64}$", description="The seal over period, lines, calls and the seal before it."
    )


class FrozenEntry(FrozenPeriod):
    """A frozen period in the list."""

    intact: bool = Field(description="Period and lines have their seal; the calls are checked where it is shown alone.")
    adjustments: tuple[int, ...] = Field(description="Numbers of its adjustments.")


class FrozenList(FrozenSchema):
    """Every frozen period."""

    freezes: tuple[FrozenEntry, ...] = Field(description="The latest first.")


class FrozenSums(FrozenSchema):
    """One tenant's sums."""

    tenant_id: str
    calls: int
    answered_calls: int
    seconds: Seconds
    rounded_seconds: Seconds


class SumsDifference(FrozenSchema):
    """One tenant's sums, as differences."""

    tenant_id: str
    calls: int
    answered_calls: int
    seconds: SignedSeconds
    rounded_seconds: SignedSeconds


class CorrectedSums(FrozenSchema):
    """One tenant's sums that are not what is billed."""

    tenant_id: str
    billed: FrozenSums = Field(description="With the adjustments that were settled.")
    now: FrozenSums
    difference: SumsDifference


class CallPart(FrozenSchema):
    """A call's part in the period."""

    tenant_id: str
    calls: int = Field(description="1 if it started in the period, else 0.")
    answered_calls: int
    seconds: Seconds
    rounded_seconds: Seconds


class CorrectedCall(FrozenSchema):
    """A call that is not as it was billed."""

    call_id: str
    billed: CallPart | None = Field(description="`null`: it was not there.")
    now: CallPart | None = Field(description="`null`: it is not there any more.")


class UsageAdjustment(FrozenSchema):
    """Differences that were accepted; they are billed with this number."""

    adjustment_id: int
    freeze_id: int
    settled_at: datetime
    by: str
    lines: tuple[SumsDifference, ...]
    checksum: str = Field(pattern="^[0-9a-f]{64}$")
    intact: bool


class FreezeExamined(FrozenSchema):
    """A frozen period, compared with what the records say now."""

    freeze: FrozenPeriod
    lines: tuple[FrozenSums, ...]
    intact: bool = Field(description="Period, lines and calls have their seal.")
    corrections: tuple[CorrectedSums, ...] = Field(description="Differences that are not settled; none if empty.")
    changed_calls: int = Field(description="Calls behind them.")
    calls: tuple[CorrectedCall, ...] = Field(description="The first hundred of these calls.")
    adjustments: tuple[UsageAdjustment, ...] = Field(description="Differences that are settled, the oldest first.")


_SUMS = {"tenant_id": "acme", "calls": 2, "answered_calls": 2, "seconds": "92.250", "rounded_seconds": "120.000"}
_MORE = {"tenant_id": "acme", "calls": 1, "answered_calls": 1, "seconds": "7.750", "rounded_seconds": "60.000"}
_NOW = {"tenant_id": "acme", "calls": 3, "answered_calls": 3, "seconds": "100.000", "rounded_seconds": "180.000"}
_SEAL = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_FREEZE: dict[str, Any] = {
    "freeze_id": 1,
    "tenant_id": None,
    "from": "2026-10-01T00:00:00Z",
    "to": "2026-11-01T00:00:00Z",
    "tz": "UTC",
    "frozen_at": "2026-11-02T08:00:00Z",
    "by": "finance",
    "checksum": _SEAL,
}
_ADJUSTMENT: dict[str, Any] = {
    "adjustment_id": 2,
    "freeze_id": 1,
    "settled_at": "2026-11-09T08:00:00Z",
    "by": "finance",
    "lines": [_MORE],
    "checksum": _SEAL,
    "intact": True,
}
_EXAMINED = {
    "freeze": _FREEZE,
    "lines": [_SUMS],
    "intact": True,
    "corrections": [{"tenant_id": "acme", "billed": _SUMS, "now": _NOW, "difference": _MORE}],
    "changed_calls": 1,
    "calls": [{"call_id": "rtc_1", "billed": None, "now": _MORE}],
    "adjustments": [],
}
_CALLS_EXAMPLE = (
    "freeze_id,1\r\nfrom,2026-10-01T00:00:00+00:00\r\n\r\n"
    "call_id,tenant_id,calls,answered_calls,seconds,rounded_seconds\r\nrtc_1,acme,1,1,7.750,60.000\r\n\r\n"
    "total,seconds,7.750\r\ntotal,rounded_seconds,60.000\r\nlines,1\r\n"
)
_CHANGED_MEANWHILE = "The differences are not, or no longer, those this request demands; read the freeze again."


def _demanded() -> ProblemError:
    errors = [FieldProblem(field=f"header.{IF_MATCH}", detail="is required, so that what is settled is what was seen")]
    detail = f"Send the ETag of the freeze in {IF_MATCH}."
    return ProblemError(HTTPStatus.PRECONDITION_REQUIRED, detail, errors=errors)


_FROZEN: Responses = {
    201: success(FrozenPeriod, "The period is frozen.", _FREEZE),
    404: NO_SUCH_TENANT,
    409: declared(
        ProblemError(HTTPStatus.CONFLICT, "The period is not over yet."),
        "The period is not over, has open calls, overlaps a frozen one, or leaves a gap after the last.",
        PATH,
    ),
    422: declared_invalid(PATH, "body.to", "must be later than from"),
    **body_responses(MAX_BODY_BYTES, PATH),
}
_LISTED: Responses = {
    200: success(FrozenList, "Every frozen period.", {"freezes": [_FREEZE | {"intact": True, "adjustments": []}]})
}
_ETAG = {"ETag": header("The differences, to demand with `If-Match`.", '"5d41402abc4b2a76"')}
_UNKNOWN: Responses = {
    404: declared(ProblemError(HTTPStatus.NOT_FOUND, NO_SUCH), NO_SUCH, f"{PATH}/7"),
    422: declared_invalid(f"{PATH}/x", "path.freeze_id", "Input should be a valid integer"),
}
_COMPARED: Responses = {
    200: success(FreezeExamined, "The frozen sums and what is different now.", _EXAMINED, _ETAG),
    **_UNKNOWN,
}
_SETTLED: Responses = {
    201: success(UsageAdjustment, "The differences are settled.", _ADJUSTMENT),
    409: declared(
        ProblemError(HTTPStatus.CONFLICT, "Nothing differs from what is billed."),
        "There is nothing to settle.",
        f"{PATH}/1/adjustments",
    ),
    412: declared(
        ProblemError(HTTPStatus.PRECONDITION_FAILED, _CHANGED_MEANWHILE),
        "The differences are others than demanded.",
        f"{PATH}/1/adjustments",
    ),
    428: declared(_demanded(), "Differences are settled only with `If-Match`.", f"{PATH}/1/adjustments"),
    **_UNKNOWN,
    **body_responses(MAX_BODY_BYTES, f"{PATH}/1/adjustments"),
}
_EXPORTED: Responses = {
    200: {
        "description": "The calls as they are billed, adjustments included.",
        "content": {CSV: {"schema": {"type": "string"}, "example": _CALLS_EXAMPLE}},
    },
    **_UNKNOWN,
}
_FREEZE_REQUEST: Final = TypeAdapter(FreezeRequest)
_FREEZE_STATED: Final = declared_body(
    FreezeRequest, {"from": "2026-11-01", "to": "2026-12-01", "tz": "Europe/Berlin", "by": "ada"}, "What to freeze."
)
_SETTLEMENT_REQUEST: Final = TypeAdapter(SettlementRequest)
_SETTLEMENT_STATED: Final = declared_body(SettlementRequest, {"by": "ada"}, "Who accepts it.")
_Body = Annotated[bytes, Depends(json_body(MAX_BODY_BYTES))]
_FreezeId = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number the freeze was given.")]
_Demands = Annotated[Conditions, Depends(conditions)]


def usage_freezes_router(*, freezer: Freezer, admin: AdminCheck) -> APIRouter:
    """Return the routes under ``/api/v1/usage/freezes``; ``admin`` decides who may use them."""
    router = admin_router(Tag.USAGE, admin, prefix=PATH)

    @router.post(
        "",
        status_code=201,
        summary="Freeze a period",
        operation_id="freezeUsage",
        responses=_FROZEN,
        openapi_extra=_FREEZE_STATED,
    )
    async def freeze_period(body: _Body) -> FrozenPeriod:
        """Keep the calls and sums of a period that is over, under a seal. Later changes show as corrections."""
        request = await stated(_FREEZE_REQUEST, body)
        with _freeze_problems(), tenant_known():
            period = Period.parse(request.from_, request.to, request.tz)
            document = await freezer.freeze(
                period, actor=request.by, tenant_id=request.tenant_id, accept_gap=request.accept_gap
            )
        return FrozenPeriod.model_validate(_frozen(document))

    @router.get("", summary="Frozen periods", operation_id="usageFreezes", responses=_LISTED)
    async def frozen_periods() -> FrozenList:
        """List every frozen period, and if it is as it was sealed."""
        with database_needed():
            return FrozenList(freezes=tuple(map(_listed, await freezer.freezes())))

    @router.get(
        "/{freeze_id}", summary="A frozen period and its corrections", operation_id="usageFreeze", responses=_COMPARED
    )
    async def frozen_period(freeze_id: _FreezeId) -> Response:
        """Compare what is billed with what the records say now, call by call."""
        with _freeze_problems():
            examined = await freezer.examine(freeze_id)
        content = _examined(examined).model_dump(mode="json", by_alias=True)
        return json_response(content, {"ETag": f'"{examined.version}"', "Cache-Control": "no-store"})

    @router.post(
        "/{freeze_id}/adjustments",
        status_code=201,
        summary="Settle what differs",
        operation_id="settleUsageFreeze",
        responses=_SETTLED,
        openapi_extra=_SETTLEMENT_STATED,
    )
    async def settle_differences(freeze_id: _FreezeId, body: _Body, demands: _Demands) -> UsageAdjustment:
        """Accept the differences that were read, as an adjustment with a number of its own: they are billed once."""
        request = await stated(_SETTLEMENT_REQUEST, body)
        wanted = demands.if_match
        if wanted is None:
            raise _demanded()
        with _freeze_problems():
            return _adjustment(
                await freezer.settle(
                    freeze_id, actor=request.by, accepts=lambda version: wanted.name_strongly(f'"{version}"')
                )
            )

    @router.get(
        "/{freeze_id}/calls",
        summary="The calls of a frozen period",
        operation_id="usageFreezeCalls",
        responses=_EXPORTED,
        response_class=StreamingResponse,
    )
    async def billed_calls(freeze_id: _FreezeId) -> Response:
        """Export the calls as they are billed, adjustments included, as CSV."""
        calls = freezer.calls(freeze_id)
        with _freeze_problems():
            document = await freezer.document(freeze_id)
            first = await anext(calls, None)
        head = _frozen(document)
        name = f"billed_{document.facts.tenant_id or 'all'}_{head['from']:%Y-%m-%d}_{head['to']:%Y-%m-%d}.csv"
        pieces = calls_as_csv(_all(first, calls), head)
        return StreamingResponse(pieces, headers=file_headers(name), media_type=CSV)

    return router


async def _all(first: BilledCall | None, rest: AsyncGenerator[BilledCall, None]) -> AsyncGenerator[BilledCall, None]:
    async with aclosing(rest):
        if first is not None:
            yield first
        async for call in rest:
            yield call


@contextmanager
def _freeze_problems() -> Iterator[None]:
    """Raise problems instead of the errors of freezing."""
    try:
        with database_needed():
            yield
    except PeriodError as error:
        raise invalid_parameter(error, "body") from None
    except NoSuchFreezeError:
        raise ProblemError(HTTPStatus.NOT_FOUND, NO_SUCH) from None
    except DifferencesChangedError:
        raise ProblemError(HTTPStatus.PRECONDITION_FAILED, _CHANGED_MEANWHILE) from None
    except FreezeRefusedError as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from None


def _examined(examined: Examined) -> FreezeExamined:
    return FreezeExamined(
        freeze=FrozenPeriod.model_validate(_frozen(examined.document)),
        lines=tuple(map(_sums, examined.lines)),
        intact=examined.intact,
        corrections=tuple(map(_corrected, examined.corrections)),
        changed_calls=examined.changed_calls,
        calls=tuple(map(_changed, examined.calls)),
        adjustments=tuple(map(_adjustment, examined.adjustments)),
    )


def _frozen(document: Document) -> dict[str, Any]:
    facts = document.facts
    return {
        "freeze_id": facts.document_id,
        "tenant_id": facts.tenant_id,
        "from": _moment(facts.from_ms),
        "to": _moment(facts.to_ms),
        "tz": facts.time_zone,
        "frozen_at": _moment(facts.made_ms),
        "by": facts.made_by,
        "checksum": document.checksum,
    }


def _listed(listed: ListedFreeze) -> FrozenEntry:
    more = {"intact": listed.intact, "adjustments": listed.adjustments}
    return FrozenEntry.model_validate(_frozen(listed.document) | more)


def _corrected(correction: Correction) -> CorrectedSums:
    return CorrectedSums(
        tenant_id=correction.now.tenant_id,
        billed=_sums(correction.billed),
        now=_sums(correction.now),
        difference=SumsDifference(**_figures(correction.difference)),
    )


def _changed(call: ChangedCall) -> CorrectedCall:
    return CorrectedCall(call_id=call.call_id, billed=_part(call.billed), now=_part(call.now))


def _part(call: BilledCall | None) -> CallPart | None:
    return None if call is None else CallPart(**_figures(call))


def _adjustment(adjustment: Adjustment) -> UsageAdjustment:
    facts = adjustment.document.facts
    return UsageAdjustment(
        adjustment_id=facts.document_id,
        freeze_id=facts.adjusts or 0,
        settled_at=_moment(facts.made_ms),
        by=facts.made_by,
        lines=tuple(SumsDifference(**_figures(line)) for line in adjustment.lines),
        checksum=adjustment.document.checksum,
        intact=adjustment.intact,
    )


def _sums(line: BilledSums) -> FrozenSums:
    return FrozenSums(**_figures(line))


def _figures(line: BilledSums | BilledCall) -> dict[str, Any]:
    return {
        "tenant_id": line.tenant_id,
        "calls": line.calls,
        "answered_calls": line.answered_calls,
        "seconds": str(seconds(line.duration_ms)),
        "rounded_seconds": str(seconds(line.rounded_ms)),
    }


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
