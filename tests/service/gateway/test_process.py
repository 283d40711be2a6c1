"""The service as a process: how it starts, refuses to start, and stops."""

import asyncio
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript, Pause
from service.simulator.tenants import simulated_tenants
from tests.peers.service import Service
from tests.peers.waiting import TIMEOUT
from tests.service.gateway.harness import a_call, on_the_air
from tests.telemetry.otlp_receiver import Hang, http_receiver

TALK = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), Pause(100_000.0)), CallerHangsUp())


def _run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    service = Service(folder, "http://127.0.0.1:9/v1", environment)
    command = service.command(*words)
    return subprocess.run(  # noqa: S603 -- this project's own command
        command,
        env=service.whole_environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


REFUSED = [
    ({"ADMIN_TOKEN": ""}, "ADMIN_TOKEN must be set when APP_ENV is prod"),
    ({"MAX_CONCURRENT_CALLS": "many"}, "MAX_CONCURRENT_CALLS: "),
    ({"DATABASE_URL": "mysql://secret@host/db"}, "DATABASE_URL: no driver for the scheme 'mysql'"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ({"HOST": "203.0.113.1"}, "cannot listen"),
]


@pytest.mark.parametrize(
    ("environment", "reason"), REFUSED, ids=[next(iter(environment)) for environment, _ in REFUSED]
)
def test_a_start_that_is_refused_says_why(tmp_path: Path, environment: Mapping[str, str], reason: str) -> None:
    """One line on standard error names the key and the problem; no traceback, no secret, exit code 1."""
    whole = Service(tmp_path, "http://127.0.0.1:9/v1", environment).whole_environment
    refused = CliRunner().invoke(app, ["serve"], env=whole)
    assert (refused.exit_code, type(refused.exception)) == (1, SystemExit), refused.exception
    _says_why(refused.stderr, reason)


def test_a_process_that_is_refused_ends_so_too(tmp_path: Path) -> None:
    """The latest of these reasons, with the same words and exit code."""
    environment, reason = REFUSED[-1]
    refused = _run(tmp_path, "serve", **environment)
    assert refused.returncode == 1
    _says_why(refused.stderr, reason)


def _says_why(said: str, reason: str) -> None:
    assert reason in said
    assert "Traceback" not in said
    assert "secret" not in said


@pytest.mark.endurance
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_ends_it_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    """With a call running and a collector that never answers, the process ends by itself, with exit code 0."""
    async with on_the_air() as carrier:
        with http_receiver() as collector:
            collector.behaviour = Hang()
            service = Service(
                tmp_path,
                carrier.base_url,
                {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "HAND_OVER_CALLS": "false"},
            )
            await asyncio.to_thread(service.import_tenants, simulated_tenants(2))
            await asyncio.to_thread(service.start)
            carrier.target = service.address
            placing = asyncio.create_task(carrier.place_call(a_call(carrier, TALK)))
            while carrier.counts()["global"]["active_calls"] != 1:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.05)
            assert await asyncio.to_thread(service.stop, number) == 0
            collector.release()
        assert (await placing).end == "agent_hung_up"
    assert "Traceback" not in service.log
