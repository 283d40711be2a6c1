"""A call's minutes against the moments at which its own events came, as noted between the gateway and its carrier.

Both ends share one process and one monotonic clock, so that moments can be compared; how fast the machine is never
matters, since each is held against others alone.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any

from service.gateway.carriers.carrier import CarrierSession, SessionClosedError, Signal, Tries, untimed
from service.gateway.carriers.openai_realtime import OpenAIRealtimeCarrier
from service.simulator.ground_truth import CallReport
from telemetry.calls.events import Phase
from telemetry.recent.record import CallDetails
from telemetry.semconv.attributes import CallId, EndReason

PRECISION = 1e-6
"""Seconds that adding and subtracting floating-point seconds may cost."""


@dataclass(slots=True)
class Step:
    """One step of the event loop: what is done without waiting for anything lies between its moments."""

    after: float = field(default_factory=monotonic)
    before: float = inf

    @classmethod
    def begun(cls) -> "Step":
        """Return the step that is being taken."""
        step = cls()
        asyncio.get_running_loop().call_soon(step._over)
        return step

    def _over(self) -> None:
        self.before = monotonic()

    def has(self, moment: float) -> bool:
        """Return True if the moment lies in the step."""
        return self.after - PRECISION <= moment <= self.before + PRECISION


@dataclass(slots=True)
class Reception:
    """The moments at which a call's connections opened and ended, as the gateway learned of them."""

    opened: list[Step] = field(default_factory=list)
    closed: list[Step] = field(default_factory=list)


class Receptions:
    """Stands between a gateway and its carrier, and notes when the sessions of each call open and end."""

    def __init__(self, carrier: OpenAIRealtimeCarrier) -> None:
        self._attach = carrier.session
        self.calls: dict[CallId, Reception] = {}
        carrier.session = self._noted  # type: ignore[method-assign]

    @asynccontextmanager
    async def _noted(self, call_id: CallId, *, fresh: bool = True, tries: Tries = untimed) -> AsyncIterator[Any]:
        attaching: AbstractAsyncContextManager[CarrierSession] = self._attach(call_id, fresh=fresh, tries=tries)
        async with attaching as session:
            reception = self.calls.setdefault(call_id, Reception())
            reception.opened.append(Step.begun())
            yield _NotedSession(session, reception)


class _NotedSession:
    """A session of which the end is noted."""

    def __init__(self, session: CarrierSession, reception: Reception) -> None:
        self._session, self._reception = session, reception

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever a session has
        return getattr(self._session, name)

    async def signals(self) -> AsyncIterator[Signal]:
        try:
            async for signal in self._session.signals():
                yield signal
        except SessionClosedError:
            self._reception.closed.append(Step.begun())
            raise


def untrue_times(call: CallDetails, reception: Reception, report: CallReport) -> Iterator[str]:
    """Yield what is wrong with the times of a started call that is over.

    It began as its first session was attached to and ended as the last one's end was learned of, in the same step of
    the loop; it lasted exactly from the one to the other; and it lies as the carrier's own order of things demands.
    """
    summary = call.summary
    assert summary.started is not None
    assert summary.ended is not None
    began, ended = (summary.received.monotonic + offset for offset in (summary.started, summary.ended))
    if not reception.opened[0].has(began):
        yield f"began at {began}, attached in {reception.opened[0]}"
    if report.handshake_at is not None and began < report.handshake_at - PRECISION:
        yield f"began at {began}, before the carrier answered the handshake at {report.handshake_at}"
    if report.first_message_at is not None and began > report.first_message_at + PRECISION:
        yield f"began at {began}, after the carrier heard from the gateway at {report.first_message_at}"
    last = summary.last_seen if summary.end_reason is EndReason.STALE else summary.ended
    if abs(summary.duration - (last - summary.started)) > PRECISION:
        yield f"lasted {summary.duration} s from {summary.started} to {last}"
    if report.cut_at is not None and ended < report.cut_at - PRECISION:
        yield f"ended at {ended}, before the carrier cut the sideband at {report.cut_at}"
    if _learned_of(call, reception) and not reception.closed[-1].has(ended):
        yield f"ended at {ended}, learned of in {reception.closed[-1]}"


def _learned_of(call: CallDetails, reception: Reception) -> bool:
    """Return True if the call ended with its session, not by the gateway's own decision about an open or lost one."""
    decided_here = call.summary.end_reason in (EndReason.STALE, EndReason.SHUTDOWN)
    hung_up_unseen = any(row.phase is Phase.REATTACH and row.error_type for row in call.phases)
    return not decided_here and not hung_up_unseen and len(reception.closed) == len(reception.opened)
