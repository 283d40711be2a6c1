"""One call's state machine at the carrier: what a gateway may ask of it, and when."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.simulator.faults import Fault, Operation
from service.simulator.ground_truth import Tally
from service.simulator.record import CallRecord, Dialled, End
from telemetry.semconv.attributes import UNKNOWN_TENANT


class CarrierError(Exception):
    """A request the carrier answers with an error."""

    def __init__(self, status: int, code: str | None, message: str, *, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.kind = status, code, message, kind


def refusal(status: int) -> CarrierError:
    """Return the error that a simulated fault of this status is answered with."""
    if status == 404:  # noqa: PLR2004 - RFC 9110
        return call_not_found()
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - RFC 9110's server errors
    return CarrierError(status, None, f"The simulated carrier answers {status}", kind=kind)


def call_not_found() -> CarrierError:
    """The carrier's answer about a call it does not know, or no longer."""
    return CarrierError(404, "call_id_not_found", "No session found for the provided call_id")


class State(StrEnum):
    """Where a call stands at the carrier."""

    RINGING = "ringing"
    ACCEPTED = "accepted"
    ATTACHED = "attached"
    UNWATCHED = "unwatched"
    """No sideband is open, but the conversation goes on, and somebody may come back to it."""
    CLOSING = "closing"
    """The call is over; its sideband is about to learn of it."""
    OVER = "over"


_TALKING = (State.ATTACHED, State.UNWATCHED)
_ATTACHABLE = (State.ACCEPTED, State.UNWATCHED)


@dataclass(frozen=True, slots=True)
class Closing:
    """How the carrier closes a sideband."""

    end: End
    code: int | None = None
    """The close code; ``None`` breaks the connection without a close frame."""
    failed: bool = False


class CallLeg:
    """One call. Nothing else changes its state."""

    def __init__(self, record: CallRecord) -> None:
        self.record = record
        self.state = State.RINGING
        self.session: Mapping[str, Any] = {}
        """The body of the accept."""
        self.decided, self.joined, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.returned = asyncio.Event()
        """A gateway that had left has come back."""
        self.told: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        """How to close the sideband, once a gateway or the simulator's owner has asked for it."""
        self._asked = dict.fromkeys(Operation, 0)
        self._handshakes_refused = 0
        self._refusals: deque[int] = deque()

    def ask(self, operation: Operation) -> Fault | None:
        """A request arrived; what goes wrong with it, if anything."""
        self._asked[operation] += 1
        fault = self.record.dialled.faults.of(operation)
        return fault if fault is not None and self._asked[operation] <= fault.times else None

    def accept(self, session: Mapping[str, Any]) -> None:
        """Take the call; raises :class:`CarrierError`."""
        if self.state in (State.ACCEPTED, *_TALKING):
            self.record.violated("second accept")
            raise CarrierError(409, "call_already_accepted", "The call has already been accepted")
        if self.state in (State.CLOSING, State.OVER):
            raise call_not_found()
        self.state, self.session = State.ACCEPTED, session
        self.decided.set()

    def reject(self) -> None:
        """Turn the caller away; raises :class:`CarrierError`."""
        if self.state is State.OVER:
            raise call_not_found()
        if self.state is not State.RINGING:
            if self.record.accepted:
                self.record.violated("reject after accept")
            raise CarrierError(409, "call_already_accepted", "The call has already been accepted")
        self._finish(End.REJECTED)

    def refer(self) -> None:
        """Hand the caller over; raises :class:`CarrierError`."""
        if self.state not in _TALKING:
            raise call_not_found()
        if self.record.dialled.faults.refer_ignored:
            self.record.count("refers_ignored")
        else:
            self.tell(Closing(End.REFERRED, 1000))

    def hang_up(self) -> None:
        """End the call; raises :class:`CarrierError`."""
        if self.state in _TALKING:
            self.tell(Closing(End.AGENT_HUNG_UP, 1000))
        elif self.state is State.ACCEPTED:
            self._finish(End.ABANDONED)
        elif self.record.end is End.LEFT:
            self.record.hung_up_after_leaving()
        else:
            raise call_not_found()

    def tell(self, closing: Closing) -> None:
        """Have the sideband closed like this, unless it has been told already."""
        if not self.told.done():
            self.told.set_result(closing)

    def admit(self) -> None:
        """Let a handshake for the sideband pass; raises :class:`CarrierError`."""
        if self.state is State.ATTACHED:
            self.record.violated("second sideband")
            raise CarrierError(409, "session_already_attached", "The session has a sideband already")
        if self.state is State.RINGING:
            self.record.violated("sideband before accept")
        if self.state not in _ATTACHABLE or self._refuses_handshake():
            raise call_not_found()
        if self._refusals:
            raise refusal(self._refusals.popleft())

    def _refuses_handshake(self) -> bool:
        self._handshakes_refused += 1
        return self._handshakes_refused <= self.record.dialled.faults.handshake_refusals

    def attach(self) -> bool:
        """The handshake is done and the sideband open, unless the call changed meanwhile."""
        if self.state not in _ATTACHABLE:
            return False
        first, self.state = self.state is State.ACCEPTED, State.ATTACHED
        if first:
            self.record.accept_known()
            self.record.opened()
            self.joined.set()
        else:
            self.record.count("sidebands_reattached")
        self.returned.set()
        return True

    @property
    def watched(self) -> bool:
        """Whether a sideband is open."""
        return self.state is State.ATTACHED

    def leave(self) -> None:
        """The sideband is closed, and the call goes on without one."""
        self.state = State.UNWATCHED
        self.returned.clear()

    def break_off(self, refusals: Iterable[int]) -> None:
        """Note that the sideband breaks while the call goes on; the next handshakes are refused with these statuses."""
        self.record.count("sidebands_broken")
        self._refusals.extend(refusals)
        self.leave()

    def close(self) -> None:
        """Note that the call is over, before its sideband learns of it: nobody attaches to it from here on."""
        self.state = State.CLOSING

    def detach(self, closing: Closing) -> None:
        """The sideband is closed, and with it the call is over."""
        self.record.closed(failed=closing.failed)
        self._finish(closing.end)

    def give_up(self, end: End) -> None:
        """The caller leaves; an open sideband breaks."""
        if self.state in _TALKING:
            self.tell(Closing(End.STOPPED))
        elif self.state not in (State.CLOSING, State.OVER):
            self._finish(End.ABANDONED if self.state is State.ACCEPTED else end)

    def _finish(self, end: End) -> None:
        self.state = State.OVER
        self.record.finished(end)
        for event in (self.decided, self.joined, self.over):
            event.set()


