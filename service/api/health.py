"""Whether the service is there, alive and ready; public, for people, load balancers and orchestrators."""

from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from service.http import tags
from service.http.problems import Problem, ProblemError, declared
from service.http.readiness import Outcome, Readiness, Report
from service.http.responses import Answers, answer, json_answer

HEALTHY = {"ok": True, "status": "healthy"}
ALIVE = {"ok": True, "status": "alive"}


class Healthy(BaseModel):
    """The service answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: Literal[True]
    status: Literal["healthy"]


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: Literal[True]
    status: Literal["alive"]


class CheckOutcome(BaseModel):
    """What one check found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    reason: str | None = Field(None, description="Why not; absent if it is.")


class Ready(BaseModel):
    """The process can be sent calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: Literal[True]
    status: Literal["ready"]
    checks: dict[str, CheckOutcome] = Field(description="What was checked, by name.")
    information: dict[str, dict[str, Any]] = Field(
        description="Worth knowing, such as how the export of telemetry goes; never a reason not to be ready."
    )


class NotReady(Problem):
    """The process should be sent no calls now."""

    checks: dict[str, CheckOutcome] = Field(description="What was checked, by name.")
    information: dict[str, dict[str, Any]] = Field(description="Worth knowing; not the reason.")


_INFORMATION = {"export": {"failing": False}}
_READY = {"checks": {"database": {"ok": True}}, "information": _INFORMATION}
_UNREADY = {"checks": {"database": {"ok": False, "reason": "no answer within 2 s"}}, "information": _INFORMATION}
_EXAMPLE = ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready: database.", members=_UNREADY)

_HEALTH: Answers = {200: answer(Healthy, "The service answers.", HEALTHY)}
_LIVENESS: Answers = {200: answer(Alive, "The process answers.", ALIVE)}
_READINESS: Answers = {
    200: answer(Ready, "Send calls.", {"ok": True, "status": "ready", **_READY}),
    503: declared(_EXAMPLE, "Send no calls now.", "/readyz") | {"model": NotReady},
}


def health_router(*, readiness: Readiness) -> APIRouter:
    """The routes ``/api/v1/health``, ``/livez`` and ``/readyz``."""
    router = APIRouter(tags=[tags.HEALTH], default_response_class=JSONResponse)

    @router.get("/api/v1/health", summary="Health", operation_id="health", responses=_HEALTH)
    async def health() -> Response:
        """Say that the service answers."""
        return json_answer(HEALTHY)

    @router.get("/livez", summary="Liveness", operation_id="liveness", responses=_LIVENESS)
    async def liveness() -> Response:
        """Say that the process answers: if it does not, restart it."""
        return json_answer(ALIVE)

    @router.get("/readyz", summary="Readiness", operation_id="readiness", responses=_READINESS)
    async def ready() -> Response:
        """Say whether to send calls here. A telemetry backend that is down is no reason not to."""
        report = await readiness.report()
        if not report.ready:
            raise _not_ready(report)
        return json_answer({"ok": True, "status": "ready", **_members(report)})

    return router


def _not_ready(report: Report) -> ProblemError:
    detail = f"Not ready: {', '.join(report.failed)}."
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, members=_members(report))


def _members(report: Report) -> dict[str, object]:
    checks = {name: _outcome(outcome) for name, outcome in report.checks.items()}
    return {"checks": checks, "information": report.information}


def _outcome(outcome: Outcome) -> dict[str, object]:
    return {"ok": outcome.ok} if outcome.ok else {"ok": outcome.ok, "reason": outcome.reason}
