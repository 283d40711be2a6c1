"""A gateway in a process of its own, with a probe in its event loop: this service, or a bare one.

The bare one is what a user of the official SDK writes first: FastAPI, the SDK's verification, its call control and its
models of the sideband's events; no telemetry, no database, no tenants. A line on the input has the process print what
it has used since the line before; that is the only difference between a served gateway and one that is in service.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Thread, get_ident
from typing import Annotated, Any, Final, TextIO

import uvicorn
import uvloop
from fastapi import FastAPI, HTTPException, Request
from openai import AsyncOpenAI, InvalidWebhookSignatureError
from openai.types.webhooks import RealtimeCallIncomingWebhookEvent
from starlette.types import ASGIApp
from typer import Argument, run

from benchmarks.gateway_process import LOOPS, SIDES
from service.app import app_of
from service.container import build_container
from service.server import listen, server_for
from service.settings import load_settings

PROBE_SECONDS: Final = 0.02
"""Between two looks at how late the event loop is."""

Serve = Callable[[int], Awaitable[None]]


class Probe:
    """What the process and the thread of its event loop use, and how late the loop runs timers. Made in that thread."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._loop = time.pthread_getcpuclockid(get_ident())
        self._loop_cpu = time.clock_gettime(self._loop)
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    async def watch(self) -> None:
        """Measure lateness until cancelled."""
        while True:
            due = time.perf_counter() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            self._late.append(time.perf_counter() - due)

    def tell(self) -> str:
        """Return what has been used since the last time, as JSON."""
        late, self._late = sorted(self._late), []
        cpu, wall, loop_cpu = time.process_time(), time.perf_counter(), time.clock_gettime(self._loop)
        told = {
            "cpu_seconds": cpu - self._cpu,
            "loop_seconds": loop_cpu - self._loop_cpu,
            "seconds": wall - self._wall,
            "late_p99": late[int(len(late) * 0.99)] if late else 0.0,
            "late_most": late[-1] if late else 0.0,
            "resident_bytes": _resident(),
        }
        self._cpu, self._wall, self._loop_cpu = cpu, wall, loop_cpu
        return json.dumps(told)

    def answer(self, output: TextIO) -> None:
        """Answer every line of the input; the process ends with it."""
        for _ in sys.stdin:
            print(self.tell(), file=output, flush=True)
        os._exit(0)


def _resident() -> int:
    """Return the memory in use; where the system does not tell, the most there ever was."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def bare() -> ASGIApp:
    """Return the bare gateway."""
    client = AsyncOpenAI(webhook_secret=os.environ["OPENAI_WEBHOOK_SECRET"])
    app = FastAPI()
    running: set[asyncio.Task[None]] = set()

    async def attend(call_id: str) -> None:
        await client.realtime.calls.accept(
            call_id, type="realtime", model="gpt-realtime", instructions="You answer the telephone.", tool_choice="auto"
        )
        async with client.realtime.connect(call_id=call_id) as session:
            await session.response.create()
            async for event in session:
                if event.type == "error":
                    print(event.error.code, file=sys.stderr)

    @app.post("/api/v1/openai/webhook")
    async def receive(request: Request) -> dict[str, bool]:
        try:
            event = client.webhooks.unwrap(await request.body(), dict(request.headers))
        except InvalidWebhookSignatureError as error:
            raise HTTPException(401) from error
        if isinstance(event, RealtimeCallIncomingWebhookEvent):
            task = asyncio.create_task(attend(event.data.call_id))
            running.add(task)
            task.add_done_callback(running.discard)
        return {"ok": True}

    return app


async def serve_bare(port: int) -> None:
    """Serve the bare gateway as its author would."""
    await uvicorn.Server(uvicorn.Config(bare(), port=port, access_log=False, log_level="warning", ws="none")).serve()


async def serve_callscope(port: int) -> None:
    """Serve this service as ``callscope serve`` does."""
    settings = load_settings(port=port)
    with listen(settings.host, settings.port) as listening:
        server = server_for(app_of(build_container(settings)), calls=settings.max_concurrent_calls)
        server.has_process = True
        await server.serve([listening])


async def probed(serve: Serve, port: int) -> None:
    """Serve, with a probe."""
    probe = Probe()
    # What a service logs to its output is formatted all the same.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    Thread(target=probe.answer, args=(output,), daemon=True, name="probe").start()
    watching = asyncio.create_task(probe.watch())
    try:
        await serve(port)
    finally:
        watching.cancel()


def main(
    side: Annotated[str, Argument(help=" or ".join(SIDES))],
    loop: Annotated[str, Argument(help=" or ".join(LOOPS))],
    port: int,
) -> None:
    """Serve until the input ends."""
    serve = {"callscope": serve_callscope, "bare": serve_bare}[side]
    factory: Any = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(probed(serve, port))


if __name__ == "__main__":
    run(main)
