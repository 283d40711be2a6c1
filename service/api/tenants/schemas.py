"""Schemas of requests and answers about tenants, their examples, and the reading of bodies."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from service.http.problems import ProblemError, invalid_request
from service.http.responses import JSON
from service.http.schemas import FrozenSchema
from service.tenants import fields
from service.tenants.spec import TenantSpec, located_problems
from service.tenants.tenant import AuditAction

Feature = bool | int | float | str | None
"""Values of a feature."""


class TenantStatement(FrozenSchema):
    """A tenant, or some of it; the same fields as an entry of an import."""

    tenant_id: str = Field("", description="That of the path, or left out.", max_length=63)
    name: str = Field("", description="For people, on one line; its id if left out.", max_length=200)
    numbers: tuple[str, ...] = Field(
        (), description="Dialled numbers that reach it, in international form.", max_length=fields.MAX_NUMBERS
    )
    max_concurrent_calls: int | None = Field(
        None,
        description="Calls at once; `null`: the general limit. May be below what runs: running calls go on.",
        ge=0,
        le=fields.MAX_LIMIT,
    )
    instructions: str | None = Field(
        None, description="What the agent is told; `null`: nothing of its own.", max_length=fields.MAX_INSTRUCTIONS
    )
    enabled: bool = Field(True, description="Whether new calls are let in; running ones go on.")
    transfer_targets: dict[str, str] = Field(
        {}, description="Where the agent may hand a caller to: a name and a `tel:`, `sip:` or `sips:` URI each."
    )
    features: dict[str, Feature] = Field(
        {}, description=f"Switches by name. `{fields.CAPTURE_CONTENT}`: what was said is kept on spans."
    )


class TenantEntry(FrozenSchema):
    """A tenant, in the shape that a PUT and an import take; its version is in the `ETag`."""

    tenant_id: str
    name: str
    numbers: tuple[str, ...] = Field(description="Sorted, in E.164.")
    max_concurrent_calls: int | None = Field(description="`null`: the general limit for tenants holds.")
    instructions: str | None
    enabled: bool
    transfer_targets: dict[str, str]
    features: dict[str, Feature]


class TenantOverview(FrozenSchema):
    """A tenant without what can be long."""

    tenant_id: str
    name: str
    enabled: bool
    max_concurrent_calls: int | None
    numbers: int = Field(description="How many numbers it has.")
    instructions_version: int = Field(description="0: it never had any.")
    features: dict[str, Feature]
    version: int = Field(description="In quotes, its `ETag`.")
    created_at: datetime
    updated_at: datetime


class TenantList(FrozenSchema):
    """Some tenants, in the order of their ids."""

    tenants: tuple[TenantOverview, ...]
    next_cursor: str | None = Field(description="Where to go on; `null`: this was the last page.")


class NumberList(FrozenSchema):
    """The numbers that reach a tenant."""

    numbers: tuple[str, ...]


class FeatureList(FrozenSchema):
    """A tenant's features with their values."""

    features: dict[str, Feature]


class FeatureValue(FrozenSchema):
    """A feature's new value."""

    value: Feature


class InstructionsText(FrozenSchema):
    """New instructions for the agent."""

    text: str | None = Field(description="`null` withdraws the instructions.", max_length=fields.MAX_INSTRUCTIONS)


class InstructionsVersionRow(FrozenSchema):
    """A version of the instructions, without its text."""

    version: int
    characters: int | None = Field(description="How long they are; `null`: they were withdrawn.")
    created_at: datetime
    created_by: str


class InstructionsList(FrozenSchema):
    """Some versions of the instructions, the newest first; the first of all is in force."""

    versions: tuple[InstructionsVersionRow, ...]
    next_cursor: str | None = Field(description="Where to go on; `null`: this was the last page.")


class InstructionsWhole(FrozenSchema):
    """One version of the instructions."""

    version: int
    text: str | None = Field(description="`null`: they were withdrawn.")
    created_at: datetime | None = Field(description="`null` with version 0: there never were any.")
    created_by: str | None


