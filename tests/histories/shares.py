"""What processes that found the store away may let in by themselves, computed from what they saw of the fleet.

The rule of ``CAPACITY_ON_OUTAGE=share``: a process holds at most what it held when it saw the fleet last, and its part
of the places that were free then: the whole part of free places divided by living processes, and one more if its rank
is below the remainder. From it follows a bound for all: **no more run than the limit and the parts of those that let
calls in by themselves**; and as the parts of all are the free places once, **no more than the limit and what the store
let in since the first of them saw it**. A process that is cut off for so long that it may be fenced loses the slots
of calls that are over, and others may fill these, too: what it held then adds to its part.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.histories.events import Count, Event, Seen


@dataclass(slots=True)
class Running:
    """A call that runs at the carrier."""

    process: str
    tenant: str
    let_in: float
    since: float
    """The moment at which it came to its process."""
    counts_from: float
    """The moment from which the store knows of the call."""
    lost: bool
    """True if the store may have lost its slot since it was let in."""
    moving: bool = False
    """True while it is another process's on record, which has yet to take it over."""


@dataclass(eq=False, slots=True)
class Episode:
    """A time during which one process found the store away and let calls in."""

    process: str
    seen: Seen
    fenced_from: float
    """The moment from which it may be fenced."""
    parts: Counter[str] = field(default_factory=Counter)
    """Its parts of the free places: of all, and of those of tenants with a limit of their own."""
    own: Counter[str] = field(default_factory=Counter)
    """What it held, likewise."""
    running: set[str] = field(default_factory=set)
    """Calls let in then that still run."""

    def note(self, whose: str, count: Count, part: int) -> None:
        """Note what a share stands on."""
        self.parts[whose] = max(self.parts[whose], part)
        self.own[whose] = max(self.own[whose], count.own)

    def above(self, whose: str, at: float) -> int:
        """Return how many of its calls may be above the limit."""
        return self.parts[whose] + (self.own[whose] if at >= self.fenced_from else 0)


ALL = ""
"""All tenants together."""


@dataclass(frozen=True, slots=True)
class Excess:
    """Calls that ran above the limit, and those that might have."""

    above: int = 0
    allowed: int = 0


def part_of(count: Count, seen: Seen, limit: int) -> int:
    """Return a process's part of the places that were free."""
    free = max(0, limit - count.in_use)
    return free // seen.living + (seen.rank < free % seen.living)


