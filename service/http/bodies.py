"""Bodies of requests: read after the token, up to a limit, and checked once, with every fault named."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from service.http.openapi import JSON, Responses, declared
from service.http.problems import ProblemError, invalid_request

MAX_SHOWN: Final = 40
"""Characters of a repeated name that the response shows."""

BROKEN_OFF: Final = "The body ended before it was whole."

_KIB: Final = 1024

T = TypeVar("T")

Fault = tuple[tuple[int | str, ...], str]
"""The path to a wrong field, and what is wrong with it."""

Explain = Callable[[ValidationError], list[Fault]]
"""Puts pydantic's errors into words."""


class BodyTooLargeError(ProblemError):
    """The body is larger than the endpoint takes: a 413 problem."""

    def __init__(self, limit: int) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {_written(limit)}.")


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body, read no further than ``limit`` bytes, whatever its length was said to be.

    Raises:
        BodyTooLargeError: if there is more.
        ProblemError: 400, if the client broke off; it will hardly hear it.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise BodyTooLargeError(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise BodyTooLargeError(limit)
    except ClientDisconnect:
        raise ProblemError(HTTPStatus.BAD_REQUEST, BROKEN_OFF) from None
    return bytes(body)


def json_body(limit: int) -> Callable[[Request], Awaitable[bytes]]:
    """Return a FastAPI dependency that reads a body of at most ``limit`` bytes that says it is JSON.

    A dependency, and no parameter of FastAPI's own kind, so that it comes after the admin token.
    """

    async def body(request: Request) -> bytes:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != JSON:
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send the body as {JSON}.")
        return await read_body(request, limit)

    return body


async def stated(model: TypeAdapter[T], body: bytes, explain: Explain | None = None) -> T:
    """Return what the body states, in the schema of ``model``; a 422 problem names everything that is wrong."""
    return await checked(body, model.validate_python, explain)


async def checked(body: bytes, check: Callable[[Mapping[str, Any]], T], explain: Explain | None = None) -> T:
    """Return what ``check`` makes of the fields of the body, or raise its pydantic errors as a 422 problem.

    Checking thousands of entries takes a second, in which calls must go on: hence the thread.
    """
    return await asyncio.to_thread(_read, body, check, explain or _explained)


def declared_body(model: type[BaseModel], example: object, description: str) -> dict[str, Any]:
    """Return what a route adds to the OpenAPI document for a body of the schema ``model``."""
    content = {JSON: {"schema": model.model_json_schema(), "example": example}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def body_responses(limit: int, path: str) -> Responses:
    """Declare what reading a body of at most ``limit`` bytes may be answered."""
    return {
        400: declared(ProblemError(HTTPStatus.BAD_REQUEST, BROKEN_OFF), "The body was broken off.", path),
        413: declared(BodyTooLargeError(limit), "The body is too large.", path),
        415: declared(
            ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Send the body as {JSON}."),
            "The body is not said to be JSON.",
            path,
        ),
    }


def _explained(error: ValidationError) -> list[Fault]:
    return [(fault["loc"], fault["msg"]) for fault in error.errors()]


def _read(body: bytes, check: Callable[[Mapping[str, Any]], T], explain: Explain) -> T:
    try:
        return check(_fields(body))
    except ValidationError as error:
        raise invalid_request(
            [{"loc": ("body", *location), "msg": reason} for location, reason in explain(error)]
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
    """Return a mapping; that a name is there twice is said rather than decided."""
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


def _written(limit: int) -> str:
    return f"{limit // _KIB**2} MiB" if limit % _KIB**2 == 0 else f"{limit // _KIB} KiB"
