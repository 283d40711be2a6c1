"""The carrier's calls: one call's state machine, which says what a gateway may ask of it and when, and all by id."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.simulator.faults import ControlFault, Operation
from service.simulator.ground_truth import GroundTruth
from service.simulator.record import CallNotes, End, PlacedCall
from telemetry.semconv.attributes import UNKNOWN_TENANT


class ControlRefusedError(Exception):
    """A request the carrier answers with an error."""

    def __init__(self, status: int, code: str | None, message: str, *, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.kind = status, code, message, kind


def refusal(status: int) -> ControlRefusedError:
    """Return the error that a simulated fault of this status is answered with."""
    if status == 404:  # noqa: PLR2004 - RFC 9110
        return call_not_found()
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - RFC 9110's server errors
    return ControlRefusedError(status, None, f"The simulated carrier answers {status}", kind=kind)


def call_not_found() -> ControlRefusedError:
    """Return the carrier's answer about a call it does not know, or no longer."""
    return ControlRefusedError(404, "call_id_not_found", "No session found for the provided call_id")


class LegState(StrEnum):
    """The state of a call at the carrier."""

    RINGING = "ringing"
    ACCEPTED = "accepted"
    ATTACHED = "attached"
    DETACHED = "detached"
    """No sideband is open, but the conversation goes on, and somebody may come back to it."""
    CLOSING = "closing"
    """The call is over; its sideband is about to learn of it."""
    OVER = "over"


_TALKING = (LegState.ATTACHED, LegState.DETACHED)
_ATTACHABLE = (LegState.ACCEPTED, LegState.DETACHED)


@dataclass(frozen=True, slots=True)
class Closing:
    """The closing of a sideband by the carrier."""

    end: End
    code: int | None = None
    """The close code; ``None`` breaks the connection without a close frame."""
    failed: bool = False


class CallLeg:
    """One call. Nothing else changes its state."""

    def __init__(self, record: CallNotes) -> None:
        self.record = record
        self.state = LegState.RINGING
        self.session: Mapping[str, Any] = {}
        """The body of the accept."""
        self.decided, self.first_attached, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.returned = asyncio.Event()
        """A gateway that had left has come back."""
        self.requested_closing: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        """The closing of the sideband, once a gateway or the simulator's owner has asked for it."""
        self.requests = dict.fromkeys(Operation, 0)
        """Control requests so far, by operation."""
        self._handshakes_refused = 0
        self._refusals: deque[int] = deque()

    def ask(self, operation: Operation) -> ControlFault | None:
        """Note a request; returns what is to go wrong with it, None for nothing."""
        self.requests[operation] += 1
        fault = self.record.dialled.faults.of(operation)
        return fault if fault is not None and self.requests[operation] <= fault.times else None

    def accept(self, session: Mapping[str, Any]) -> None:
        """Take the call; raises :class:`ControlRefusedError`."""
        if self.state in (LegState.ACCEPTED, *_TALKING):
            self.record.violated("second accept")
            raise ControlRefusedError(409, "call_already_accepted", "The call has already been accepted")
        if self.record.dialled.faults.canceled:
            self.caller_leaves(End.CANCELED)
        if self.state in (LegState.CLOSING, LegState.OVER):
            self.record.cancel_known()
            raise call_not_found()
        self.state, self.session = LegState.ACCEPTED, session
        self.decided.set()

    def reject(self) -> None:
        """Turn the caller away; raises :class:`ControlRefusedError`."""
        if self.state is LegState.OVER:
            raise call_not_found()
        if self.state is not LegState.RINGING:
            if self.record.accepted:
                self.record.violated("reject after accept")
            raise ControlRefusedError(409, "call_already_accepted", "The call has already been accepted")
        self._finish(End.REJECTED)

    def refer(self) -> None:
        """Hand the caller over; raises :class:`ControlRefusedError`."""
        if self.state not in _TALKING:
            raise call_not_found()
        if self.record.dialled.faults.refer_ignored:
            self.record.count("refers_ignored")
        else:
            self.request_closing(Closing(End.REFERRED, 1000))

    def hang_up(self) -> None:
        """End the call; raises :class:`ControlRefusedError`."""
        if self.state in _TALKING:
            self.request_closing(Closing(End.AGENT_HUNG_UP, 1000))
        elif self.state is LegState.ACCEPTED:
            self._finish(End.ABANDONED)
        elif self.record.end is End.LEFT:
            self.record.hung_up_after_leaving()
        else:
            raise call_not_found()

    def not_found(self) -> None:
        """Note that the gateway is told that there is no such call: the caller is gone, as far as anybody knows."""
        self.caller_leaves(End.CANCELED)
        self.record.cancel_known()

    def request_closing(self, closing: Closing) -> None:
        """Have the sideband closed like this, unless it has been told already."""
        if not self.requested_closing.done():
            self.requested_closing.set_result(closing)

    def admit(self) -> None:
        """Let a handshake for the sideband pass; raises :class:`ControlRefusedError`."""
        if self.state is LegState.ATTACHED:
            self.record.violated("second sideband")
            raise ControlRefusedError(409, "session_already_attached", "The session has a sideband already")
        if self.state is LegState.RINGING:
            self.record.violated("sideband before accept")
        if self.state not in _ATTACHABLE or self._refuses_handshake():
            raise call_not_found()
        if self._refusals:
            raise refusal(self._refusals.popleft())

    def _refuses_handshake(self) -> bool:
        self._handshakes_refused += 1
        return self._handshakes_refused <= self.record.dialled.faults.handshake_refusals

    def attach(self) -> bool:
        """Open the sideband after its handshake; returns False if the call changed meanwhile."""
        if self.state not in _ATTACHABLE:
            return False
        first, self.state = self.state is LegState.ACCEPTED, LegState.ATTACHED
        if first:
            self.record.accept_known()
            self.record.opened()
            self.first_attached.set()
        else:
            self.record.count("sidebands_reattached")
        self.returned.set()
        return True

    @property
    def attached(self) -> bool:
        """True while a sideband is open."""
        return self.state is LegState.ATTACHED

    def leave(self) -> None:
        """Note that the sideband is closed, and the call goes on without one."""
        self.state = LegState.DETACHED
        self.returned.clear()

    def break_off(self, refusals: Iterable[int]) -> None:
        """Note that the sideband breaks while the call goes on; the next handshakes are refused with these statuses."""
        self.record.count("sidebands_broken")
        self.record.cuts()
        self._refusals.extend(refusals)
        self.leave()

    def close(self) -> None:
        """Note that the call is over, before its sideband learns of it: nobody attaches to it from here on."""
        if self.state is LegState.ATTACHED:
            self.record.cuts()
        self.record.ends()
        self.state = LegState.CLOSING

    def detach(self, closing: Closing) -> None:
        """Note that the sideband is closed, and with it the call is over."""
        self.record.closed(failed=closing.failed)
        self._finish(closing.end)

    def caller_leaves(self, end: End) -> None:
        """Have the caller leave; an open sideband breaks."""
        if self.state in _TALKING:
            self.request_closing(Closing(End.STOPPED))
        elif self.state not in (LegState.CLOSING, LegState.OVER):
            self._finish(End.ABANDONED if self.state is LegState.ACCEPTED else end)

    def _finish(self, end: End) -> None:
        self.state = LegState.OVER
        self.record.finished(end)
        for event in (self.decided, self.first_attached, self.over):
            event.set()


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
