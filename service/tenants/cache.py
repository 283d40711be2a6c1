"""Lookups at call time: a call does not pay a query for what has not changed, and survives a database that is down."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.e164 import E164
from service.storage.database import DATABASE_ERRORS, detach_on_timeout, failure_reason
from service.tenants.batching import Batches, Lru, SingleFlight
from service.tenants.errors import InstructionsUnavailableError, TenantLookupError
from service.tenants.repository import CallTenants
from service.tenants.tenant import CallTenant
from telemetry.clock import Clock, SystemClock

T = TypeVar("T")


async def answered(query: Callable[[], Awaitable[T]], *, within: float) -> T:
    """The query's answer within so many seconds; :class:`TenantLookupError` when the database fails or is late."""
    try:
        return await detach_on_timeout(within, _asked(query))
    except TimeoutError as error:
        raise TenantLookupError(f"no answer from the database within {within:g} s") from error
    except DATABASE_ERRORS as error:
        raise TenantLookupError(f"the database failed ({failure_reason(error)})") from error


async def _asked(query: Callable[[], Awaitable[T]]) -> T:
    return await query()


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


V = TypeVar("V")
MAX_BATCH = 500
"""Keys that one query asks for; a burst of more takes several, one after the other."""
_Question = tuple[str, int]
"""A key, and the revision it is asked under: an answer begun before a change is not for who asks after it."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """What was read, and in which epoch."""

    value: V
    epoch: Epoch


class ReadThrough(Generic[V]):
    """Answers from memory while nothing changed, else by one query at a time for all who ask.

    What was found and what was not are remembered apart, so that a flood of keys nobody has displaces no good entry.
    """

    __slots__ = ("_absent", "_batches", "_found", "_freshness", "_load", "_timeout", "hits", "misses")

    def __init__(
        self,
        load: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]],
        freshness: Freshness,
        *,
        timeout: float,
        max_found: int,
        max_absent: int,
    ) -> None:
        self._load = load
        self._freshness = freshness
        self._timeout = timeout
        self._found: Lru[str, Entry[V]] = Lru(max_found)
        self._absent: Lru[str, Epoch] = Lru(max_absent)
        self._batches = Batches(self._query, MAX_BATCH)
        self.hits = 0
        self.misses = 0

    async def get(self, key: str) -> V | None:
        """The value as it is now, ``None`` for none; :class:`TenantLookupError` when the database does not say."""
        epoch = await self._freshness.current()
        entry = self._found.get(key)
        if (entry is not None and entry.epoch is epoch) or self._absent.get(key) is epoch:
            self.hits += 1
            return None if entry is None else entry.value
        self.misses += 1
        value = await self._batches.get((key, epoch.revision))
        self._remember(key, value, epoch)
        return value

    def last_known(self, key: str) -> Entry[V] | None:
        """What was found last, however long ago; its epoch says until when it was known to hold."""
        return self._found.get(key)

    async def close(self) -> None:
        """Give up the queries under way."""
        await self._batches.close()

    @property
    def evictions(self) -> int:
        """Entries dropped for want of room."""
        return self._found.evictions + self._absent.evictions

    def __len__(self) -> int:
        return len(self._found) + len(self._absent)

    async def _query(self, questions: Sequence[_Question]) -> Mapping[_Question, V]:
        keys = list({key for key, _ in questions})
        found = await answered(lambda: self._load(keys), within=self._timeout)
        return {question: found[question[0]] for question in questions if question[0] in found}

    def _remember(self, key: str, value: V | None, epoch: Epoch) -> None:
        if value is None:
            self._found.discard(key)
            self._absent.put(key, epoch)
        else:
            self._absent.discard(key)
            self._found.put(key, Entry(value, epoch))


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
