"""Calls that were over when they were looked for: no process counts their end, so the fleet counts them whole here."""

from collections.abc import KeysView, Mapping
from typing import Final

from service.fleet.live.fields import NUMBER, WIDTH, Row
from service.fleet.live.store import TOTAL
from telemetry.calls.events import CallLost, Event
from telemetry.calls.lifecycle import CallState
from telemetry.calls.sinks import Handler

_COUNTS: Final[Mapping[CallState, tuple[str, ...]]] = {
    CallState.PENDING: ("received_calls", "rejected_calls_carrier_error"),
    CallState.ACCEPTED: ("received_calls", "accepted_calls", "abandoned_calls"),
    CallState.STARTED: ("received_calls", "accepted_calls", "started_calls", "ended_calls", "ended_calls_stale"),
}
# By the state a call was last known in, as its record ends.


class LostCalls:
    """A sink that counts the calls which this process found to be over: a row a tenant, and one of all."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._changed: set[str] = set()

    @property
    def handlers(self) -> Mapping[type[Event], Handler]:
        """The handler of the one type of event that matters here."""
        return {CallLost: self._count}

    def emit(self, event: Event) -> None:
        """Count the call that an event tells of; others count nothing."""
        if isinstance(event, CallLost):
            self._count(event)

    def of(self, tenant_id: str) -> Row | None:
        """Return what was counted of a tenant, or of all; None for nothing."""
        return self._rows.get(tenant_id)

    @property
    def tenants(self) -> KeysView[str]:
        """The tenants of which something was counted, and the empty name of all."""
        return self._rows.keys()

    def take_changed(self) -> set[str]:
        """Return those of which something was counted since the last time."""
        changed, self._changed = self._changed, set()
        return changed

    def _count(self, event: CallLost) -> None:
        for tenant_id in (str(event.call.tenant_id), TOTAL):
            row = self._rows.setdefault(tenant_id, [0] * WIDTH)
            for name in _COUNTS[event.state]:
                row[NUMBER[name]] += 1
            self._changed.add(tenant_id)