MAX_REMEMBERED = 20_000
"""So many finished calls are remembered, to note what a gateway still asks about them."""


class Exchange:
    """Calls by id; the dialled number tells whose call it is."""

    def __init__(self, numbers: Mapping[str, str], *, now: Callable[[], float], fallback: str | None = None) -> None:
        self._tenants = dict(numbers)
        self._now, self._fallback = now, fallback
        self.tally = Tally([UNKNOWN_TENANT, *self._tenants.values()], now)
        self._running: dict[str, CallLeg] = {}
        self._finished: OrderedDict[str, CallLeg] = OrderedDict()

    def tenant_of(self, number: str) -> str:
        """The tenant that has a number; calls to numbers of nobody count under ``_unknown``."""
        return self._tenants.get(number, UNKNOWN_TENANT)

    def ring(self, dialled: Dialled) -> CallLeg:
        """A new call begins; raises :class:`ValueError` for an id in use."""
        if dialled.call_id in self._running or dialled.call_id in self._finished:
            raise ValueError(f"call id {dialled.call_id!r} is in use")
        leg = CallLeg(CallRecord(dialled, tally=self.tally, now=self._now, fallback=self._fallback))
        self._running[dialled.call_id] = leg
        leg.record.count("placed")
        return leg

    def find(self, call_id: str) -> CallLeg:
        """The call; raises :class:`service.simulator.leg.CarrierError`."""
        leg = self._running.get(call_id) or self._finished.get(call_id)
        if leg is None:
            raise call_not_found()
        return leg

    def retire(self, leg: CallLeg) -> None:
        """The call is over and reported."""
        call_id = leg.record.dialled.call_id
        self._running.pop(call_id, None)
        self._finished[call_id] = leg
        if len(self._finished) > MAX_REMEMBERED:
            self._finished.popitem(last=False)
        self.tally.reported(leg.record.report())

    @property
    def running(self) -> int:
        """Calls not yet retired."""
        return len(self._running)

    def hang_up_all(self) -> None:
        """Every caller leaves."""
        for leg in list(self._running.values()):
            leg.give_up(End.UNANSWERED)

    async def quiet(self, within: float) -> None:
        """Wait until every call known now is over, so many seconds at most."""
        over = [asyncio.ensure_future(leg.over.wait()) for leg in self._running.values()]
        if over:
            _, waiting = await asyncio.wait(over, timeout=within)
            for wait in waiting:
                wait.cancel()
