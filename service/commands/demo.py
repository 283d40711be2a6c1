"""``callscope demo``: the service, three tenants and simulated traffic in one command."""

import asyncio
import secrets
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from textwrap import wrap
from typing import Annotated, Any, Final
from uuid import uuid4

import typer
from pydantic import SecretStr

from service.app import app_of
from service.commands.demo_fleet import DemoFleet, a_store, fleet_lines
from service.commands.printing import refuse_with
from service.commands.serve import WRONG, check_database, start_problem
from service.container import Container, build_container
from service.fleet.store import SlotStore
from service.http.tokens import HEADER, AdminToken
from service.server import address_of, ignore_signals, listen, run, server_for
from service.settings import Settings, load_settings
from service.simulator.script_writer import Shares
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.tenants import Tenant, demo_tenants, numbers_of
from service.simulator.timing import TimeScale
from service.simulator.traffic import Plan, Traffic
from service.tenants.spec import TenantSpec
from telemetry.recent.search import CallQuery
from telemetry.semconv.attributes import EndReason
from telemetry.semconv.catalogue import LIVE_FIELDS
from telemetry.setup import Telemetry

DATABASE: Final = "sqlite+aiosqlite:///callscope-demo.db"
"""A file of its own: what the demo makes up stays out of a real installation's numbers."""

SPILL_FOLDER: Final = Path("callscope-demo-spill")

TENANT_LIMIT: Final = 12
TOTAL_LIMIT: Final = 30
"""Tight on purpose, so that calls are turned away now and then."""

FALLBACK: Final = "You answer the telephone. Be brief and kind."

MAX_CALL_SECONDS: Final = 120.0
MAX_SILENCE_SECONDS: Final = 20.0
"""Seconds of conversation; longer than any call that is meant to end by itself."""

SHORTEST_LIMIT: Final = 5.0
"""Real seconds below which no limit is set, however fast the conversations: a busy machine takes its time, too."""

SHARES: Final = Shares(canceled=0.03, overlong=0.02, mute=0.02)
"""Calls of every kind, each often enough to be seen within minutes."""

