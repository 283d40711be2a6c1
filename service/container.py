"""Everything one process of the service is made of, built in one place and taken down in one place."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from socket import gethostname
from time import monotonic
from typing import Final
from urllib.request import getproxies
from uuid import uuid4

import httpx2
from openai import AsyncOpenAI
from opentelemetry.metrics import Observation

from service.fleet.address import StoreAddress
from service.fleet.errors import StoreUnusableError
from service.fleet.fleet import Connection, Fleet
from service.fleet.live.counting import FleetCounting
from service.fleet.live.lost import LostCalls
from service.fleet.mail import LISTEN_SECONDS, Inbox, Mailbox
from service.fleet.sharing import OnOutage
from service.fleet.store import ANSWER_SECONDS
from service.gateway.admission import Admission
from service.gateway.capacity import Capacity, CapacityRule
from service.gateway.carriers.carrier import OwnedCalls
from service.gateway.carriers.openai_realtime import CarrierTimeouts, OpenAIRealtimeCarrier
from service.gateway.carriers.proxy import http_client, proxy_for
from service.gateway.carriers.realtime_events import TRANSCRIPTION_MODEL
from service.gateway.durability import DurabilityGate
from service.gateway.manager import DRAIN_SECONDS, CallManager
from service.gateway.playback import SessionLimits
from service.gateway.recovery import Recovery
from service.gateway.session_manager import SessionManager
from service.http.security import AdminAttempts
from service.http.tokens import AdminTokens
from service.records.calls import CallRecords
from service.records.observed import observe_records
from service.sampling import Sampler
from service.settings import Settings
from service.storage.database import Database
from service.storage.migrations import upgrade
from service.tenants.cache import CachePolicy, TenantCache
from service.tenants.following import LimitsFollower
from service.tenants.limits import CallLimits
from service.tenants.repository import TenantRepository
from service.tenants.sql import SqlTenantRepository
from telemetry.clock import Clock, SystemClock
from telemetry.logs.process_logging import process_logging
from telemetry.metrics.history import History
from telemetry.privacy import Privacy
from telemetry.recent.logs import RecentLogs
from telemetry.semconv.catalogue import CAPACITY_IN_DOUBT, CAPACITY_STORE
from telemetry.semconv.own_health import PROCESS_STOPPING
from telemetry.setup import Telemetry, start_telemetry

STOP_SECONDS: Final = 3.8
"""Seconds a stop may take after the server has let go of its connections, which may take another one."""

RECORDS_SHARE: Final = 0.2
"""The part of that time call records may take, once before the calls end and once after."""

RECORDED_SECONDS: Final = 0.3
"""Seconds that counts wait for the records of what they count, before the fleet is told of them."""

_UNSET_KEY: Final = "unset"
# The SDK's client does not exist without a key; without one configured no delivery is taken, so none is ever used.


@dataclass(frozen=True, slots=True)
class Container:
    """The parts of a running service."""

    settings: Settings
    instance_id: str
    """The process's id in its records and on everything it exports."""
    telemetry: Telemetry
    database: Database
    tenants: TenantRepository
    tenant_cache: TenantCache
    limits: CallLimits
    limits_follower: LimitsFollower
    capacity: CapacityRule
    fleet: Fleet | None
    """The processes that this one shares its limits with; None without ``REDIS_URL``."""
    counting: FleetCounting | None
    """The numbers of those together; None likewise."""
    store: Connection | None
    """The connection to the fleet's store, which the fleet closes; None likewise."""
    mailbox: Mailbox | None
    """Asks those about their calls; None likewise."""
    carrier: OpenAIRealtimeCarrier
    carrier_http: httpx2.AsyncClient
    """The client of requests to the carrier."""
    manager: CallManager
    admin_tokens: AdminTokens
    admin_attempts: AdminAttempts
    records: CallRecords
    recovery: Recovery
    history: History
    """The samples that derived figures are computed from."""
    sampler: Sampler
    started: asyncio.Event
    """Set once the schema is there and calls are taken."""
    leaving: asyncio.Event
    """Set once the process is to stop, before it stops taking calls."""

    @property
    def takes_calls(self) -> bool:
        """True if what it takes to talk to the carrier is configured."""
        return bool(self.settings.openai_webhook_secret) and self.settings.openai_api_key is not None

    def logging(self) -> AbstractContextManager[None]:
        """Set up the process's logging for as long as the service runs: stdout, OTLP and the calls' own records."""
        telemetry = self.telemetry
        return process_logging(
            self.settings.log_level,
            telemetry.pipelines.logger_provider,
            RecentLogs(telemetry.recent),
            resource=telemetry.pipelines.resource.attributes,
        )

    async def start(self) -> None:
        """Bring the schema up to date and begin to keep time."""
        await upgrade(self.database.engine)
        hooks: list[Callable[[], Awaitable[None]]] = [self.recovery.look]
        if self.fleet is not None:
            await self.fleet.start()
            hooks.append(self.fleet.look)
        if self.counting is not None:
            await self.counting.start()
            hooks.append(self.counting.look)
        if self.mailbox is not None:
            self.mailbox.start()
        await self.limits_follower.start()
        await self.records.start()
        await self.recovery.look()
        self.manager.start(hooks)
        self.sampler.start()
        self.started.set()

    async def stop(self, budget_seconds: float = STOP_SECONDS) -> None:
        """End running calls, export what there is, close connections: all within the budget."""
        deadline = monotonic() + budget_seconds
        try:
            await self.sampler.stop()
            await self._let_go(budget_seconds)
            if self.mailbox is not None:
                await self.mailbox.stop()
            if self.counting is not None:
                await self.counting.stop()
            if self.fleet is not None:
                await self.fleet.stop()
            await self.limits_follower.close()
            await self.tenant_cache.close()
            await self.carrier.close()
            await self.records.stop(RECORDS_SHARE * budget_seconds)
        finally:
            left = max(0.1, deadline - monotonic())
            await asyncio.to_thread(self.telemetry.shutdown, left)
            await self.database.dispose()

    async def _let_go(self, budget_seconds: float) -> None:
        self.manager.stop_taking()
        hand_over = self.settings.hand_over_calls
        if hand_over:
            if self.fleet is not None:
                self.fleet.hand_over()
            # The next process bills from where the record ends.
            self.telemetry.tracker.bill_running()
            await self.records.hand_over(RECORDS_SHARE * budget_seconds)
        await self.manager.drain(min(DRAIN_SECONDS, budget_seconds / 2), hand_over=hand_over)


