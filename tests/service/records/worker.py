"""A process that is killed: it takes calls, reports heartbeats, and prints what it was told is safe.

    python -m tests.service.records.worker DATABASE_URL SPILL_FOLDER NAME

Lines: `safe CALL`, then `billed CALL SECONDS` when the record of a heartbeat is safe, and `ended CALL SECONDS` when
that of the end is. At its start it ends as stale what the one before left open.
"""

import asyncio
import random
import sys
from pathlib import Path

from service.records.calls import CallRecords
from service.records.writer import Durability
from service.storage.database import Database
from telemetry.calls.call import Call
from telemetry.calls.tracker import CallTracker
from telemetry.clock import SystemClock
from telemetry.semconv.attributes import EndReason

HEARTBEAT = 0.05
"""Seconds between two heartbeats of a call."""

BUDGET = 20.0
"""Seconds a record may take to be safe on a busy machine."""

CALLS_AT_ONCE = 20


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def _drive(records: CallRecords, call: Call, heartbeats: int) -> None:
    clock = SystemClock()
    if await records.ensure_written(call.call_id, BUDGET) is Durability.MEMORY:
        raise RuntimeError("no room")
    _say("safe", call.call_id)
    began = clock.now()
    call.accepted(at=began)
    call.started(at=began)
    for _ in range(heartbeats):
        await asyncio.sleep(HEARTBEAT)
        now = clock.now()
        call.heartbeat(at=now)
        await records.ensure_written(call.call_id, BUDGET)
        _say("billed", call.call_id, now.since(began))
    now = clock.now()
    call.ended(EndReason.HANGUP, at=now)
    await records.ensure_written(call.call_id, BUDGET)
    _say("ended", call.call_id, now.since(began))


async def _main(url: str, folder: str, name: str) -> None:
    async with Database.from_url(url) as database:
        records = CallRecords(database, instance_id=name, spill_folder=Path(folder))
        tracker = CallTracker(records.sink)
        await records.start()
        for orphan in await records.recover():
            records.end_as_stale(orphan)
        chance = random.Random(name)  # noqa: S311 -- nobody is to be kept from guessing
        running: set[asyncio.Task[None]] = set()
        number = 0
        while True:
            while len(running) < CALLS_AT_ONCE:
                number += 1
                call = tracker.received(f"{name}_{number}", f"tenant-{number % 3}")
                running.add(asyncio.create_task(_drive(records, call, chance.randrange(12))))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
