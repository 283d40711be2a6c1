"""Whatever happens to processes and store in whatever order: the sums are what was counted, once."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from shutil import copy
from tempfile import mkdtemp
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from service.fleet.address import StoreAddress
from service.fleet.connection import StoreConnection
from service.fleet.errors import StoreAwayError
from service.fleet.live.fields import NUMBER, ROW, WIDTH, Row, plus, read, without_handed_over
from service.fleet.live.store import TOTAL
from service.storage.database import Database
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import EndReason
from tests.service.fleet.live.harness import TENANTS, CountingProcess, all_alike

pytestmark = pytest.mark.peers

T = TypeVar("T")
NAMES = st.sampled_from(["one", "two", "three"])
CALLS = st.sampled_from([f"rtc_{number}" for number in range(8)])
GOES_ON = st.sampled_from([CallState.PENDING, CallState.ACCEPTED, CallState.STARTED])


class FleetModel(RuleBasedStateMachine):
    """Three processes, killed and begun anew, over one store that may be emptied."""

    url = ""
    template = Path()

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
        file = copy(self.template, Path(mkdtemp(dir=self.template.parent)) / "fleet.db")
        self.connection = StoreConnection(StoreAddress.parse(self.url), answer_seconds=60.0)
        self.database = Database.from_url(f"sqlite+aiosqlite:///{file}")
        self.processes: dict[str, CountingProcess] = {}
        self.begun = 0
        self.gone: dict[str, Row] = {tenant: [0] * WIDTH for tenant in (*TENANTS, TOTAL)}
        self.not_folded: set[str] = set()
        for name in ("one", "two", "three"):
            self.begins(name)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def begins(self, name: str) -> None:
        self.begun += 1
        process = self.processes[name] = CountingProcess(self.connection, f"{name}-{self.begun}", self.database)
        self.run(process.start())

    def folds(self) -> None:
        folder = next(iter(self.processes.values()))
        for holder in sorted(self.not_folded):
            self.run(folder.folding.fold_gone(holder))
        self.not_folded.clear()

    @rule(name=NAMES, call=CALLS, tenant=st.sampled_from(TENANTS))
    def receives(self, name: str, call: str, tenant: str) -> None:
        """A call comes in."""
        self.processes[name].kit.tracker.received(f"{call}-{tenant}", tenant)

    @rule(name=NAMES, call=CALLS, tenant=st.sampled_from(TENANTS), state=GOES_ON)
    def takes_over(self, name: str, call: str, tenant: str, state: CallState) -> None:
        """A call of another process is gone on with."""
        self.processes[name].takes_over(f"{call}-{tenant}", tenant, state)

    @rule(name=NAMES, call=CALLS, tenant=st.sampled_from(TENANTS), state=GOES_ON)
    def finds_over(self, name: str, call: str, tenant: str, state: CallState) -> None:
        """A call of another process is found to be over."""
        process = self.processes[name]
        if not process.kit.tracker.knows(f"{call}-{tenant}"):
            process.finds_over(f"{call}-{tenant}", tenant, state)

    @rule(name=NAMES, seconds=st.integers(1, 100))
    def goes_on(self, name: str, seconds: int) -> None:
        """Every open call of a process takes its next step."""
        kit = self.processes[name].kit
        kit.clock.advance(seconds)
        for found in kit.tracker.open_calls():
            call = kit.tracker.call(found.call_id)
            if found.state is CallState.PENDING:
                call.accepted()
            elif found.state is CallState.ACCEPTED:
                call.started()
            else:
                call.ended(EndReason.HANGUP)

    @rule(name=NAMES)
    def hands_over(self, name: str) -> None:
        """A process leaves its calls to the others."""
        tracker = self.processes[name].kit.tracker
        for found in tracker.open_calls():
            tracker.call(found.call_id).handed_over()

    @rule(name=NAMES, lost=st.booleans())
    def sends(self, name: str, *, lost: bool) -> None:
        """A process sends what changed, and may not hear that it arrived."""
        process = self.processes[name]
        process.fleet.faulty.loses_replies = lost
        try:
            self.run(process.publisher.publish())
        except StoreAwayError:
            assert lost
        finally:
            process.fleet.faulty.loses_replies = False

    @rule(name=NAMES, at_once=st.booleans())
    def dies(self, name: str, *, at_once: bool) -> None:
        """A process is killed, fenced by another, and a new one begins in its place."""
        process = self.processes[name]
        for tenant in self.gone:
            sent = retired(self.run(self._sent(process, tenant)))
            folded_before = process.publisher._base.get(tenant, [0] * WIDTH)
            self.gone[tenant] = plus(self.gone[tenant], plus(sent, folded_before))
        self.run(process.fleet.store.leave(process.holder))
        self.not_folded.add(process.publisher.holder)
        process.close()
        self.begins(name)
        if at_once:
            self.folds()

    async def _sent(self, process: CountingProcess, tenant: str) -> Row:
        store = process.publisher._store
        return read((await store.sum_of(tenant, process.publisher.holder)).own)

    @rule(name=NAMES)
    def is_fenced(self, name: str) -> None:
        """A process that lives is taken for dead."""
        process = self.processes[name]
        self.run(process.fleet.store.leave(process.holder))

    @rule()
    def store_is_emptied(self) -> None:
        """The store loses everything, at a moment when all that are gone have been folded."""
        self.folds()
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    @rule()
    def all_say_what_was_counted(self) -> None:
        """Once all have sent and the gone are folded, each says what all of them have counted."""
        # Until then the open calls of one that is gone are in the sums.
        self.folds()
        said = self.run(all_alike(list(self.processes.values()), summed=False))
        for tenant in (*TENANTS, TOTAL):
            expected = list(self.gone[tenant])
            for process in self.processes.values():
                expected = plus(expected, counted(process, tenant))
            assert said[tenant or None] == expected, tenant

    def teardown(self) -> None:
        try:
            self.folds()
            self.all_say_what_was_counted()
        finally:
            for process in self.processes.values():
                process.close()
            self.run(self.connection.close())
            self.run(self.database.dispose())
            self.loop.close()


def retired(row: Row) -> Row:
    """Return a row without its open calls, by the table of the lifecycle."""
    row = list(row)
    pending, active = row[NUMBER["pending_calls"]], row[NUMBER["active_calls"]]
    waiting = row[NUMBER["accepted_calls"]] - row[NUMBER["started_calls"]] - row[NUMBER["abandoned_calls"]]
    row[NUMBER["received_calls"]] -= pending + active
    row[NUMBER["accepted_calls"]] -= waiting + active
    row[NUMBER["started_calls"]] -= active
    row[NUMBER["pending_calls"]] = row[NUMBER["active_calls"]] = 0
    return row


def counted(process: CountingProcess, tenant: str) -> Row:
    """Return what a process has counted since it began, with the calls it found to be over."""
    process.kit.reader.refresh()
    found = process.kit.store.row(ROW, tenant or None)
    row = [0] * WIDTH if found is None else without_handed_over(ROW.in_whole_numbers(found))
    lost = process.lost.of(tenant)
    return row if lost is None else plus(row, lost)


@pytest.fixture
def model(redis_server: str, migrated_file: Path) -> type[FleetModel]:
    FleetModel.url, FleetModel.template = redis_server, migrated_file
    return FleetModel


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(25, 20), pytest.param(200, 50, marks=pytest.mark.endurance)],
    ids=["some", "many"],
)
def test_each_thing_counts_once(model: type[FleetModel], examples: int, steps: int) -> None:
    """In any order of calls, sends, lost replies, kills, fences and losses of the store."""
    run_state_machine_as_test(
        model,
        settings=settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck)),
    )


def test_a_process_that_dies_with_an_open_call_is_folded_later(model: type[FleetModel]) -> None:
    """An order that was found: its call is in the sums until then, and in none after."""
    state = model()
    state.receives(call="rtc_0", name="one", tenant="acme")
    state.all_say_what_was_counted()
    state.dies(at_once=False, name="one")
    state.all_say_what_was_counted()
    state.teardown()
