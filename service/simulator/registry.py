"""The carrier's calls by id: those that run, and the last ones that are over."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping

from service.simulator.ground_truth import GroundTruth
from service.simulator.leg import CallLeg, call_not_found
from service.simulator.record import CallNotes, End, PlacedCall
from telemetry.semconv.attributes import UNKNOWN_TENANT

MAX_REMEMBERED = 20_000
"""So many finished calls are remembered, to note what a gateway still asks about them."""


class CallRegistry:
    """Calls by id; the dialled number tells whose call it is."""

    def __init__(self, numbers: Mapping[str, str], *, now: Callable[[], float], fallback: str | None = None) -> None:
        self._tenants = dict(numbers)
        self._now, self._fallback = now, fallback
        self.ground_truth = GroundTruth([UNKNOWN_TENANT, *self._tenants.values()], now)
        self._running: dict[str, CallLeg] = {}
        self._finished: OrderedDict[str, CallLeg] = OrderedDict()

    def tenant_of(self, number: str) -> str:
        """Return the tenant that has a number; calls to numbers of nobody count under ``_unknown``."""
        return self._tenants.get(number, UNKNOWN_TENANT)

    def ring(self, dialled: PlacedCall) -> CallLeg:
        """Begin a new call; raises :class:`ValueError` for an id in use."""
        if dialled.call_id in self._running or dialled.call_id in self._finished:
            raise ValueError(f"call id {dialled.call_id!r} is in use")
        leg = CallLeg(CallNotes(dialled, ground_truth=self.ground_truth, now=self._now, fallback=self._fallback))
        self._running[dialled.call_id] = leg
        leg.record.count("placed")
        return leg

    def find(self, call_id: str) -> CallLeg:
        """Return the call; raises :class:`ControlRefusedError` for an unknown one."""
        leg = self._running.get(call_id) or self._finished.get(call_id)
        if leg is None:
            raise call_not_found()
        return leg

    def retire(self, leg: CallLeg) -> None:
        """Note that the call is over and reported."""
        call_id = leg.record.dialled.call_id
        self._running.pop(call_id, None)
        self._finished[call_id] = leg
        if len(self._finished) > MAX_REMEMBERED:
            self._finished.popitem(last=False)
        self.ground_truth.reported(leg.record.report())

    @property
    def running(self) -> int:
        """Calls not yet retired."""
        return len(self._running)

    def hang_up_all(self) -> None:
        """Have every caller leave."""
        for leg in list(self._running.values()):
            leg.caller_leaves(End.UNANSWERED)

    async def drained(self, within: float) -> None:
        """Wait until every call known now is over, so many seconds at most."""
        over = [asyncio.ensure_future(leg.over.wait()) for leg in self._running.values()]
        if over:
            _, waiting = await asyncio.wait(over, timeout=within)
            for wait in waiting:
                wait.cancel()
