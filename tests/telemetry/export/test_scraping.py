"""The endpoint that Prometheus scrapes, over real sockets."""

import gzip
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse

import pytest

from telemetry.export import Pipelines
from telemetry.export.plan import read_plan
from telemetry.export.scraping import CONNECTIONS, OPEN_METRICS, TEXT
from telemetry.export.signals import Signal
from tests.telemetry.export.running import running, say_something, to
from tests.telemetry.otlp_receiver import Receiver

ON = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}


@pytest.fixture
def pipelines() -> Iterator[Pipelines]:
    with running(ON) as made:
        say_something(made)
        yield made


def port(pipelines: Pipelines) -> int:
    assert pipelines.scraped is not None
    return pipelines.scraped.port


def scraped(pipelines: Pipelines, path: str = "/metrics", **headers: str) -> tuple[HTTPResponse, bytes]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port(pipelines)}{path}", headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 -- the same
        return answer, answer.read()


def refused(pipelines: Pipelines, path: str = "/metrics", **headers: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        scraped(pipelines, path, **headers)
    with refusal.value as answer:
        return answer.code


def test_a_scrape_shows_what_was_just_recorded(pipelines: Pipelines) -> None:
    """Each scrape folds first, and tells the present moment."""
    for expected in (1, 2):
        answer, body = scraped(pipelines)
        assert answer.headers["content-type"] == TEXT
        assert f'tenant_id="acme"}} {expected}\n'.encode() in body
        say_something(pipelines)


def test_the_format_is_negotiated(pipelines: Pipelines) -> None:
    """Who accepts OpenMetrics gets it, complete to its end; who accepts gzip gets that."""
    answer, body = scraped(
        pipelines, accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5", accept_encoding="gzip"
    )
    assert (answer.headers["content-type"], answer.headers["content-encoding"]) == (OPEN_METRICS, "gzip")
    assert gzip.decompress(body).endswith(b"# EOF\n")


def test_other_paths_are_not_there(pipelines: Pipelines) -> None:
    """Nothing is served but the metrics."""
    assert refused(pipelines, "/") == 404


def test_a_token_is_needed_where_one_is_set() -> None:
    """Without it, or with another, a scrape is refused."""
    with running(ON | {"OTEL_EXPORTER_PROMETHEUS_TOKEN": "s3cret"}) as pipelines:
        assert refused(pipelines) == refused(pipelines, authorization="Bearer other") == 401
        assert scraped(pipelines, authorization="Bearer s3cret")[0].status == 200
        assert "s3cret" not in repr(read_plan(ON | {"OTEL_EXPORTER_PROMETHEUS_TOKEN": "s3cret"}))


def test_the_next_worker_takes_the_next_port() -> None:
    """Two processes of one machine with the same variables are both scraped."""
    with running(ON) as first:
        taken = port(first)
        with running(ON | {"OTEL_EXPORTER_PROMETHEUS_PORT": str(taken)}) as second:
            assert taken < port(second) <= taken + 63
            assert scraped(second)[0].status == 200


def test_the_end_gives_the_port_back() -> None:
    """After shutdown nobody listens, and a second end does nothing."""
    with running(ON) as pipelines:
        taken = port(pipelines)
        assert pipelines.shutdown()
        assert pipelines.shutdown()
    with socket.create_server(("127.0.0.1", taken)):
        pass


def test_a_scrape_counts_as_an_export(pipelines: Pipelines) -> None:
    """The health of metrics tells the last scrape, and which way they leave."""
    before = pipelines.health().metrics
    assert (before.enabled, before.protocol, before.thread_alive) == (True, "prometheus", True)
    assert before.last_success_seconds is None
    scraped(pipelines)
    after = pipelines.health().metrics
    assert after.last_success_seconds is not None
    assert not after.failing


def test_prometheus_and_otlp_have_the_same_numbers(receiver: Receiver, protocol: str) -> None:
    """Metrics may be pushed and scraped at once; deltas that were sent take nothing from a scrape."""
    environ = to(receiver.endpoint, protocol, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")
    with running(environ | ON | {"OTEL_METRICS_EXPORTER": "otlp,prometheus"}) as pipelines:
        for _ in range(2):
            say_something(pipelines)
            assert pipelines.flush()
        assert b'tenant_id="acme"} 2\n' in scraped(pipelines)[1]
        assert pipelines.health().metrics.protocol == protocol
    assert [metric.sum.data_points[0].as_int for metric in receiver.metrics] == [1, 1]


def test_connections_are_bounded(pipelines: Pipelines) -> None:
    """Who holds all connections open keeps nobody else's thread busy: one more is closed unanswered."""
    held = [socket.create_connection(("127.0.0.1", port(pipelines))) for _ in range(CONNECTIONS)]
    try:
        with socket.create_connection(("127.0.0.1", port(pipelines)), timeout=30) as one_more:
            assert one_more.recv(1) == b""
    finally:
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "70000"}, "OTEL_EXPORTER_PROMETHEUS_PORT: 70000 is not a port"),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "http"}, "OTEL_EXPORTER_PROMETHEUS_PORT: 'http' is not a whole number"),
        ({"OTEL_TRACES_EXPORTER": "prometheus"}, "OTEL_TRACES_EXPORTER: 'prometheus' is not one of"),
    ],
)
def test_a_bad_address_is_ignored_by_name(
    variables: Mapping[str, str], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the variable; only metrics can be scraped."""
    plan = read_plan({"OTEL_METRICS_EXPORTER": "prometheus", **variables})
    scraped = plan.routes[Signal.METRICS].scraped
    assert scraped is not None
    assert scraped.port == 9464
    assert plan.routes[Signal.TRACES].scraped is None
    (warning,) = caplog.messages
    assert warning.startswith(problem)


def test_it_listens_on_this_machine_unless_told_otherwise() -> None:
    """The standard's defaults: localhost and 9464."""
    address = read_plan({"OTEL_METRICS_EXPORTER": "prometheus"}).routes[Signal.METRICS].scraped
    assert address is not None
    assert (address.host, address.port, address.token) == ("localhost", 9464, None)
