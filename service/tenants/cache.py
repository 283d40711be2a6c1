"""Tenants at call time: unchanged ones cost no query, and known ones are still answered while the database is down."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.e164 import Address
from service.storage.database import DATABASE_ERRORS, detach_on_timeout, failure_reason
from service.tenants.batching import LruMap, QueryBatcher
from service.tenants.errors import InstructionsUnavailableError, TenantLookupError
from service.tenants.repository import CallTenants
from service.tenants.tenant import CallTenant
from telemetry.clock import Clock, SystemClock

T = TypeVar("T")
V = TypeVar("V")

MAX_BATCH = 500
"""Keys that one query asks for; a burst of more takes several, one after the other."""
_Question = tuple[str, int]
# A key and the revision it is asked under: an answer begun before a change is not for a caller who asks after it.


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Size, lifetime and time-outs of the cache. Times are seconds."""

    ttl: float = 5.0
    """Longest time until a change made by another process is seen."""
    grace: float = 300.0
    """While the database is down, a tenant is still answered so long after it was last confirmed."""
    query_timeout: float = 5.0
    """Time-out of a query. A flood of calls delays answers too, and is no failure of the database."""
    retry_after: float = 1.0
    """After a failure, look-ups that need the database fail at once for so long."""
    max_tenants: int = 10_000
    """Numbers remembered with their tenant."""
    max_unknown: int = 10_000
    """Numbers remembered to have none."""
    max_instructions: int = 2_000
    """Instructions remembered; they are the largest entries."""


@dataclass(frozen=True, slots=True)
class TenantAnswer:
    """The tenant a number reaches, as far as is known."""

    tenant: CallTenant | None
    """``None``: no tenant has the number."""
    stale: bool
    """True if the database could not be asked and this is its last answer."""


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """Totals since the cache was made, and its entries now."""

    hits: int
    misses: int
    evictions: int
    failures: int
    """Look-ups the database did not answer, those answered stale among them."""
    stale_answers: int
    entries: int


@dataclass(slots=True)
class ConfirmedRevision:
    """A state of the tenants; entries keep the one they were read in, and hold as long as it is the current one."""

    revision: int
    confirmed_at: float
    """Monotonic seconds of the latest moment this was known to be the database's revision."""


class TenantCache:
    """Tenants by number and instructions by tenant, for one event loop."""

    __slots__ = ("_clock", "_failures", "_grace", "_instructions", "_poll", "_stale_answers", "_tenants")

    def __init__(self, tenants: CallTenants, *, policy: CachePolicy | None = None, clock: Clock | None = None) -> None:
        policy = policy or CachePolicy()
        self._clock = clock or SystemClock()
        self._grace = policy.grace
        self._failures = 0
        self._stale_answers = 0
        self._poll = _RevisionPoll(tenants.revision, self._clock, policy)
        self._tenants = _ReadThrough(
            tenants.for_calls,
            self._poll,
            timeout=policy.query_timeout,
            max_found=policy.max_tenants,
            max_absent=policy.max_unknown,
        )
        self._instructions = _ReadThrough(
            tenants.current_instructions,
            self._poll,
            timeout=policy.query_timeout,
            max_found=policy.max_instructions,
            max_absent=policy.max_instructions,
        )

    async def tenant_for(self, number: Address) -> TenantAnswer:
        """Return the tenant the number reaches, enabled or not.

        "No tenant has the number" is never answered from the past.

        Raises:
            TenantLookupError: if the database does not answer and nothing recent enough is remembered.
        """
        try:
            return TenantAnswer(await self._tenants.get(number), stale=False)
        except TenantLookupError:
            self._failures += 1
            remembered = self.remembered(number)
            if remembered is None:
                raise
            self._stale_answers += 1
            return TenantAnswer(remembered, stale=True)

    def remembered(self, number: Address) -> CallTenant | None:
        """Return the tenant found last for the number, without asking the database; ``None`` if that is long ago."""
        entry = self._tenants.last_known(number)
        if entry is None or self._clock.now().monotonic - entry.read_in.confirmed_at > self._grace:
            return None
        return entry.value

    @property
    def answers_alone(self) -> bool:
        """True if calls of some tenants would be answered without the database, were it away now."""
        newest = self._tenants.newest
        return newest is not None and self._clock.now().monotonic - newest.confirmed_at <= self._grace

    async def instructions_for(self, tenant_id: str) -> str | None:
        """Return the tenant's instructions, ``None`` when it has none.

        Raises:
            InstructionsUnavailableError: if the database does not answer; old instructions are not given out, since the
                fallback rule decides what to do instead.
        """
        try:
            return await self._instructions.get(tenant_id)
        except TenantLookupError as error:
            self._failures += 1
            raise InstructionsUnavailableError(error.problem) from error

    async def revision(self) -> ConfirmedRevision:
        """Return the state calls are looked up in; raises :class:`TenantLookupError` when the database is away."""
        return await self._poll.current()

    def invalidate(self) -> None:
        """Note that a tenant was changed just now: nothing from before is answered any more."""
        self._poll.invalidate()

    def counts(self) -> CacheCounts:
        """Return the totals so far."""
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
        """Cancel queries under way, before the database is closed."""
        await self._poll.close()
        await self._tenants.close()
        await self._instructions.close()


