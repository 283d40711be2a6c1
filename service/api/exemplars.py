"""From "p99 is bad" to a call in one step: each histogram's buckets, with an example call in each."""

from datetime import datetime
from http import HTTPStatus
from itertools import pairwise
from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from service.api.live import TenantInPath, demand_tenant
from service.http.openapi import Responses, Tag, declared, declared_invalid, success
from service.http.problems import ProblemError, writable
from service.http.responses import METRICS_HEADERS, admin_router, metrics_headers
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
    example: ExampleCall | None = Field(description="The latest; `null` if there was none in a trace.")


class HistogramExamples(FrozenSchema):
    """One histogram since the process started."""

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
_RESPONSES: Responses = {
    200: success(Exemplars, "Every histogram of the tenant, with example calls.", EXAMPLE, METRICS_HEADERS),
    404: declared(
        ProblemError(HTTPStatus.NOT_FOUND, "There is no such tenant."),
        "There is no such tenant: it is not configured, and no call of it has been measured.",
        f"{_PATH}/nobody/exemplars",
    ),
    422: declared_invalid(f"{_PATH}/\x00/exemplars", "path.tenant_id", "String should match pattern"),
}


def exemplars_router(
    *,
    live: LiveMetricsReader,
    recent: RecentCalls,
    tenants: TenantDirectory,
    admin: AdminCheck,
    urls: TraceUrls = NO_BACKEND,
) -> APIRouter:
    """Return the route ``/api/v1/metrics/live/{tenant_id}/exemplars``; ``admin`` decides who may use it."""
    router = admin_router(Tag.METRICS, admin)

    @router.get(
        f"{_PATH}/{{tenant_id}}/exemplars",
        summary="Example calls behind a tenant's histograms",
        operation_id="exemplars",
        responses=_RESPONSES,
    )
    async def exemplars(tenant_id: TenantInPath, response: Response) -> Exemplars:
        """Show each histogram's filled buckets, and in each the latest call that fell into it."""
        age = await live.refreshed()
        distributions = live.store.distributions(tenant_id)
        if distributions is None:
            await demand_tenant(tenants, tenant_id)
        response.headers.update(metrics_headers(age))
        return _exemplars(tenant_id, distributions or {}, recent, urls)

    return router


def _exemplars(tenant_id: str, known: dict[str, Distribution], recent: RecentCalls, urls: TraceUrls) -> Exemplars:
    return Exemplars(
        tenant_id=writable(tenant_id),
        histograms={
            instrument.name: _histogram(
                instrument, known.get(instrument.name) or Distribution(instrument.boundaries), recent, urls
            )
            for instrument in SUMMARISED
        },
    )


def _histogram(instrument: Instrument, found: Distribution, recent: RecentCalls, urls: TraceUrls) -> HistogramExamples:
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
            Bucket(over=over, up_to=up_to, count=count, example=_example(found.examples.get(index), recent, urls))
            for index, ((over, up_to), count) in enumerate(zip(edges, found.counts, strict=True))
            if count
        ),
    )


def _example(example: Example | None, recent: RecentCalls, urls: TraceUrls) -> ExampleCall | None:
    if example is None:
        return None
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
