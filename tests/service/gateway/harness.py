"""The whole service on a real port, facing the simulated carrier; calls, deliveries and what is counted of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx2
from pydantic import SecretStr
from sqlalchemy import text
from standardwebhooks import Webhook

from service.api.webhooks import PATH
from service.app import app_of
from service.container import Container, build_container
from service.gateway.carriers.openai_realtime import CarrierTimeouts
from service.server import Server, address_of, listen, server_for
from service.settings import Settings
from service.simulator.call import ONCE, Delivery, SimulatedCall, dial
from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.ground_truth import CallReport, CountDifference, differences, live_responses
from service.simulator.script import CallScript
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.tenants import numbers_of, simulated_tenants
from service.simulator.timing import TimeScale
from service.simulator.traffic import Plan, Traffic
from service.tenants.cache import CachePolicy
from service.tenants.spec import TenantSpec
from telemetry.metrics.live_table import Numbers
from telemetry.recent.record import CallDetails, CallSummary
from telemetry.semconv.attributes import CallId
from tests.service.gateway.receptions import Receptions, untrue_times
from tests.support.databases import migrated_content
from tests.support.patience import CARRIER, PATIENT_SECONDS, patience, wait_for_others
from tests.support.server import TLS

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
TOKEN = "token-of-the-tests"
FALLBACK = "You answer the telephone."
QUICK = TimeScale(scale=0.01, caller_timeout=60.0, greeting_timeout=60.0)
"""Conversations a hundred times as fast as people talk, with callers who wait for a busy machine."""

LOSSY = TimeScale(scale=0.01, caller_timeout=5.0, greeting_timeout=5.0)
"""The same where what a gateway owes may be lost with its connection, and a caller waits for it in vain."""

MILLISECOND = 0.001
"""The precision of a recorded call's length, in seconds."""

SETTLED_SECONDS = PATIENT_SECONDS
"""How long a fact may take to come true on a busy machine before the test fails."""

PATIENT = CachePolicy(query_timeout=SETTLED_SECONDS)
"""Tenants are waited for as long as a busy machine takes: a query without an answer counts as one that failed."""


