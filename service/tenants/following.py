"""The tenants' own limits, kept in step with the database while the service runs."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from service.periodic import PeriodicWorker
from service.storage.database import DATABASE_ERRORS
from service.tenants.cache import ConfirmedRevision
from service.tenants.errors import TenantLookupError
from service.tenants.limits import CallLimits
from telemetry.semconv.attributes import TenantId

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
