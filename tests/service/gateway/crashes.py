"""A service process that is killed under load again and again, and what is known from outside of its calls."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from sqlalchemy import select

from service.records.record import Row
from service.records.store import CALLS
from service.simulator.ground_truth import CallReport, GroundTruth
from service.storage.database import Database
from tests.peers.gateway import eventually
from tests.peers.program import NotStartedError
from tests.peers.service import Service


@dataclass(frozen=True, slots=True)
class Outage:
    """One stretch without a service, on the monotonic clock."""

    killed: float
    back: float


class Sessions(GroundTruth):
    """The carrier's tally, which also remembers when each session began and ended."""

    __slots__ = ("spans",)

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 -- passed on as they come
        super().__init__(*args)
        self.spans: dict[str, tuple[float, float]] = {}

    def ended(self, tenant_id: str, call_id: str) -> float:
        """A sideband closed; its seconds."""
        seconds, now = super().ended(tenant_id, call_id), self._now()
        self.spans[call_id] = (now - seconds, now)
        return seconds


class Crashes:
    """Kills one service at random moments of its life, and starts it again each time."""

    def __init__(self, service: Service, rng: Random) -> None:
        self._service = service
        self._rng = rng
        self._start_seconds = 1.0
        self.outages: list[Outage] = []

    async def kill(self) -> None:
        """End the process as a crash does, now, and have another one serve."""
        killed = _now()
        await asyncio.to_thread(self._service.kill)
        await asyncio.to_thread(self._service.start)
        self.outages.append(Outage(killed, _now()))
        self._start_seconds = _now() - killed

    async def kill_twice(self) -> None:
        """The same, and the next process dies at some moment of its own start."""
        killed = _now()
        await asyncio.to_thread(self._service.kill)
        starting = asyncio.create_task(asyncio.to_thread(self._service.start))
        await asyncio.sleep(self._rng.uniform(0.3, self._start_seconds))
        await asyncio.to_thread(self._service.kill)
        with suppress(NotStartedError):
            await starting
        await asyncio.to_thread(self._service.kill)
        await asyncio.to_thread(self._service.start)
        self.outages.append(Outage(killed, _now()))


def _now() -> float:
    return asyncio.get_running_loop().time()


async def recorded(url: str) -> Mapping[str, Row]:
    """Every row, once no call is open."""
    async with Database.from_url(url) as database:

        async def rows() -> dict[str, Row] | None:
            async with database.reading() as session:
                found = [dict(row) for row in (await session.execute(select(CALLS))).mappings()]
            return None if any(row["ended_ms"] is None for row in found) else {row["call_id"]: row for row in found}

        kept: dict[str, Row] = await eventually(rows, "every record to be closed")
        return kept


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds a record may be off."""

    heartbeat: float
    """How long a process bills a running call at most without noting it down."""
    skew: float
    """How far apart the two ends of a session may see it begin and end, on a busy machine."""

    def of(self, report: CallReport, span: tuple[float, float], outages: list[Outage]) -> tuple[float, float]:
        """The least and the most that the record of a call may say.

        A call that ended while nobody watched counts up to the crash, less what had not been noted down.
        """
        began, ended = self._noted(span[0], outages), span[1]
        for outage in outages:
            if outage.killed - self.skew <= ended <= outage.back + self.skew:
                watched = min(ended, outage.killed) - began
                return max(0.0, watched - self.heartbeat - self.skew), report.seconds + self.skew
        return max(0.0, ended - began - self.skew), report.seconds + self.skew

    def _noted(self, began: float, outages: list[Outage]) -> float:
        """When the session begins in its record: one that had just begun does so with the next process."""
        for outage in outages:
            if outage.killed - self.skew <= began <= outage.killed + self.skew:
                began = outage.back
        return began
