"""The scope of a response, the fleet or the process that answers: one rule for all routes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Final, Generic, Protocol, Self, TypeVar

from fastapi import Query

from service.api.elsewhere import NO_FLEET
from service.fleet.live.counts import STORE_AWAY, Coverage, FleetCounts, FleetUnansweredError
from service.fleet.live.fields import Row
from service.fleet.live.ranking import FleetRanked
from service.http.openapi import Responses, declared, header
from service.http.problems import ProblemError
from service.http.responses import METRICS_HEADERS, MetricsScope, metrics_headers
from telemetry.clock import Clock, SystemClock
from telemetry.metrics.figures import Window
from telemetry.metrics.history import HistoryStretch, Ranked, Ranking
from telemetry.metrics.live_table import Selection
from telemetry.metrics.past import WindowName
from telemetry.metrics.reader import LiveMetricsReader

T = TypeVar("T")

AskedScope = Annotated[
    MetricsScope | None,
    Query(
        alias="scope",
        description="`fleet`: of all processes together, or 503 if the fleet cannot be answered; `process`: of the one "
        "that answers alone. Without it: the fleet's, or this process's where there is no fleet or it cannot be "
        "answered; `X-Metrics-Scope` says which.",
    ),
]
"""The processes whose numbers a request is about, as a parameter of a route."""


NUMBERS_HEADERS: Final = METRICS_HEADERS | {
    "X-Metrics-Processes": header(
        "Processes whose numbers all came within the last two seconds, of those that live; `1/1` of one process alone.",
        "1/1",
        pattern="^[0-9]+/[0-9]+$",
    ),
    "X-Metrics-Since": header(
        "Since when is counted: of a fleet since it began, of one process since that started.",
        "2026-11-22T08:00:00.000Z",
        format="date-time",
    ),
}
"""The headers of numbers that a fleet can answer, as the OpenAPI document declares them."""


def unanswered_response(path: str) -> Responses:
    """Declare the response to a request for the fleet's numbers that the fleet cannot answer."""
    problem = ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, STORE_AWAY)
    said = "`scope=fleet`, and the fleet cannot be answered now, or there is none. Or no admin token is configured, "
    said += "or something the response needs cannot be reached."
    return {503: declared(problem, said, f"{path}?scope=fleet")}


class FleetNumbers(Protocol):
    """The numbers of a fleet; :class:`service.fleet.live.reading.FleetNumbers` reads them.

    Every method raises FleetUnansweredError, with a sentence for people, if the fleet cannot be answered now.
    """

    async def counts(self, tenant_id: str | None = None) -> FleetCounts:
        """Return the counts of one tenant, or of all together."""
        ...

    async def windows(self, tenant_id: str | None = None) -> tuple[FleetCounts, Mapping[WindowName, Window]]:
        """Return the same with what was counted in each window up to now."""
        ...

    async def rows(self, tenants: Iterable[str]) -> tuple[Mapping[str, Row], Coverage]:
        """Return the counts of these tenants; an empty name is that of all together."""
        ...

    async def course(
        self, name: WindowName, selection: Selection, tenant_id: str | None = None
    ) -> tuple[FleetCounts, tuple[HistoryStretch, ...]]:
        """Return the same with the parts of a window, the oldest first, in chosen numbers."""
        ...

    async def ranked(self, ranking: Ranking, count: int, after: Ranked | None) -> FleetRanked:
        """Return so many tenants in order, behind ``after`` if it is given, with what was counted in the window."""
        ...


@dataclass(frozen=True, slots=True)
class Extent(Coverage):
    """The processes and the time that the numbers of a response cover."""

    scope: MetricsScope

    @property
    def since(self) -> datetime:
        """The moment since which is counted."""
        return datetime.fromtimestamp(self.since_ms / 1000, UTC)

    def aged(self, age_seconds: float) -> Self:
        """Return the same of numbers of which some are so old."""
        return replace(self, age_seconds=max(self.age_seconds, age_seconds))

    def headers(self) -> dict[str, str]:
        """Return the headers that say it."""
        return {
            **metrics_headers(self.age_seconds, self.scope),
            "X-Metrics-Processes": f"{self.speaking}/{self.processes}",
            "X-Metrics-Since": _shown(self.since_ms),
        }


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """An answer with what it covers."""

    body: T
    extent: Extent


class MetricsScopes:
    """Decides whose numbers answer a request.

    Args:
        live: what this process counts.
        fleet: what all processes count; None for a process alone.
        clock: the source of time.
    """

    def __init__(
        self, live: LiveMetricsReader, fleet: FleetNumbers | None = None, *, clock: Clock | None = None
    ) -> None:
        self._live = live
        self._since_ms = (clock or SystemClock()).now().unix_ms
        self._fleet = fleet

    async def answer(
        self,
        scope: MetricsScope | None,
        of_fleet: Callable[[FleetNumbers], Awaitable[tuple[T, Coverage]]],
        of_process: Callable[[], Awaitable[T]],
    ) -> Answered[T]:
        """Return the fleet's answer, or this process's where the fleet has none and was not asked for by name.

        Args:
            scope: the one that was asked for; None for whichever can be had, the fleet's first.
            of_fleet: makes the answer from the fleet's numbers.
            of_process: makes it from this process's, which are up to date by then.

        Raises:
            ProblemError: 503 if the fleet was asked for and cannot be answered; whatever the answers raise, with the
                headers that say whom that is about.
        """
        if self._fleet is None and scope is MetricsScope.FLEET:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, NO_FLEET)
        if self._fleet is not None and scope is not MetricsScope.PROCESS:
            try:
                body, coverage = await of_fleet(self._fleet)
                return Answered(body, extent_of(coverage))
            except FleetUnansweredError as error:
                if scope is MetricsScope.FLEET:
                    headers = {"Retry-After": "1"}
                    raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=headers) from None
        extent = Extent(await self._live.refreshed(), 1, 1, self._since_ms, MetricsScope.PROCESS)
        try:
            return Answered(await of_process(), extent)
        except ProblemError as problem:
            # That a tenant is not there, say, may be true of this process alone.
            problem.headers = {**extent.headers(), **(problem.headers or {})}
            raise

    async def fleet_has_seen(self, tenant_id: str) -> bool:
        """Return true if any process has counted something of a tenant; false also if that is not known."""
        if self._fleet is None:
            return False
        try:
            return (await self._fleet.counts(tenant_id)).seen
        except FleetUnansweredError:
            return False


@lru_cache(maxsize=16)
def _shown(at_ms: int) -> str:
    """Return a moment as a header has it; it is the same for each answer."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def extent_of(coverage: Coverage) -> Extent:
    """Return what the numbers of a fleet cover."""
    return Extent(**asdict(coverage), scope=MetricsScope.FLEET)