def build_container(
    settings: Settings,
    *,
    clock: Clock | None = None,
    timeouts: CarrierTimeouts | None = None,
    cache_policy: CachePolicy | None = None,
) -> Container:
    """Put the parts together. Exports start at once; calls are taken after :meth:`Container.start`."""
    clock = clock or SystemClock()
    instance, privacy = uuid4(), _privacy(settings)
    database = Database.from_url(settings.database_url.get_secret_value())
    records = CallRecords(
        database, instance_id=str(instance), spill_folder=settings.spill_folder, clock=clock, privacy=privacy
    )
    lost = LostCalls()
    telemetry = start_telemetry(
        clock=clock,
        privacy=privacy,
        sinks=[records.sink] if settings.redis_url is None else [records.sink, lost],
        instance=instance,
        resource_attributes={
            "service.version": version("callscope"),
            "deployment.environment.name": settings.app_env,
            "host.name": gethostname(),
            "process.pid": os.getpid(),
        },
        strict=settings.app_env == "test",
    )
    records.trace_by(telemetry.traces)
    tenants = SqlTenantRepository(database)
    tenant_cache = TenantCache(tenants, policy=cache_policy, clock=clock)
    limits = CallLimits(settings.max_concurrent_calls, settings.max_concurrent_calls_per_tenant)
    telemetry.observe_limits(limits)
    observe_records(telemetry.observe, records)
    history = History(telemetry.live.store, telemetry.tracker, limits, clock.now())
    stores = _stores(settings)
    fleet = None if stores is None else _fleet(stores[0], settings, str(instance), database, records, clock)
    mailbox = None if stores is None else Mailbox(*stores, settings.redis_prefix, str(instance))
    capacity = Capacity() if fleet is None else fleet.capacity
    counting = None
    if fleet is not None and stores is not None:
        counting = FleetCounting(
            stores[0],
            settings.redis_prefix,
            fleet,
            database,
            telemetry.live,
            lost,
            limits,
            clock,
            recorded=partial(records.written_so_far, RECORDED_SECONDS),
        )
        telemetry.observe(CAPACITY_STORE, fleet.observed)
        telemetry.observe(CAPACITY_IN_DOUBT, fleet.observed_in_doubt)
    proxy = proxy_for(settings.openai_base_url, getproxies())
    carrier_http = http_client(proxy)
    carrier = OpenAIRealtimeCarrier(
        _client(settings, carrier_http),
        carrier_http,
        settings.realtime_model,
        timeouts,
        webhook_secrets=settings.webhook_secrets,
        proxy=proxy,
    )
    gate = DurabilityGate(records)
    owned = OwnedCalls(carrier, gate.owns)
    admission = Admission(
        telemetry.tracker,
        owned,
        tenant_cache,
        capacity,
        limits,
        gate,
        fallback_instructions=settings.fallback_instructions,
    )
    session_manager = SessionManager(
        owned,
        gate,
        model=settings.realtime_model,
        transcription_model=TRANSCRIPTION_MODEL,
        clock=clock,
        limits=SessionLimits(settings.max_call_seconds, settings.max_silence_seconds),
    )
    manager = CallManager(
        telemetry.tracker,
        admission,
        session_manager,
        gate,
        heartbeat_seconds=settings.call_heartbeat_seconds,
        stale_seconds=settings.stale_call_seconds,
        max_calls=settings.max_concurrent_calls,
    )
    records.when_lost(manager.let_go)
    leaving = asyncio.Event()
    telemetry.observe(PROCESS_STOPPING, lambda: [Observation(int(leaving.is_set() or manager.draining))])
    recovery = Recovery(
        records,
        tenants,
        tenant_cache,
        telemetry.tracker,
        capacity,
        manager,
        session_manager,
        stale_seconds=settings.stale_call_seconds,
    )
    return Container(
        settings=settings,
        instance_id=str(instance),
        telemetry=telemetry,
        database=database,
        tenants=tenants,
        tenant_cache=tenant_cache,
        limits=limits,
        limits_follower=LimitsFollower(tenants, tenant_cache, limits),
        capacity=capacity,
        fleet=fleet,
        counting=counting,
        store=None if stores is None else stores[0],
        mailbox=mailbox,
        carrier=carrier,
        carrier_http=carrier_http,
        manager=manager,
        admin_tokens=AdminTokens(settings.admin_tokens),
        admin_attempts=AdminAttempts(),
        records=records,
        recovery=recovery,
        history=history,
        sampler=Sampler(telemetry.live, history, clock),
        started=asyncio.Event(),
        leaving=leaving,
    )


