"""Rounding rules over HTTP: what was agreed with whom, and since when it holds."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from service.api.usage import PATH as USAGE
from service.http import tags
from service.http.problems import declared_invalid, invalid_request
from service.http.responses import Answers, admin_router, answer, database_needed
from service.http.security import AdminCheck
from service.storage.database import Database
from service.usage.models import ANY_TENANT
from service.usage.period import milliseconds
from service.usage.rules import Agreed, Rounding, RoundingError, agree, read_rules
from telemetry.clock import Clock

PATH = f"{USAGE}/roundings"

MAX_RULE = 16


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoundingChange(_Closed):
    """A rule and since when it holds."""

    rounding: str = Field(
        max_length=MAX_RULE,
        description="`per_second`, `per_started_minute`, or INITIAL/STEP in seconds.",
        examples=["6/6"],
    )
    valid_from: datetime = Field(description="For calls that start then or later; UTC unless it says otherwise.")
    by: str = Field("api", min_length=1, max_length=200, description="Who agreed to it, for the books.")


class AgreedRounding(_Closed):
    """A rule as it was agreed."""

    tenant_id: str = Field(description=f"`{ANY_TENANT}`: every tenant that has no rule of its own.")
    rounding: str
    valid_from: datetime


class AgreedRoundings(_Closed):
    """Everything that was agreed."""

    roundings: tuple[AgreedRounding, ...] = Field(description="By tenant, the oldest first.")


_EXAMPLE: dict[str, Any] = {"tenant_id": "acme", "rounding": "6/6", "valid_from": "2026-11-01T00:00:00Z"}
_LISTED: Answers = {200: answer(AgreedRoundings, "Every rule.", {"roundings": [_EXAMPLE]})}
_SET: Answers = {
    200: answer(AgreedRounding, "The rule holds from its moment on.", _EXAMPLE),
    422: declared_invalid(f"{PATH}/acme", "body.rounding", "is not a rounding"),
}
_Tenant = Annotated[
    str,
    Path(
        max_length=63,
        pattern=r"^(\*|[a-z0-9_][a-z0-9_-]*)$",
        description=f"A tenant's id, or `{ANY_TENANT}` for those that have no rule of their own.",
        examples=["acme"],
    ),
]


def usage_roundings_router(*, database: Database, clock: Clock, admin: AdminCheck) -> APIRouter:
    """The routes under ``/api/v1/usage/roundings``; ``admin`` decides who may use them."""
    router = admin_router(tags.USAGE, admin, prefix=PATH)

    @router.get("", summary="Rounding rules", operation_id="usageRoundings", responses=_LISTED)
    async def roundings() -> AgreedRoundings:
        """List what was agreed. Where nothing was, every begun second counts."""
        with database_needed():
            async with database.reading() as session:
                rules = await read_rules(session)
        agreed = [one for _, of_tenant in sorted(rules.of_tenant.items()) for one in of_tenant]
        return AgreedRoundings(roundings=tuple(map(_shown, agreed)))

    @router.put("/{tenant_id}", summary="Agree on a rounding", operation_id="agreeUsageRounding", responses=_SET)
    async def agree_on_rounding(tenant_id: _Tenant, change: RoundingChange) -> AgreedRounding:
        """Let a rule hold from a moment on, until the next one's. The same moment again replaces its rule.

        A moment in the past changes what was billed since: frozen periods show it as a correction.
        """
        agreed = Agreed(tenant_id, milliseconds(_aware(change.valid_from)), _rounding(change.rounding))
        with database_needed():
            await agree(database, agreed, actor=change.by, now_ms=clock.now().unix_ms)
        return _shown(agreed)

    return router


def _rounding(text: str) -> Rounding:
    try:
        return Rounding.parse(text)
    except RoundingError as error:
        raise invalid_request([{"loc": ("body", "rounding"), "msg": str(error)}]) from None


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _shown(agreed: Agreed) -> AgreedRounding:
    return AgreedRounding(
        tenant_id=agreed.tenant_id,
        rounding=str(agreed.rounding),
        valid_from=datetime.fromtimestamp(agreed.valid_from_ms / 1000, UTC),
    )
