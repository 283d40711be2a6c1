"""Histories of real processes under faults that a seed chooses, ten on one Redis and ten on a cluster of six nodes."""

import sys
import tempfile
from pathlib import Path

import pytest

from service.fleet.sharing import OnOutage
from tests.histories.run import Plan, run

pytestmark = [pytest.mark.endurance, pytest.mark.peers]

SHARE, CLOSED = OnOutage.SHARE, OnOutage.CLOSED
PLANS = [
    Plan(1, 3, 10, on_outage=CLOSED),
    Plan(2, 8, 100, on_outage=CLOSED),
    Plan(3, 3, 100, on_outage=CLOSED),
    Plan(4, 8, 10, on_outage=CLOSED),
    Plan(5, 3, 10, on_outage=SHARE),
    Plan(6, 8, 100, on_outage=SHARE),
    Plan(7, 3, 100, on_outage=SHARE),
    Plan(8, 8, 10, on_outage=SHARE),
    Plan(9, 8, 100, on_outage=SHARE),
    Plan(10, 3, 10, on_outage=SHARE),
]
CLUSTERS = [
    Plan(21, 3, 10, on_outage=CLOSED, cluster=True),
    Plan(22, 8, 100, on_outage=CLOSED, cluster=True),
    Plan(23, 3, 100, on_outage=CLOSED, cluster=True),
    Plan(24, 8, 10, on_outage=CLOSED, cluster=True),
    Plan(25, 3, 10, on_outage=SHARE, cluster=True),
    Plan(26, 8, 100, on_outage=SHARE, cluster=True),
    Plan(27, 3, 100, on_outage=SHARE, cluster=True),
    Plan(28, 8, 10, on_outage=SHARE, cluster=True),
    Plan(29, 8, 100, on_outage=SHARE, cluster=True),
    Plan(30, 3, 10, on_outage=SHARE, cluster=True),
]


@pytest.mark.parametrize("plan", [*PLANS, *CLUSTERS], ids=lambda plan: plan.title)
async def test_a_history_is_right(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    """Of five thousand calls never more than the limit run outside the stated windows, each once, and no slot leaks."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        outcome = await run(plan, Path(folder))
    with capsys.disabled():
        sys.stdout.write(f"\n{outcome.report}\n")
    assert outcome.verdict.violations == []
    assert sum(outcome.verdict.decided.values()) >= 0.9 * plan.calls
