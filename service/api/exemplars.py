"""From "p99 is bad" to a call in one step: each histogram's buckets, with an example call in each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from itertools import pairwise
from typing import Any, Final, Protocol

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from service.api.elsewhere import LIST_HEADERS
from service.api.elsewhere import Coverage as CallCoverage
from service.api.live import TenantInPath, demand_tenant
from service.api.scope import NUMBERS_HEADERS, AskedScope, FleetNumbers, MetricsScopes, unanswered_response
from service.fleet.live.counts import Coverage
from service.http.openapi import Responses, Tag, declared, declared_invalid, success
from service.http.problems import ProblemError, writable
from service.http.responses import admin_router
from service.http.schemas import FrozenSchema, moment
from service.http.security import AdminCheck
from service.tenants.directory import TenantDirectory
from service.timeline.serializer import NO_BACKEND, TRACES, TraceUrls, call_path, rounded, rounded_if
from telemetry.clock import Instant
from telemetry.metrics.live_table import Distribution, Example
from telemetry.metrics.reader import LiveMetricsReader
from telemetry.recent.calls import RecentCalls
from telemetry.semconv import catalogue
from telemetry.semconv.instrument import Instrument

SUMMARISED: Final = tuple(instrument for instrument in catalogue.INSTRUMENTS if instrument.summarised)
"""The histograms whose distribution is kept."""


class ExampleCall(FrozenSchema):
    """A measurement of the bucket, and the call it was made in."""

    value: float = Field(description="What was measured.")
    at: datetime
    trace_id: str
    call_id: str | None = Field(description="`null` if the call is no longer among the last ones.")
    sampled: bool = Field(description="Whether head sampling kept its trace; if not, no backend has it.")
    links: dict[str, str] = Field(description="`call`, `timeline`, `trace`, `trace_backend`, as far as there are any.")


class Bucket(FrozenSchema):
    """Measurements above ``over`` and up to ``up_to``."""

    over: float | None = Field(description="`null` for the first bucket.")
    up_to: float | None = Field(description="`null` for the last bucket: it has no upper bound.")
    count: int
    example: ExampleCall | None = Field(
        description="The latest that an answering process knows; `null` if there was none in a trace."
    )


class HistogramExamples(FrozenSchema):
    """One histogram since the moment in `X-Metrics-Since`."""

    unit: str
    description: str
    count: int
    total: float = Field(description="The sum of all measurements.")
    p50: float | None = Field(description="Interpolated inside its bucket; `null` without measurements.")
    p90: float | None
    p99: float | None
    buckets: tuple[Bucket, ...] = Field(description="Those that hold anything, from the fastest to the slowest.")


class Exemplars(FrozenSchema):
    """Example calls of one tenant."""

    tenant_id: str
    histograms: dict[str, HistogramExamples] = Field(description="By instrument.")


EXAMPLE: Final[dict[str, Any]] = {
    "tenant_id": "acme",
    "histograms": {
        "voice.turn.time_to_first_audio": {
            "unit": "s",
            "description": "End of the caller's speech until the first audio of the answer.",
            "count": 1,
            "total": 4.2,
            "p50": 4.0,
            "p90": 4.8,
            "p99": 4.98,
            "buckets": [
                {
                    "over": 3.0,
                    "up_to": 5.0,
                    "count": 1,
                    "example": {
                        "value": 4.2,
                        "at": "2026-11-22T14:02:31Z",
                        "trace_id": "0af7651916cd43dd8448eb211c80319c",
                        "call_id": "rtc_1",
                        "sampled": True,
                        "links": {
                            "call": "/api/v1/calls/rtc_1",
                            "timeline": "/api/v1/calls/rtc_1/timeline.svg",
                            "trace": "/api/v1/traces/0af7651916cd43dd8448eb211c80319c",
                        },
                    },
                }
            ],
        }
    },
}
"""The example in the OpenAPI document."""

_PATH = "/api/v1/metrics/live"
_RESPONSES: Responses = unanswered_response(f"{_PATH}/acme/exemplars") | {
    200: success(
        Exemplars, "Every histogram of the tenant, with example calls.", EXAMPLE, NUMBERS_HEADERS | LIST_HEADERS
    ),
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, "There is no such tenant."),
        "There is no such tenant: it is not configured, and no call of it has been measured.",
        f"{_PATH}/nobody/exemplars",
    ),
    422: declared_invalid(f"{_PATH}/\x00/exemplars", "path.tenant_id", "String should match pattern"),
}

Examples = Mapping[str, Mapping[float | None, ExampleCall]]
"""Example calls by instrument, and by their bucket's upper bound; None for the last bucket."""


class FleetExamples(Protocol):
    """Example calls of a fleet; :class:`service.api.fleet_exemplars.ToldExamples` asks for them."""

    def tell(self, own: Callable[[str], Examples]) -> None:
        """Have other processes told this one's example calls of a tenant, which ``own``, in a thread, finds."""
        ...

    async def read(self, tenant_id: str) -> tuple[Sequence[Examples], CallCoverage]:
        """Return the example calls of each other process that answers, and which those are."""
        ...