TELL_SECONDS: Final = 2.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of the demo."""

    calls_per_second: float
    seed: int
    time_scale: float
    """Real seconds that a second of conversation takes."""
    workers: int = 1
    """Processes that serve."""

    def plan(self) -> Plan:
        """Return the traffic: the same calls for the same seed."""
        return Plan(uuid4().hex, self.seed, self.calls_per_second, shares=SHARES)


def demo(
    calls_per_second: Annotated[float, typer.Option(help="Calls begun a second, on average.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same calls.")] = 1,
    time_scale: Annotated[float, typer.Option(help="Real seconds that a second of conversation takes.")] = 1.0,
    workers: Annotated[
        int,
        typer.Option(min=1, max=16, help="So many processes, on REDIS_URL or on a Redis or Valkey of this machine."),
    ] = 1,
) -> None:
    """Run the service with three tenants and simulated calls, and print where to look.

    It listens on HOST and PORT of the environment (127.0.0.1 and 8000): PORT=8001 callscope demo.
    """
    options = DemoOptions(calls_per_second, seed, time_scale, workers)
    try:
        run(run_demo(options, tell=typer.echo))
    except WRONG as error:
        refuse_with(str(error))
    except OSError as error:
        refuse_with(f"HOST, PORT: cannot listen: {error.strerror or error}; choose another address or port")


async def run_demo(options: DemoOptions, *, tell: Tell) -> None:
    """Run until interrupted.

    Raises:
        OSError: if the service cannot listen.
        SettingsError: if a setting is wrong.
    """
    secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
    tenants = demo_tenants(max_concurrent_calls=TENANT_LIMIT)
    line = CarrierOptions(
        secret=secret,
        numbers=numbers_of(tenants),
        time_scale=TimeScale(scale=options.time_scale),
        fallback_instructions=FALLBACK,
    )
    async with Simulator(line) as carrier:
        settings = demo_settings(carrier.base_url, secret, time_scale=options.time_scale)
        if options.workers > 1:
            await _run_fleet(options, settings, tenants, carrier, tell)
        else:
            await _run_alone(options, settings, tenants, carrier, tell)
        for text in _summary(carrier.ground_truth(), [str(tenant["tenant_id"]) for tenant in tenants]):
            tell(text)


async def _run_alone(
    options: DemoOptions, settings: Settings, tenants: list[Tenant], carrier: Simulator, tell: Tell
) -> None:
    # One process needs no store, and must not join the fleet of one that is set for something else.
    settings = settings.model_copy(update={"redis_url": None})
    await check_database(settings)
    with listen(settings.host, settings.port) as listening:
        container = build_container(settings)
        carrier.target = address_of(listening)
        server = server_for(
            app_of(container), calls=settings.max_concurrent_calls, trusted_proxies=settings.trusted_proxies
        )
        server.has_process = True
        server.when_serving = lambda: _introduce(carrier.target, settings, tell)
        async with _traffic(container, tenants, Traffic(carrier, options.plan()), tell):
            try:
                await server.serve([listening])
            except SystemExit:
                refuse_with(f"Callscope could not start: {start_problem(server.failure)}")
            finally:
                ignore_signals()


async def _run_fleet(
    options: DemoOptions, settings: Settings, tenants: list[Tenant], carrier: Simulator, tell: Tell
) -> None:
    specs = [TenantSpec.model_validate(tenant) for tenant in tenants]
    traffic = Traffic(carrier, options.plan())
    # Callers are on the line until the workers have ended their calls: it is the stop that ends them, nobody hangs up.
    async with a_store(settings) as store, _task_of("callscope-demo-traffic") as calling:
        fleet = DemoFleet(settings, options.workers, store)
        async with fleet.serving(specs, tell) as (address, workers), fleet.watched() as slots:
            carrier.target = address
            _introduce(address, settings, tell)
            tell(f"  workers       {', '.join(map(str, workers.pids))}: `kill -9` one of them\n")
            calling(traffic.run())
            async with _task_of("callscope-demo-board") as showing:
                showing(_tell_workers(slots, tell))
                await workers.run()
            traffic.stop()


@asynccontextmanager
async def _task_of(name: str) -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Give what begins a task, which ends with the context."""
    begun: list[asyncio.Task[None]] = []
    try:
        yield lambda work: begun.append(asyncio.create_task(work, name=name))
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


async def _tell_workers(slots: SlotStore, tell: Tell) -> None:
    """Tell who of the workers has how many calls."""
    board = Board(tell)
    while True:
        await asyncio.sleep(TELL_SECONDS)
        board.show(await fleet_lines(slots))


def demo_settings(base_url: str, secret: str, *, time_scale: float = 1.0) -> Settings:
    """Return the user's settings where they fit a demo; the carrier is the simulator, whatever they say."""
    chosen = load_settings(app_env="dev")
    return load_settings(
        app_env="dev",
        admin_token=chosen.admin_token or (SecretStr(secrets.token_urlsafe(16)),),
        database_url=SecretStr(DATABASE),
        openai_api_key=SecretStr("simulated"),
        openai_base_url=base_url,
        openai_webhook_secret=(SecretStr(secret),),
        spill_folder=SPILL_FOLDER,
        log_level="ERROR",
        max_concurrent_calls=TOTAL_LIMIT,
        fallback_instructions=FALLBACK,
        max_call_seconds=max(SHORTEST_LIMIT, MAX_CALL_SECONDS * time_scale),
        max_silence_seconds=max(SHORTEST_LIMIT, MAX_SILENCE_SECONDS * time_scale),
        hand_over_calls=False,  # nobody comes after to take the simulated calls over
    )


def _introduce(address: str, settings: Settings, tell: Tell) -> None:
    token, _ = AdminToken.parse(settings.admin_tokens[0])
    tell(f"\nLook at {address}/ and sign in with the admin token {token}\n")
    tell(f"  database      {DATABASE}")
    tell(f"  documentation {address}/docs\n")
    tell("To look at it from another terminal, with the commands or with curl:\n")
    tell(f"  export CALLSCOPE_URL={address} CALLSCOPE_TOKEN={token}")
    tell(f"  {_command()} calls            # and `call ID` draws one of them")
    tell(f"  {_command()} usage --database-url sqlite:///callscope-demo.db")
    tell(f'  curl -H "{HEADER}: $CALLSCOPE_TOKEN" $CALLSCOPE_URL/api/v1/metrics/live')
    tell("\nCtrl-C ends it.\n")


