"""A periodic worker makes its passes one at a time, on demand and at every interval, whatever becomes of one."""

import asyncio

from service.periodic import NEVER, PeriodicWorker


class Work:
    """Passes that wait to be let through."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.passes = 0
        self.failures: list[Exception] = []
        self.done = asyncio.Event()

    async def __call__(self) -> bool:
        self.passes += 1
        answer = self.answers.pop(0) if self.answers else False
        if not self.answers:
            self.done.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def worker(self, interval: float | None = NEVER) -> PeriodicWorker:
        return PeriodicWorker(self, interval=interval, failed=self.failures.append, name="work")


async def test_it_works_at_every_interval() -> None:
    """Without anybody asking, one pass follows the other."""
    work = Work(False, False, False)
    worker = work.worker(0.001)
    worker.start()
    await work.done.wait()
    await worker.stop()
    assert work.passes >= 3


async def test_without_an_interval_it_works_on_demand_alone() -> None:
    """A pass is made when it is asked for, and whoever waits for it hears of its end."""
    work = Work()
    worker = work.worker()
    worker.start()
    await asyncio.sleep(0)
    assert work.passes == 0
    await asyncio.gather(worker.passed(), worker.passed())
    assert work.passes == 1
    await worker.stop()


async def test_it_goes_on_while_there_is_more() -> None:
    """A pass that says so is followed by another one at once."""
    work = Work(True, True, False)
    worker = work.worker()
    worker.start()
    worker.wake()
    await work.done.wait()
    await worker.passed()
    await worker.stop()
    assert work.passes == 4


async def test_a_pass_that_fails_is_not_the_last() -> None:
    """The failure is handed on, those who wait are let go of, and the next pass is made."""
    problem = RuntimeError("once")
    work = Work(problem, False)
    worker = work.worker()
    worker.start()
    await worker.passed()
    await worker.passed()
    await worker.stop()
    assert (work.failures, work.passes) == ([problem], 2)


async def test_it_starts_once_and_stops_once() -> None:
    """Both may be repeated; afterwards no task is left."""
    worker = Work().worker(0.001)
    for _ in range(2):
        worker.start()
    assert [task.get_name() for task in asyncio.all_tasks()].count("work") == 1
    for _ in range(2):
        await worker.stop()
    assert not worker.running
    assert [task.get_name() for task in asyncio.all_tasks()].count("work") == 0


async def test_it_ends_though_its_work_takes_a_cancellation_for_a_failure() -> None:
    """As a client of a store does, which tells of a broken connection when it is cancelled in the middle."""
    begun = asyncio.Event()
    failures: list[Exception] = []

    async def broken() -> bool:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError from None
        return False

    worker = PeriodicWorker(broken, interval=0.001, failed=failures.append, name="work")
    worker.start()
    await begun.wait()
    await worker.stop()
    assert [type(failure) for failure in failures] == [ConnectionError]
