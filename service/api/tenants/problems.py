"""The repository's refusals as problem details that name the part of the request, and the responses of the routes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from service.api.tenants.conditions import IF_MATCH, Conditions, tag_of
from service.api.tenants.schemas import MAX_BODY_BYTES
from service.e164 import Address
from service.http.access import RequestAccess
from service.http.bodies import body_responses
from service.http.database import database_needed
from service.http.openapi import Responses, declared, declared_invalid, header, success
from service.http.problems import MAX_FIELD_PROBLEMS, FieldProblem, ProblemError
from service.http.responses import json_response
from service.tenants.errors import (
    InvalidFieldError,
    NumberNotFoundError,
    NumberTakenError,
    StaleVersionError,
    TenantExistsError,
    TenantNotFoundError,
)
from service.tenants.repository import NEW
from service.tenants.spec import as_entry
from service.tenants.tenant import Tenant

PATH = "/api/v1/tenants"
NO_SUCH_TENANT = "There is no such tenant."
_CHANGED_MEANWHILE = "The tenant is not, or no longer, at the version this request demands; read it again."


@contextmanager
def tenant_problems(numbers_at: str = "body.numbers") -> Iterator[None]:
    """Raise problems instead of the repository's errors; ``numbers_at`` is where the request states numbers."""
    try:
        with database_needed():
            yield
    except TenantNotFoundError:
        raise no_such_tenant() from None
    except NumberNotFoundError:
        raise ProblemError(HTTPStatus.NOT_FOUND, "The tenant does not have this number.") from None
    except NumberTakenError as error:
        raise _taken(error, numbers_at) from None
    except StaleVersionError as error:
        raise demands_another_version(error.actual) from None
    except TenantExistsError:
        raise demands_another_version(NEW) from None
    except InvalidFieldError as error:
        raise _invalid(error) from None


def no_such_tenant() -> ProblemError:
    """Return the 404 problem."""
    return ProblemError(HTTPStatus.NOT_FOUND, NO_SUCH_TENANT)


def demands_another_version(actual: int) -> ProblemError:
    """Return the 412 problem; its ``ETag`` is the present one, if there is a tenant."""
    headers = {} if actual == NEW else {"ETag": tag_of(actual)}
    return ProblemError(HTTPStatus.PRECONDITION_FAILED, _CHANGED_MEANWHILE, headers=headers)


def demand_needed(actual: int) -> ProblemError:
    """Return the 428 problem; its ``ETag`` is the present one."""
    detail = f"The tenant exists: send the ETag of what the change is based on in {IF_MATCH}."
    errors = [FieldProblem(field=f"header.{IF_MATCH}", detail="is required to change what exists")]
    return ProblemError(HTTPStatus.PRECONDITION_REQUIRED, detail, errors=errors, headers={"ETag": tag_of(actual)})


def _taken(error: NumberTakenError, numbers_at: str) -> ProblemError:
    listed = sorted(error.owners.items())[:MAX_FIELD_PROBLEMS]
    errors = [FieldProblem(field=numbers_at, detail=f"{number} belongs to '{owner}'") for number, owner in listed]
    return ProblemError(HTTPStatus.CONFLICT, "A number belongs to another tenant; nothing was changed.", errors=errors)


async def owners_hidden(access: RequestAccess) -> AsyncIterator[None]:
    """Keep from a token that is bound to tenants whose a number is. A FastAPI dependency."""
    try:
        yield
    except ProblemError as error:
        if error.status_code == HTTPStatus.CONFLICT and access.tenants is not None:
            raise ProblemError(HTTPStatus.CONFLICT, error.detail) from None
        raise


def _invalid(error: InvalidFieldError) -> ProblemError:
    errors = [FieldProblem(field=f"body.{error.field}", detail=error.problem)]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "No tenant can have this.", errors=errors)


_EXAMPLE = f"{PATH}/acme"
FOUND: Responses = {
    404: declared(no_such_tenant(), NO_SUCH_TENANT, f"{PATH}/nobody"),
    422: declared_invalid(f"{PATH}/_x", "path.tenant_id", "ids that begin with _ are reserved"),
}
"""Responses to a request about one tenant."""
CHANGED: Responses = FOUND | {
    412: declared(
        demands_another_version(NEW),
        "The tenant is at another version than demanded, or exists although it must not. If there is one, its present "
        "version is in the `ETag` header.",
        _EXAMPLE,
    ),
    428: declared(demand_needed(17), "What exists is changed only with `If-Match`.", _EXAMPLE),
}
"""Responses to a request that changes one tenant."""
WITH_BODY: Responses = {
    **CHANGED,
    **body_responses(MAX_BODY_BYTES, _EXAMPLE),
    422: declared_invalid(_EXAMPLE, "body.numbers.0", "'555' needs its country: write it as + and the country code"),
}
"""The same for one that has a body."""
NUMBER_TAKEN: Responses = {
    409: declared(
        _taken(NumberTakenError({Address("+18005550100"): "globex"}), "body.numbers"),
        "A number belongs to another tenant, which is named; nothing was changed.",
        _EXAMPLE,
    ),
}
"""Further answers to a request that gives a tenant numbers."""
_REVALIDATED = {"Cache-Control": "private, no-cache"}
"""A cache revalidates the answer before each use: 304 is the cheap reply to that."""
_ETAG = header("The version, to demand with `If-Match` or `If-None-Match`.", '"17"')
_LAST_MODIFIED = header("When the tenant was changed last.", "Sun, 22 Nov 2026 14:02:11 GMT")
_LOCATION = header("Where the tenant is.", f"{PATH}/acme")


def versioned(content: object, tag: str, conditions: Conditions | None = None) -> Response:
    """Answer with ``content`` at the version ``tag``, or 304 if the request says that it is known."""
    headers = {"ETag": tag, **_REVALIDATED}
    if conditions is not None and conditions.known(tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return json_response(content, headers)


def tenant_answer(tenant: Tenant, conditions: Conditions | None = None, *, created: bool = False) -> Response:
    """Answer with a tenant, whole."""
    response = versioned(as_entry(tenant), tag_of(tenant.version), conditions)
    response.headers["Last-Modified"] = format_datetime(tenant.updated_at, usegmt=True)
    if created:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = f"{PATH}/{tenant.tenant_id}"
    return response


def shown(model: type[BaseModel], description: str, example: object, *, status: int = 200) -> Responses:
    """Declare an answer of a version."""
    return {status: success(model, description, example, {"ETag": _ETAG})}


def shown_tenant(model: type[BaseModel], description: str, example: object, *, created: bool = False) -> Responses:
    """Declare the answer with a tenant."""
    headers: dict[str, Any] = {"ETag": _ETAG, "Last-Modified": _LAST_MODIFIED}
    if created:
        headers["Location"] = _LOCATION
    return {201 if created else 200: success(model, description, example, headers)}


NOT_MODIFIED: Responses = {304: {"description": "What is known still holds.", "headers": {"ETag": _ETAG}}}
"""Declares the answer to a request whose ``If-None-Match`` names the present version."""
