"""Admission while the store is away: each process on what it saw last."""

from collections import OrderedDict
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from telemetry.semconv.attributes import TenantId

MAX_TENANTS: Final = 2_000
"""Tenants of which a process remembers what the fleet held: those that called last."""


class OnOutage(StrEnum):
    """Admission of new calls while the fleet's store is away: ``CAPACITY_ON_OUTAGE``."""

    SHARE = "share"
    """Admit what it holds and its share of the places that were free."""
    OPEN = "open"
    """Admit up to the limits by itself, so that the fleet may exceed them."""
    CLOSED = "closed"
    """Admit nothing."""


class _Sight(NamedTuple):
    in_use: int
    own: int
    moment: int
    counted: int
    """The moment at which ``own`` was counted."""

    def without(self, gone: int) -> "_Sight":
        """Return the sight without a slot that was given up at a moment: it was counted if that was later."""
        return self._replace(own=self.own - 1) if self.own and gone >= self.counted else self


class FleetSeen:
    """The slots in use as a process saw them last, each number with what the process held itself at that moment."""

    __slots__ = ("_complete", "_moment", "_tenants", "_total", "living", "rank", "stale")

    def __init__(self) -> None:
        self.living = 1
        """Processes that live, this one included."""
        self.rank = 0
        """The place of this process among them, from 0."""
        self.stale = False
        """True if the numbers are too old to count on places that were free."""
        self._moment = 0
        self._total = _Sight(0, 0, 0, 0)
        self._tenants: OrderedDict[TenantId, _Sight] = OrderedDict()
        self._complete = True

    @property
    def moment(self) -> int:
        """A number that grows with each sight: what was seen later has a greater one."""
        return self._moment

    @property
    def total(self) -> int:
        """Slots in use."""
        return self._total.in_use

    @property
    def tenants(self) -> list[TenantId]:
        """The tenants that called last."""
        return list(self._tenants)

    def saw(self, total: int, own: int, *, counted: int | None = None) -> None:
        """Note the slots in use, and of these this process's, counted at a moment; now, unless that is told."""
        self._moment += 1
        self._total = _Sight(total, own, self._moment, self._moment if counted is None else counted)

    def saw_tenant(self, tenant_id: TenantId, in_use: int, own: int, *, counted: int | None = None) -> None:
        """Note a tenant's slots in use, and of these this process's."""
        self._moment += 1
        self._tenants[tenant_id] = _Sight(in_use, own, self._moment, self._moment if counted is None else counted)
        self._tenants.move_to_end(tenant_id)
        if len(self._tenants) > MAX_TENANTS:
            self._tenants.popitem(last=False)
            self._complete = False

    def gave_up(self, tenant_id: TenantId, moment: int) -> None:
        """Note that a slot is not this process's any more, or may not be, which it gave up at that moment.

        Its call is another's by now, or the store was told to give it to anybody: filled again here, it would be
        counted twice.
        """
        self._total = self._total.without(moment)
        if tenant_id in self._tenants:
            self._tenants[tenant_id] = self._tenants[tenant_id].without(moment)

    def listed(
        self, since: int, total: int, tenants: Mapping[TenantId, int], own: Mapping[TenantId, int], *, complete: bool
    ) -> None:
        """Note the slots in use as a heartbeat lists them.

        Args:
            since: the moment at which it was sent: what was seen after it stands.
            total: slots in use.
            tenants: those of each tenant.
            own: of these, this process's when it was sent.
            complete: true if tenants that are not listed had none.
        """
        for tenant_id in [each for each, sight in self._tenants.items() if sight.moment <= since]:
            if complete:
                del self._tenants[tenant_id]
        self._complete = complete
        for tenant_id, in_use in tenants.items():
            if tenant_id not in self._tenants or self._tenants[tenant_id].moment <= since:
                self.saw_tenant(tenant_id, in_use, own.get(tenant_id, 0), counted=since)
        if self._total.moment <= since:
            self.saw(total, sum(own.values()), counted=since)

    def allowed(self, on_outage: OnOutage, limit: int) -> int:
        """Return the slots that this process may hold by itself, of ``limit`` for the fleet.

        With ``share`` that is what it held, and its part of the places that were free: the parts of all processes add
        up to those places, the remainder going to the first of them. It is none if the numbers are stale.
        """
        return self._allowed(on_outage, limit, self._total)

    def allowed_of(self, on_outage: OnOutage, tenant_id: TenantId, limit: int) -> int:
        """Return likewise the slots of one tenant; none of one of which it is not known what the fleet holds."""
        unseen = _Sight(0 if self._complete else limit, 0, 0, 0)
        return self._allowed(on_outage, limit, self._tenants.get(tenant_id, unseen))

    def _allowed(self, on_outage: OnOutage, limit: int, sight: _Sight) -> int:
        if on_outage is OnOutage.OPEN:
            return limit
        if on_outage is OnOutage.CLOSED or self.stale:
            return 0
        free = max(0, limit - sight.in_use)
        return sight.own + free // self.living + (self.rank < free % self.living)