class _Server(Server):
    """A server that leaves the test run's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class GatewayHarness:
    """The service, the carrier it faces, and ways to ask both."""

    def __init__(self, container: Container, carrier: Simulator, client: httpx2.AsyncClient) -> None:
        self.container, self.carrier, self.client = container, carrier, client
        self._receptions = Receptions(container.carrier)
        self._before: dict[str | None, Numbers] = {}
        self._rng = Random(7)  # noqa: S311 - reproducible, not secret

    @property
    def number(self) -> str:
        """A number of the first tenant."""
        return next(iter(self.carrier.numbers))

    async def call(
        self,
        script: CallScript,
        *,
        number: str | None = None,
        faults: CallFaults = NO_FAULTS,
        delivery: Delivery = ONCE,
        call_id: str | None = None,
        caller: str | None = None,
    ) -> CallReport:
        """Have one call happen from its announcement until both ends consider it over."""
        told = {"number": number, "call_id": call_id, "caller": caller}
        report = await self.place(script, faults=faults, delivery=delivery, **told)
        await self.settled()
        return report

    async def place(
        self,
        script: CallScript,
        *,
        number: str | None = None,
        faults: CallFaults = NO_FAULTS,
        delivery: Delivery = ONCE,
        call_id: str | None = None,
        caller: str | None = None,
    ) -> CallReport:
        """Have one call happen until the carrier considers it over; the ``caller`` may be withheld unless given."""
        called, chosen_id = number or self.number, call_id or fresh_id()
        call = dial(called, script, rng=self._rng, faults=faults, delivery=delivery, call_id=chosen_id)
        if caller is not None:
            called_at = (("From", f"<sip:{caller}@pbx.example>"), ("To", f"<sip:{called}@sip.example>"))
            call = replace(call, sip_headers=called_at)
        return await self.carrier.place_call(call)

    async def traffic(self, plan: Plan) -> None:
        """Have a plan's calls happen."""
        await Traffic(self.carrier, plan).run()
        await self.settled()

    async def deliver(self, body: bytes, *, webhook_id: str | None = None, **headers: str) -> httpx2.Response:
        """Post a delivery signed as the specification's own library signs it; ``headers`` replace what it made."""
        signed = signed_headers(body, webhook_id or f"wh_{uuid4().hex}")
        return await self.client.post(PATH, content=body, headers={**signed, **headers})

    async def settled(self) -> None:
        """Wait until no call is on its way."""
        await self.until(lambda: not self.container.manager.busy, "no call to be on its way")

    async def until(self, fact: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(SETTLED_SECONDS):
                while not fact():  # noqa: ASYNC110 - facts of many kinds, none of which notifies
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"waited {SETTLED_SECONDS:g} s for {what}") from None

    async def numbers(self, tenant_id: str | None = None) -> Numbers:
        """Everything the live view counts, since :meth:`count_anew` where that was called."""
        await self.container.telemetry.live.refreshed(SETTLED_SECONDS)
        numbers = self.container.telemetry.live.store.numbers(tenant_id)
        assert numbers is not None
        before = self._before.get(tenant_id, {})
        return {name: number - before.get(name, 0) for name, number in numbers.items()}

    async def count_anew(self) -> None:
        """Have :meth:`numbers` leave out all calls until now, which have to be over."""
        await self.settled()
        live = self.container.telemetry.live
        await live.refreshed(SETTLED_SECONDS)
        found = {tenant_id: live.store.numbers(tenant_id) for tenant_id in (None, *live.store.tenants())}
        self._before = {tenant_id: numbers for tenant_id, numbers in found.items() if numbers is not None}

    async def differences(self) -> list[CountDifference]:
        """Where the admin endpoints and the carrier's truth disagree; for tests in which all calls are over.

        Counts are the carrier's; minutes are those of :meth:`minutes`.
        """
        ground_truth = self.carrier.ground_truth()
        answers = await live_responses(self.client, ground_truth["tenants"])
        minutes = await self.minutes()
        rows = {
            tenant_id: row | {"minutes_processed": minutes.get(tenant_id, 0.0)}
            for tenant_id, row in ground_truth["tenants"].items()
        }
        total = ground_truth["global"] | {"minutes_processed": sum(minutes.values())}
        return differences({"global": total, "tenants": rows}, answers, seconds_a_call=MILLISECOND)

    async def minutes(self) -> dict[str, float]:
        """Sum up the lengths of the calls that are over by tenant, each by the moments at which its own events came.

        Each is checked first: see :mod:`tests.service.gateway.receptions`; and its record, to the millisecond.
        """
        assert await self.container.records.flush(SETTLED_SECONDS)
        minutes: dict[str, float] = {}
        for report in self.carrier.ground_truth()["calls"]:
            if report["started"]:
                call_id = CallId(report["call_id"])
                call = self.record(call_id)
                assert list(untrue_times(call, self._receptions.calls[call_id], CallReport(**report))) == [], report
                await self._check_recorded(call.summary)
                before = minutes.get(call.summary.tenant_id, 0.0)
                minutes[call.summary.tenant_id] = before + call.summary.duration / 60
        return minutes

    async def _check_recorded(self, summary: CallSummary) -> None:
        stored = await self.container.records.find(summary.call_id)
        assert stored is not None
        assert stored.duration_ms is not None
        assert abs(stored.duration_ms - summary.duration * 1000) <= 1, stored

    async def get(self, path: str) -> dict[str, Any]:
        """An admin endpoint's answer."""
        answer: dict[str, Any] = (await self.client.get(path)).raise_for_status().json()
        return answer

    def record(self, call_id: str) -> CallDetails:
        """What is remembered of a call."""
        record = self.container.telemetry.recent.call(call_id)
        assert record is not None
        return record

    async def break_table(self, table: str) -> None:
        """Take a table away: from now on the database answers with an error where it is needed."""
        async with self.container.database.writing() as session:
            await session.execute(text(f"ALTER TABLE {table} RENAME TO {table}_away"))


def a_call(carrier: Simulator, script: CallScript) -> SimulatedCall:
    """A call to the first number, ready to be placed."""
    number = next(iter(carrier.numbers))
    return dial(number, script, rng=Random(7), call_id=fresh_id())  # noqa: S311 - reproducible, not secret


