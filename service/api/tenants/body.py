"""Bodies of requests about tenants: read no further than allowed, after the token was looked at, off the event loop."""

import asyncio
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from service.api.answers import JSON
from service.problems import ProblemError, invalid_request
from service.tenants.spec import TenantSpec, located_problems

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Twice what the longest tenant takes that the fields allow."""

MAX_SHOWN: Final = 40
"""Characters of a repeated name that the answer shows."""

T = TypeVar("T")


async def json_body(request: Request) -> bytes:
    """The body, which says that it is JSON. A FastAPI dependency, so that the admin token comes first.

    Raises a 415 problem for another type, and a 413 one past the limit, whatever length was announced.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send the body as {JSON}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {MAX_BODY_BYTES // 1024**2} MiB."
            )
    return bytes(body)


async def stated_tenant(tenant_id: str, body: bytes) -> TenantSpec:
    """What the body states of the tenant in the path; a 422 problem names everything that is wrong with it."""

    def check(content: Mapping[str, Any]) -> TenantSpec:
        if content.get("tenant_id", tenant_id) != tenant_id:
            raise invalid_request([{"loc": ("body", "tenant_id"), "msg": "must be that of the path, or left out"}])
        return TenantSpec.model_validate({**content, "tenant_id": tenant_id})

    return await _checked(body, check)


async def stated(model: TypeAdapter[T], body: bytes) -> T:
    """What the body states, in the shape of ``model``; the same problem."""
    return await _checked(body, model.validate_python)


def declared_body(model: type[BaseModel], example: object, description: str) -> dict[str, Any]:
    """What a route adds to the OpenAPI document for a body of the shape ``model``; none of its fields is required."""
    content = {JSON: {"schema": model.model_json_schema(), "example": example}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


async def _checked(body: bytes, check: Callable[[Mapping[str, Any]], T]) -> T:
    """Checking thousands of numbers takes a second, in which calls must go on: hence the thread."""
    return await asyncio.to_thread(_read, body, check)


def _read(body: bytes, check: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        return check(_fields(body))
    except ValidationError as error:
        raise invalid_request(
            [{"loc": ("body", *location), "msg": reason} for location, reason in located_problems(error)]
        ) from None


def _fields(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise _wrong(f"is not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise _wrong("is nested too deeply") from None
    except ValueError as error:
        raise _wrong(f"is not JSON: {error}") from None
    if not isinstance(content, Mapping):
        raise _wrong("must be a mapping of fields")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping; that a name is there twice is said rather than decided."""
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"{name[:MAX_SHOWN]!r} is there twice")
        content[name] = value
    return content


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _wrong(problem: str) -> ProblemError:
    return invalid_request([{"loc": ("body",), "msg": problem}])
