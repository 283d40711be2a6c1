"""The health of the service: there, alive, ready; public, for people, load balancers and orchestrators."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from service.http.openapi import Responses, Tag, declared, declared_invalid, success
from service.http.problems import Problem, ProblemError
from service.http.readiness import Readiness, ReadinessReport
from service.http.responses import AsciiJSONResponse, known_and_not_stored
from service.http.schemas import FrozenSchema
from service.timeline.serializer import rounded


class Healthy(FrozenSchema):
    """The service answers."""

    ok: Literal[True] = True
    status: Literal["healthy"] = "healthy"


class Alive(FrozenSchema):
    """The process answers."""

    ok: Literal[True] = True
    status: Literal["alive"] = "alive"


class ReadyStatus(StrEnum):
    """The process's fitness to serve calls."""

    READY = "ready"
    DEGRADED = "degraded"
    """It takes calls, though something is wrong that the reasons name."""


class CheckResult(FrozenSchema):
    """The outcome of one check."""

    ok: bool
    reason: str | None = Field(description="Why not; `null` if it is.")


class Ready(FrozenSchema):
    """The process can be sent calls."""

    ok: Literal[True] = True
    status: ReadyStatus
    reasons: tuple[str, ...] = Field(description="Why it is degraded, a failed check each; empty if it is not.")
    checks: dict[str, CheckResult] = Field(description="The outcome of each check, by name.")
    information: dict[str, dict[str, Any]] = Field(
        description="Worth knowing, such as how the export of telemetry goes; never a reason not to be ready."
    )


class NotReady(Problem):
    """The process should be sent no calls now."""

    reasons: tuple[str, ...] = Field(description="Why, a failed check each.")
    checks: dict[str, CheckResult] = Field(description="The outcome of each check, by name.")
    information: dict[str, dict[str, Any]] = Field(description="Worth knowing; not the reason.")


_INFORMATION: Final = {"export": {"failing": False}}
_AWAY: Final = {"database": {"ok": False, "reason": "no answer within 2 s"}}
_READY: Final = {
    "ok": True,
    "status": "degraded",
    "reasons": ["database: no answer within 2 s"],
    "checks": _AWAY,
    "information": _INFORMATION,
}
_UNREADY: Final = ProblemError(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Not ready: database: no answer within 2 s.",
    members={"reasons": ["database: no answer within 2 s"], "checks": _AWAY, "information": _INFORMATION},
)
_INVALID: Final[Responses] = {422: declared_invalid("/readyz?verbose=1", "query.verbose", "is no parameter")}
_HEALTH: Final[Responses] = {
    200: success(Healthy, "The service answers.", {"ok": True, "status": "healthy"}),
    **_INVALID,
}
_LIVENESS: Final[Responses] = {200: success(Alive, "The process answers.", {"ok": True, "status": "alive"}), **_INVALID}
_READINESS: Final[Responses] = {
    200: success(Ready, "Send calls.", _READY),
    503: declared(_UNREADY, "Send no calls now.", "/readyz") | {"model": NotReady},
    **_INVALID,
}


_BARE: Final[dict[str, Any]] = {"response_class": Response}
"""A response without a body, and so without a media type in the document."""


def _heads(responses: Responses) -> Responses:
    """Declare the same without bodies, as HEAD has them (RFC 9110 §9.3.2)."""
    return {status: {"description": response["description"]} for status, response in responses.items()}


def health_router(*, readiness: Readiness) -> APIRouter:
    """Return the routes ``/api/v1/health``, ``/livez`` and ``/readyz``, each for GET and HEAD."""
    router = APIRouter(
        tags=[Tag.HEALTH],
        default_response_class=AsciiJSONResponse,
        dependencies=[Depends(known_and_not_stored)],
    )

    @router.get("/api/v1/health", summary="Health", operation_id="health", responses=_HEALTH)
    async def health() -> Healthy:
        """Say that the service answers."""
        return Healthy()

    @router.get("/livez", summary="Liveness", operation_id="liveness", responses=_LIVENESS)
    async def liveness() -> Alive:
        """Say that the process answers: if it does not, restart it."""
        return Alive()

    @router.get("/readyz", summary="Readiness", operation_id="readiness", responses=_READINESS)
    async def ready() -> Ready:
        """Say whether to send calls here.

        A telemetry backend that is down is no reason not to, nor is a database that is away while calls can be served:
        the status is `degraded` then, and the reasons are named.
        """
        report = await readiness.report()
        if not report.ready:
            raise _not_ready(report)
        degraded = report.degraded
        return Ready(
            status=ReadyStatus.DEGRADED if degraded else ReadyStatus.READY,
            reasons=report.reasons(degraded),
            checks=_checks(report),
            information=_information(report),
        )

    @router.head(
        "/api/v1/health",
        summary="Health",
        operation_id="healthHead",
        responses=_heads(_HEALTH),
        response_class=Response,
    )
    @router.head(
        "/livez", summary="Liveness", operation_id="livenessHead", responses=_heads(_LIVENESS), response_class=Response
    )
    async def there() -> Response:
        """Answer with the status alone."""
        return Response()

    @router.head(
        "/readyz",
        summary="Readiness",
        operation_id="readinessHead",
        responses=_heads(_READINESS),
        response_class=Response,
    )
    async def ready_head() -> Response:
        """Answer with the status alone: 200 or 503."""
        report = await readiness.report()
        return Response(status_code=HTTPStatus.OK if report.ready else HTTPStatus.SERVICE_UNAVAILABLE)

    return router


def _not_ready(report: ReadinessReport) -> ProblemError:
    reasons = report.reasons(report.failed)
    members = {
        "reasons": reasons,
        "checks": {name: result.model_dump() for name, result in _checks(report).items()},
        "information": _information(report),
    }
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, f"Not ready: {'; '.join(reasons)}.", members=members)


def _checks(report: ReadinessReport) -> dict[str, CheckResult]:
    return {name: CheckResult(ok=outcome.ok, reason=outcome.reason) for name, outcome in report.checks.items()}


def _information(report: ReadinessReport) -> dict[str, dict[str, Any]]:
    return {name: _for_people(known) for name, known in report.information.items()}


def _for_people(known: Mapping[str, object]) -> dict[str, Any]:
    """Return the same with the decimal places that mean something."""
    return {name: _shown(value) for name, value in known.items()}


def _shown(value: object) -> object:
    if isinstance(value, Mapping):
        return _for_people(value)
    return rounded(value) if isinstance(value, float) else value
