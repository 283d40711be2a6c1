"""Rounding rules over HTTP: agreed from a moment on, changed at the version read, withdrawn, with their history."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, TypeAdapter
from starlette.responses import Response

from service.api.tenants.conditions import IF_MATCH, Conditions, EntityTags, conditions, known, tag_of
from service.api.usage import NO_SUCH_TENANT, invalid_parameter, tenant_known
from service.api.usage import PATH as USAGE
from service.http.bodies import body_responses, declared_body, json_body, stated
from service.http.database import database_needed
from service.http.openapi import Responses, Tag, declared, declared_invalid, header, success
from service.http.parameters import ONE_LINE, Moment, in_utc
from service.http.problems import FieldProblem, ProblemError, invalid_request
from service.http.responses import admin_router, json_response
from service.http.schemas import FrozenSchema
from service.http.security import AdminCheck
from service.storage.database import Database
from service.usage.models import ANY_TENANT
from service.usage.period import PeriodError, bounded
from service.usage.rules import (
    Agreed,
    NoSuchRuleError,
    Rounding,
    RoundingError,
    RuleChange,
    RuleChangedError,
    agree,
    demand_known,
    read_changes,
    read_rules,
    rules_version,
    withdraw,
)
from telemetry.clock import Clock

PATH = f"{USAGE}/roundings"

MAX_RULE = 32
"""Characters of a rule: longer than any name of one."""
MAX_BODY_BYTES: Final = 16 * 1024
"""Bytes of a request; a rule, a moment and a name need no more."""
DEFAULT_ACTOR = "api"
"""Author of a change whose request names none."""


class RoundingStatement(FrozenSchema):
    """A rule and the moment it holds from."""

    rounding: str = Field(
        max_length=MAX_RULE,
        description="`per_second`, `per_started_minute`, or INITIAL/STEP in seconds.",
        examples=["6/6"],
    )
    valid_from: Moment = Field(description="For calls that start then or later; UTC unless it says otherwise.")
    by_start: bool = Field(
        False, description="True: a call counts whole where it started; false: its time counts where it ran."
    )
    by: str = Field(
        DEFAULT_ACTOR, min_length=1, max_length=200, pattern=ONE_LINE, description="The person who agreed to it."
    )


class RoundingTerms(FrozenSchema):
    """A rule without its moment."""

    rounding: str
    by_start: bool


class AgreedRounding(FrozenSchema):
    """A rule as it was agreed."""

    tenant_id: str = Field(description=f"`{ANY_TENANT}`: every tenant that has no rule of its own.")
    rounding: str
    by_start: bool
    valid_from: datetime
    set_at: datetime
    by: str = Field(description="The person who agreed to it.")


class AgreedRoundings(FrozenSchema):
    """The rules in force."""

    roundings: tuple[AgreedRounding, ...] = Field(description="By tenant, the oldest first.")


class RoundingChanged(FrozenSchema):
    """A rule that was agreed, replaced or withdrawn."""

    change_id: int
    at: datetime
    by: str
    valid_from: datetime
    before: RoundingTerms | None = Field(description="`null`: no rule began at this moment.")
    after: RoundingTerms | None = Field(description="`null`: the rule was withdrawn.")


class TenantRoundings(FrozenSchema):
    """A tenant's rules and their history; their version is in the `ETag`."""

    roundings: tuple[AgreedRounding, ...] = Field(description="The oldest first.")
    changes: tuple[RoundingChanged, ...] = Field(description="The latest first, at most a thousand.")


_EXAMPLE: dict[str, Any] = {
    "tenant_id": "acme",
    "rounding": "6/6",
    "by_start": False,
    "valid_from": "2026-11-01T00:00:00Z",
    "set_at": "2026-10-28T09:12:00Z",
    "by": "sales",
}
_CHANGE: dict[str, Any] = {
    "change_id": 17,
    "at": "2026-10-28T09:12:00Z",
    "by": "sales",
    "valid_from": "2026-11-01T00:00:00Z",
    "before": None,
    "after": {"rounding": "6/6", "by_start": False},
}
_OF_TENANT = {"roundings": [_EXAMPLE], "changes": [_CHANGE]}
_ETAG = {"ETag": header("The version, to demand with `If-Match`.", '"17"')}
_CHANGED_MEANWHILE = "The tenant's rules are not, or no longer, at the version this request demands; read them again."


