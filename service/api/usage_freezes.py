"""Frozen periods over HTTP: sealed sums, and what changed in them since."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from service.api.usage import PATH as USAGE
from service.api.usage import Seconds, invalid_parameter
from service.http import tags
from service.http.problems import ProblemError, declared, declared_invalid
from service.http.responses import Answers, admin_router, answer, database_needed
from service.http.security import AdminCheck
from service.usage.freezing import (
    Correction,
    Examined,
    Freeze,
    Freezer,
    FreezeRefusedError,
    FrozenLine,
    NoSuchFreezeError,
)
from service.usage.period import Period, PeriodError
from service.usage.report import seconds

PATH = f"{USAGE}/freezes"

ACTOR = "api"
"""Who froze a period, when nobody says so."""

NO_SUCH = "Nothing was frozen under this number."


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FreezeRequest(_Closed):
    """Which period to freeze."""

    from_: str = Field(alias="from", max_length=40, description="The first moment, or a date that begins in `tz`.")
    to: str = Field(max_length=40, description="The first moment that no longer belongs, or such a date.")
    tz: str = Field("UTC", max_length=64, description="An IANA time zone.")
    by: str = Field(ACTOR, min_length=1, max_length=200, description="Who freezes it, for the books.")


class Frozen(_Closed):
    """A frozen period."""

    freeze_id: int
    from_: datetime = Field(alias="from")
    to: datetime
    tz: str
    frozen_at: datetime
    by: str
    checksum: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 over the period and its lines.")


class FrozenList(_Closed):
    """Every frozen period."""

    freezes: tuple[Frozen, ...] = Field(description="The latest first.")


class FrozenSums(_Closed):
    """One tenant's sums."""

    tenant_id: str
    calls: int
    answered_calls: int
    seconds: Seconds
    rounded_seconds: Seconds


class CorrectedSums(_Closed):
    """One tenant's sums that are not what was frozen."""

    tenant_id: str
    frozen: FrozenSums
    now: FrozenSums
    changed_calls: int = Field(description="Calls whose records changed afterwards; none if the rounding did.")
    call_ids: tuple[str, ...] = Field(description="The first of them.")


class FreezeExamined(_Closed):
    """A frozen period, compared with what the records say now."""

    freeze: Frozen
    lines: tuple[FrozenSums, ...]
    intact: bool = Field(description="The kept sums still have their checksum.")
    corrections: tuple[CorrectedSums, ...] = Field(description="What is different now; empty if nothing changed.")


_SUMS = {"tenant_id": "acme", "calls": 2, "answered_calls": 2, "seconds": "92.250", "rounded_seconds": "120.000"}
_FREEZE: dict[str, Any] = {
    "freeze_id": 1,
    "from": "2026-10-01T00:00:00Z",
    "to": "2026-11-01T00:00:00Z",
    "tz": "UTC",
    "frozen_at": "2026-11-02T08:00:00Z",
    "by": "finance",
    "checksum": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}
_EXAMINED = {
    "freeze": _FREEZE,
    "lines": [_SUMS],
    "intact": True,
    "corrections": [
        {
            "tenant_id": "acme",
            "frozen": _SUMS,
            "now": _SUMS | {"calls": 3, "answered_calls": 3, "seconds": "100.000", "rounded_seconds": "180.000"},
            "changed_calls": 1,
            "call_ids": ["rtc_1"],
        }
    ],
}
_FROZEN: Answers = {
    201: answer(Frozen, "The period is frozen.", _FREEZE),
    409: declared(
        ProblemError(HTTPStatus.CONFLICT, "The period is not over yet."),
        "The period is not over, has open calls, or is frozen in part.",
        PATH,
    ),
    422: declared_invalid(PATH, "body.to", "must be later than from"),
}
_LISTED: Answers = {200: answer(FrozenList, "Every frozen period.", {"freezes": [_FREEZE]})}
_COMPARED: Answers = {
    200: answer(FreezeExamined, "The frozen sums and what is different now.", _EXAMINED),
    404: declared(ProblemError(HTTPStatus.NOT_FOUND, NO_SUCH), NO_SUCH, f"{PATH}/7"),
    422: declared_invalid(f"{PATH}/x", "path.freeze_id", "Input should be a valid integer"),
}
_FreezeId = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number the freeze was given.")]


def usage_freezes_router(*, freezer: Freezer, admin: AdminCheck) -> APIRouter:
    """The routes under ``/api/v1/usage/freezes``; ``admin`` decides who may use them."""
    router = admin_router(tags.USAGE, admin, prefix=PATH)

    @router.post("", status_code=201, summary="Freeze a period", operation_id="freezeUsage", responses=_FROZEN)
    async def freeze_period(asked: FreezeRequest) -> Frozen:
        """Keep every tenant's sums of a period that is over, under a checksum. Later changes show as corrections."""
        try:
            period = Period.parse(asked.from_, asked.to, asked.tz)
            with database_needed():
                return _frozen(await freezer.freeze(period, actor=asked.by))
        except PeriodError as error:
            raise invalid_parameter(error, "body") from None
        except FreezeRefusedError as error:
            raise ProblemError(HTTPStatus.CONFLICT, str(error)) from None

    @router.get("", summary="Frozen periods", operation_id="usageFreezes", responses=_LISTED)
    async def frozen_periods() -> FrozenList:
        """List every frozen period."""
        with database_needed():
            return FrozenList(freezes=tuple(map(_frozen, await freezer.freezes())))

    @router.get(
        "/{freeze_id}", summary="A frozen period and its corrections", operation_id="usageFreeze", responses=_COMPARED
    )
    async def frozen_period(freeze_id: _FreezeId) -> FreezeExamined:
        """Compare the frozen sums with what the records say now, and name the calls behind each difference."""
        try:
            with database_needed():
                return _examined(await freezer.examine(freeze_id))
        except NoSuchFreezeError:
            raise ProblemError(HTTPStatus.NOT_FOUND, NO_SUCH) from None

    return router


def _examined(examined: Examined) -> FreezeExamined:
    return FreezeExamined(
        freeze=_frozen(examined.freeze),
        lines=tuple(map(_sums, examined.lines)),
        intact=examined.intact,
        corrections=tuple(map(_corrected, examined.corrections)),
    )


def _frozen(freeze: Freeze) -> Frozen:
    period = freeze.period
    return Frozen.model_validate(
        {
            "freeze_id": freeze.freeze_id,
            "from": _moment(period.from_ms),
            "to": _moment(period.to_ms),
            "tz": period.time_zone,
            "frozen_at": _moment(period.frozen_ms),
            "by": freeze.frozen_by,
            "checksum": freeze.checksum,
        }
    )


def _corrected(correction: Correction) -> CorrectedSums:
    return CorrectedSums(
        tenant_id=correction.tenant_id,
        frozen=_sums(correction.frozen),
        now=_sums(correction.now),
        changed_calls=correction.changed_calls,
        call_ids=correction.call_ids,
    )


def _sums(line: FrozenLine) -> FrozenSums:
    return FrozenSums(
        tenant_id=line.tenant_id,
        calls=line.calls,
        answered_calls=line.answered_calls,
        seconds=str(seconds(line.duration_ms)),
        rounded_seconds=str(seconds(line.rounded_ms)),
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
