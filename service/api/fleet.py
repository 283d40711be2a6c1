"""The processes of the fleet: who lives, who is gone, which places each holds, and what disagrees."""

from collections.abc import Iterator
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field

from service.fleet.errors import StoreAwayError
from service.fleet.fleet import Fleet
from service.fleet.live.counting import FleetCounting
from service.fleet.mail import Mailbox
from service.fleet.member import CapacityMode
from service.fleet.sharing import OnOutage
from service.fleet.store import BEAT_SECONDS, FleetView, Process, epoch_of, instance_of
from service.http.openapi import Responses, Tag, success
from service.http.problems import ProblemError, writable
from service.http.readiness import Check, Information
from service.http.responses import admin_router
from service.http.schemas import FrozenSchema
from service.http.security import AdminCheck

PATH: Final = "/api/v1/fleet"

_LATE_SECONDS: Final = 2 * BEAT_SECONDS


class FleetProcess(FrozenSchema):
    """One process of the fleet."""

    instance_id: str = Field(description="Its `service.instance.id`.")
    epoch: int = Field(description="Greater than any before it; a process that was fenced returns with a new one.")
    alive: bool = Field(description="Whether its heartbeats come.")
    beat_age_seconds: float | None = Field(description="Since its last heartbeat; `null` once it is gone.")
    gone_seconds: float | None = Field(description="Since it was fenced or left; `null` while it is alive.")
    slots: int = Field(description="Slots that the store has under its name.")
    calls: int | None = Field(description="Calls with an open record there; `null` if it did not say.")
    mode: CapacityMode | None = Field(description="Where it decides about slots; `null` if it did not say.")
    version: str | None
    host: str | None
    pid: int | None
    this_process: bool = Field(description="Whether it is the one that answers.")


class FleetState(FrozenSchema):
    """The fleet at one moment of its store."""

    mode: CapacityMode = Field(description="Where the process that answers decides about slots.")
    on_outage: OnOutage = Field(description="What becomes of new calls while the store is away.")
    in_use: int = Field(description="Slots in use in the whole fleet.")
    processes: tuple[FleetProcess, ...]
    disagreements: tuple[str, ...] = Field(description="What does not fit together; empty when all is well.")


FLEET_EXAMPLE: dict[str, Any] = {
    "mode": "fleet",
    "on_outage": "share",
    "in_use": 3,
    "processes": [
        {
            "instance_id": "9d2f4b0e-5a39-4f1e-8f6a-2f6d6c1f9b77",
            "epoch": 1795608000123,
            "alive": True,
            "beat_age_seconds": 0.8,
            "gone_seconds": None,
            "slots": 3,
            "calls": 3,
            "mode": "fleet",
            "version": "0.1.0",
            "host": "voice-1",
            "pid": 4711,
            "this_process": True,
        }
    ],
    "disagreements": [],
}
"""The example in the OpenAPI document."""
_ANSWERS: Responses = {200: success(FleetState, "Every process of the fleet.", FLEET_EXAMPLE)}


def fleet_router(*, fleet: Fleet, admin: AdminCheck) -> APIRouter:
    """Return the route ``/api/v1/fleet``; ``admin`` decides who may use it."""
    router = admin_router(Tag.METRICS, admin)

    @router.get(PATH, summary="The processes of the fleet", operation_id="fleet", responses=_ANSWERS)
    async def state() -> FleetState:
        """Show every process, its heartbeat, its slots, and what disagrees. 503 while the store is away."""
        try:
            view = await fleet.view()
        except StoreAwayError as error:
            detail = f"The fleet's store does not answer ({error}); capacity is decided in each process."
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "1"}) from None
        return fleet_state(view, fleet)

    return router


def fleet_state(view: FleetView, fleet: Fleet) -> FleetState:
    """Return the response that a view makes."""
    return FleetState(
        mode=fleet.member.mode,
        on_outage=fleet.capacity.on_outage,
        in_use=view.in_use,
        processes=tuple(_process(process, fleet.member.holder) for process in view.processes),
        disagreements=tuple(disagreements(view)),
    )


def _process(process: Process, own: str) -> FleetProcess:
    info = process.info
    return FleetProcess(
        instance_id=instance_of(process.holder),
        epoch=epoch_of(process.holder),
        alive=process.beat_age_seconds is not None,
        beat_age_seconds=process.beat_age_seconds,
        gone_seconds=process.gone_seconds,
        slots=process.held,
        calls=info.get("calls"),
        mode=info.get("mode"),
        version=info.get("version"),
        host=writable(str(info["host"])) if "host" in info else None,
        pid=info.get("pid"),
        this_process=process.holder == own,
    )


def disagreements(view: FleetView) -> Iterator[str]:
    """Yield what does not fit together, a sentence each."""
    versions = {str(process.info["version"]) for process in view.processes if "version" in process.info}
    if len(versions) > 1:
        yield f"several versions run: {', '.join(sorted(versions))}"
    held = sum(process.held for process in view.processes)
    if held != view.in_use:
        yield f"the processes' slots add up to {held}, and {view.in_use} are in use"
    for process in view.processes:
        yield from _of_process(process)


def _of_process(process: Process) -> Iterator[str]:
    name = f"{instance_of(process.holder)[:8]} (pid {process.info.get('pid', '?')})"
    if process.beat_age_seconds is None:
        yield f"{name} is gone and {process.held} slots of it wait to be taken over"
        return
    if process.beat_age_seconds > _LATE_SECONDS:
        yield f"{name} has not shown for {process.beat_age_seconds:.1f} s that it lives"
    if process.info.get("mode") == CapacityMode.LOCAL:
        yield f"{name} decided about slots by itself at its last heartbeat"
    told = process.info.get("held")
    # Numbers of two moments say nothing, unless no slot of the process has changed between them.
    comparable = process.info.get("writes") == process.writes
    if comparable and isinstance(told, int) and told != process.held:
        yield f"{name} held {told} slots at its last heartbeat, and {process.held} are under its name since"


UNSENT_SECONDS: Final = 10.0
"""Seconds without news from this process after which the others' numbers are said to miss it."""


def store_reachable(fleet: Fleet) -> Check:
    """Return a check that fails while slots are decided upon without the store."""

    async def check() -> str | None:
        if not fleet.member.away:
            return None
        return f"the store is away: new calls are let in by CAPACITY_ON_OUTAGE={fleet.capacity.on_outage}"

    return check


def counts_sent(counting: FleetCounting) -> Check:
    """Return a check that fails while the other processes miss what this one has counted lately."""

    async def check() -> str | None:
        seconds = counting.health().unsent_seconds
        if seconds is None or seconds < UNSENT_SECONDS:
            return None
        return f"what this process counted in the last {seconds:.0f} s has not reached the fleet's store"

    return check


def fleet_information(fleet: Fleet) -> Information:
    """Return how the fleet is seen here."""
    return lambda: asdict(fleet.health())


def counts_information(counting: FleetCounting) -> Information:
    """Return what became of the counts that this process sends to the fleet."""
    return lambda: asdict(counting.health())


def mail_information(mailbox: Mailbox) -> Information:
    """Return what became of the questions between this process and the others."""
    return lambda: asdict(mailbox.counts)
