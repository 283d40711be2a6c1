"""The service itself as a process of its own, started the way a user starts it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import httpx2

from service.simulator.tenants import Tenant
from tests.peers.network import HOST, answers, free_port
from tests.peers.program import Program
from tests.support.server import TIMEOUT_SECONDS, TLS

TOKEN = "token-of-the-peers"
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class Service:
    """One process of the service on a free port, facing a carrier at ``base_url``."""

    def __init__(self, folder: Path, base_url: str, environment: Mapping[str, str] | None = None) -> None:
        self._program = Program("service", folder)
        self._folder = folder
        self._port = free_port()
        self._environment = {
            "APP_ENV": "prod",
            "PORT": str(self._port),
            "ADMIN_TOKEN": TOKEN,
            "DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'callscope.db'}",
            "SPILL_FOLDER": str(folder / "spill"),
            "OPENAI_API_KEY": "simulated",
            "OPENAI_BASE_URL": base_url,
            "OPENAI_WEBHOOK_SECRET": SECRET,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **(environment or {}),
        }

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"http://{HOST}:{self._port}"

    @property
    def whole_environment(self) -> Mapping[str, str]:
        """What a command needs to work on the same database."""
        return {**os.environ, **self._environment}

    def command(self, *words: str) -> list[str]:
        """A ``callscope`` command line."""
        return [sys.executable, "-m", "service", *words]

    @property
    def folder(self) -> Path:
        """Where it runs."""
        return self._folder

    @property
    def settings(self) -> Mapping[str, str]:
        """What it is started with."""
        return self._environment

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._program.log

    @property
    def log_file(self) -> Path:
        """The file of what it prints."""
        return self._program.log_file

    def frozen(self) -> AbstractContextManager[None]:
        """While the context lasts it does nothing, and its connections stay open."""
        return self._program.frozen()

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._program.running

    @property
    def resident_bytes(self) -> int:
        """Memory it has in use."""
        return self._program.resident_bytes

    @property
    def processor_seconds(self) -> float:
        """Processor time it has used."""
        return self._program.processor_seconds

    def client(self) -> httpx2.AsyncClient:
        """A client of its admin endpoints."""
        headers = {"X-Admin-Token": TOKEN}
        return httpx2.AsyncClient(verify=TLS, base_url=self.address, headers=headers, timeout=TIMEOUT_SECONDS)

    def import_tenants(self, tenants: Sequence[Tenant]) -> None:
        """Load tenants as a user does."""
        file = self._folder / "tenants.json"
        file.write_text(json.dumps(tenants))
        command = self.command("tenants", "import", str(file))
        subprocess.run(command, env=self.whole_environment, cwd=self._folder, check=True, capture_output=True)  # noqa: S603

    def release(self, sources: Path) -> None:
        """Have it run other sources than this repository's from its next start on."""
        self._environment["PYTHONPATH"] = str(sources)

    def start(self) -> Self:
        """Start and wait until it answers."""
        ready = f"{self.address}/livez"
        program = Path(sys.executable).with_name("callscope")
        self._program.start([program, "serve"], lambda: answers(ready), environment=self._environment)
        return self

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, without waiting for what it does."""
        self._program.send(number)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int | None:
        """Ask it to end and wait; answers the exit code."""
        return self._program.stop(by)

    def kill(self) -> None:
        """End it as a crash would."""
        self._program.kill()
