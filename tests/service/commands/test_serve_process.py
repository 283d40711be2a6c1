"""`callscope serve` as a process: what it says at its start, and what repeated signals do to its end."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallScript
from service.simulator.tenants import simulated_tenants
from tests.peers.service import SECRET, TOKEN, Service
from tests.peers.waiting import TIMEOUT
from tests.service.gateway.harness import a_call, on_the_air
from tests.service.gateway.test_process import TALK

SHORT = CallScript("short", (AgentGreets(AgentSpeaks("Hello")),), CallerHangsUp())
SECRETS = {"ADMIN_TOKEN": TOKEN, "OPENAI_API_KEY": "simulated", "OPENAI_WEBHOOK_SECRET": SECRET}


def _start(folder: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if name not in SECRETS}
    return subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        env={**inherited, "APP_ENV": "dev", "DATABASE_URL": f"sqlite:///{folder / 'callscope.db'}", **environment},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _said_until_serving(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line.rstrip("\n"))
        if line.startswith("Callscope serves "):
            break
    return said


@pytest.mark.parametrize("given", [{}, SECRETS], ids=["no secrets", "all secrets"])
def test_a_start_warns_of_each_missing_secret_and_then_says_it_serves(tmp_path: Path, given: dict[str, str]) -> None:
    """The schema is there by the time it says so; each missing secret is a line before, named with its consequence."""
    with _start(tmp_path, given) as process:
        try:
            *warnings, serves = _said_until_serving(process)
            with sqlite3.connect(tmp_path / "callscope.db") as database:
                assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
            database.close()
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=TIMEOUT)
    assert serves.startswith("Callscope serves http://127.0.0.1:")
    assert [line.split(" is not set: ")[0] for line in warnings] == [
        f"WARNING: {name}" for name in ("ADMIN_TOKEN", "OPENAI_WEBHOOK_SECRET", "OPENAI_API_KEY") if name not in given
    ]
    assert (process.returncode, rest) == (0, "")


def _records(database: Path) -> list[tuple[object, ...]]:
    """The state of each call on record, and whether it has an end and was handed over."""
    with sqlite3.connect(database) as connection:
        query = "SELECT state, outcome, reason, ended_ms IS NULL, handed_over_ms IS NOT NULL FROM call_records"
        found = connection.execute(query).fetchall()
    connection.close()
    return found


@pytest.mark.endurance
async def test_a_second_signal_leaves_the_hand_over_of_one(tmp_path: Path) -> None:
    """One signal, INT INT and TERM INT: exit code 0, no traceback, and a running call left to the next process."""
    seen = {}
    for signals in ((signal.SIGTERM,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)):
        folder = tmp_path / "-".join(number.name for number in signals)
        folder.mkdir()
        seen[signals] = await _ended_by(folder, signals)
    handed_over = [("started", None, None, 1, 1)]
    assert list(seen.values()) == [handed_over] * 3, seen


async def _ended_by(folder: Path, signals: Sequence[signal.Signals]) -> list[tuple[object, ...]]:
    async with on_the_air() as carrier:
        service = Service(folder, carrier.base_url)
        await asyncio.to_thread(service.import_tenants, simulated_tenants(2))
        await asyncio.to_thread(service.start)
        carrier.target = service.address
        placing = asyncio.create_task(carrier.place_call(a_call(carrier, TALK)))
        try:
            while carrier.counts()["global"]["active_calls"] != 1:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.05)
            for number in signals[:-1]:
                service.send(number)
            assert await asyncio.to_thread(service.stop, signals[-1]) == 0
            assert carrier.counts()["global"]["active_calls"] == 1, "the call goes on for the next process"
        finally:
            placing.cancel()
            service.kill()
    assert "Traceback" not in service.log
    assert '"exception"' not in service.log
    return _records(folder / "callscope.db")


@pytest.mark.endurance
async def test_a_process_that_drains_takes_calls_and_sends_new_ones_elsewhere(tmp_path: Path) -> None:
    """After SIGTERM readiness is 503 and says why, the process lives, and a call that comes all the same is served."""
    async with on_the_air() as carrier:
        service = Service(tmp_path, carrier.base_url, {"DRAIN_SECONDS": "300"})
        await asyncio.to_thread(service.import_tenants, simulated_tenants(2))
        await asyncio.to_thread(service.start)
        carrier.target = service.address
        try:
            async with service.client() as client:
                assert (await client.get("/readyz")).status_code == 200
                service.send(signal.SIGTERM)
                while (ready := await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110 -- another process
                    await asyncio.sleep(0.05)
                assert (ready.status_code, ready.json()["checks"]["draining"]["ok"]) == (503, False)
                await carrier.place_call(a_call(carrier, SHORT))
                assert (await client.get("/livez")).status_code == 200
                while (await client.get("/api/v1/metrics/live")).json()["ended_calls"] != 1:  # noqa: ASYNC110 -- the same
                    await asyncio.sleep(0.05)
                assert (await client.get("/api/v1/metrics/live")).json()["failed_calls"] == 0
        finally:
            service.kill()


def test_a_start_that_fails_after_the_database_is_one_sentence(tmp_path: Path) -> None:
    """A spill folder that is a file: the variable and the cause, exit code 1, no traceback, and no word of serving."""
    (tmp_path / "spill").touch()
    with _start(tmp_path, {**SECRETS, "SPILL_FOLDER": str(tmp_path / "spill")}) as process:
        _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert said == f"Callscope could not start: SPILL_FOLDER: {tmp_path / 'spill'}: File exists\n"
