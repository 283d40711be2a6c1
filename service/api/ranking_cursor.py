"""Where a page of a ranking ends, as an opaque text."""

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

from telemetry.history.ranking import Ranked

MAX_CURSOR: Final = 4_000
"""Characters of a cursor; a tenant's id has at most 200, each at most 16 characters here."""


class Ordering(NamedTuple):
    """Which ranking a cursor is a place in."""

    sort: str
    order: str
    window: str


class InvalidCursorError(ValueError):
    """Not a cursor that was given out for this ranking."""


def to_cursor(ordering: Ordering, last: Ranked) -> str:
    """The place behind a tenant, as text."""
    return urlsafe_b64encode(json.dumps([*ordering, *last]).encode("ascii")).decode().rstrip("=")


def from_cursor(ordering: Ordering, text: str) -> Ranked:
    """The tenant a text stands for; raises :class:`InvalidCursorError`, also for the place in another ranking."""
    try:
        *of, tenant_id, value = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError):
        raise InvalidCursorError("is not one of these") from None
    if of != [*ordering]:
        raise InvalidCursorError("is that of another sort, order or window")
    if not isinstance(tenant_id, str) or not (value is None or _is_number(value)):
        raise InvalidCursorError("is not one of these")
    return Ranked(tenant_id, value)


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        # A larger one is no figure, and no float either.
        return abs(value) < 2**53
    return isinstance(value, float) and math.isfinite(value)
