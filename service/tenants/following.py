"""Keeps the limits in force those of the database, so that what is shown is right also while no call comes in."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from service.storage.database import DATABASE_ERRORS
from service.tenants.cache import Epoch
from service.tenants.errors import TenantLookupError
from service.tenants.limits import CallLimits
from telemetry.semconv.attributes import TenantId

LOOK_SECONDS = 2.0
"""How often it is looked whether tenants changed; what that costs is bounded by the cache, which asks more rarely."""

_logger = logging.getLogger(__name__)


class Epochs(Protocol):
    """Whoever knows which state of the tenants holds, and can be told that it is another."""

    async def epoch(self) -> Epoch:
        """The state that calls are looked up in; :class:`TenantLookupError` when that cannot be said now."""
        ...

    def doubt(self) -> None:
        """A tenant was changed just now."""
        ...


class OwnLimits(Protocol):
    """Where the limits are kept."""

    async def own_limits(self) -> Mapping[TenantId, int]:
        """Calls at once of the tenants that have a limit of their own."""
        ...


class LimitsFollower:
    """Reads the tenants' own limits again whenever a tenant changed, wherever it was changed.

    It goes by the state that calls are looked up in, and takes limits over when that state was confirmed anew: a limit
    that a call brought from a change since then is not set back.
    """

    __slots__ = ("_confirmed_at", "_epochs", "_limits", "_own", "_revision", "_task", "_tenants")

    def __init__(self, tenants: OwnLimits, epochs: Epochs, limits: CallLimits) -> None:
        self._tenants = tenants
        self._epochs = epochs
        self._limits = limits
        self._own: Mapping[TenantId, int] = {}
        self._revision: int | None = None
        self._confirmed_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, every_seconds: float = LOOK_SECONDS) -> None:
        """Look once, and from then on again and again."""
        await self.look()
        self._task = asyncio.create_task(self._go_on(every_seconds), name="callscope-limits")

    async def changed(self) -> None:
        """A tenant was changed by this process: let that hold at once."""
        self._epochs.doubt()
        await self.look()

    async def look(self) -> None:
        """Take the limits over if they changed. While the database does not answer, those in force stay."""
        with suppress(TenantLookupError, *DATABASE_ERRORS):
            epoch = await self._epochs.epoch()
            if epoch.confirmed_at != self._confirmed_at:
                await self._take_over(epoch.revision, epoch.confirmed_at)

    async def close(self) -> None:
        """Stop looking."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _take_over(self, revision: int, confirmed_at: float) -> None:
        if revision != self._revision:
            self._own = await self._tenants.own_limits()
            self._revision = revision
        # Also when nothing changed: a call looked up just before the last change may have set the old limit after it.
        self._limits.replace_own(self._own)
        self._confirmed_at = confirmed_at

    async def _go_on(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 -- one bad look must not be the last
                _logger.error("tenants' limits could not be looked at: %s", type(error).__name__)  # noqa: TRY400
