"""Calls allowed at once, in total and per tenant; of no database, so that any gateway can use them."""

from collections.abc import Mapping

from telemetry.semconv.attributes import TenantId


class CallLimits:
    """The limits in force, for :class:`telemetry.metrics.gauges.Limits`. Safe for threads.

    ``per_tenant`` holds for tenants without a limit of their own; ``None`` stands for ``total``, whatever that becomes.

    Raises:
        ValueError: if a limit is negative.
    """

    __slots__ = ("_own", "_per_tenant", "_total")

    def __init__(self, total: int, per_tenant: int | None = None) -> None:
        self._total = _checked("total", total)
        self._per_tenant = None if per_tenant is None else _checked("per_tenant", per_tenant)
        self._own: Mapping[TenantId, int] = {}

    def total(self) -> int:
        """Return the calls at once of all tenants together."""
        return self._total

    def of(self, tenant_id: TenantId) -> int:
        """Return the tenant's calls at once, as of the last :meth:`replace_own`."""
        return self.resolved(self._own.get(tenant_id))

    def resolved(self, own: int | None) -> int:
        """Return a tenant's own limit, or with ``None`` the one that holds for tenants without."""
        if own is not None:
            return own
        return self._total if self._per_tenant is None else self._per_tenant

    def replace_own(self, limits: Mapping[TenantId, int]) -> None:
        """Make these the own limits of these tenants, and leave no other tenant one."""
        # One assignment of a mapping that never changes afterwards: readers in other threads need no lock.
        self._own = {tenant_id: _checked(tenant_id, limit) for tenant_id, limit in limits.items()}


def _checked(name: str, limit: int) -> int:
    if limit < 0:
        raise ValueError(f"limit {name}: must not be negative, as {limit} is")
    return limit
