"""What a request for calls may ask for: by state, tenant, outcome, slowness, time and caller."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from fastapi import Query

from service.api.parameters import Since, Until
from service.debugging.writing import CALLS
from service.problems import declared_invalid
from telemetry.attributes import TenantId
from telemetry.lifecycle import CallState
from telemetry.recent.record import CallOutcome
from telemetry.recent.search import ANY_STATE, OVER, RUNNING, CallQuery

DEFAULT_LIMIT = 50
MAX_LIMIT = 500


class StateFilter(StrEnum):
    """Which calls, by their state: a single one, or several under one name."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    STARTED = "started"
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    ENDED = "ended"
    RUNNING = "running"
    """Accepted or started."""
    OVER = "over"
    """Rejected, abandoned or ended."""
    ALL = "all"


_STATES = {
    StateFilter.RUNNING: RUNNING,
    StateFilter.OVER: OVER,
    StateFilter.ALL: ANY_STATE,
} | {StateFilter(state.value): frozenset({state}) for state in CallState}


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, and which page of it."""

    query: CallQuery
    limit: int
    cursor: str | None


_TenantId = Annotated[
    str | None, Query(description="Of this tenant.", max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["acme"])
]
_SlowerThan = Annotated[
    float | None,
    Query(
        ge=0,
        allow_inf_nan=False,
        description="In which somebody waited longer than this many seconds: the caller for the decision, for the "
        "first audio or for an answer, or in vain. Waits that go on count so far.",
        examples=[2.5],
    ),
]
_CallerEnds = Annotated[
    str | None,
    Query(
        pattern="^[0-9]{1,4}$",
        description="Whose caller's number ends with these digits; more than the last four are not kept.",
        examples=["5678"],
    ),
]
_Limit = Annotated[
    int | None, Query(ge=1, le=MAX_LIMIT, description=f"Most calls on a page; {DEFAULT_LIMIT} if not given.")
]
_Cursor = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Where to go on: the `next_cursor` of the page before. Stays valid while calls come and go, until "
        "the process restarts.",
    ),
]
_State = Annotated[
    StateFilter | None,
    Query(
        description="`running`: accepted or started; `over`: rejected, abandoned or ended; or one state. "
        "`all` if another filter is given, else the calls under way are listed."
    ),
]
_Outcome = Annotated[CallOutcome | None, Query(description="That turned out so.")]


def search(
    *,
    state: _State = None,
    tenant_id: _TenantId = None,
    outcome: _Outcome = None,
    slower_than: _SlowerThan = None,
    since: Since = None,
    until: Until = None,
    caller_ends_with: _CallerEnds = None,
    limit: _Limit = None,
    cursor: _Cursor = None,
) -> Search | None:
    """The search a request asks for; ``None`` if it asks for nothing in particular. A FastAPI dependency."""
    asked = (state, tenant_id, outcome, slower_than, since, until, caller_ends_with, limit, cursor)
    if all(value is None for value in asked):
        return None
    query = CallQuery(
        states=_STATES[state or StateFilter.ALL],
        tenant_id=None if tenant_id is None else TenantId(tenant_id),
        outcome=outcome,
        slower_than=slower_than,
        since=_unix(since),
        until=_unix(until),
        caller_ends_with=caller_ends_with,
    )
    return Search(query, limit or DEFAULT_LIMIT, cursor)


def _unix(time: datetime | None) -> float | None:
    if time is None:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


INVALID = declared_invalid(f"{CALLS}?limit=0", "query.limit", "Input should be greater than or equal to 1")
"""The answer to a search that makes no sense."""
