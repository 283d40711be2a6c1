"""``callscope demo`` as a process: what it says at its end."""

import re
import signal
import socket
import sys
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.peers.network import HOST, free_port
from tests.peers.program import Program

TOKEN = "token-of-the-demo"


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "service", *words]


def test_help_says_how_to_choose_the_port() -> None:
    """It has no option for it; the variable is named."""
    assert "PORT=8001" in CliRunner().invoke(app, ["demo", "--help"]).output


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_a_port_that_is_taken_leaves_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """The start is refused in one sentence, before anything is made in the folder."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server((HOST, 0)) as taken:
        environment = {"HOST": HOST, "PORT": str(taken.getsockname()[1]), "ADMIN_TOKEN": TOKEN, "APP_ENV": "dev"}
        refused = CliRunner().invoke(app, [command], env=environment)
    assert (refused.exit_code, refused.stderr.startswith("HOST, PORT: cannot listen: ")) == (1, True), refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.endurance
@pytest.mark.parametrize(
    "workers", [(), pytest.param(("--workers", "3"), marks=pytest.mark.peers)], ids=["alone", "three workers"]
)
def test_the_reasons_add_up_to_the_ends_after_an_interruption(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """Calls that the stop cuts off are among the ends, with a reason that says so."""
    port = free_port()

    def several_talk() -> bool:
        try:
            live = httpx2.get(
                f"http://{HOST}:{port}/api/v1/metrics/live", headers={"X-Admin-Token": TOKEN}, trust_env=False
            )
        except httpx2.HTTPError:
            return False
        return live.is_success and live.json()["active_calls"] > 3

    program = Program("demo", tmp_path)
    environment = {"HOST": HOST, "PORT": str(port), "ADMIN_TOKEN": TOKEN}
    program.start(_command("demo", "--calls-per-second", "8", *workers), several_talk, environment=environment)
    assert program.stop(signal.SIGINT) == 0, program.log[-3000:]
    summary = program.log.partition("The run as the carrier saw it")[2]
    heads = next(line.split() for line in summary.splitlines() if line.split()[:1] == ["active"])
    totals = dict(
        zip(heads, next(line.split()[1:] for line in summary.splitlines() if line.startswith("all ")), strict=True)
    )
    reasons = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", summary.partition("ended as")[2])}
    assert sum(reasons.values()) == int(totals["ended"]), summary
    assert reasons["shutdown"] > 0
