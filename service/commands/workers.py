"""Several processes behind one port: started, watched, replaced, and stopped together."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from service.server import SIGNALS

READY: Final = b"r"
"""Sent by a worker once it serves."""

STOP_SECONDS: Final = 10.0
"""Seconds that the workers may take to stop, after those they are set to drain for."""

FIRST_DELAY: Final = 0.5
MAX_DELAY: Final = 30.0
"""Bounds of the seconds before a worker that died is replaced; doubled with each that dies before it served."""

METRICS_PORT: Final = "OTEL_EXPORTER_PROMETHEUS_PORT"
_DEFAULT_METRICS_PORT: Final = 9464


class NotServingError(Exception):
    """A worker ended before it served; it has said why."""


@dataclass(slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    lifeline: socket.socket
    """Its other end is the worker's: closed by the death of either."""

    async def serves(self) -> bool:
        """Wait until it serves; false if it ends before that."""
        return await asyncio.get_running_loop().sock_recv(self.lifeline, 1) == READY


class Workers:
    """So many processes of the service that accept from the same socket.

    Args:
        count: how many.
        listening: the socket they accept from.
        environment: what their settings come from.
        drain_seconds: seconds for which a worker that stops still serves.
        tell: takes a sentence for people about a worker that died.
    """

    def __init__(
        self,
        count: int,
        listening: socket.socket,
        environment: Mapping[str, str],
        *,
        drain_seconds: float,
        tell: Callable[[str], object],
    ) -> None:
        self._count = count
        self._listening = listening
        self._environment = environment
        self._drain_seconds = drain_seconds
        self._tell = tell
        self._running: dict[int, _Worker] = {}
        self._stopping = asyncio.Event()
        self._watching: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> Sequence[int]:
        """The processes that run."""
        return [worker.process.pid for worker in self._running.values()]

    async def start(self) -> None:
        """Start all; return once each serves.

        Raises:
            NotServingError: if one does not come to serve.
        """
        for index in range(self._count):
            self._running[index] = await self._started(index)
        served = await asyncio.gather(*(worker.serves() for worker in self._running.values()))
        if not all(served):
            raise NotServingError
        self._watching = [asyncio.create_task(self._watch(index)) for index in self._running]

    async def run(self) -> None:
        """Keep the workers running until a signal tells to stop, or :meth:`stop` does."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stopping.set)
        try:
            await self._stopping.wait()
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def stop(self) -> bool:
        """Stop all at once, and return true if each ended in good order; one that does not end in time is killed."""
        self._stopping.set()
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        workers = list(self._running.values())
        for worker in workers:
            _send(worker.process, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds + STOP_SECONDS):
                await asyncio.gather(*(worker.process.wait() for worker in workers))
        for worker in workers:
            _send(worker.process, signal.SIGKILL)
            await worker.process.wait()
            worker.lifeline.close()
        # One that was still starting has nothing to end in good order.
        return all(worker.process.returncode in (0, -signal.SIGTERM) for worker in workers)

    async def _watch(self, index: int) -> None:
        """Replace the worker whenever it ends, until all are to stop."""
        delay = FIRST_DELAY
        while True:
            ended = self._running[index]
            code = await ended.process.wait()
            ended.lifeline.close()
            if self._stopping.is_set():
                return
            self._tell(f"worker {ended.process.pid} ended ({_cause(code)}); another takes its place")
            await asyncio.sleep(delay)
            self._running[index] = replacement = await self._started(index)
            delay = FIRST_DELAY if await replacement.serves() else min(2 * delay, MAX_DELAY)

    async def _started(self, index: int) -> _Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "service", "serve"),
                *("--worker", f"{self._listening.fileno()},{theirs.fileno()}"),
                pass_fds=(self._listening.fileno(), theirs.fileno()),
                env=self._environment_of(index),
            )
        return _Worker(process, ours)

    def _environment_of(self, index: int) -> dict[str, str]:
        """Return a worker's environment: each needs a port of its own to be scraped at."""
        port = int(self._environment.get(METRICS_PORT) or _DEFAULT_METRICS_PORT)
        return {**self._environment, METRICS_PORT: str(port + index if port else 0)}


@dataclass(frozen=True, slots=True)
class WorkerEnds:
    """The sockets that a worker has from the process that started it."""

    listening: socket.socket
    lifeline: socket.socket

    @classmethod
    def parse(cls, text: str) -> "WorkerEnds":
        """Return the sockets whose descriptors were passed on.

        Raises:
            ValueError: if there are none.
        """
        listening, lifeline = (int(word) for word in text.split(","))
        return cls(socket.socket(fileno=listening), socket.socket(fileno=lifeline))

    def serving(self) -> None:
        """Say that this worker serves."""
        self.lifeline.send(READY)

    def stop_with_parent(self, stop: Callable[[], object]) -> None:
        """Have ``stop`` called once the process that started this one is gone."""
        loop, end = asyncio.get_running_loop(), self.lifeline

        def gone() -> None:
            loop.remove_reader(end)
            stop()

        loop.add_reader(end, gone)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(number)


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"{signal.Signals(-code).name}"


def environment_of(**settings: str) -> dict[str, str]:
    """Return this process's environment with these settings instead."""
    return {**os.environ, **settings}
