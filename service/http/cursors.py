"""The place where a list goes on, as an opaque text: one form for every list."""

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from service.http.problems import ProblemError, invalid_request

T = TypeVar("T")

Position = Annotated[int, Field(ge=0, lt=2**53)]
"""A number in a cursor; a database takes no larger one."""

_NO_CURSOR = "is not the cursor of a page before"


class InvalidCursorError(ValueError):
    """A text is no cursor of this list; the message says so without quoting it."""


def write_cursor(place: Sequence[object]) -> str:
    """Return the text for a place in a list: plain values, whose types :func:`read_cursor` knows."""
    return urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode("ascii")).decode().rstrip("=")


def read_cursor(text: str, place: TypeAdapter[T]) -> T:
    """Return the place that a text stands for.

    Raises:
        InvalidCursorError: if it is not made of what ``place`` says.
    """
    try:
        return place.validate_json(b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True), strict=True)
    except (ValidationError, ValueError):
        raise InvalidCursorError(_NO_CURSOR) from None


def cursor_in_query(text: str, place: TypeAdapter[T]) -> T:
    """Return the same; raise a 422 problem that names the parameter ``cursor``."""
    try:
        return read_cursor(text, place)
    except InvalidCursorError as error:
        raise wrong_cursor(str(error)) from None


def wrong_cursor(fault: str) -> ProblemError:
    """Return the 422 problem that names the parameter ``cursor``."""
    return invalid_request([{"loc": ("query", "cursor"), "msg": fault}])
