"""The judge of a history, in the manner of Jepsen: what may not be, whatever was done to the fleet.

A call that the store let in counts against the limit from then on. One that a share let in, or whose slot the store may
have lost, counts once its process, or whichever has taken it over, has sent a heartbeat since: until then it is in a
window that ``docs/fleet.md`` states. So: **whenever the store lets a call in, the calls that count, with this one, are
no more than the limit**. Where no share decided and the store lost nothing, that is every call, always. A share
decides only in a process that has found the store away, and never lets in more than its rule and what the process saw
allow; so the calls of a window, too, are bounded at every moment (:mod:`tests.histories.shares`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.histories.events import By, Event, Final, Kind
from tests.histories.shares import Excess, Running, Shares

NEVER = float("inf")
ALWAYS = float("-inf")


@dataclass(slots=True)
class Verdict:
    """What is wrong with a history, and how much happened in it."""

    violations: list[str] = field(default_factory=list)
    decided: Counter[str] = field(default_factory=Counter)
    """Calls by what became of them."""
    faults: Counter[str] = field(default_factory=Counter)
    most: int = 0
    """The most calls that ran at once."""
    most_outside: int = 0
    """The most that did so while no call was in a window."""
    over_seconds: float = 0.0
    """Seconds during which more ran than the limit."""
    most_above: Excess = field(default_factory=Excess)
    """The most above the limit, with what shares and losses accounted for then."""
    episodes: int = 0
    """Times that a process let calls in by its share."""

    @property
    def valid(self) -> bool:
        """True if nothing is wrong."""
        return not self.violations


class Judge:
    """Goes through a history once.

    Args:
        total_limit: calls that may run at once.
        limits: those of tenants that have a limit of their own.
        silence_seconds: the age of a heartbeat from which its process is fenced.
        shares: true if a process may let calls in by its share while the store is away.
    """

    def __init__(self, total_limit: int, limits: Mapping[str, int], silence_seconds: float, *, shares: bool) -> None:
        self._total_limit = total_limit
        self._limits = limits
        self._shares = shares
        self._away: set[str] = set()
        self._verdict = Verdict()
        self._running: dict[str, Running] = {}
        self._by_shares = Shares(total_limit, limits, silence_seconds, self._running)
        self._announced: dict[str, Event] = {}
        self._decided: set[str] = set()
        self._last_loss = ALWAYS
        self._dead: set[str] = set()
        self._before = 0.0

    def judge(self, events: Iterable[Event], final: Final) -> Verdict:
        """Return the verdict."""
        for event in events:
            self._time(event)
            handler = {
                Kind.INVOKE: self._invoke,
                Kind.OK: self._ok,
                Kind.REFUSED: self._refused,
                Kind.END: self._end,
                Kind.MOVED: self._moved,
                Kind.TAKEN: self._taken,
                Kind.AWAY: self._goes_away,
                Kind.BEAT: self._beat,
                Kind.LOSS: self._loss,
                Kind.KILL: self._kill,
            }.get(event.kind, self._nothing)
            handler(event)
        self._finish(final)
        self._verdict.most_above, self._verdict.episodes = self._by_shares.most, self._by_shares.episodes
        return self._verdict

    def _wrong(self, event: Event, what: str) -> None:
        self._verdict.violations.append(f"{event.at:.3f} s: {what} (call {event.call}, process {event.process})")

    def _time(self, event: Event) -> None:
        if event.at < self._before:
            self._wrong(event, "the history is not in order")
        if len(self._running) > self._total_limit:
            self._verdict.over_seconds += event.at - self._before
        self._before = event.at
        if event.by and event.kind in (Kind.KILL, Kind.STOP, Kind.FAULT, Kind.LOSS):
            self._verdict.faults[event.by] += 1

    def _nothing(self, event: Event) -> None:
        """Take note of nothing else."""

    def _invoke(self, event: Event) -> None:
        if event.call in self._announced:
            self._wrong(event, "announced twice")
        self._announced[event.call] = event

    def _decide(self, event: Event) -> bool:
        announced = self._announced.get(event.call)
        if announced is None or announced.process != event.process:
            self._wrong(event, "decided by a process that it was not announced to")
            return False
        if event.call in self._decided:
            self._wrong(event, "decided twice")
            return False
        self._decided.add(event.call)
        self._verdict.decided[event.by] += 1
        return True

    def _ok(self, event: Event) -> None:
        if not self._decide(event):
            return
        announced = self._announced[event.call]
        lost = announced.at <= self._last_loss
        counts_from = ALWAYS if event.by == By.STORE and not lost else NEVER
        call = self._running[event.call] = Running(
            event.process, announced.tenant, event.at, event.at, counts_from, lost=lost and event.by == By.STORE
        )
        running = len(self._running)
        self._verdict.most = max(self._verdict.most, running)
        if all(each.counts_from is not NEVER for each in self._running.values()):
            self._verdict.most_outside = max(self._verdict.most_outside, running)
        if event.by == By.SHARE:
            if not (self._shares and event.process in self._away):
                self._wrong(event, "let in by a share that did not apply")
            for what in self._by_shares.by_share(event, announced.tenant):
                self._wrong(event, what)
        if event.by == By.STORE:
            self._by_shares.by_store(event.at)
            others = [each for each in self._running.values() if each is not call and each.counts_from <= announced.at]
            self._within(event, 1 + len(others), self._total_limit, "the limit")
            limit = self._limits.get(call.tenant)
            if limit is not None:
                of_tenant = 1 + sum(each.tenant == call.tenant for each in others)
                self._within(event, of_tenant, limit, "its tenant's limit")
        for what in self._by_shares.within_bound(event.at):
            self._wrong(event, what)

    def _within(self, event: Event, running: int, limit: int, whose: str) -> None:
        if running > limit:
            self._wrong(event, f"let in over {whose}: {running} run that the store knew of, of {limit}")

    def _refused(self, event: Event) -> None:
        self._decide(event)

    def _end(self, event: Event) -> None:
        call = self._running.pop(event.call, None)
        if call is None:
            self._wrong(event, "ended without running")
        else:
            self._by_shares.ended(event.call, call, event.at)

    def _moved(self, event: Event) -> None:
        call = self._running.get(event.call)
        if call is not None:
            call.moving = True

    def _taken(self, event: Event) -> None:
        call = self._running.get(event.call)
        if call is not None:  # it may have ended meanwhile
            call.process, call.since, call.moving = event.process, event.at, False

    def _goes_away(self, event: Event) -> None:
        self._away.add(event.process)

    def _beat(self, event: Event) -> None:
        self._away.discard(event.process)
        self._by_shares.beat(event)
        for call in self._running.values():
            told = call.process == event.process and event.since > max(self._last_loss, call.since)
            if told and call.counts_from is NEVER:
                call.counts_from = event.at

    def _loss(self, event: Event) -> None:
        self._last_loss = event.at
        self._by_shares.loss(event.at)
        for call in self._running.values():
            call.counts_from, call.lost = NEVER, True

    def _kill(self, event: Event) -> None:
        self._dead.add(event.process)
        self._by_shares.kill(event.process)

    def _finish(self, final: Final) -> None:
        end = Event(self._before, Kind.END)
        for call, event in self._announced.items():
            if call not in self._decided and event.process not in self._dead:
                self._wrong(event, "was never decided")
        if self._running:
            self._wrong(end, f"{len(self._running)} calls never ended")
        if final.places:
            self._wrong(end, f"slots were left over: {dict(list(final.places.items())[:5])}")
        if final.counted != len(final.places):
            self._wrong(end, f"the counters say {final.counted} slots, and there are {len(final.places)}")
        if final.held != len(final.places):
            self._wrong(end, f"the processes hold {final.held} slots, and the store has {len(final.places)}")
        if final.let_in != self._total_limit:
            self._wrong(end, f"once all was well {final.let_in} calls were let in, of {self._total_limit}")


def judge(
    events: Iterable[Event],
    final: Final,
    *,
    total_limit: int,
    limits: Mapping[str, int] | None = None,
    silence_seconds: float = 1.5,
    shares: bool = True,
) -> Verdict:
    """Return what is wrong with a history."""
    return Judge(total_limit, limits or {}, silence_seconds, shares=shares).judge(events, final)
