"""Lookups at call time: a call does not pay a query for what has not changed, and survives a database that is down."""

from dataclasses import dataclass

from service.e164 import E164
from service.tenants.errors import InstructionsUnavailableError, TenantLookupError
from service.tenants.freshness import Epoch, Freshness
from service.tenants.read_through import ReadThrough
from service.tenants.repository import CallTenants
from service.tenants.tenant import CallTenant
from telemetry.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """How much is remembered, for how long, and how patient a lookup is. Times are seconds."""

    ttl: float = 5.0
    """A change is seen at the latest after so long."""
    grace: float = 300.0
    """With the database down, a tenant is still answered so long after it was last known to be right."""
    query_timeout: float = 5.0
    """A query that takes longer has failed. A flood of calls delays answers too, and is no failure of the database."""
    retry_after: float = 1.0
    """After a failure, lookups that need the database fail at once for so long."""
    max_tenants: int = 10_000
    """Numbers remembered with their tenant."""
    max_unknown: int = 10_000
    """Numbers remembered to have none."""
    max_instructions: int = 2_000
    """Instructions remembered; they are the largest thing here."""


@dataclass(frozen=True, slots=True)
class TenantAnswer:
    """Who was called, as far as is known."""

    tenant: CallTenant | None
    """``None``: the number is nobody's."""
    stale: bool
    """The database could not be asked; this is what it said last."""


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What the cache did since it was made, and how many entries it holds."""

    hits: int
    misses: int
    evictions: int
    failures: int
    """Lookups the database did not answer, those answered stale among them."""
    stale_answers: int
    entries: int


class TenantCache:
    """Tenants by number and instructions by tenant, for one event loop."""

    __slots__ = ("_clock", "_failures", "_freshness", "_grace", "_instructions", "_stale_answers", "_tenants")

    def __init__(self, tenants: CallTenants, *, policy: CachePolicy | None = None, clock: Clock | None = None) -> None:
        policy = policy or CachePolicy()
        self._clock = clock or SystemClock()
        self._grace = policy.grace
        self._failures = 0
        self._stale_answers = 0
        self._freshness = Freshness(
            tenants.revision,
            clock=self._clock,
            ttl=policy.ttl,
            timeout=policy.query_timeout,
            retry_after=policy.retry_after,
        )
        self._tenants = ReadThrough(
            tenants.for_calls,
            self._freshness,
            timeout=policy.query_timeout,
            max_found=policy.max_tenants,
            max_absent=policy.max_unknown,
        )
        self._instructions = ReadThrough(
            tenants.current_instructions,
            self._freshness,
            timeout=policy.query_timeout,
            max_found=policy.max_instructions,
            max_absent=policy.max_instructions,
        )

    async def tenant_for(self, number: E164) -> TenantAnswer:
        """The tenant the number reaches, enabled or not.

        Raises :class:`TenantLookupError` when the database does not say and nothing recent enough is remembered. That a
        number is nobody's is never answered from the past.
        """
        try:
            return TenantAnswer(await self._tenants.get(number), stale=False)
        except TenantLookupError:
            self._failures += 1
            remembered = self._remembered(number)
            if remembered is None:
                raise
            self._stale_answers += 1
            return TenantAnswer(remembered, stale=True)

    async def instructions_for(self, tenant_id: str) -> str | None:
        """The tenant's instructions, ``None`` when it has none.

        Raises :class:`InstructionsUnavailableError` when the database does not say: old instructions are not given out,
        what to do instead is the fallback rule's to decide.
        """
        try:
            return await self._instructions.get(tenant_id)
        except TenantLookupError as error:
            self._failures += 1
            raise InstructionsUnavailableError(error.problem) from error

    async def epoch(self) -> Epoch:
        """Which state of the tenants is answered now; :class:`TenantLookupError` when the database does not say."""
        return await self._freshness.current()

    def doubt(self) -> None:
        """A tenant was changed just now: answer nothing from before that."""
        self._freshness.doubt()

    def counts(self) -> CacheCounts:
        """What happened so far."""
        parts = (self._tenants, self._instructions)
        return CacheCounts(
            hits=sum(part.hits for part in parts),
            misses=sum(part.misses for part in parts),
            evictions=sum(part.evictions for part in parts),
            failures=self._failures,
            stale_answers=self._stale_answers,
            entries=sum(len(part) for part in parts),
        )

    async def close(self) -> None:
        """Give up queries under way, before the database goes."""
        await self._freshness.close()
        await self._tenants.close()
        await self._instructions.close()

    def _remembered(self, number: E164) -> CallTenant | None:
        """The tenant found last, if that was recent enough."""
        known = self._tenants.last_known(number)
        if known is None or self._clock.now().monotonic - known.epoch.confirmed_at > self._grace:
            return None
        return known.value