class ChangeRow(FrozenSchema):
    """One change: the fields that changed, as they were and as they are."""

    entry_id: int
    at: datetime
    actor: str = Field(
        description="`http:NAME#TOKEN`, `http#TOKEN` without a name, or `cli:USER`; see `X-Admin-Actor`."
    )
    action: AuditAction
    tenant_id: str
    before: dict[str, object] = Field(description="Of numbers those given up, of features those that changed.")
    after: dict[str, object] = Field(
        description="Of numbers those gained. Instructions are there by their version, transfer targets by their names."
    )


class ChangeList(FrozenSchema):
    """Some changes, the latest first."""

    changes: tuple[ChangeRow, ...]
    next_cursor: str | None = Field(description="Where to go on; `null`: this was the last page.")


ENTRY: dict[str, Any] = {
    "tenant_id": "acme",
    "name": "Acme",
    "numbers": ["+18005550100"],
    "max_concurrent_calls": 10,
    "instructions": "You answer the telephone of Acme.",
    "enabled": True,
    "transfer_targets": {"sales": "tel:+18005550199"},
    "features": {"capture_content": False},
}
LIST: dict[str, Any] = {
    "tenants": [
        {
            "tenant_id": "acme",
            "name": "Acme",
            "enabled": True,
            "max_concurrent_calls": 10,
            "numbers": 1,
            "instructions_version": 3,
            "features": {"capture_content": False},
            "version": 17,
            "created_at": "2026-11-01T08:00:00Z",
            "updated_at": "2026-11-22T14:02:11Z",
        }
    ],
    "next_cursor": None,
}
NUMBERS: dict[str, Any] = {"numbers": ["+18005550100"]}
FEATURES: dict[str, Any] = {"features": {"capture_content": True}}
SET_BY: dict[str, Any] = {"created_at": "2026-11-22T14:02:11Z", "created_by": "http:ada@example.com#5d41402a"}
INSTRUCTIONS: dict[str, Any] = {"version": 3, "text": "You answer the telephone of Acme.", **SET_BY}
INSTRUCTIONS_LIST: dict[str, Any] = {"versions": [{"version": 3, "characters": 33, **SET_BY}], "next_cursor": None}
CHANGES: dict[str, Any] = {
    "changes": [
        {
            "entry_id": 41,
            "at": "2026-11-22T14:02:11Z",
            "actor": "http:ada@example.com#5d41402a",
            "action": "changed",
            "tenant_id": "acme",
            "before": {"max_concurrent_calls": 20},
            "after": {"max_concurrent_calls": 10},
        }
    ],
    "next_cursor": None,
}
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""Twice what the longest tenant takes that the fields allow."""
MAX_SHOWN: Final = 40
"""Characters of a repeated name that the answer shows."""
T = TypeVar("T")


async def json_body(request: Request) -> bytes:
    """Return the body of a request that says it is JSON. A FastAPI dependency, so that the admin token comes first.

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
    """Return the body's statement about the tenant in the path; a 422 problem names everything wrong with it."""

    def check(content: Mapping[str, Any]) -> TenantSpec:
        if content.get("tenant_id", tenant_id) != tenant_id:
            raise invalid_request([{"loc": ("body", "tenant_id"), "msg": "must be that of the path, or left out"}])
        return TenantSpec.model_validate({**content, "tenant_id": tenant_id})

    return await _checked(body, check)


async def stated(model: TypeAdapter[T], body: bytes) -> T:
    """Return the body in the shape of ``model``; raises the same problem."""
    return await _checked(body, model.validate_python)


def declared_body(model: type[BaseModel], example: object, description: str) -> dict[str, Any]:
    """Return a route's addition to the OpenAPI document for a body of the shape ``model``; no field is required."""
    content = {JSON: {"schema": model.model_json_schema(), "example": example}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


async def _checked(body: bytes, check: Callable[[Mapping[str, Any]], T]) -> T:
    """Check in a thread: thousands of numbers take a second, in which calls must go on."""
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
    """Return a mapping; a name that is there twice is an error."""
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
