"""Killed again and again under load, a process loses no call and no heartbeat it was told is safe."""

import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.storage.database import Database
from telemetry.testing import FakeClock
from tests.service.records.harness import BUDGET, RecordsHarness

pytestmark = pytest.mark.endurance

KILLS = 6


@dataclass
class Said:
    """What the killed processes printed."""

    safe: set[str] = field(default_factory=set)
    billed: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    def note(self, lines: list[str]) -> None:
        """Take one process's output; its last line may be torn."""
        for line in lines:
            match line.split():
                case ["safe", call_id]:
                    self.safe.add(call_id)
                case ["billed", call_id, seconds]:
                    self.billed[call_id] = float(seconds)
                case ["ended", call_id, seconds]:
                    self.ended[call_id] = float(seconds)
                case _:
                    raise AssertionError(f"unexpected words: {line!r}")


def _killed_after_a_while(url: str, folder: Path, name: str, seconds: float) -> list[str]:
    command = [sys.executable, "-m", "tests.service.records.worker", url, str(folder), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:  # noqa: S603 -- this interpreter
        assert worker.stdout is not None
        first = worker.stdout.readline()
        try:
            worker.wait(seconds)
        except subprocess.TimeoutExpired:
            worker.kill()
        rest = worker.stdout.read()
    assert worker.returncode == -9, "it ended by itself"
    return (first + rest).rpartition("\n")[0].splitlines()


async def test_kills_at_random_moments_lose_no_call(database_url: str, tmp_path: Path) -> None:
    """After each kill the next process takes over; at the end every call is there once, closed, and billed rightly."""
    said, chance = Said(), random.Random(1)  # noqa: S311 -- nobody is to be kept from guessing
    folder = tmp_path / "spill"
    for kill in range(KILLS):
        said.note(_killed_after_a_while(database_url, folder, f"worker-{kill}", chance.uniform(0.2, 1.5)))
    async with Database.from_url(database_url) as database, RecordsHarness(database, FakeClock(), folder) as harness:
        last = await harness.keeper("last")
        for orphan in await last.records.recover():
            last.records.end_as_stale(orphan)
        assert await last.records.flush(BUDGET)
        rows = await harness.rows()
    assert said.ended
    assert said.safe <= set(rows)
    assert all(row["ended_ms"] is not None for row in rows.values())
    for call_id, seconds in said.ended.items():
        assert rows[call_id]["reason"] == "hangup"
        assert rows[call_id]["duration_ms"] == round(seconds * 1000)
    assert said.billed
    for call_id, seconds in said.billed.items():
        assert rows[call_id]["duration_ms"] >= round(seconds * 1000)
