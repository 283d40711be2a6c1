"""Whether what a cache remembers is still so: one small question answers it for every entry."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.tenants.errors import TenantLookupError
from service.tenants.patience import answered
from service.tenants.single_flight import SingleFlight
from telemetry.clock import Clock


@dataclass(slots=True)
class Epoch:
    """A time during which nothing changed. Entries keep the epoch they were read in."""

    revision: int
    confirmed_at: float
    """Monotonic seconds when the revision was last seen to be the database's."""


class Freshness:
    """Asks for the database's revision once in ``ttl`` seconds, and begins a new epoch when it has grown.

    Whoever knows of a change says so with :meth:`doubt`: the next question goes to the database at once. After a
    failure the database is left alone for ``retry_after`` seconds: callers hear of it at once instead of each waiting
    out the same timeout.
    """

    __slots__ = (
        "_clock",
        "_doubts",
        "_epoch",
        "_failed_at",
        "_flight",
        "_heard",
        "_retry_after",
        "_revision",
        "_timeout",
        "_ttl",
    )

    def __init__(
        self,
        revision: Callable[[], Awaitable[int]],
        *,
        clock: Clock,
        ttl: float,
        timeout: float,
        retry_after: float,
    ) -> None:
        self._revision = revision
        self._clock = clock
        self._ttl = ttl
        self._timeout = timeout
        self._retry_after = retry_after
        self._epoch: Epoch | None = None
        self._failed_at = float("-inf")
        self._doubts = 0
        self._heard = 0
        self._flight = SingleFlight(self._ask)

    async def current(self) -> Epoch:
        """The epoch that holds now; :class:`TenantLookupError` when the database does not say."""
        now = self._clock.now().monotonic
        if self._epoch is not None and now - self._epoch.confirmed_at < self._ttl and self._heard == self._doubts:
            return self._epoch
        if now - self._failed_at < self._retry_after:
            raise TenantLookupError("the database failed a moment ago")
        doubts = self._doubts
        epoch = await self._flight.run()
        # A question that was under way when the doubt came up may have been answered from before the change.
        return epoch if self._heard >= doubts else await self._flight.run()

    def doubt(self) -> None:
        """Something changed just now: do not rely on what was heard before."""
        self._doubts += 1

    async def _ask(self) -> Epoch:
        asked_at, doubts = self._clock.now().monotonic, self._doubts
        try:
            revision = await answered(self._revision, within=self._timeout)
        except TenantLookupError:
            self._failed_at = self._clock.now().monotonic
            raise
        self._heard = doubts
        return self._confirm(revision, asked_at)

    async def close(self) -> None:
        """Give up a question that is under way."""
        await self._flight.close()

    def _confirm(self, revision: int, at: float) -> Epoch:
        """Dated from before the question: what changed while it was under way may not be in the answer."""
        if self._epoch is None or self._epoch.revision != revision:
            self._epoch = Epoch(revision, at)
        self._epoch.confirmed_at = at
        return self._epoch
