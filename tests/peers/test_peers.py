"""The fixtures themselves: each real program starts, does its work, and ends."""

import socket
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
import redis

from tests.peers.binaries import require
from tests.peers.emitter import OtlpEmitter
from tests.peers.network import HOST, PORTS, free_port
from tests.peers.peers import Peers
from tests.peers.program import NotStartedError
from tests.peers.waiting import until


def test_collector_gives_back_what_it_received(peers: Peers) -> None:
    """A span, a count and a log line sent to a Collector can be read back from what it received."""
    collector = peers.collector("base")
    with OtlpEmitter(collector.otlp_http) as emitter:
        trace_id = emitter.call(tenant="acme")
    span = until(lambda: collector.received.spans("call"), "the span")[0]
    assert (span.trace_id, span.attributes["tenant.id"]) == (trace_id, "acme")
    assert until(lambda: collector.received.points("voice.call.accepted"), "the count")[-1].value == 1
    assert until(collector.received.logs, "the log line")[0].trace_id == trace_id


@pytest.mark.parametrize("after", ["stop", "kill"])
def test_collector_comes_back_on_the_same_address(peers: Peers, after: str) -> None:
    """A Collector that was stopped or killed takes data at the same address once started again."""
    collector = peers.collector("base")
    getattr(collector, after)()
    collector.start()
    with OtlpEmitter(collector.otlp_grpc, grpc=True) as emitter:
        emitter.call(tenant="acme")
    assert until(lambda: collector.received.spans("call"), "the span")


def test_prometheus_answers_queries_and_exemplars(peers: Peers) -> None:
    """A histogram sent to Prometheus over OTLP is answered with its count and the trace it was recorded in."""
    prometheus = peers.prometheus()
    with OtlpEmitter(metrics_url=prometheus.otlp_metrics_url) as emitter:
        trace_id = emitter.call(tenant="acme", seconds=42)
    assert until(lambda: prometheus.value("voice_call_duration_seconds_count"), "the count") == 1
    exemplar = until(lambda: prometheus.query_exemplars("voice_call_duration_seconds_bucket"), "the exemplar")[0]
    assert (exemplar.trace_id, exemplar.value) == (trace_id, 42)


def test_prometheus_says_what_is_wrong_with_a_query(peers: Peers) -> None:
    """An expression that does not parse is an error with Prometheus' own complaint, not an empty answer."""
    prometheus = peers.prometheus()
    with pytest.raises(ValueError, match="parse error"):
        prometheus.query("sum(")


def test_jaeger_finds_a_trace(peers: Peers) -> None:
    """A trace sent to Jaeger is found by its id, with its attributes."""
    jaeger = peers.jaeger()
    assert jaeger.trace("f" * 32) == []
    with OtlpEmitter(jaeger.otlp_http, signals=["traces"]) as emitter:
        trace_id = emitter.call(tenant="acme")
    spans = until(lambda: jaeger.trace(trace_id), "the trace")
    assert ("call", "", "acme") in {(span.name, span.parent_id, span.tags.get("tenant.id")) for span in spans}


def test_redis_answers(peers: Peers) -> None:
    """What is written to Redis is read back."""
    with redis.Redis.from_url(peers.redis().url) as client:
        client.set("calls", 3)
        assert client.get("calls") == b"3"


async def test_postgres_answers(peers: Peers) -> None:
    """PostgreSQL takes a connection and a query."""
    connection = await asyncpg.connect(peers.postgres().url.replace("+asyncpg", ""))
    try:
        assert await connection.fetchval("SELECT 6 * 7") == 42
    finally:
        await connection.close()


def test_a_taken_port_is_tried_again(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program whose port somebody else took in the meantime starts on another one."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        ports = iter([taken.getsockname()[1]])
        monkeypatch.setattr("tests.peers.redis.free_port", lambda: next(ports, None) or free_port())
        assert redis.Redis.from_url(peers.redis().url).ping()


def test_a_port_is_given_to_one_and_free() -> None:
    """Two programs get ports of their own, and neither gets one that somebody listens on."""
    first = free_port()
    with socket.create_server((HOST, free_port())) as taken:
        given = {free_port() for _ in range(len(PORTS))}
        assert taken.getsockname()[1] not in given
    assert first in given, "they come again in the end"
    assert given <= set(PORTS)


@pytest.mark.parametrize(("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_missing_program_is_named(
    required: str, outcome: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a program its tests are skipped, or fail where all are required; both say how to get it."""
    for variable in ("CALLSCOPE_PEERS", "PATH"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("CALLSCOPE_REQUIRE_PEERS", required)
    with pytest.raises(outcome, match="otelcol-callscope is not on this machine: run `make peers`"):
        require("otelcol-callscope")


def test_waiting_in_vain_says_what_for() -> None:
    """A condition that never comes true fails with its name and the last answer."""
    with pytest.raises(AssertionError, match=r"in vain for the dawn; last seen: 0"):
        until(lambda: 0, "the dawn", timeout=0)


def test_a_program_that_ends_while_starting_says_why(peers: Peers, tmp_path: Path) -> None:
    """A Collector with a wrong configuration is not waited for; the error has its own words."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("receivers: {telepathy: {}}")
    with pytest.raises(NotStartedError, match="telepathy"):
        peers.collector("base", wrong)
