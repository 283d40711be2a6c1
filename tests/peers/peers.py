"""Starts real programs for a test, each in a folder of its own, and stops them all at its end."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from tests.peers.alertmanager import Alertmanager, Inbox
from tests.peers.binaries import require
from tests.peers.collector import Collector, layer
from tests.peers.jaeger import Jaeger
from tests.peers.postgres import Postgres
from tests.peers.program import LOG_TAIL, NotStartedError
from tests.peers.prometheus import SHIPPED, Prometheus
from tests.peers.redis import Redis
from tests.peers.redis_fleets import RedisCluster, RedisSentinel
from tests.peers.sink import OtlpSink

ATTEMPTS = 3
"""Starts before giving up: a port found free may be somebody else's a moment later."""


class Peer(Protocol):
    """What all programs have in common."""

    @property
    def log(self) -> str:
        """What it has printed."""
        ...

    def start(self) -> Self:
        """Start and wait until it is ready."""
        ...

    def stop(self) -> int | None:
        """Let it end."""
        ...


P = TypeVar("P", bound=Peer)


class Peers:
    """The programs of one test. Each method answers a started program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._started: list[Peer] = []

    def collector(self, *layers: str | Path, environment: Mapping[str, str] | None = None) -> Collector:
        """A Collector with shipped layers (`"base"`, `"vendors/otlp"`) or files of your own, and variables for them."""
        paths = [layer(item) if isinstance(item, str) else item for item in layers]
        return self._start("collector", lambda folder: Collector(paths, folder, environment))

    def prometheus(
        self,
        *,
        interval: str = "1s",
        rules: bool = True,
        rules_from: Path = SHIPPED.parent,
        lookback: str = "5m",
        history: str = "",
        alertmanager: int | None = None,
        environment: Mapping[str, str] | None = None,
        **scrape: int,
    ) -> Prometheus:
        """A Prometheus with the shipped settings and rules; keywords name jobs and the ports to scrape."""
        return self._start(
            "prometheus",
            lambda folder: Prometheus(
                folder,
                scrape=scrape,
                interval=interval,
                rules=rules,
                rules_from=rules_from,
                lookback=lookback,
                history=history,
                alertmanager=alertmanager,
                environment=environment,
            ),
        )

    def alertmanager(self, inbox: Inbox) -> Alertmanager:
        """An Alertmanager with the shipped routes, all of whose receivers are this inbox."""
        return self._start("alertmanager", lambda folder: Alertmanager(folder, inbox))

    def jaeger(self) -> Jaeger:
        """A Jaeger that keeps traces in memory."""
        return self._start("jaeger", Jaeger)

    def redis(self, *options: str | Path, tls: bool = False) -> Redis:
        """An empty Redis, with further options; it speaks TLS alone if it is to."""
        return self._start("redis", lambda folder: Redis(folder, options, tls=tls))

    def redis_cluster(self) -> RedisCluster:
        """An empty cluster of three primaries with a replica each."""
        return self._start("redis-cluster", RedisCluster)

    def redis_sentinel(self) -> RedisSentinel:
        """An empty primary with two replicas, watched by three Sentinels."""
        return self._start("redis-sentinel", RedisSentinel)

    def postgres(self) -> Postgres:
        """A PostgreSQL with an empty database."""
        return self._start("postgres", Postgres)

    def sink(self, port: int = 0) -> OtlpSink:
        """A backend of our own that keeps what arrives over OTLP/HTTP."""
        return self._stack.enter_context(OtlpSink(port))

    def logs(self) -> list[tuple[str, str]]:
        """The end of each program's output, for the report of a failing test."""
        return [(f"log of {type(peer).__name__}", peer.log[-LOG_TAIL:]) for peer in self._started]

    def _start(self, name: str, make: Callable[[Path], P]) -> P:
        for attempt in range(1, ATTEMPTS + 1):
            folder = self._folder / f"{name}-{len(self._started)}-{attempt}"
            folder.mkdir(parents=True)
            peer = make(folder)
            try:
                peer.start()
            except NotStartedError as failure:
                if attempt == ATTEMPTS or "address already in use" not in str(failure).lower():
                    raise
                continue
            self._started.append(peer)
            self._stack.callback(peer.stop)
            return peer
        raise AssertionError("unreachable: the last attempt returns or raises")

    def __enter__(self) -> Self:
        """The programs live while the context does."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything, last started first."""
        self._stack.close()


def run(name: str, *arguments: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a real program to its end (`promtool`, the Collector's `validate`); its output is in the answer."""
    return run_with({}, name, arguments, given=given)


def run_with(
    environment: dict[str, str], name: str, arguments: Sequence[str | Path], *, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a real program with exactly these environment variables; it may be given something to read."""
    return subprocess.run(  # noqa: S603 -- a program this test suite names
        [str(require(name)), *map(str, arguments)],
        check=False,
        text=True,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        timeout=300,
    )
