"""Bad days: the server is away, silent, busy or picky, and calls go on, numbers stay right, memory stays bounded."""

import logging
from collections.abc import Callable, Iterator
from threading import enumerate as all_threads
from threading import get_ident
from time import monotonic, sleep

import grpc
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import CallbackOptions, Observation

from telemetry.export import Pipelines, SignalHealth
from telemetry.metrics.live_table import LiveMetricsStore
from tests.peers.network import free_port
from tests.telemetry.export.running import FAST, end_spans, log, running, say_something, to
from tests.telemetry.otlp_receiver import (
    RECEIVERS,
    Accept,
    Hang,
    Receiver,
    Redirect,
    Refuse,
    RejectPart,
    WebPage,
)

BRISK = FAST | {"OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"}
"""Short intervals, and a timeout that leaves no room for the exporter's own retries."""


def until(condition: Callable[[], object], seconds: float = 180) -> None:
    """Wait for something that happens in another thread."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, "what was waited for did not happen"
        sleep(0.01)


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    return free_port()


def count(pipelines: Pipelines, number: int) -> None:
    pipelines.meter_provider.get_meter("test").create_counter("test.calls").add(number)


def last_total(receiver: Receiver) -> int:
    return int(receiver.metrics[-1].sum.data_points[0].as_int) if receiver.metrics else 0


def test_totals_and_spans_are_right_once_a_server_returns(protocol: str, closed_port: int) -> None:
    """What was counted and ended during many failed rounds is complete after the first that succeeds, and in order."""
    with running(to(f"http://127.0.0.1:{closed_port}", protocol, **BRISK)) as pipelines:
        for number in range(5):
            count(pipelines, number)
            pipelines.tracer_provider.get_tracer("test").start_span(str(number)).end()
            until(lambda: pipelines.health().metrics.consecutive_failures > number)  # noqa: B023 - called here
        until(lambda: pipelines.health().traces.consecutive_failures > 3)
        assert pipelines.health().traces.dropped == 0
        with RECEIVERS[protocol](port=closed_port) as receiver:
            receiver.wait_until(lambda: last_total(receiver) == 10 and len(receiver.spans) == 5)
            until(lambda: not pipelines.health().failing)
            assert [span.name for span in receiver.spans] == ["0", "1", "2", "3", "4"]


def test_deltas_add_up_over_an_outage(receiver: Receiver, protocol: str) -> None:
    """A delta backend that refused for a while has the same sum in the end as one that never did."""
    environ = to(receiver.endpoint, protocol, **BRISK, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")
    with running(environ) as pipelines:
        count(pipelines, 1)
        receiver.wait_until(lambda: _sum_of_deltas(receiver) == 1)
        receiver.behaviour = Refuse(status=500)
        for number in (2, 4, 8):
            count(pipelines, number)
            failures = pipelines.health().metrics.consecutive_failures
            until(lambda: pipelines.health().metrics.consecutive_failures > failures)  # noqa: B023 - called here
        receiver.behaviour = Accept()
        receiver.wait_until(lambda: _sum_of_deltas(receiver) >= 15)
        assert pipelines.flush()
        assert _sum_of_deltas(receiver) == 15


def _sum_of_deltas(receiver: Receiver) -> int:
    return sum(point.as_int for metric in receiver.metrics for point in metric.sum.data_points)


def test_recording_never_waits_for_a_silent_server(receiver: Receiver, protocol: str) -> None:
    """While every export hangs unanswered, thousands of spans, logs and measurements are recorded to the end."""
    receiver.behaviour = Hang()
    with running(to(receiver.endpoint, protocol)) as pipelines:
        say_something(pipelines)
        for pipeline in pipelines._pipelines.values():
            pipeline.source.thread.ask()
        receiver.wait_for_attempts(3)
        for number in range(3_000):
            count(pipelines, 1)
            log(pipelines, str(number))
        end_spans(pipelines, 3_000)
        assert receiver.received == []
        assert receiver.attempts == 3
        assert pipelines.health().traces.dropped == 3_001 - 2048


def test_a_full_queue_drops_what_comes_and_counts_it(receiver: Receiver, protocol: str) -> None:
    """Of 500 spans for a queue of 50, those that found room arrive once the server answers; the rest are counted."""
    receiver.behaviour = Hang()
    environ = to(receiver.endpoint, protocol, **FAST, OTEL_BSP_MAX_QUEUE_SIZE="50", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    with running(environ) as pipelines:
        end_spans(pipelines, 1)
        receiver.wait_for_attempts(1)
        end_spans(pipelines, 500)
        assert pipelines.health().traces.dropped == 501 - 50
        receiver.behaviour = Accept()
        receiver.release()
        receiver.wait_until(lambda: len(receiver.spans) >= 49)
        assert pipelines.health().traces.dropped == 501 - 50


@pytest.mark.parametrize("signal", ["metrics", "traces", "logs"])
def test_partial_success_is_seen(
    receiver: Receiver, protocol: str, signal: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Items that the server takes and rejects are counted for their signal, told once, and are no failure."""
    receiver.behaviour = RejectPart(items=2, message="too old")
    with running(to(receiver.endpoint, protocol)) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
        say_something(pipelines)
        assert pipelines.flush()
        health: SignalHealth = getattr(pipelines.health(), signal)
    assert (health.rejected, health.consecutive_failures, health.dropped) == (4, 0, 0)
    told = [record.message for record in caplog.records if f" {signal}" in record.message]
    assert len(told) == 1
    assert f"rejects part of the {signal} it accepts: too old" in told[0]


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Redirect(), "redirected (HTTP 302 to https://login.example/start)"),
        (Redirect(location="", status=307), "redirected (HTTP 307 to nowhere)"),
        (WebPage(), "not an OTLP server of this protocol (HTTP 200 with a web page)"),
    ],
)
def test_an_answer_that_acknowledges_nothing_is_no_success(behaviour: Redirect | WebPage, error: str) -> None:
    """A redirect to a login and a page for people are failures, and no secret of the target is told."""
    with RECEIVERS["http/protobuf"]() as receiver:
        receiver.behaviour = behaviour
        with running(to(receiver.endpoint, "http/protobuf")) as pipelines:
            say_something(pipelines)
            assert not pipelines.flush()
            health = pipelines.health()
        assert {signal.last_error for signal in health.signals} == {error}
        assert {signal.last_success_seconds for signal in health.signals} == {None}
        assert (health.traces.dropped, health.logs.dropped, health.metrics.dropped) == (1, 1, 0)


