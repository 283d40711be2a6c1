"""Parts of requests that many routes take, and the refusal of those that a route does not."""

import json
import re
from base64 import b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query, Request
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from service.http.problems import ProblemError, invalid_request

ONE_LINE: Final = r"^[^\x00-\x1f\x7f\u2028\u2029]+$"
"""The pattern of names and ids that stand on one line, whatever their letters."""

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(\D|$)")


async def known_parameters(request: Request) -> None:
    """Raise a 422 problem for query parameters that the route does not have, or has once. A FastAPI dependency.

    A misspelt filter that is passed over answers another question than was asked.
    """
    demand_known(request)


TWICE: Final = "is there more than once"
"""The fault of a parameter or a field of which nobody can say which value is meant."""


def demand_known(request: Request, *, besides: Collection[str] = (), of: str = "endpoint") -> None:
    """Do the same for a route that takes the parameters ``besides`` too, and is a kind ``of`` thing to its users."""
    if not request.scope["query_string"]:
        return
    given = Counter(name for name, _ in request.query_params.multi_items())
    known = query_names(request.scope["route"].dependant).union(besides)
    faults = [(name, f"is no parameter of this {of}") for name in given if name not in known]
    faults += [(name, TWICE) for name, times in given.items() if name in known and times > 1]
    if faults:
        raise invalid_request([{"loc": ("query", name), "msg": fault} for name, fault in faults])


def query_names(dependant: Any) -> set[str]:  # noqa: ANN401 -- FastAPI does not publish the type
    """Return the names of all query parameters of a route, or of one of its dependencies."""
    names = {field.alias for field in dependant.query_params}
    return names.union(*map(query_names, dependant.dependencies))


def _written_out(value: object) -> object:
    """Refuse a bare number, in which pydantic would see seconds, or milliseconds, since 1970."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value.strip())):
        return value
    raise ValueError("must be a date and time in ISO 8601, such as 2026-11-22T14:00:00Z")


Moment = Annotated[datetime, BeforeValidator(_written_out)]
"""A moment as a request states it; without an offset it is in UTC, see :func:`in_utc`."""

TenantFilter = Annotated[
    str | None, Query(max_length=200, pattern=ONE_LINE, description="Of this tenant alone.", examples=["acme"])
]
"""A tenant's id by which a list is narrowed down."""

Since = Annotated[
    Moment | None,
    Query(description="Received then or later; UTC unless it says otherwise.", examples=["2026-11-22T14:00:00Z"]),
]
Until = Annotated[
    Moment | None,
    Query(description="Received before; UTC unless it says otherwise.", examples=["2026-11-22T14:05:00Z"]),
]


CallerEnds = Annotated[
    str | None,
    Query(
        pattern="^[0-9]{1,4}$",
        description="Whose caller's number ends with these digits; more than the last four are not kept.",
        examples=["5678"],
    ),
]
CallerHash = Annotated[
    str | None,
    Query(
        pattern="^[0-9a-f]{16}$",
        description="Of this caller: the keyed hash that a call of theirs shows as `caller_hash`. It holds for as long "
        "as `NUMBER_HASH_KEY`.",
        examples=["c797d50ec17bf310"],
    ),
]


def in_utc(moment: datetime) -> datetime:
    """Return the moment with its offset; one without is in UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def window(since: datetime | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    """Return both ends with their offsets; a 422 problem if the window ends before it begins."""
    begin, end = (None if moment is None else in_utc(moment) for moment in (since, until))
    if begin is not None and end is not None and end < begin:
        raise invalid_request([{"loc": ("query", "until"), "msg": "must not be before since"}])
    return begin, end


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
