"""One run: a fleet of light processes under calls and faults that a seed chooses, and the verdict on its history.

``python -m tests.histories.run --processes 8 --limit 10 --seed 3`` runs one and prints the report.
"""

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from service.fleet.address import StoreAddress
from service.fleet.connection import StoreConnection
from service.fleet.sharing import OnOutage
from service.fleet.store import SlotStore
from tests.histories.carrier import Carrier
from tests.histories.checker import Verdict, judge
from tests.histories.events import By, Event, Final, Kind, write
from tests.histories.faults import FAIL_OVER, LOSES, TAKES_NOTHING, Faults
from tests.histories.stores import Cluster, Pair, Proxies, Store
from tests.histories.worker import PREFIX, Order

TENANT = "half"
"""A tenant that may have half of all calls; the others may have all."""

UNDECIDED = 300
"""Calls that wait for a decision at once, at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen in a run."""

    seed: int
    processes: int
    limit: int
    calls: int = 5_000
    faults: int = 6
    on_outage: OnOutage = OnOutage.SHARE
    beat_seconds: float = 0.5
    """Between two heartbeats: a quarter of what it is in service, so that there is more to judge in the same time."""
    cluster: bool = False
    """True for a cluster of six nodes, whose primary is killed again and again."""

    @property
    def title(self) -> str:
        """The run in a line."""
        store = " on a cluster" if self.cluster else ""
        return (
            f"seed {self.seed}: {self.processes} processes{store}, {self.limit} calls at once,"
            f" on an outage {self.on_outage}"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that is over."""

    plan: Plan
    verdict: Verdict
    history: list[Event]
    seconds: float

    @property
    def report(self) -> str:
        """What happened, in a few lines."""
        verdict, above = self.verdict, self.verdict.most_above
        decided = ", ".join(f"{count} {by}" for by, count in sorted(verdict.decided.items()))
        faults = ", ".join(f"{count} {name}" for name, count in sorted(verdict.faults.items()))
        lines = [
            f"{self.plan.title}: {'right' if verdict.valid else 'WRONG'} after {self.seconds:.0f} s",
            f"  decided: {decided}",
            f"  most at once {verdict.most}, {verdict.most_outside} outside windows; over {verdict.over_seconds:.2f} s",
            f"  shares: {verdict.episodes} times; most above the limit {above.above}, of {above.allowed} allowed",
            f"  done to it: {faults}",
        ]
        return "\n".join(lines + [f"  ! {violation}" for violation in verdict.violations[:10]])


class _Run:
    def __init__(self, plan: Plan, folder: Path, stack: AsyncExitStack) -> None:
        self._plan = plan
        self._folder = folder
        self._stack = stack
        self.random = Random(plan.seed)  # noqa: S311 -- a run is to be had again
        self.carrier = Carrier(folder / "carrier.sock", self.random, seconds=plan.limit / 250)
        self._proxies: dict[str, Proxies] = {}
        self._started = self._announced = 0
        self._store: Store = Cluster(folder, self.random) if plan.cluster else Pair(folder)

    async def happen(self) -> Outcome:
        """Let the run happen."""
        await self._store.start(self._stack)
        await self._stack.enter_async_context(self.carrier.on_the_air())
        await self.carrier.start([await self._order() for _ in range(self._plan.processes)])
        faults = Faults(self.carrier, self._proxies, self._store, self._order, self.random, self._plan.beat_seconds)
        chosen = self._chosen()
        await asyncio.gather(self._calls(), faults.happen(chosen))
        final = await self._settled()
        history = self.carrier.history
        verdict = judge(
            history,
            final,
            total_limit=self._plan.limit,
            limits={TENANT: self._plan.limit // 2},
            silence_seconds=3 * self._plan.beat_seconds,
            shares=self._plan.on_outage is OnOutage.SHARE,
        )
        return Outcome(self._plan, verdict, history, self.carrier.now())

    def _chosen(self) -> list[str]:
        """Return the faults: with ``closed`` those that take nothing, so that never a call may be over.

        A cluster is failed over in any case, twice at least.
        """
        plan = self._plan
        names = TAKES_NOTHING if plan.on_outage is OnOutage.CLOSED else TAKES_NOTHING + LOSES
        always = [FAIL_OVER] * 2 if plan.cluster else []
        chosen = self.random.choices(names, k=plan.faults - len(always)) + always
        self.random.shuffle(chosen)
        return chosen

    async def _order(self) -> Order:
        self._started += 1
        name = f"p{self._started}"
        url, proxies = await self._store.proxies(self._stack)
        proxies.down = bool(self._proxies) and all(each.down for each in self._proxies.values())
        self._proxies[name] = proxies
        plan, ports = self._plan, proxies.ports if self._plan.cluster else {}
        return Order(name, url, plan.on_outage, plan.beat_seconds, plan.limit, ports)

    async def _calls(self) -> None:
        """Announce the calls in bursts, each to a process of its own."""
        while self._announced < self._plan.calls:
            for _ in range(min(self.random.randint(1, 60), self._plan.calls - self._announced)):
                self._announce()
            await asyncio.sleep(0.05)
            while self._waiting() > UNDECIDED:  # noqa: ASYNC110 -- what a stopped process holds up is not waited for
                await asyncio.sleep(0.01)

    def _announce(self) -> str:
        self._announced += 1
        call, half = f"c{self._announced}", self.random.random() < 0.5
        tenant, limit = (TENANT, self._plan.limit // 2) if half else (f"t{self.random.randint(1, 5)}", self._plan.limit)
        # To one that stands still too: it decides once it goes on.
        self.carrier.announce(call, tenant, self.random.choice(self.carrier.living), limit)
        return call

    def _waiting(self) -> int:
        awake = {process.name for process in self.carrier.awake}
        return sum(owner in awake for owner in self.carrier.undecided.values())

    async def _settled(self) -> Final:
        """End all calls, see that as many as may get in do, end these, and return what is left then."""
        connection = StoreConnection(StoreAddress.parse(self._store.url))
        store = SlotStore(connection, PREFIX)
        try:
            await self._empty(store)
            # After the store was emptied, processes keep to their share until those that live have shown themselves.
            await asyncio.sleep(4 * self._plan.beat_seconds)
            let_in = await self._fill()
            await self._empty(store)
            places: dict[str, str] = {place.call_id: place.holder async for place in store.places()}
            held = sum(process.held for process in (await store.look()).processes)
            own = sum(each["held"] for each in await self.carrier.counted())
        finally:
            await connection.close()
        tenants = sum(await self._store.tenants())
        return Final(places, held if held == tenants else max(held, tenants), let_in, own)

    async def _empty(self, store: SlotStore) -> None:
        """End all calls, and wait until no slot is held any more, if that comes to be."""
        await self.carrier.until(lambda: not self.carrier.undecided, "all calls to be decided")
        for _ in range(300):
            for call in list(self.carrier.running):
                self.carrier.end(call)
            own = sum(each["held"] for each in await self.carrier.counted())
            if not own and not self.carrier.running and not (await store.look()).in_use:
                return
            await asyncio.sleep(0.1)

    async def _fill(self) -> int:
        """Announce calls that stay until one is refused for the limit; return how many got in."""
        let_in, self.carrier.stay = 0, True
        for _ in range(20 * self._plan.limit):
            self._announced += 1
            call = f"c{self._announced}"
            self.carrier.announce(call, "t1", self.random.choice(self.carrier.living), self._plan.limit)
            await self.carrier.until(lambda call=call: call not in self.carrier.undecided, "a decision")
            last = next(event for event in reversed(self.carrier.history) if event.call == call)
            let_in += last.kind is Kind.OK
            if last.by == By.LIMIT:
                break
        return let_in


async def run(plan: Plan, folder: Path) -> Outcome:
    """Let a run happen, with its stores and processes in this folder; the path must be short enough for a socket."""
    async with AsyncExitStack() as stack:
        return await _Run(plan, folder, stack).happen()


def main() -> None:
    """Run once, and print the report; the history goes to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--faults", type=int, default=6)
    parser.add_argument("--on-outage", default="share")
    parser.add_argument("--beat", type=float, default=0.5)
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--history", type=Path)
    chosen = parser.parse_args()
    plan = Plan(
        chosen.seed,
        chosen.processes,
        chosen.limit,
        chosen.calls,
        chosen.faults,
        OnOutage(chosen.on_outage),
        chosen.beat,
        chosen.cluster,
    )
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(run(plan, Path(folder)))
    sys.stdout.write(outcome.report + "\n")
    if chosen.history:
        write(chosen.history, outcome.history)
    sys.exit(not outcome.verdict.valid)


if __name__ == "__main__":
    main()
