"""Answers about tenants: the version on each, and nothing sent twice that the client has already."""

from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from service.api.answers import Answers, answer, header, json_answer
from service.api.tenants.conditions import Conditions, tag_of
from service.api.tenants.problems import PATH
from service.tenants.rendering import as_entry
from service.tenants.tenant import Tenant

_REVALIDATED = {"Cache-Control": "private, no-cache"}
"""Whoever keeps the answer asks before using it again: 304 is the cheap answer to that."""

_ETAG = header("The version, to demand with `If-Match` or `If-None-Match`.", '"17"')
_LAST_MODIFIED = header("When the tenant was changed last.", "Sun, 22 Nov 2026 14:02:11 GMT")
_LOCATION = header("Where the tenant is.", f"{PATH}/acme")


def versioned(content: object, tag: str, conditions: Conditions | None = None) -> Response:
    """Answer with ``content`` at the version ``tag``, or 304 if the request says that it is known."""
    headers = {"ETag": tag, **_REVALIDATED}
    if conditions is not None and conditions.known(tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return json_answer(content, headers)


def tenant_answer(tenant: Tenant, conditions: Conditions | None = None, *, created: bool = False) -> Response:
    """Answer with a tenant, whole."""
    response = versioned(as_entry(tenant), tag_of(tenant.version), conditions)
    response.headers["Last-Modified"] = format_datetime(tenant.updated_at, usegmt=True)
    if created:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = f"{PATH}/{tenant.tenant_id}"
    return response


def shown(model: type[BaseModel], description: str, example: object, *, status: int = 200) -> Answers:
    """Declare an answer of a version."""
    return {status: answer(model, description, example, {"ETag": _ETAG})}


def shown_tenant(model: type[BaseModel], description: str, example: object, *, created: bool = False) -> Answers:
    """Declare the answer with a tenant."""
    headers: dict[str, Any] = {"ETag": _ETAG, "Last-Modified": _LAST_MODIFIED}
    if created:
        headers["Location"] = _LOCATION
    return {201 if created else 200: answer(model, description, example, headers)}


NOT_MODIFIED: Answers = {304: {"description": "What is known still holds.", "headers": {"ETag": _ETAG}}}
"""Declares the answer to a request whose ``If-None-Match`` names the present version."""
