"""Histories of fleets under faults, judged: three, eight and 220 real processes on a real Redis, and on a cluster.

The longer matrix beside the twenty seeds of the tests (``tests/histories``): what is measured is how often it is wrong.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from benchmarks import verdict
from service.fleet.sharing import OnOutage
from tests.histories.run import Outcome, Plan, run
from tests.peers.binaries import find

MANY: Final = 220
PLANS: Final = [
    *(
        Plan(100 * processes + limit + seed, processes, limit, on_outage=on_outage, cluster=cluster)
        for cluster in (False, True)
        for processes in (3, 8)
        for limit in (10, 100)
        for on_outage in (OnOutage.SHARE, OnOutage.CLOSED)
        for seed in range(3)
    ),
    *(
        Plan(seed, MANY, limit, calls=10_000, faults=10, on_outage=on_outage, beat_seconds=2.0)
        for seed, (limit, on_outage) in enumerate(
            ((10, OnOutage.SHARE), (100, OnOutage.SHARE), (10, OnOutage.CLOSED), (100, OnOutage.CLOSED))
        )
    ),
]


async def main() -> None:
    """Let every run happen, and say what was found."""
    print("Histories of fleets under faults")
    if find("redis-server") is None:
        raise SystemExit("redis-server is not on this machine: run `make peers`")
    outcomes = []
    for plan in PLANS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(await run(plan, Path(folder)))
        print(outcomes[-1].report, flush=True)
    for cluster in (False, True):
        for processes in (3, 8, MANY):
            plans = [each for each in outcomes if (each.plan.processes, each.plan.cluster) == (processes, cluster)]
            if plans:
                _say(f"{processes} processes{' on a cluster' if cluster else ''}", plans)


def _say(whose: str, outcomes: list[Outcome]) -> None:
    verdicts = [each.verdict for each in outcomes]
    outside = max(each.verdict.most_outside / each.plan.limit for each in outcomes)
    verdict.at_most(f"{whose}: histories that are wrong", sum(not each.valid for each in verdicts), 0)
    verdict.at_most(f"{whose}: most calls at once outside windows, as a part of the limit", outside, 1)
    verdict.figure(f"{whose}: histories", len(outcomes))
    verdict.figure(f"{whose}: calls decided", sum(each.decided.total() for each in verdicts))
    verdict.figure(f"{whose}: faults", sum(each.faults.total() for each in verdicts))
    verdict.figure(f"{whose}: above the limit, in windows", sum(each.over_seconds for each in verdicts), " s")
    verdict.figure(f"{whose}: most calls above the limit, in windows", max(each.most_above.above for each in verdicts))


if __name__ == "__main__":
    asyncio.run(main())
