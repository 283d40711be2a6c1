"""Calls of the other processes of a fleet, as the routes of calls ask for them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final, Protocol, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict

from service.api.call_search import CallSearchEntry
from service.http.openapi import Document
from service.http.problems import ProblemError
from service.http.responses import MetricsScope
from service.records.record import StoredCall
from service.timeline.detail import CallDetail
from telemetry.calls.lifecycle import CallState
from telemetry.recent.search import CallQuery, Reception

T = TypeVar("T", bound=BaseModel)

NAMED: Final = 20
"""The most processes that a header names."""

NO_FLEET: Final = "This process is in no fleet: REDIS_URL is not set."
INCOMPLETE: Final = "Not every process of the fleet answered; without scope=fleet the answer has what is known."

Scope = Annotated[
    MetricsScope | None,
    Query(
        description="`process`: of the process that answers alone; `fleet`: of all, or 503 if one of them does not "
        "answer. Without it: of all that answer, and what is on record of the others."
    ),
]
"""The processes that a request is about, as a parameter of a route."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The processes that an answer about calls covers."""

    answered: int = 1
    """Processes whose calls are in it as they are, the one that answers included."""
    known: int = 1
    """Processes that there are, and those gone whose calls nobody has taken over yet."""
    silent: Sequence[str] = ()
    """The ids of those that did not answer; not of one that this process has not seen yet."""
    age_seconds: float = 0.0
    """The age of the oldest part that a process told."""
    from_record: int | None = 0
    """Calls in it that are told by their records alone; None if the records could not be read."""
    omitted: int = 0
    """Calls that were left out for their number."""

    @property
    def complete(self) -> bool:
        """True if every process answered, and nothing was left out."""
        return self.answered == self.known and not self.omitted

    def headers(self) -> dict[str, str]:
        """Return the headers that say it."""
        said = {
            "X-Calls-Scope": MetricsScope.FLEET.value,
            "X-Calls-Processes": f"{self.answered}/{self.known}",
            "X-Calls-Age-Ms": str(math.ceil(self.age_seconds * 1000)),
        }
        if self.silent:
            said["X-Calls-Silent"] = ", ".join(self.silent[:NAMED])
        if self.answered < self.known:
            said["X-Calls-From-Record"] = "unknown" if self.from_record is None else str(self.from_record)
        if self.omitted:
            said["X-Calls-Omitted"] = str(self.omitted)
        return said