def test_a_batch_refused_for_good_is_given_up_and_the_next_one_sent(receiver: Receiver, protocol: str) -> None:
    """Data that the server calls invalid does not block what comes after it."""
    receiver.behaviour = Refuse(status=400, code=grpc.StatusCode.INVALID_ARGUMENT)
    with running(to(receiver.endpoint, protocol)) as pipelines:
        end_spans(pipelines, 2)
        assert not pipelines.flush()
        assert pipelines.health().traces.dropped == 2
        receiver.behaviour = Accept()
        end_spans(pipelines, 1)
        assert pipelines.flush()
    assert len(receiver.spans) == 1


def test_an_outage_is_told_twice_however_long(
    receiver: Receiver, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins, one when it ends; nothing of the SDK's own, no traceback, no credential."""
    receiver.behaviour = Refuse(status=500)
    address = receiver.endpoint.replace("http://", "http://user:hunter2@")
    environ = to(address, protocol, **BRISK, OTEL_EXPORTER_OTLP_HEADERS="x-key=hunter2")
    environ |= {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    with caplog.at_level(logging.INFO), running(environ) as pipelines:
        count(pipelines, 1)
        until(lambda: pipelines.health().metrics.consecutive_failures > 5)
        receiver.behaviour = Accept()
        until(lambda: not pipelines.health().failing)
        assert pipelines.flush()
    first, second = (record.message for record in caplog.records)
    assert first.startswith(f"Export of metrics to {receiver.endpoint}")
    assert first.endswith("Calls are not affected.")
    assert "works again, after" in second
    assert "hunter2" not in caplog.text
    assert "Traceback" not in caplog.text


def test_what_sending_logs_logs_is_not_sent(receiver: Receiver, protocol: str) -> None:
    """A log record emitted while exporting would cause another export, and so on for ever: it is left out."""
    with running(to(receiver.endpoint, protocol)) as pipelines:
        with suppress_instrumentation():
            log(pipelines, "from within an export")
        log(pipelines, "from a call")
        assert pipelines.flush()
    assert [record.body.string_value for record in receiver.log_records] == ["from a call"]


def test_a_collection_that_fails_does_not_end_exporting(receiver: Receiver, protocol: str) -> None:
    """Observables that take too long together make one round fail; the next, when they are quick, succeeds."""
    slow = [True]

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        if slow[0]:
            sleep(0.05)
        yield Observation(1)

    with running(to(receiver.endpoint, protocol, OTEL_METRIC_EXPORT_TIMEOUT="20")) as pipelines:
        for name in ("test.one", "test.two"):
            pipelines.meter_provider.get_meter("test").create_observable_gauge(name, [observe])
        assert not pipelines.flush()
        assert pipelines.health().metrics.last_error == "failed (MetricsTimeoutError)"
        assert pipelines.health().metrics.thread_alive
        slow[0] = False
        assert pipelines.flush()


def test_exports_happen_in_threads_of_their_own(receiver: Receiver, protocol: str) -> None:
    """One daemon thread a signal, none of them the recording one, and gone at the end."""
    with running(to(receiver.endpoint, protocol)) as pipelines:
        threads = [thread for thread in all_threads() if thread.name.startswith("export ")]
        assert {thread.name for thread in threads} == {"export metrics", "export traces", "export logs"}
        assert all(thread.daemon and thread.ident != get_ident() for thread in threads)
        say_something(pipelines)
    assert not any(thread.is_alive() for thread in threads)


def test_workers_started_together_do_not_export_together(receiver: Receiver, protocol: str) -> None:
    """Each process begins somewhere else in the interval: the phase decides when the first export comes."""
    environ = to(receiver.endpoint, protocol, OTEL_METRIC_EXPORT_INTERVAL="3600000")
    with running(environ, phase=lambda: 0.999) as late, running(environ, phase=lambda: 0.000_5) as early:
        count(late, 1)
        count(early, 2)
        receiver.wait_until(lambda: bool(receiver.metrics))
        assert last_total(receiver) == 2


def test_many_series_leave_in_several_requests_and_none_is_merged(receiver: Receiver, protocol: str) -> None:
    """Five thousand tenants, more than the SDK's default limit, arrive as as many series in bounded requests."""
    with running(to(receiver.endpoint, protocol), store=LiveMetricsStore(series=10_000)) as pipelines:
        counter = pipelines.meter_provider.get_meter("test").create_counter("test.calls")
        for tenant in range(5_000):
            counter.add(1, {"tenant.id": str(tenant)})
        assert pipelines.flush(30)
        sizes = [len(metric.sum.data_points) for metric in receiver.metrics]
    assert sizes == [2_000, 2_000, 1_000]


def test_beyond_the_limit_series_are_merged_visibly(receiver: Receiver, protocol: str) -> None:
    """The limit given is the reader's own: what exceeds it is one series that says so, and totals stay right."""
    with running(to(receiver.endpoint, protocol), store=LiveMetricsStore(series=3)) as pipelines:
        counter = pipelines.meter_provider.get_meter("test").create_counter("test.calls")
        for tenant in range(10):
            counter.add(1, {"tenant.id": str(tenant)})
        assert pipelines.flush()
    points = receiver.metrics[0].sum.data_points
    overflow = [p.as_int for p in points if any(a.key == "otel.metric.overflow" for a in p.attributes)]
    assert (len(points), overflow, sum(p.as_int for p in points)) == (4, [7], 10)
