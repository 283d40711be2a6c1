"""Ending takes no longer than its budget, whatever the server does, and says what was lost."""

import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from threading import Event
from time import monotonic

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor

from telemetry.export import build_pipelines
from telemetry.export.destination import OtlpDestination
from telemetry.export.outcome import ExportFault
from telemetry.export.over_grpc import spans_over_grpc
from telemetry.export.signals import Protocol, Signal
from tests.telemetry.export.running import end_spans, log, running, say_something, to
from tests.telemetry.otlp_receiver import RECEIVERS, Hang, Receiver, Refuse

BUDGET = 1.0
GENEROUS = 15.0
"""Far above the budget for a busy machine, far below the 20 to 30 seconds that the SDK's own end takes."""


@pytest.fixture(params=["busy", "silent", "closed", "deaf"])
def bad_endpoint(request: pytest.FixtureRequest, protocol: str) -> Iterator[str]:
    """A server that always says 503, one that never answers, a closed port, and one that does not even accept."""
    if request.param in ("busy", "silent"):
        with RECEIVERS[protocol]() as receiver:
            receiver.behaviour = Refuse(status=503) if request.param == "busy" else Hang()
            yield receiver.endpoint
        return
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        if request.param == "deaf":
            yield f"http://127.0.0.1:{port}"
            return
    yield f"http://127.0.0.1:{port}"


def test_all_signals_end_together_within_the_budget(
    bad_endpoint: str, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With 2,000 spans, a log and metrics unsent, the end keeps its budget and tells the loss in one line."""
    pipelines = build_pipelines(to(bad_endpoint, protocol))
    pipelines.meter_provider.get_meter("test").create_counter("test.calls").add(1)
    end_spans(pipelines, 2_000)
    log(pipelines, "last words")
    begin = monotonic()
    assert not pipelines.shutdown(BUDGET)
    assert monotonic() - begin < GENEROUS
    health = pipelines.health()
    assert (health.metrics.dropped, health.traces.dropped, health.logs.dropped) == (1, 2_000, 1)
    told = [record.message for record in caplog.records if record.message.startswith("Ended")]
    assert told == ["Ended without exporting 1 data points, 2000 spans, 1 log records."]


def test_the_end_exports_what_there_is(receiver: Receiver, protocol: str) -> None:
    """Everything recorded before the end arrives, without a flush before."""
    pipelines = build_pipelines(to(receiver.endpoint, protocol))
    say_something(pipelines)
    end_spans(pipelines, 1_500)
    assert pipelines.shutdown()
    assert (len(receiver.spans), len(receiver.log_records), len(receiver.metrics)) == (1_501, 1, 1)


def test_a_second_end_does_nothing(receiver: Receiver, protocol: str) -> None:
    """It says what the first said and sends nothing more."""
    pipelines = build_pipelines(to(receiver.endpoint, protocol))
    say_something(pipelines)
    assert pipelines.shutdown()
    attempts = receiver.attempts
    assert pipelines.shutdown()
    assert receiver.attempts == attempts


def test_what_comes_after_the_end_is_counted_as_dropped(
    receiver: Receiver, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Spans and logs of a call that outlives the pipelines are counted, and no queue is blamed for being too small."""
    pipelines = build_pipelines(to(receiver.endpoint, protocol))
    tracer, logger = pipelines.tracer_provider.get_tracer("t"), pipelines.logger_provider.get_logger("l")
    pipelines.shutdown()
    tracer.start_span("late").end()
    logger.emit(body="late")
    assert (pipelines.health().traces.dropped, pipelines.health().logs.dropped) == (1, 1)
    assert not pipelines.health().traces.thread_alive
    assert "queue" not in caplog.text


def test_a_processor_that_hangs_in_its_own_end_does_not_hold_up_ours(receiver: Receiver, protocol: str) -> None:
    """What was handed in is shut down too, but on what is left of the budget."""
    release, entered = Event(), Event()

    class Stubborn(SpanProcessor):
        def shutdown(self) -> None:
            entered.set()
            release.wait(60)

    pipelines = build_pipelines(to(receiver.endpoint, protocol), span_processors=[Stubborn()])
    begin = monotonic()
    pipelines.shutdown(BUDGET)
    assert monotonic() - begin < GENEROUS
    assert entered.wait(30)
    release.set()


def test_a_processor_that_fails_in_its_end_keeps_none_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged and the other providers are shut down all the same."""

    class Broken(SpanProcessor):
        def shutdown(self) -> None:
            raise RuntimeError("broken")

    with running({}, span_processors=[Broken()]) as pipelines:
        assert pipelines.shutdown()
    assert "The TracerProvider could not be shut down." in caplog.text


SCRIPT = """
    import sys
    from telemetry.export import build_pipelines

    pipelines = build_pipelines(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": sys.argv[1], "OTEL_EXPORTER_OTLP_PROTOCOL": sys.argv[2]}
    )
    tracer = pipelines.tracer_provider.get_tracer("script")
    for _ in range(2_000):
        tracer.start_span("span").end()
    pipelines.meter_provider.get_meter("script").create_counter("calls").add(1)
    if sys.argv[3] == "orderly":
        pipelines.shutdown(1.0)
"""


@pytest.mark.parametrize("end", ["orderly", "forgotten"])
def test_a_process_exits_although_its_server_is_silent(receiver: Receiver, protocol: str, end: str) -> None:
    """After an orderly end, and without any, the interpreter exits by itself and with success."""
    receiver.behaviour = Hang()
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), receiver.endpoint, protocol, end]
    done = subprocess.run(command, timeout=180, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    assert done.returncode == 0, done.stderr
    assert "Ended without exporting 1 data points, 2000 spans." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_forgotten_end_still_exports(receiver: Receiver, protocol: str) -> None:
    """Who never calls shutdown is caught by the interpreter's exit."""
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), receiver.endpoint, protocol, "forgotten"]
    subprocess.run(command, timeout=180, capture_output=True, check=True)  # noqa: S603 - our own script
    assert len(receiver.spans) == 2_000


def test_a_channel_closed_under_the_exporter_fails_the_batch_alone() -> None:
    """A stop may close the channel just before a call of the exporting thread: that call fails, the process lives."""
    sender = spans_over_grpc(OtlpDestination(Signal.TRACES, Protocol.GRPC, "http://127.0.0.1:4317"))
    assert isinstance(sender._exporter, OTLPSpanExporter)
    assert sender._exporter._channel is not None
    sender._exporter._channel.close()
    outcome = sender.send([])
    assert outcome.failure is not None
    assert (outcome.failure.fault, outcome.failure.detail) == (ExportFault.UNSENDABLE, "ValueError")
    sender.close()