class OpenCall(BaseModel):
    """A call that is not over, as one process tells it to another; a newer version may tell more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    call_id: str
    tenant_id: str
    state: CallState
    ending: bool
    received_us: int
    """Microseconds since 1970 UTC, on the clock of the process that has the call."""
    started_us: int | None
    age_seconds: float
    duration_seconds: float
    last_seen_seconds: float
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """Open calls of others, and of which others."""

    calls: Sequence[OpenCall]
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class FoundCalls:
    """Calls of others that a search found, each with its place, in no order."""

    calls: Sequence[tuple[Reception, CallSearchEntry]]
    recorded: Sequence[StoredCall]
    """Those of processes that did not answer, from their records."""
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class ToldCall:
    """One call as another process tells it."""

    detail: CallDetail | None
    """None if none of those that were asked has it, or none answered."""
    process: str | None = None
    """The id of the process that told it."""
    silent: Sequence[str] = ()
    age_seconds: float = 0.0

    def headers(self) -> dict[str, str]:
        """Return the headers that say who told it."""
        said = {
            "X-Calls-Scope": MetricsScope.FLEET.value,
            "X-Calls-Age-Ms": str(math.ceil(self.age_seconds * 1000)),
        }
        if self.process is not None:
            said["X-Calls-Process"] = self.process
        if self.silent:
            said["X-Calls-Silent"] = ", ".join(self.silent[:NAMED])
        return said


class HangUpOutcome(StrEnum):
    """The outcomes of a hang-up, as the process with the call tells them."""

    HUNG_UP = "hung_up"
    NOT_RUNNING = "not_running"
    """It has no session of the call, or lost its claim."""
    OVER = "over"
    """The carrier does not have the call any more."""
    REFUSED = "refused"
    SILENT = "silent"
    """The process did not answer; whether it hung up is not known."""
    GONE = "gone"
    """There is no such process to be asked."""


@dataclass(frozen=True, slots=True)
class HangUpAnswer:
    """The outcome of a hang-up."""

    outcome: HangUpOutcome
    error_type: str | None = None
    """Of a carrier that refused."""


class CallsElsewhere(Protocol):
    """The calls of a fleet's other processes; :class:`service.api.fleet_calls.FleetCalls` has them."""

    @property
    def instance_id(self) -> str:
        """The id of this process."""
        ...

    def own(self) -> Sequence[OpenCall]:
        """Return the open calls of this process, as it tells them to others."""
        ...

    async def open_calls(self) -> OpenCalls:
        """Return every open call of the others. It raises nothing: the coverage says what is missing."""
        ...

    async def search(self, query: CallQuery, limit: int, before: Reception | None) -> FoundCalls:
        """Return the latest calls of each of the others that match, at most ``limit`` of each; likewise."""
        ...

    async def call(self, question: Mapping[str, str], holder: str | None) -> ToldCall:
        """Return one call, asked for by ``call_id`` or ``trace_id``, from its holder, or from whoever has it."""
        ...

    async def hang_up(self, call_id: str, holder: str) -> HangUpAnswer:
        """Have the process that holds the call hang up."""
        ...

    async def told_by_all(
        self, name: str, letter: type[T], question: Mapping[str, object] = ...
    ) -> tuple[Sequence[T], Coverage]:
        """Return what every other process answers to a question of this name, and which did not; likewise."""
        ...


def demand_scope(scope: MetricsScope | None, elsewhere: CallsElsewhere | None) -> None:
    """Raise a 503 problem if the fleet is asked for where there is none."""
    if scope is MetricsScope.FLEET and elsewhere is None:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, NO_FLEET)


def demand_complete(scope: MetricsScope | None, coverage: Coverage) -> None:
    """Raise a 503 problem if the whole fleet was asked for, and something is missing."""
    if scope is MetricsScope.FLEET and not coverage.complete:
        headers = {"Retry-After": "1", **coverage.headers()}
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, INCOMPLETE, headers=headers)


def _header(description: str, example: str) -> Document:
    return {"description": description, "required": False, "schema": {"type": "string"}, "example": example}


_SCOPE: Final = _header("`fleet` where the process is one of a fleet; absent otherwise.", MetricsScope.FLEET.value)
_AGE: Final = _header("How old what another process told is at most, in milliseconds.", "3")
_SILENT: Final = _header("Processes that did not answer, by their ids; absent if all did.", "6f1d0b0e-4f7f-4d0e-9d0a")
LIST_HEADERS: Final = {
    "X-Calls-Scope": _SCOPE,
    "X-Calls-Processes": _header("Processes that answered, and that there are.", "2/3"),
    "X-Calls-Age-Ms": _AGE,
    "X-Calls-Silent": _SILENT,
    "X-Calls-From-Record": _header(
        "Calls of those that did not answer, told by their records; `unknown` if these cannot be read either.", "4"
    ),
    "X-Calls-Omitted": _header("Calls that were left out for their number.", "120"),
}
"""The headers of lists of calls, as the OpenAPI document declares them."""
CALL_HEADERS: Final = {
    "X-Calls-Scope": _SCOPE,
    "X-Calls-Process": _header("The process that told of the call, by its id.", "9d2f4b0e-5a39-4f1e-8f6a-2f6d6c1f9b77"),
    "X-Calls-Age-Ms": _AGE,
    "X-Calls-Silent": _SILENT,
}
"""The headers of one call, likewise."""
