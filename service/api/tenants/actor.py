"""In whose name a tenant is changed over HTTP: what the request says, and which token it came with."""

from typing import Annotated

from fastapi import Header

from service.security import HEADER, fingerprint

ACTOR_HEADER = "X-Admin-Actor"
"""Says who uses the token; several people share one."""

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
    """The actor as the audit has it, such as ``http:ada@example.com#5d41402a``. A FastAPI dependency.

    The name is what the client says; the fingerprint after the ``#`` is that of the token, which it had to have.
    """
    # As in the check of the token: Starlette reads headers as Latin-1.
    mark = fingerprint(token.encode("latin-1"))
    return f"http:{name}#{mark}" if name else f"http#{mark}"
