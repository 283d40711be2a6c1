"""``callscope demo``: the service, three tenants and simulated traffic in one command."""

import asyncio
import secrets
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Annotated, Final
from uuid import uuid4

import typer
from pydantic import SecretStr

from service.app import app_of
from service.commands.serve import WRONG, refuse
from service.container import Container, build_container
from service.http.security import HEADER
from service.server import address_of, listen, run, server_for
from service.settings import Settings, load_settings
from service.simulator.plan import Plan, TimeScale
from service.simulator.simulator import Line, Simulator
from service.simulator.tenants import Tenant, demo_tenants, numbers_of
from service.simulator.traffic import Traffic
from service.tenants.spec import TenantSpec
from telemetry.metrics.live_table import Numbers

DATABASE: Final = "sqlite+aiosqlite:///callscope-demo.db"
"""A file of its own: what the demo makes up stays out of a real installation's numbers."""

SPILL_FOLDER: Final = Path("callscope-demo-spill")

TENANT_LIMIT: Final = 12
TOTAL_LIMIT: Final = 30
"""Tight on purpose, so that calls are turned away now and then."""

FALLBACK: Final = "You answer the telephone. Be brief and kind."

TELL_SECONDS: Final = 2.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What can be chosen about the demo."""

    calls_per_second: float
    seed: int
    time_scale: float
    """Real seconds that a second of conversation takes."""


def demo(
    calls_per_second: Annotated[float, typer.Option(help="Calls begun a second, on average.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same calls.")] = 1,
    time_scale: Annotated[float, typer.Option(help="Real seconds that a second of conversation takes.")] = 1.0,
) -> None:
    """Run the service with three tenants and simulated calls, and print where to look."""
    options = DemoOptions(calls_per_second, seed, time_scale)
    try:
        run(run_demo(options, tell=typer.echo))
    except WRONG as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"cannot listen: {error.strerror or error}; set PORT to another port")


async def run_demo(options: DemoOptions, *, tell: Tell) -> None:
    """Run until interrupted.

    Raises:
        OSError: if the service cannot listen.
        SettingsError: if a setting is wrong.
    """
    secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
    tenants = demo_tenants(max_concurrent_calls=TENANT_LIMIT)
    line = Line(
        secret=secret,
        numbers=numbers_of(tenants),
        pace=TimeScale(scale=options.time_scale),
        fallback_instructions=FALLBACK,
    )
    async with Simulator(line) as carrier:
        settings = _settings(carrier.base_url, secret)
        with listen(settings.host, settings.port) as listening:
            container = build_container(settings)
            carrier.target = address_of(listening)
            server = server_for(app_of(container))
            _introduce(carrier.target, settings, tell)
            plan = Plan(uuid4().hex, options.seed, options.calls_per_second)
            async with _traffic(container, tenants, Traffic(carrier, plan), tell):
                await server.serve([listening])


def _settings(base_url: str, secret: str) -> Settings:
    """The user's settings where they fit a demo; the carrier is the simulator, whatever they say."""
    chosen = load_settings()
    return load_settings(
        admin_token=chosen.admin_token or (SecretStr(secrets.token_urlsafe(16)),),
        database_url=SecretStr(DATABASE),
        openai_api_key=SecretStr("simulated"),
        openai_base_url=base_url,
        openai_webhook_secret=SecretStr(secret),
        spill_folder=SPILL_FOLDER,
        log_level="ERROR",
        max_concurrent_calls=TOTAL_LIMIT,
        fallback_instructions=FALLBACK,
    )


def _introduce(address: str, settings: Settings, tell: Tell) -> None:
    token = settings.admin_tokens[0]
    tell(f"\nCallscope serves {address}  (admin token: {token})\n")
    tell(f'  curl -H "{HEADER}: {token}" {address}/api/v1/metrics/live')
    tell(f'  curl -H "{HEADER}: {token}" {address}/api/v1/metrics/capacity/debug')
    tell(f'  curl -H "{HEADER}: {token}" {address}/api/v1/call-records    # of earlier runs, too')
    tell(f'  curl -H "{HEADER}: {token}" "{address}/api/v1/calls?state=over&limit=5"')
    tell(f"  {_command()} call --url {address} --token={token} <call_id> draws one of them")
    tell(f"  {address}/docs for all endpoints; Ctrl-C ends it\n")


def _command() -> str:
    """The command in a form that can be pasted: with its folder where the shell does not look for it."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "callscope" and which("callscope") is None else "callscope"


@asynccontextmanager
async def _traffic(container: Container, tenants: list[Tenant], traffic: Traffic, tell: Tell) -> AsyncIterator[None]:
    """Calls come in while the context is open, once the service is up."""

    async def call() -> None:
        await container.started.wait()
        await container.tenants.import_all([TenantSpec.model_validate(t) for t in tenants], actor="demo")
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.run())
            group.create_task(_tell_numbers(container, tell))

    calling = asyncio.create_task(call(), name="callscope-demo-traffic")
    try:
        yield
    finally:
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling


async def _tell_numbers(container: Container, tell: Tell) -> None:
    while True:
        await asyncio.sleep(TELL_SECONDS)
        await container.telemetry.live.refreshed()
        numbers = container.telemetry.live.store.live()
        if numbers is not None:
            tell(_line(numbers))


def _line(numbers: Numbers) -> str:
    shown = ("active_calls", "accepted_calls", "started_calls", "ended_calls", "referred_calls", "failed_calls")
    counts = "  ".join(f"{name.removesuffix('_calls')} {numbers[name]}" for name in shown)
    rejected = sum(value for name, value in numbers.items() if name.startswith("rejected_"))
    return f"{counts}  rejected {rejected}  minutes {numbers['minutes_processed']:.1f}"
