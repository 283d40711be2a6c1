"""Calls allowed at once, in total and per tenant, and the following of the tenants' own ones in the database."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from service.periodic import PeriodicWorker
from service.storage.database import DATABASE_ERRORS
from service.tenants.cache import ConfirmedRevision
from service.tenants.errors import TenantLookupError
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


REFRESH_SECONDS = 2.0
"""Seconds between two looks for changes; a look costs a query only as often as the cache asks for the revision."""

_logger = logging.getLogger(__name__)


class Revisions(Protocol):
    """The state of the tenants that calls are looked up in; :class:`service.tenants.cache.TenantCache` is one."""

    async def revision(self) -> ConfirmedRevision:
        """Return the current state; raises :class:`TenantLookupError` when that cannot be said now."""
        ...

    def invalidate(self) -> None:
        """Note that a tenant was changed just now."""
        ...


class OwnLimits(Protocol):
    """The tenants' own limits as the database has them."""

    async def own_limits(self) -> Mapping[TenantId, int]:
        """Return the calls at once of the tenants that have a limit of their own."""
        ...


class LimitsFollower:
    """Reads the tenants' own limits again whenever a tenant changed, in whichever process.

    A call is decided by the limit its own look-up brings; these are for what is shown, also while no call comes in.
    """

    __slots__ = ("_limits", "_revision", "_revisions", "_tenants", "_worker")

    def __init__(self, tenants: OwnLimits, revisions: Revisions, limits: CallLimits) -> None:
        self._tenants = tenants
        self._revisions = revisions
        self._limits = limits
        self._revision: int | None = None
        self._worker: PeriodicWorker | None = None

    async def start(self, every_seconds: float = REFRESH_SECONDS) -> None:
        """Refresh once, and from then on periodically."""
        await self.refresh()
        self._worker = PeriodicWorker(self.refresh, interval=every_seconds, failed=_log, name="callscope-limits")
        self._worker.start()

    async def changed(self) -> None:
        """Let a change that this process made hold at once."""
        self._revisions.invalidate()
        await self.refresh()

    async def refresh(self) -> None:
        """Take the limits over if a tenant changed. While the database is away, those in force stay."""
        with suppress(TenantLookupError, *DATABASE_ERRORS):
            revision = (await self._revisions.revision()).revision
            if revision != self._revision:
                self._limits.replace_own(await self._tenants.own_limits())
                self._revision = revision

    async def close(self) -> None:
        """Stop refreshing."""
        if self._worker is not None:
            await self._worker.stop()


def _log(error: Exception) -> None:
    _logger.error("tenants' limits could not be refreshed: %s", type(error).__name__)