async def _within(seconds: float, query: Awaitable[T]) -> T:
    """Return the query's answer; raise :class:`TenantLookupError` when the database fails or is late."""
    try:
        return await detach_on_timeout(seconds, _coroutine(query))
    except TimeoutError as error:
        raise TenantLookupError(f"no answer from the database within {seconds:g} s") from error
    except DATABASE_ERRORS as error:
        raise TenantLookupError(f"the database failed ({failure_reason(error)})") from error


async def _coroutine(query: Awaitable[T]) -> T:
    return await query


class _RevisionPoll:
    """Asks for the database's revision at most once in ``ttl`` seconds, or at once after :meth:`invalidate`.

    After a failure the database is left alone for ``retry_after`` seconds: callers get the error at once instead of
    each waiting for the same time-out.
    """

    __slots__ = ("_answered", "_clock", "_current", "_failed_at", "_invalidations", "_policy", "_queries", "_revision")

    def __init__(self, revision: Callable[[], Awaitable[int]], clock: Clock, policy: CachePolicy) -> None:
        self._revision = revision
        self._clock = clock
        self._policy = policy
        self._current: ConfirmedRevision | None = None
        self._failed_at = float("-inf")
        self._invalidations = 0
        self._answered = 0  # invalidations that came before the last answered question
        self._queries: QueryBatcher[None, ConfirmedRevision] = QueryBatcher(self._ask, 1)

    async def current(self) -> ConfirmedRevision:
        """Return the current revision; raises :class:`TenantLookupError` when the database does not answer."""
        now, policy = self._clock.now().monotonic, self._policy
        known = self._current
        if known is not None and now - known.confirmed_at < policy.ttl and self._answered == self._invalidations:
            return known
        if now - self._failed_at < policy.retry_after:
            raise TenantLookupError("the database failed a moment ago")
        needed = self._invalidations
        answer = await self._queries.get(None)
        if self._answered < needed:
            # The question was under way when the change came: its answer may be from before it.
            answer = await self._queries.get(None)
        assert answer is not None  # noqa: S101 -- _ask answers the one key there is
        return answer

    def invalidate(self) -> None:
        """Let the next question go to the database."""
        self._invalidations += 1

    async def close(self) -> None:
        """Cancel a question that is under way."""
        await self._queries.close()

    async def _ask(self, keys: Sequence[None]) -> Mapping[None, ConfirmedRevision]:
        # The moment before the question counts: a change while it is under way may not be in the answer.
        queried_at, invalidations = self._clock.now().monotonic, self._invalidations
        try:
            revision = await _within(self._policy.query_timeout, self._revision())
        except TenantLookupError:
            self._failed_at = self._clock.now().monotonic
            raise
        self._answered = invalidations
        if self._current is None or self._current.revision != revision:
            self._current = ConfirmedRevision(revision, queried_at)
        self._current.confirmed_at = queried_at
        return dict.fromkeys(keys, self._current)


@dataclass(frozen=True, slots=True)
class _CacheEntry(Generic[V]):
    value: V
    read_in: ConfirmedRevision


class _ReadThrough(Generic[V]):
    """Answers from memory while nothing changed, else by one query at a time for all callers.

    Found and absent keys are remembered apart, so that a flood of unknown keys displaces no good entry.
    """

    __slots__ = ("_absent", "_found", "_load", "_poll", "_queries", "_timeout", "hits", "misses", "newest")

    def __init__(
        self,
        load: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]],
        poll: _RevisionPoll,
        *,
        timeout: float,
        max_found: int,
        max_absent: int,
    ) -> None:
        self._load = load
        self._poll = poll
        self._timeout = timeout
        self._found: LruMap[str, _CacheEntry[V]] = LruMap(max_found)
        self._absent: LruMap[str, ConfirmedRevision] = LruMap(max_absent)
        self._queries = QueryBatcher(self._query, MAX_BATCH)
        self.newest: ConfirmedRevision | None = None
        """The state in which something was found last; None if nothing ever was."""
        self.hits = 0
        self.misses = 0

    async def get(self, key: str) -> V | None:
        """Return the present value, ``None`` for none; raises :class:`TenantLookupError`."""
        current = await self._poll.current()
        entry = self._found.get(key)
        if (entry is not None and entry.read_in is current) or self._absent.get(key) is current:
            self.hits += 1
            return None if entry is None else entry.value
        self.misses += 1
        value = await self._queries.get((key, current.revision))
        self._remember(key, value, current)
        return value

    def last_known(self, key: str) -> _CacheEntry[V] | None:
        """Return what was found last, however long ago."""
        return self._found.get(key)

    async def close(self) -> None:
        """Cancel the queries under way."""
        await self._queries.close()

    @property
    def evictions(self) -> int:
        """Entries dropped for want of room."""
        return self._found.evictions + self._absent.evictions

    def __len__(self) -> int:
        return len(self._found) + len(self._absent)

    async def _query(self, questions: Sequence[_Question]) -> Mapping[_Question, V]:
        keys = list({key for key, _ in questions})
        found = await _within(self._timeout, self._load(keys))
        return {question: found[question[0]] for question in questions if question[0] in found}

    def _remember(self, key: str, value: V | None, read_in: ConfirmedRevision) -> None:
        if value is None:
            self._found.discard(key)
            self._absent.put(key, read_in)
        else:
            self._absent.discard(key)
            self._found.put(key, _CacheEntry(value, read_in))
            self.newest = read_in
