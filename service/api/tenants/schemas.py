"""Schemas of requests and responses about tenants, their examples, and the reading of bodies."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Path, Query
from pydantic import AfterValidator, BeforeValidator, Field

from service.api.tenants.conditions import Conditions, conditions, known
from service.e164 import Address
from service.http.bodies import checked, json_body
from service.http.problems import invalid_request
from service.http.schemas import FrozenSchema
from service.http.tokens import HEADER, fingerprint
from service.tenants import fields
from service.tenants.repository import MAX_PAGE
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


async def stated_tenant(tenant_id: str, body: bytes) -> TenantSpec:
    """Return the body's statement about the tenant in the path; a 422 problem names everything wrong with it."""

    def check(content: Mapping[str, Any]) -> TenantSpec:
        if content.get("tenant_id", tenant_id) != tenant_id:
            raise invalid_request([{"loc": ("body", "tenant_id"), "msg": "must be that of the path, or left out"}])
        return TenantSpec.model_validate({**content, "tenant_id": tenant_id})

    return await checked(body, check, located_problems)


ACTOR_HEADER = "X-Admin-Actor"
"""Header with the name of the person behind the token; several people share one."""
MAX_NAME = 100
"""Characters of that name."""
_Name = Annotated[
    str | None,
    Header(
        alias=ACTOR_HEADER,
        max_length=MAX_NAME,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@+-]*$",
        description="Who makes the change, for the audit. The audit notes a fingerprint of the token with it.",
        examples=["ada@example.com"],
    ),
]
_Token = Annotated[str, Header(alias=HEADER, include_in_schema=False)]


def acting(token: _Token, name: _Name = None) -> str:
    """Return the actor as the audit has it, such as ``http:ada@example.com#5d41402a``. A FastAPI dependency.

    The name is what the client says; the fingerprint after the ``#`` is that of the token, which it had to have.
    """
    # As in the check of the token: Starlette reads headers as Latin-1.
    mark = fingerprint(token.encode("latin-1"))
    return f"http:{name}#{mark}" if name else f"http#{mark}"


DEFAULT_LIMIT = 100
"""Entries on a page, unless the request says how many."""
MAX_ENTRY = 2**63 - 1
"""The highest number the database gives an entry."""
TenantInPath = Annotated[
    str,
    Path(
        description="The tenant's id: 1 to 63 of a-z, 0-9, _ and -.",
        json_schema_extra={"pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
        examples=["acme"],
    ),
    AfterValidator(fields.tenant_id),
]
NumberInPath = Annotated[
    Address,
    BeforeValidator(fields.number),
    Path(description="A number in international form, a short code, or `sip:` and a name.", examples=["+18005550100"]),
]
FeatureInPath = Annotated[
    str, Path(description="A feature's name.", pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$", examples=["capture_content"])
]
VersionInPath = Annotated[int, Path(description="A version of the instructions.", ge=1, le=2**31 - 1, examples=[2])]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most entries on a page.")]
TenantCursor = Annotated[
    str,
    Query(
        max_length=63,
        pattern=r"^[a-z0-9_-]*$",
        description="Where to go on: the `next_cursor` of the page before. It stays valid while tenants come and go.",
    ),
]
EntryCursor = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_ENTRY,
        description="Where to go on: the `next_cursor` of the page before. It stays valid.",
        examples=[41],
    ),
]


def cursor_of(number: int | None) -> str | None:
    """Return the cursor of a place in a list of numbered entries."""
    return None if number is None else str(number)


Demands = Annotated[Conditions, Depends(conditions)]
Knowing = Annotated[Conditions, Depends(known)]
Actor = Annotated[str, Depends(acting)]
Body = Annotated[bytes, Depends(json_body(MAX_BODY_BYTES))]