def fresh_id() -> str:
    """A call id as the carrier makes them."""
    return f"rtc_u1_{uuid4().hex}"


def announcement(call_id: object = None, *, to: str = "sip:+18005550000@sip.example.com", **data: Any) -> bytes:  # noqa: ANN401
    """The body of a ``realtime.call.incoming`` event."""
    headers = [{"name": "From", "value": "sip:+14155550123@sip.example.com"}, {"name": "To", "value": to}]
    event = {
        "object": "event",
        "id": "evt_1",
        "type": "realtime.call.incoming",
        "created_at": 1750287018,
        "data": {"call_id": fresh_id() if call_id is None else call_id, "sip_headers": headers, **data},
    }
    return json.dumps(event).encode()


def signed_headers(body: bytes, webhook_id: str, at: datetime | None = None) -> Mapping[str, str]:
    """What the specification's own library puts on a delivery."""
    moment = at or datetime.now(UTC)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(webhook_id, moment, body.decode("utf-8", "replace")),
        "content-type": "application/json",
    }


@asynccontextmanager
async def on_the_air(
    *, tenants: int = 2, time_scale: TimeScale = QUICK, ring_seconds: float = PATIENT_SECONDS
) -> AsyncIterator[Simulator]:
    """A carrier whose callers dial the numbers of so many tenants, and stay on the line when a gateway leaves."""
    line = CarrierOptions(
        secret=SECRET,
        numbers=numbers_of(simulated_tenants(tenants)),
        time_scale=time_scale,
        ring_seconds=ring_seconds,
        linger_seconds=SETTLED_SECONDS,
        answer_timeout=PATIENT_SECONDS,
        fallback_instructions=FALLBACK,
    )
    async with Simulator(line) as carrier:
        yield carrier


@asynccontextmanager
async def serving(
    carrier: Simulator,
    folder: Path,
    *,
    tenant_limit: int | None = None,
    timeouts: CarrierTimeouts = CARRIER,
    **chosen: Any,  # noqa: ANN401 - settings of every type
) -> AsyncIterator[GatewayHarness]:
    """A service with its database in ``folder``, which the carrier calls; ``chosen`` are settings."""
    database = folder / "callscope.db"
    if not database.exists():
        database.write_bytes(await asyncio.to_thread(migrated_content))
    settings = Settings(
        app_env="test",
        database_url=SecretStr(f"sqlite+aiosqlite:///{database}"),
        openai_api_key=SecretStr("simulated"),
        openai_base_url=carrier.base_url,
        openai_webhook_secret=(SecretStr(SECRET),),
        spill_folder=folder / "spill",
        **{"admin_token": (SecretStr(TOKEN),)} | chosen,
    )
    specs = simulated_tenants(len(set(carrier.numbers.values())), max_concurrent_calls=tenant_limit)
    with patience(), listen("127.0.0.1", 0) as listening:
        container = build_container(settings, timeouts=timeouts, cache_policy=PATIENT)
        wait_for_others(container)
        server = _Server(server_for(app_of(container)).config)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            starting = asyncio.create_task(container.started.wait())
            await asyncio.wait({starting, serving}, return_when=asyncio.FIRST_COMPLETED)
            assert starting.done(), "the service did not start; its log says why"
            await container.tenants.import_all([TenantSpec.model_validate(spec) for spec in specs], actor="tests")
            carrier.target = address_of(listening)
            headers = {"X-Admin-Token": TOKEN}
            async with httpx2.AsyncClient(
                verify=TLS, base_url=carrier.target, headers=headers, timeout=SETTLED_SECONDS
            ) as client:
                yield GatewayHarness(container, carrier, client)
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def running_harness(
    folder: Path,
    *,
    tenants: int = 2,
    time_scale: TimeScale = QUICK,
    ring_seconds: float = PATIENT_SECONDS,
    **chosen: Any,  # noqa: ANN401 - what serving() takes
) -> AsyncIterator[GatewayHarness]:
    """A service and a carrier of its own."""
    async with (
        on_the_air(tenants=tenants, time_scale=time_scale, ring_seconds=ring_seconds) as carrier,
        serving(carrier, folder, **chosen) as harness,
    ):
        yield harness