def exemplars_router(
    *,
    live: LiveMetricsReader,
    recent: RecentCalls,
    tenants: TenantDirectory,
    admin: AdminCheck,
    urls: TraceUrls = NO_BACKEND,
    scopes: MetricsScopes | None = None,
    fleet: FleetExamples | None = None,
) -> APIRouter:
    """Return the route ``/api/v1/metrics/live/{tenant_id}/exemplars``.

    Args:
        live: what this process counts.
        recent: the calls that it remembers.
        tenants: the tenants that are configured.
        admin: decides who may use it.
        urls: links to a trace backend.
        scopes: whose numbers answer; None for a process alone.
        fleet: the example calls of a fleet's other processes; likewise.
    """
    router = admin_router(Tag.METRICS, admin)
    rule = scopes or MetricsScopes(live)

    def own(tenant_id: str) -> Examples:
        return _examples(live.store.distributions(tenant_id) or {}, recent, urls)

    if fleet is not None:
        fleet.tell(own)

    @router.get(
        f"{_PATH}/{{tenant_id}}/exemplars",
        summary="Example calls behind a tenant's histograms",
        operation_id="exemplars",
        responses=_RESPONSES,
    )
    async def exemplars(tenant_id: TenantInPath, response: Response, scope: AskedScope = None) -> Exemplars:
        """Show each histogram's filled buckets, and in each the latest call that fell into it.

        Of a fleet the buckets are those of all processes, the calls of those that answer: see `X-Calls-Processes`.
        """

        async def of_fleet(numbers: FleetNumbers) -> tuple[tuple[Exemplars, dict[str, str]], Coverage]:
            counts = await numbers.counts(tenant_id)
            if not counts.seen:
                await demand_tenant(tenants, tenant_id)
            told, coverage = ((), CallCoverage()) if fleet is None else await fleet.read(tenant_id)
            found = _exemplars(tenant_id, counts.distributions(), [own(tenant_id), *told])
            return (found, coverage.headers()), counts.coverage

        async def of_process() -> tuple[Exemplars, dict[str, str]]:
            distributions = live.store.distributions(tenant_id)
            if distributions is None:
                await demand_tenant(tenants, tenant_id)
            return _exemplars(tenant_id, distributions or {}, [own(tenant_id)]), {}

        answered = await rule.answer(scope, of_fleet, of_process)
        found, headers = answered.body
        response.headers.update({**answered.extent.headers(), **headers})
        return found

    return router


def _examples(known: Mapping[str, Distribution], recent: RecentCalls, urls: TraceUrls) -> Examples:
    return {
        name: {
            (*found.bounds, None)[bucket]: _example(example, recent, urls) for bucket, example in found.examples.items()
        }
        for name, found in known.items()
    }


def _exemplars(tenant_id: str, known: Mapping[str, Distribution], examples: Sequence[Examples]) -> Exemplars:
    return Exemplars(
        tenant_id=writable(tenant_id),
        histograms={
            instrument.name: _histogram(
                instrument,
                known.get(instrument.name) or Distribution(instrument.boundaries),
                [told.get(instrument.name, {}) for told in examples],
            )
            for instrument in SUMMARISED
        },
    )


def _histogram(
    instrument: Instrument, found: Distribution, examples: Sequence[Mapping[float | None, ExampleCall]]
) -> HistogramExamples:
    edges = pairwise([None, *found.bounds, None])
    return HistogramExamples(
        unit=instrument.unit,
        description=instrument.description,
        count=found.count,
        total=rounded(found.total),
        p50=rounded_if(found.quantile(0.5)),
        p90=rounded_if(found.quantile(0.9)),
        p99=rounded_if(found.quantile(0.99)),
        buckets=tuple(
            Bucket(over=over, up_to=up_to, count=count, example=_latest(told.get(up_to) for told in examples))
            for (over, up_to), count in zip(edges, found.counts, strict=True)
            if count
        ),
    )


def _latest(examples: Iterable[ExampleCall | None]) -> ExampleCall | None:
    known = [example for example in examples if example is not None]
    return max(known, key=lambda example: example.at, default=None)


def _example(example: Example, recent: RecentCalls, urls: TraceUrls) -> ExampleCall:
    call_id = recent.call_of_trace(example.trace_id)
    return ExampleCall(
        value=rounded(example.value),
        at=moment(Instant(0.0, example.unix_nanos)),
        trace_id=example.trace_id,
        call_id=None if call_id is None else writable(call_id),
        sampled=example.sampled,
        links=_links(example, call_id, urls),
    )


def _links(example: Example, call_id: str | None, urls: TraceUrls) -> dict[str, str]:
    backend = urls.url(example.trace_id) if example.sampled else None
    # By its trace a call is found on record, too.
    links = {"trace": f"{TRACES}/{example.trace_id}"} | ({"trace_backend": backend} if backend else {})
    if call_id is not None:
        itself = call_path(call_id)
        links |= {"call": itself, "timeline": f"{itself}/timeline.svg"}
    return links
