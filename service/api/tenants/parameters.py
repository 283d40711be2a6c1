"""Parts of requests about tenants."""

from typing import Annotated

from fastapi import Depends, Header, Path, Query
from pydantic import AfterValidator, BeforeValidator

from service.api.tenants.conditions import Conditions, conditions, known
from service.api.tenants.schemas import MAX_BODY_BYTES
from service.e164 import Address
from service.http.bodies import json_body
from service.http.tokens import HEADER, fingerprint
from service.tenants import fields
from service.tenants.repository import MAX_PAGE

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