def _command() -> str:
    """Return the command in a form that can be pasted: with its folder where the shell does not look for it."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "callscope" and which("callscope") is None else "callscope"


@asynccontextmanager
async def _traffic(container: Container, tenants: list[Tenant], traffic: Traffic, tell: Tell) -> AsyncIterator[None]:
    """Have calls come in while the context is open, once the service is up."""

    async def call() -> None:
        await container.started.wait()
        await container.tenants.import_all([TenantSpec.model_validate(t) for t in tenants], actor="demo")
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.run())
            group.create_task(_tell_numbers(container, [str(t["tenant_id"]) for t in tenants], tell))

    calling = asyncio.create_task(call(), name="callscope-demo-traffic")
    try:
        yield
    finally:
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling


class Board:
    """Lines that are told again and again; on a screen, in place of those before."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._in_place = sys.stdout.isatty()
        self._shown = 0

    def show(self, lines: Sequence[str]) -> None:
        """Tell these."""
        self._tell("\n".join(([f"\x1b[{self._shown}A\x1b[J"] if self._in_place and self._shown else []) + [*lines]))
        self._shown = len(lines) + 1


async def _tell_numbers(container: Container, tenants: Sequence[str], tell: Tell) -> None:
    """Tell the numbers of each tenant."""
    board = Board(tell)
    while True:
        await asyncio.sleep(TELL_SECONDS)
        await container.telemetry.live.refreshed()
        board.show(list(_board(container.telemetry, tenants)))


_FIGURES: Final = ("active", "accepted", "ended", "referred", "failed", "rejected", "unanswered", "minutes")
_HEADS: Final = f"{'':12}" + "".join(f" {head}" for head in _FIGURES)
_COLUMNS: Final = 79
REJECTIONS: Final = frozenset(name for name in LIVE_FIELDS if name.startswith("rejected_"))


def _board(telemetry: Telemetry, tenants: Sequence[str]) -> Iterator[str]:
    store = telemetry.live.store
    yield _HEADS
    for label, numbers in [*((tenant, store.numbers(tenant)) for tenant in tenants), ("all", store.numbers())]:
        if numbers is not None:
            yield _row(label, {**numbers, "unanswered": numbers["unanswered_calls"]})
    yield from _ends(store.numbers() or {})
    for call in telemetry.recent.search(CallQuery(), limit=1).calls:
        yield f"latest call: {call.call_id}"


def _summary(ground_truth: Mapping[str, Any], tenants: Sequence[str]) -> Iterator[str]:
    yield f"\nThe run as the carrier saw it, {ground_truth['global']['placed']} calls placed:\n"
    yield _HEADS
    for label, numbers in [
        *((tenant, ground_truth["tenants"][tenant]) for tenant in tenants),
        ("all", ground_truth["global"]),
    ]:
        yield _row(label, {**numbers, "unanswered": numbers["unanswered_calls_canceled"]})
    yield from _ends(ground_truth["global"])


def _row(label: str, numbers: Mapping[str, int | float]) -> str:
    figures = {
        **{name: f"{numbers.get(f'{name}_calls', numbers.get(name, 0)):g}" for name in _FIGURES},
        "rejected": f"{sum(value for name, value in numbers.items() if name in REJECTIONS):g}",
        "minutes": f"{numbers['minutes_processed']:.1f}",
    }
    return f"{label:12}" + "".join(f" {figures[head]:>{len(head)}}" for head in _FIGURES)


def _ends(numbers: Mapping[str, int | float]) -> Iterator[str]:
    """Yield the ends by reason, of those that have come, in lines that fit."""
    counts = {reason.value: numbers.get(f"ended_calls_{reason.value}", 0) for reason in EndReason}
    told = [f"{reason} {count:g}" for reason, count in counts.items() if count]
    if told:
        yield from wrap(f"ended as    {', '.join(told)}", _COLUMNS, subsequent_indent=" " * 12)
