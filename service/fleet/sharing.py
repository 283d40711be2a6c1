"""Admission while the store is away: each process on what it saw last."""

from collections import OrderedDict
from enum import StrEnum
from typing import Final

from telemetry.semconv.attributes import TenantId

MAX_TENANTS: Final = 1_000
"""Tenants of which a process remembers what the fleet held: those that called last."""


class OnOutage(StrEnum):
    """What a process does with new calls while the fleet's store is away: ``CAPACITY_ON_OUTAGE``."""

    SHARE = "share"
    """Admit what it holds and its share of the places that were free."""
    OPEN = "open"
    """Admit up to the limits by itself, so that the fleet may exceed them."""
    CLOSED = "closed"
    """Admit nothing."""


class FleetSeen:
    """The slots in use as a process saw them last, each number with what the process held itself at that moment."""

    __slots__ = ("_tenants", "living", "own", "rank", "total")

    def __init__(self) -> None:
        self.living = 1
        """Processes that live, this one included."""
        self.rank = 0
        """The place of this process among them, from 0."""
        self.total = 0
        """Slots in use."""
        self.own = 0
        """Those of this process."""
        self._tenants: OrderedDict[TenantId, tuple[int, int]] = OrderedDict()

    @property
    def tenants(self) -> list[TenantId]:
        """The tenants that called last."""
        return list(self._tenants)

    def saw(self, total: int, own: int) -> None:
        """Note the slots in use, and of these this process's."""
        self.total, self.own = total, own

    def saw_tenant(self, tenant_id: TenantId, in_use: int, own: int) -> None:
        """Note a tenant's slots in use, and of these this process's."""
        self._tenants[tenant_id] = (in_use, own)
        self._tenants.move_to_end(tenant_id)
        if len(self._tenants) > MAX_TENANTS:
            self._tenants.popitem(last=False)

    def allowed(self, on_outage: OnOutage, limit: int) -> int:
        """Return the slots that this process may hold by itself, of ``limit`` for the fleet.

        With ``share`` that is what it held, and its part of the places that were free: the parts of all processes add
        up to those places, the remainder going to the first of them.
        """
        return self._allowed(on_outage, limit, self.total, self.own)

    def allowed_of(self, on_outage: OnOutage, tenant_id: TenantId, limit: int) -> int:
        """Return likewise the slots of one tenant; of one that never called here, nobody is known to hold any."""
        in_use, own = self._tenants.get(tenant_id, (0, 0))
        return self._allowed(on_outage, limit, in_use, own)

    def _allowed(self, on_outage: OnOutage, limit: int, in_use: int, own: int) -> int:
        if on_outage is OnOutage.CLOSED:
            return 0
        if on_outage is OnOutage.OPEN:
            return limit
        free = max(0, limit - in_use)
        return own + free // self.living + (self.rank < free % self.living)
