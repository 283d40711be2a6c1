"""The simulator's hand on one open sideband: sends events with ids and times, cuts the line where a fault says so."""

import json
from collections.abc import Awaitable, Callable

from service.simulator.faults import SocketCut
from service.simulator.leg import Closing
from service.simulator.pace import Pace
from service.simulator.record import CallRecord, End
from service.simulator.wire import Event
from telemetry.clock import Clock

GOOD_ORDER = frozenset({1000, 1001})
"""Close codes that are no error (RFC 6455 §7.4.1)."""


def closed_with(code: int) -> Closing:
    """The carrier closes the sideband by itself."""
    return Closing(End.CLOSED, code, failed=code not in GOOD_ORDER)


class LineCutError(Exception):
    """The conversation is over where it stands."""

    def __init__(self, closing: Closing) -> None:
        super().__init__(closing.end)
        self.closing = closing


class Stage:
    """One open sideband, as the conversation sees it."""

    def __init__(self, send: Callable[[str], Awaitable[None]], record: CallRecord, *, pace: Pace, clock: Clock) -> None:
        self.record, self.pace = record, pace
        self._send, self._clock = send, clock
        self._opened_at = clock.now()
        self._sent = self._ids = 0

    def new_id(self, prefix: str) -> str:
        """An id that is unique among all calls."""
        self._ids += 1
        return f"{prefix}_{self.record.dialled.call_id.removeprefix('rtc_')}_{self._ids}"

    def now(self) -> float:
        """Seconds since the sideband opened."""
        return self._clock.now().since(self._opened_at)

    def unix(self) -> int:
        """The wall-clock time in seconds."""
        return self._clock.now().unix_nanos // 1_000_000_000

    def now_ms(self) -> int:
        """Milliseconds on the session's audio timeline."""
        return round(self.now() * 1000)

    async def pause(self, seconds: float) -> None:
        """Let natural seconds of the conversation pass."""
        await self.pace.pause(seconds)

    async def send(self, event: Event) -> None:
        """Put an event with an id of its own on the sideband; raises :class:`LineCutError`."""
        await self.send_as_is({"event_id": self.new_id("event"), **event})

    async def send_as_is(self, event: Event) -> None:
        """Put an event on the sideband; raises :class:`LineCutError`."""
        await self._send(json.dumps(event))
        self._sent += 1
        self.cut_if_due()

    def cut_if_due(self) -> None:
        """Raise :class:`LineCutError` when the call's faults end it after as many events."""
        cut = self.record.dialled.faults.cut
        if cut is not None and self._sent >= cut.after_events:
            raise LineCutError(_closing_of(cut))


def _closing_of(cut: SocketCut) -> Closing:
    return Closing(End.CALLER_HUNG_UP) if cut.code is None else closed_with(cut.code)
