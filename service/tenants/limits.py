"""How many calls are allowed at once, in total and per tenant; both can change while the service runs."""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from telemetry.semconv.attributes import TenantId

MAX_OWN_LIMITS = 100_000
"""Tenants whose own limit is kept; past this the one set longest ago falls back to the general limit."""


class CallLimits:
    """The limits in force, for :class:`telemetry.metrics.gauges.Limits`. Safe for threads.

    ``per_tenant`` holds for tenants without a limit of their own; ``None`` stands for ``total``, whatever that becomes.

    Raises:
        ValueError: if a limit is negative.
    """

    __slots__ = ("_forgotten", "_lock", "_max_own", "_own", "_per_tenant", "_total")

    def __init__(self, total: int, per_tenant: int | None = None, *, max_own: int = MAX_OWN_LIMITS) -> None:
        self._lock = Lock()
        self._own: OrderedDict[TenantId, int] = OrderedDict()
        self._max_own = max_own
        self._forgotten = 0
        self.set_general(total, per_tenant)

    @property
    def forgotten(self) -> int:
        """Own limits that gave way to the bound on how many are kept."""
        return self._forgotten

    def total(self) -> int:
        """Calls at once of all tenants together."""
        return self._total

    def of(self, tenant_id: TenantId) -> int:
        """Return the tenant's calls at once, as of the last :meth:`replace_own`."""
        return self.resolved(self._own.get(tenant_id))

    def resolved(self, own: int | None) -> int:
        """Return a tenant's own limit, or with ``None`` the one that holds for tenants without."""
        if own is not None:
            return own
        return self._total if self._per_tenant is None else self._per_tenant

    def set_general(self, total: int, per_tenant: int | None = None) -> None:
        """Change the limits that come from the settings; tenants' own ones stay."""
        self._total = _checked("total", total)
        self._per_tenant = None if per_tenant is None else _checked("per_tenant", per_tenant)

    def set_own(self, tenant_id: TenantId, limit: int | None) -> None:
        """Give a tenant a limit of its own, or with ``None`` take it back."""
        with self._lock:
            self._own.pop(tenant_id, None)
            if limit is not None:
                self._own[tenant_id] = _checked(tenant_id, limit)
            self._forget()

    def replace_own(self, limits: Mapping[TenantId, int]) -> None:
        """Make these the own limits of these tenants, and leave no other tenant one."""
        own = OrderedDict((tenant_id, _checked(tenant_id, limit)) for tenant_id, limit in limits.items())
        with self._lock:
            self._own = own
            self._forget()

    def _forget(self) -> None:
        while len(self._own) > self._max_own:
            self._own.popitem(last=False)
            self._forgotten += 1


def _checked(name: str, limit: int) -> int:
    if limit < 0:
        raise ValueError(f"limit {name}: must not be negative, as {limit} is")
    return limit
