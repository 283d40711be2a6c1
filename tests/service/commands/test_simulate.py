"""The command: options become a run, and the run a report."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
import typer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from service.commands.simulate import simulate
from service.simulator.delivery import WEBHOOK_PATH
from service.simulator.simulator import CarrierOptions, Simulator
from service.simulator.traffic import Plan, run
from tests.service.simulator.harness import SECRET, SimulatorHarness
from tests.support.server import serving

app = typer.Typer()
app.command()(simulate)


def _run(*options: str) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["--port", "0", "--target", "http://127.0.0.1:9", *options])
    return answer.exit_code, answer.output


def test_a_run_ends_with_the_truth(tmp_path: Path) -> None:
    """The summary and the report tell what the carrier saw, with the seed that gives the same calls again."""
    report = tmp_path / "truth.json"
    options = ["--secret", SECRET, "--calls", "3", "--calls-per-second", "100", "--time-scale", "0.01", "--seed", "5"]
    code, output = _run(*options, "--share", "late=1", "--tenants", "2", "--report", str(report))
    assert code == 0, output
    assert "tenant-002" in output
    truth = json.loads(report.read_text())
    assert (truth["seed"], truth["global"]["placed"]) == (5, 3)
    assert set(truth["tenants"]) == {"_unknown", "tenant-001", "tenant-002"}
    assert [call["end"] for call in truth["calls"]] == ["gone"] * 3
    assert re.search(r"^most_at_once +0 ", output, re.MULTILINE)
    assert truth["global"]["most_at_once"] == 0


def test_every_target_is_called() -> None:
    """Deliveries go to the targets in turn, and the run names all of them."""
    taken = Counter[str]()

    async def take(request: Request) -> Response:
        taken[f"http://{request.headers['host']}"] += 1
        return Response()

    gateway = Starlette(routes=[Route(WEBHOOK_PATH, take, methods=["POST"])])
    with serving(gateway) as first, serving(gateway) as second:
        options = [
            "--secret",
            SECRET,
            "--port",
            "0",
            "--calls",
            "5",
            "--calls-per-second",
            "100",
            "--time-scale",
            "0.01",
        ]
        shares = ["--share", "late=1", "--share", "duplicates=0"]
        answer = CliRunner().invoke(app, [*options, *shares, "--target", first, "--target", f"{second}/"])
        assert answer.exit_code == 0, answer.output
        assert f" and calls {first}, {second}\n" in answer.output
    assert sorted(taken.items()) == sorted([(first, 3), (second, 2)])


def test_tenants_can_come_from_a_file(tmp_path: Path) -> None:
    """The numbers of an import's tenants are called."""
    file = tmp_path / "tenants.json"
    file.write_text(json.dumps([{"tenant_id": "acme", "numbers": ["+1 800 555 0000"]}]))
    code, output = _run("--secret", SECRET, "--calls", "0", "--tenants-file", str(file))
    assert code == 0, output
    assert "acme" in output


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--secret", "plain"], "must start with 'whsec_'"),
        (["--secret", SECRET, "--share", "sadness=1"], "no share 'sadness'"),
        (["--secret", SECRET, "--share", "hangups=2"], "must be from 0 to 1"),
        (["--secret", SECRET, "--share", "hangups"], "could not convert"),
        (["--secret", SECRET, "--calls-per-second", "0"], "calls per second"),
        (["--secret", SECRET, "--tenants-file", "nowhere.json"], "No such file"),
        (["--secret", SECRET, "--target", "127.0.0.1:8000"], "must begin with http://"),
        (["--secret", SECRET, "--linger", "-1"], "--linger"),
    ],
)
def test_a_wrong_option_is_told(options: list[str], problem: str) -> None:
    """A value that makes no sense ends the command with what is wrong about it."""
    code, output = _run(*options)
    assert code == 2
    assert problem in " ".join(output.replace("│", " ").split())


async def test_a_taken_port_is_told(harness: SimulatorHarness) -> None:
    """A port in use ends the command with its number."""
    port = harness.carrier.base_url.rpartition(":")[2].removesuffix("/v1")
    code, output = await asyncio.to_thread(_run, "--secret", SECRET, "--port", port)
    assert code == 1
    assert f"cannot listen on port {port}" in output


async def test_a_signal_ends_the_run_in_good_order(harness: SimulatorHarness) -> None:
    """On SIGTERM callers who still wait give up, the run returns, and progress was told meanwhile."""
    told: list[str] = []
    carrier = Simulator(CarrierOptions(secret=SECRET), target=harness.gateway.address)
    plan = Plan("run", calls_per_second=50, max_running=2)
    running = asyncio.create_task(run(carrier, plan, tell=told.append, progress_seconds=0.01))
    await harness.until(lambda: len(told) > 2 and carrier.running == 2)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(30):
        await running
    assert told[0].startswith("the carrier serves http://127.0.0.1:")
    assert told[1].startswith("placed ")
    assert carrier.running == 0
    assert carrier.counts()["global"]["unanswered"] == carrier.counts()["global"]["placed"] >= 2