def _stores(settings: Settings) -> tuple[Connection, Inbox] | None:
    """Return the connection to the fleet's store, and the one that waits for letters; None without ``REDIS_URL``."""
    if settings.redis_url is None:
        return None
    address = StoreAddress.parse(settings.redis_url.get_secret_value())
    try:
        # Nothing loads redis where there is no REDIS_URL, and it need not be installed there.
        from service.fleet.connection import StoreConnection  # noqa: PLC0415
    except ModuleNotFoundError:
        raise StoreUnusableError("REDIS_URL: needs redis; install callscope[fleet], or unset it") from None
    # The second one waits for letters, for longer than anything else waits for the store.
    waiting = StoreConnection(address, answer_seconds=LISTEN_SECONDS + ANSWER_SECONDS)
    return StoreConnection(address, answer_seconds=ANSWER_SECONDS), waiting


def _fleet(
    store: Connection, settings: Settings, instance_id: str, database: Database, records: CallRecords, clock: Clock
) -> Fleet:
    return Fleet(
        store,
        settings.redis_prefix,
        instance_id,
        database,
        records,
        clock,
        on_outage=OnOutage(settings.capacity_on_outage),
        stale_seconds=settings.stale_call_seconds,
    )


def _privacy(settings: Settings) -> Privacy:
    key = settings.number_hash_key
    return Privacy() if key is None else Privacy(key.get_secret_value().encode())


def _client(settings: Settings, http: httpx2.AsyncClient) -> AsyncOpenAI:
    key = settings.openai_api_key
    return AsyncOpenAI(
        api_key=key.get_secret_value() if key else _UNSET_KEY,
        base_url=settings.openai_base_url,
        http_client=http,
    )
