"""The comparison of the ledgers over HTTP."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from service.api import tags
from service.api.admin import admin_router
from service.api.answers import (
    METRICS_HEADERS,
    Answers,
    MetricsScope,
    answer,
    json_answer,
    metrics_headers,
)
from service.api.reconciled_ledgers import EXAMPLE, ReconciledLedgers, reconciled
from service.api.usage import invalid_parameter
from service.problems import declared_invalid
from service.reconciliation.column import Ledger
from service.reconciliation.reconciliation import Reconciliation
from service.reconciliation.window import Asked
from service.security import AdminCheck
from service.usage.period import Period, PeriodError

PATH = "/api/v1/metrics/reconcile"

_ANSWERS: Answers = {
    200: answer(ReconciledLedgers, "The ledgers, and where they do not agree.", EXAMPLE, METRICS_HEADERS),
    422: declared_invalid(f"{PATH}?from=yesterday", "query.from", "must be a date, or a date and time, in ISO 8601"),
}

_From = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=40,
        description="The first moment of a window over all processes. Without it: this process, since it started.",
        examples=["2026-11-22"],
    ),
]
_To = Annotated[
    str | None,
    Query(max_length=40, description="The first moment that no longer belongs; now.", examples=["2026-11-23"]),
]
_Zone = Annotated[str, Query(max_length=64, description="Whose dates: an IANA time zone.", examples=["Europe/Berlin"])]
_Tenant = Annotated[
    str | None, Query(max_length=63, pattern=r"^[^\x00-\x1f\x7f]+$", description="Of this tenant alone.")
]


def reconcile_router(*, reconciliation: Reconciliation, admin: AdminCheck) -> APIRouter:
    """The route ``/api/v1/metrics/reconcile``; ``admin`` decides who may use it."""
    router = admin_router(tags.METRICS, admin)

    @router.get(PATH, summary="Hold the ledgers against each other", operation_id="reconcile", responses=_ANSWERS)
    async def reconcile(start: _From = None, to: _To = None, tz: _Zone = "UTC", tenant_id: _Tenant = None) -> Response:
        """Compare live counters, registry, call records and, where configured, the metrics backend.

        Without a window: the calls of the process that answers, since it started. With one: the records of all
        processes and the backend. What one ledger cannot know yet is the margin of its figures, and no difference.
        """
        found = await reconciliation.compare(_asked(reconciliation, start, to, tz, tenant_id))
        age = found.columns[Ledger.LIVE].age_seconds or 0.0
        content = reconciled(found).model_dump(mode="json", by_alias=True)
        return json_answer(content, metrics_headers(age, MetricsScope(found.asked.scope.value)))

    return router


def _asked(reconciliation: Reconciliation, start: str | None, end: str | None, zone: str, tenant: str | None) -> Asked:
    if start is None and end is None:
        return reconciliation.since_start(tenant)
    try:
        period = Period.parse(start or "", end or datetime.now(UTC).isoformat(), zone)
    except PeriodError as error:
        raise invalid_parameter(error) from None
    asked = reconciliation.window(period.start_ms, period.end_ms, tenant)
    if asked.start_ms >= asked.end_ms:
        raise invalid_parameter(PeriodError("from", "must be in the past"))
    return asked