def _refused(version: int, *, demanded: bool) -> ProblemError:
    """Return the 412 problem for another version, the 428 one for none; the present version is in the ``ETag``."""
    headers = {"ETag": tag_of(version)}
    if demanded:
        return ProblemError(HTTPStatus.PRECONDITION_FAILED, _CHANGED_MEANWHILE, headers=headers)
    detail = f"There is a rule for this moment: send the ETag of the tenant's rules in {IF_MATCH}."
    errors = [FieldProblem(field=f"header.{IF_MATCH}", detail="is required to change what exists")]
    return ProblemError(HTTPStatus.PRECONDITION_REQUIRED, detail, errors=errors, headers=headers)


_CONDITIONAL: Responses = {
    412: declared(_refused(17, demanded=True), "The rules are at another version than demanded.", f"{PATH}/acme"),
    428: declared(_refused(17, demanded=False), "A rule is changed only with `If-Match`.", f"{PATH}/acme"),
}
_NO_SUCH_RULE = "No rule of the tenant begins at this moment."
_LISTED: Responses = {200: success(AgreedRoundings, "Every rule.", {"roundings": [_EXAMPLE]})}
_SHOWN: Responses = {
    200: success(TenantRoundings, "The tenant's rules, and who changed them.", _OF_TENANT, _ETAG),
    304: {"description": "What is known still holds.", "headers": _ETAG},
    404: NO_SUCH_TENANT,
    422: declared_invalid(f"{PATH}/Acme", "path.tenant_id", "String should match pattern"),
}
_SET: Responses = {
    200: success(TenantRoundings, "The rule holds from its moment on.", _OF_TENANT, _ETAG),
    404: NO_SUCH_TENANT,
    422: declared_invalid(f"{PATH}/acme", "body.rounding", "is not a rounding"),
    **body_responses(MAX_BODY_BYTES, f"{PATH}/acme"),
    **_CONDITIONAL,
}
_WITHDRAWN: Responses = {
    200: success(TenantRoundings, "The rule before it goes on.", _OF_TENANT, _ETAG),
    404: declared(ProblemError(HTTPStatus.NOT_FOUND, _NO_SUCH_RULE), _NO_SUCH_RULE, f"{PATH}/acme"),
    422: declared_invalid(f"{PATH}/acme", "query.valid_from", "Field required"),
    **_CONDITIONAL,
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
_STATEMENT: Final = TypeAdapter(RoundingStatement)
_STATED: Final = declared_body(
    RoundingStatement, {"rounding": "6/6", "valid_from": "2026-11-01T00:00:00Z", "by": "ada"}, "What to agree on."
)
_Body = Annotated[bytes, Depends(json_body(MAX_BODY_BYTES))]
_Demands = Annotated[Conditions, Depends(conditions)]
_Knowing = Annotated[Conditions, Depends(known)]
_ValidFrom = Annotated[
    Moment, Query(description="The moment the rule begins; UTC unless it says otherwise.", examples=["2026-11-01"])
]
_By = Annotated[str, Query(min_length=1, max_length=200, pattern=ONE_LINE, description="The person who withdraws it.")]


def usage_roundings_router(*, database: Database, clock: Clock, admin: AdminCheck) -> APIRouter:
    """Return the routes under ``/api/v1/usage/roundings``; ``admin`` decides who may use them."""
    router = admin_router(Tag.USAGE, admin, prefix=PATH)

    @router.get("", summary="Rounding rules", operation_id="usageRoundings", responses=_LISTED)
    async def roundings() -> AgreedRoundings:
        """List the rules in force. Where nothing was agreed, every begun second counts."""
        with database_needed():
            async with database.reading() as session:
                rules = await read_rules(session)
        agreed = [one for _, of_tenant in sorted(rules.of_tenant.items()) for one in of_tenant]
        return AgreedRoundings(roundings=tuple(map(_shown, agreed)))

    @router.get("/{tenant_id}", summary="A tenant's rounding rules", operation_id="tenantRoundings", responses=_SHOWN)
    async def tenant_roundings(tenant_id: _Tenant, knowing: _Knowing) -> Response:
        """Show the tenant's rules, and who changed them when."""
        with database_needed(), tenant_known():
            async with database.reading() as session:
                await demand_known(session, tenant_id)
        return await _answered(database, tenant_id, knowing)

    @router.put(
        "/{tenant_id}",
        summary="Agree on a rounding",
        operation_id="agreeUsageRounding",
        responses=_SET,
        openapi_extra=_STATED,
    )
    async def agree_on_rounding(tenant_id: _Tenant, body: _Body, demands: _Demands) -> Response:
        """Let a rule hold from a moment on, until the next one's.

        Another rule for the same moment is replaced only with the version of the tenant's rules in `If-Match`; with
        `If-None-Match: *` there must be none. A moment in the past changes what was billed since: frozen periods show
        it as a correction.
        """
        statement = await stated(_STATEMENT, body)
        agreed = Agreed(
            tenant_id, _at_ms(statement.valid_from, "body"), _rounding(statement.rounding, statement.by_start)
        )
        with database_needed(), tenant_known(), _at_version():
            await agree(
                database,
                agreed,
                actor=statement.by,
                now_ms=clock.now().unix_ms,
                based_on=await _based_on(database, tenant_id, demands),
                new=demands.if_none_match is not None,
            )
        return await _answered(database, tenant_id)

    @router.delete(
        "/{tenant_id}", summary="Withdraw a rounding", operation_id="withdrawUsageRounding", responses=_WITHDRAWN
    )
    async def withdraw_rounding(
        tenant_id: _Tenant, valid_from: _ValidFrom, demands: _Demands, by: _By = DEFAULT_ACTOR
    ) -> Response:
        """Remove the rule that begins at a moment, so that the one before goes on; its history stays."""
        try:
            with database_needed(), _at_version():
                await withdraw(
                    database,
                    tenant_id,
                    _at_ms(valid_from, "query"),
                    actor=by,
                    now_ms=clock.now().unix_ms,
                    based_on=await _based_on(database, tenant_id, demands),
                )
        except NoSuchRuleError:
            raise ProblemError(HTTPStatus.NOT_FOUND, _NO_SUCH_RULE) from None
        return await _answered(database, tenant_id)

    return router


@contextmanager
def _at_version() -> Iterator[None]:
    try:
        yield
    except RuleChangedError as error:
        raise _refused(error.version, demanded=error.demanded) from None


async def _based_on(database: Database, tenant_id: str, demands: Conditions) -> int | None:
    """Return the version a request demands; ``None`` for no demand, -1 for one that is not the present version."""
    wanted: EntityTags | None = demands.if_match
    if wanted is None:
        return None
    async with database.reading() as session:
        version = await rules_version(session, tenant_id)
    return version if wanted.name_strongly(tag_of(version)) else -1


async def _answered(database: Database, tenant_id: str, knowing: Conditions | None = None) -> Response:
    with database_needed():
        async with database.reading() as session:
            version = await rules_version(session, tenant_id)
            rules, changes = await read_rules(session), await read_changes(session, tenant_id)
    headers = {"ETag": tag_of(version), "Cache-Control": "private, no-cache"}
    if knowing is not None and knowing.known(tag_of(version)):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    content = TenantRoundings(
        roundings=tuple(map(_shown, rules.of_tenant.get(tenant_id, ()))), changes=tuple(map(_changed, changes))
    )
    return json_response(content.model_dump(mode="json"), headers)


def _rounding(text: str, by_start: bool) -> Rounding:
    try:
        return Rounding.parse(text, by_start=by_start)
    except RoundingError as error:
        raise invalid_request([{"loc": ("body", "rounding"), "msg": str(error)}]) from None


def _at_ms(at: datetime, where: str) -> int:
    try:
        return bounded("valid_from", in_utc(at))
    except PeriodError as error:
        raise invalid_parameter(error, where) from None


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _shown(agreed: Agreed) -> AgreedRounding:
    return AgreedRounding(
        tenant_id=agreed.tenant_id,
        rounding=agreed.rounding.intervals,
        by_start=agreed.rounding.by_start,
        valid_from=_moment(agreed.valid_from_ms),
        set_at=_moment(agreed.set_ms),
        by=agreed.set_by,
    )


def _changed(change: RuleChange) -> RoundingChanged:
    return RoundingChanged(
        change_id=change.change_id,
        at=_moment(change.at_ms),
        by=change.actor,
        valid_from=_moment(change.valid_from_ms),
        before=_terms(change.before),
        after=_terms(change.after),
    )


def _terms(rounding: Rounding | None) -> RoundingTerms | None:
    return None if rounding is None else RoundingTerms(rounding=rounding.intervals, by_start=rounding.by_start)