class Shares:
    """Follows the shares of all processes through a history.

    Args:
        total_limit: calls that may run at once.
        limits: those of tenants that have a limit of their own.
        silence_seconds: the age of a heartbeat from which its process is fenced.
        running: the calls that run, which whoever goes through the history keeps.
    """

    def __init__(
        self, total_limit: int, limits: Mapping[str, int], silence_seconds: float, running: Mapping[str, Running]
    ) -> None:
        self._total_limit = total_limit
        self._limits = limits
        self._silence_seconds = silence_seconds
        self._running = running
        self._over: list[tuple[Running, float]] = []
        self._now: dict[str, Episode] = {}
        self._all: list[Episode] = []
        self._beats: dict[str, list[tuple[float, float]]] = {}
        self._losses: list[float] = []
        self._by_store: list[float] = []
        self.episodes = 0
        """Episodes so far."""
        self.most = Excess()
        """The most above the limit, with what was allowed then."""

    # What happens -----------------------------------------------------------------------------------------------------

    def beat(self, event: Event) -> None:
        """Note that a process has reached the store."""
        self._beats.setdefault(event.process, []).append((event.at, event.since))
        self._now.pop(event.process, None)

    def kill(self, process: str) -> None:
        """Note that a process is dead; what it let in runs on."""
        self._now.pop(process, None)

    def loss(self, at: float) -> None:
        """Note that the store may have lost slots."""
        self._losses.append(at)

    def by_store(self, at: float) -> None:
        """Note that the store let a call in."""
        self._by_store.append(at)

    def ended(self, call_id: str, call: Running, at: float) -> None:
        """Note that a call is over."""
        self._over.append((call, at))
        for episode in self._all:
            episode.running.discard(call_id)

    # What is judged ---------------------------------------------------------------------------------------------------

    def by_share(self, event: Event, tenant: str) -> Iterable[str]:
        """Note that a process let a call in by its share, which is among those that run; yield what is wrong."""
        seen, limit = event.seen, self._limits.get(tenant)
        if seen is None:
            yield "let in by a share without having seen the fleet"
            return
        episode = self._now.get(event.process)
        if episode is None:
            since = self._beats.get(event.process, [(0.0, 0.0)])[-1][1]
            episode = self._now[event.process] = Episode(event.process, seen, since + self._silence_seconds)
            self._all.append(episode)
            self._all = [each for each in self._all if each.running or each in self._now.values()]
            self.episodes += 1
        episode.running.add(event.call)
        episode.note(ALL, seen.total, part_of(seen.total, seen, self._total_limit))
        yield from self._within_share(event, seen.total, seen, self._total_limit, None)
        if limit is not None:
            episode.note(tenant, seen.tenant, part_of(seen.tenant, seen, limit))
            yield from self._within_share(event, seen.tenant, seen, limit, tenant)
        yield from self._truly_seen(seen, tenant)

    def _within_share(self, event: Event, count: Count, seen: Seen, limit: int, tenant: str | None) -> Iterable[str]:
        own = sum(
            call.process == event.process and not call.moving and tenant in (None, call.tenant)
            for call in self._running.values()
        )
        allowed = count.own + part_of(count, seen, limit)
        if own > allowed:
            whose = "its share" if tenant is None else "its share of the tenant's places"
            yield f"let in over {whose}: {own} of its calls run, of {allowed}"

    def _truly_seen(self, seen: Seen, tenant: str) -> Iterable[str]:
        """Yield where a process saw less of the fleet than there surely was."""
        for count, whose in ((seen.total, None), (seen.tenant, tenant)):
            surely = self._surely_in_use(count, whose)
            if count.in_use < surely:
                yield f"counted on {count.in_use} slots in use of {whose or 'all'}, where the store had {surely}"
        surely = sum(self._surely_lives(process, seen) for process in self._beats)
        if seen.living < surely or not 0 <= seen.rank < seen.living:
            yield f"counted on {seen.living} processes, itself in place {seen.rank}, where {surely} lived"

    def _surely_in_use(self, count: Count, tenant: str | None) -> int:
        """Return the slots that the store had from before it was asked until it had answered."""
        self._over = [(call, at) for call, at in self._over if at > count.sent - 60.0]
        calls = [(call, float("inf")) for call in self._running.values()] + self._over
        return sum(
            max(call.counts_from, call.let_in) <= count.sent
            and ended >= count.answered
            and tenant in (None, call.tenant)
            for call, ended in calls
        )

    def _surely_lives(self, process: str, seen: Seen) -> bool:
        """Return true if a heartbeat that was answered before kept a process registered until this was answered."""
        beats = self._beats[process]
        index = bisect_right(beats, (seen.sent, float("inf")))
        if not index:
            return False
        since = beats[index - 1][1]
        kept = seen.answered < since + self._silence_seconds
        return kept and not any(since <= loss <= seen.answered for loss in self._losses)

    def bound(self, at: float, tenant: str = ALL) -> int:
        """Return how many calls may run at a moment, of all tenants or of one with a limit of its own."""
        limit = self._limits[tenant] if tenant else self._total_limit
        lost = sum(call.lost and tenant in (ALL, call.tenant) for call in self._running.values())
        by_parts = limit + lost
        for episode in self._all:
            running = [call for call in episode.running if tenant in (ALL, self._running[call].tenant)]
            by_parts += min(len(running), episode.above(tenant, at))
        if tenant or lost or not self._shared_once(at):
            return by_parts
        return min(by_parts, limit + self._let_in_since_seen() + self._places_counted_twice())

    def _shared_once(self, at: float) -> bool:
        """Return true if all that shares let in is due to processes that share the same places now."""
        now = list(self._now.values())
        others = [episode for episode in self._all if episode.running and episode not in now]
        return bool(now) and not others and all(at < episode.fenced_from for episode in now)

    def _let_in_since_seen(self) -> int:
        first = min(episode.seen.total.sent for episode in self._now.values())
        return len(self._by_store) - bisect_right(self._by_store, first)

    def _places_counted_twice(self) -> int:
        """Return how often a remainder may go to two processes: to none if all saw the same fleet."""
        seen = [episode.seen for episode in self._now.values()]
        same = len({(each.total.in_use, each.living) for each in seen}) == 1
        return 0 if same and len({each.rank for each in seen}) == len(seen) else len(seen)

    def within_bound(self, at: float) -> Iterable[str]:
        """Yield what is wrong with the number of calls that run at a moment."""
        bound = self.bound(at)
        excess = Excess(len(self._running) - self._total_limit, bound - self._total_limit)
        if excess.above > self.most.above:
            self.most = excess
        if len(self._running) > bound:
            yield f"{len(self._running)} calls run, and shares and losses account for {bound}"
        for tenant in self._limits:
            running, bound = sum(call.tenant == tenant for call in self._running.values()), self.bound(at, tenant)
            if running > bound:
                yield f"{running} calls of {tenant} run, and shares and losses account for {bound}"
