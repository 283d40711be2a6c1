"""A gateway under measurement, as whoever measures sees it: it is called, it is read, and it tells what it used."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from service.simulator.delivery import WEBHOOK_PATH, signed_headers
from service.simulator.tenants import simulated_tenants
from service.storage.database import Database
from service.storage.migrations import upgrade
from service.tenants.importing import read_entries
from service.tenants.sql import SqlTenantRepository
from tests.peers.network import free_port
from tests.peers.service import SECRET, TOKEN

SIDES: Final = ("callscope", "bare")
LOOPS: Final = ("uvloop", "default")
TENANTS: Final = 50
START_SECONDS: Final = 300.0
"""The longest a start may take, which on a machine that is busy otherwise is mostly imports."""
_ROOT: Final = Path(__file__).parent.parent
LIVE: Final = "/api/v1/metrics/live"


@dataclass(frozen=True, slots=True)
class Used:
    """What a gateway used over a stretch of time."""

    cpu_seconds: float
    loop_seconds: float
    """Of those, the seconds of the event loop's thread; the others write to the database and export."""
    seconds: float
    late_p99: float
    """Seconds by which its event loop ran a timer late, 99 of 100 times at most."""
    late_most: float
    resident_bytes: int

    @property
    def share(self) -> float:
        """Share of one core."""
        return self.cpu_seconds / self.seconds


class Requests:
    """One connection on which one request after the other is made, at next to no cost; a new one once it is closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, float]:
        """Make a request; return its status, and the seconds until the whole answer was there."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n{fields}\r\n"
        async with self._free:
            if self._streams is None or self._streams[0].at_eof():
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            began = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            await reader.readexactly(length)
            return int(answer.split(b" ", 2)[1]), time.perf_counter() - began


class GatewayProcess:
    """One process that serves a gateway."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._numbers = count()
        self._webhooks = [Requests(port) for _ in range(8)]
        self._live = Requests(port)

    async def used(self) -> Used:
        """Return what it used since it was asked last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        return Used(**json.loads(await self._process.stdout.readline()))

    async def call(self) -> float:
        """Announce one more call; return the seconds until the webhook was answered."""
        number = next(self._numbers)
        event = {
            "object": "event",
            "id": f"evt_{number}",
            "type": "realtime.call.incoming",
            "created_at": int(time.time()),
            "data": {
                "call_id": f"rtc_u1_{os.getpid()}_{number}",
                "sip_headers": [
                    {"name": "From", "value": "sip:+14155550123@sip.example.com"},
                    {"name": "To", "value": f"sip:{simulated_number(number)}@sip.example.com"},
                ],
            },
        }
        body = json.dumps(event).encode()
        headers = signed_headers(SECRET, f"wh_{number}", int(time.time()), body) | {"content-type": "application/json"}
        status, seconds = await self._webhooks[number % len(self._webhooks)].ask("POST", WEBHOOK_PATH, headers, body)
        assert status == 200, f"the webhook was answered {status}"
        return seconds

    async def calls(self, calls: int, a_second: float) -> list[float]:
        """Announce so many calls, evenly spaced; return how long each webhook's answer took."""
        began = time.perf_counter()
        announced = []
        for number in range(calls):
            await asyncio.sleep(max(0.0, began + number / a_second - time.perf_counter()))
            announced.append(asyncio.create_task(self.call()))
        return await asyncio.gather(*announced)

    async def read_live(self) -> float:
        """Read the live metrics over all tenants; return the seconds it took."""
        status, seconds = await self._live.ask("GET", LIVE, {"X-Admin-Token": TOKEN})
        assert status == 200, f"the live read was answered {status}"
        return seconds


def simulated_number(number: int) -> str:
    """Return the telephone number of the tenant that a call is for."""
    return _NUMBERS[number % TENANTS]


_TENANTS: Final = simulated_tenants(TENANTS, max_concurrent_calls=10_000)
_NUMBERS: Final = [str(tenant["numbers"][0]) for tenant in _TENANTS]


@asynccontextmanager
async def gateway_process(side: str, loop: str, carrier: str, folder: Path) -> AsyncIterator[GatewayProcess]:
    """Start a gateway that faces the carrier at this address, and wait until it answers."""
    port = free_port()
    environment = {
        **os.environ,
        "APP_ENV": "prod",
        "ADMIN_TOKEN": TOKEN,
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'callscope.db'}",
        "SPILL_FOLDER": str(folder / "spill"),
        "OPENAI_API_KEY": "simulated",
        "OPENAI_BASE_URL": f"{carrier}/v1",
        "OPENAI_WEBHOOK_SECRET": SECRET,
        "OTEL_EXPORTER_OTLP_ENDPOINT": carrier,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "MAX_CONCURRENT_CALLS": "10000",
    }
    if side == "callscope":
        await _prepare(environment["DATABASE_URL"])
    with (folder / "gateway.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.served_gateway", side, loop, str(port)),
            env=environment,
            cwd=_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            await _answers(process, port, folder / "gateway.log")
            yield GatewayProcess(process, port)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _prepare(url: str) -> None:
    """Bring the schema and the tenants into the database."""
    async with Database.from_url(url) as database:
        await upgrade(database.engine)
        await SqlTenantRepository(database).import_all(read_entries(list(_TENANTS)), actor="benchmark")


async def _answers(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            assert process.returncode is None, f"the gateway did not start: {_tail(log)}"
            try:
                await Requests(port).ask("GET", "/livez", {})
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2_000:]
