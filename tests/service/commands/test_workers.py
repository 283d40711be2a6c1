"""Several workers behind one port: started together, replaced when they die, stopped together."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from service.cli import app as command
from tests.peers.service import TOKEN, Service
from tests.peers.waiting import until

FLEET = "/api/v1/fleet"


def test_several_workers_need_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without REDIS_URL each worker would keep to the limits alone: one sentence says so, and nothing starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    result = CliRunner().invoke(command, ["serve", "--workers", "2"])
    assert result.exit_code == 1
    assert result.stderr.strip() == "REDIS_URL: several workers share one limit in a store; set it, or run one worker"
    assert list(tmp_path.iterdir()) == []


class ServiceOfWorkers(Service):
    """One service of three workers."""

    def command(self, *words: str) -> list[str]:
        return super().command(*words, *(("--workers", "3") if words == ("serve",) else ()))

    def fleet(self) -> dict[str, Any]:
        answer = httpx2.get(f"{self.address}{FLEET}", headers={"X-Admin-Token": TOKEN}, timeout=30)
        state: dict[str, Any] = answer.raise_for_status().json()
        return state

    def living(self) -> set[int]:
        """Return the process ids of the workers that live."""
        return {process["pid"] for process in self.fleet()["processes"] if process["alive"]}


@pytest.fixture
def workers(store_url: str, tmp_path: Path) -> Iterator[ServiceOfWorkers]:
    environment = {"REDIS_URL": store_url, "DRAIN_SECONDS": "1"}
    service = ServiceOfWorkers(tmp_path, "http://127.0.0.1:9", environment)
    service.start()
    until(lambda: len(service.living()) == 3, "three workers")
    yield service
    service.stop()


@pytest.mark.peers
@pytest.mark.endurance
def test_workers_live_and_die(workers: ServiceOfWorkers) -> None:
    """They answer at one address; one that is killed is replaced; a signal to the first process stops them all."""
    before = workers.living()
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(workers.living()) == 3 and killed not in workers.living(), "another in its place")
    assert len(workers.living() & before) == 2
    assert f"worker {killed} ended (SIGKILL); another takes its place" in workers.log
    living = workers.living()
    workers.send(signal.SIGTERM)
    until(lambda: draining(workers.address), "readiness to say that the end is near")
    assert workers.stop() == 0
    assert not [pid for pid in living if exists(pid)]


@pytest.mark.peers
@pytest.mark.endurance
def test_workers_end_with_the_process_that_started_them(workers: ServiceOfWorkers) -> None:
    """Nobody is left behind at the port when the first process is killed."""
    living = workers.living()
    os.kill(parent_of(min(living)), signal.SIGKILL)
    until(lambda: not [pid for pid in living if exists(pid)], "the workers to end")


def draining(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/readyz", timeout=5).status_code == 503
    except httpx2.HTTPError:
        return False


def exists(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:\t")[2].split("\n", 1)[0])
