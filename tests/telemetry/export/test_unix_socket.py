"""OTLP over gRPC to a Unix socket, with a real server at it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from telemetry.doctor import Verdict, diagnose
from telemetry.export import InvalidVariableError, Signal
from telemetry.export.plan import read_plan
from telemetry.export.signals import Protocol
from tests.telemetry.export.running import running, say_something, to
from tests.telemetry.otlp_receiver import grpc_receiver


@pytest.fixture
def path() -> Iterator[Path]:
    """A path short enough for a socket, which the folders of tests often are not."""
    with TemporaryDirectory(prefix="otlp") as folder:
        yield Path(folder) / "in.sock"


@pytest.mark.parametrize("form", ["unix://{}", "unix:{}"])
def test_all_signals_arrive(path: Path, form: str) -> None:
    """Metrics, spans and log records, in either of gRPC's forms of the address."""
    with grpc_receiver(unix_socket=path) as receiver:
        with running(to(form.format(path), "grpc")) as pipelines:
            say_something(pipelines)
            assert pipelines.flush()
        assert (len(receiver.spans), len(receiver.log_records)) == (1, 1)
        assert "test.calls" in {metric.name for metric in receiver.metrics}


def test_one_signal_may_go_to_a_socket(path: Path) -> None:
    """Its own endpoint says so; what is shown is the socket."""
    environ = to("http://localhost:4317", "grpc", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"unix://{path}")
    routes = read_plan(environ).routes
    assert (routes[Signal.LOGS].address, routes[Signal.LOGS].protocol) == (f"unix://{path}", Protocol.GRPC)
    assert routes[Signal.TRACES].address == "http://localhost:4317"


def test_the_doctor_tells_a_server_from_none(path: Path) -> None:
    """With a server the items arrive; without, the sentence names the socket."""
    environ = to(f"unix://{path}", "grpc")
    with grpc_receiver(unix_socket=path):
        assert {finding.verdict for finding in diagnose(environ)} == {Verdict.ARRIVED}
    for finding in diagnose(environ | {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}):
        assert finding.verdict is Verdict.FAILED
        assert f"nothing listens on unix://{path} (connection refused)" in finding.sentence


@pytest.mark.parametrize(
    ("endpoint", "protocol", "problem"),
    [
        ("unix://run/otlp.sock", "grpc", "must name a socket by its absolute path"),
        ("unix:otlp.sock", "grpc", "must name a socket by its absolute path"),
        ("unix://", "grpc", "must name a socket by its absolute path"),
        ("unix:///run/otlp.sock?x=1", "grpc", "must name a socket by its absolute path"),
        (f"unix:///{'a' * 107}", "grpc", "the socket's path is longer than the 107 bytes"),
        ("unix:///run/otlp.sock", "http/protobuf", "must begin with http:// or https://; a Unix socket takes "),
    ],
)
def test_what_is_no_socket_is_refused(endpoint: str, protocol: str, problem: str) -> None:
    """By the variable's name, in one sentence."""
    with pytest.raises(InvalidVariableError, match=f"^OTEL_EXPORTER_OTLP_ENDPOINT: {problem}"):
        read_plan(to(endpoint, protocol))


def test_json_is_warned_of_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """The specification's third protocol leaves the default."""
    plan = read_plan(to("http://localhost:4318", "http/json"))
    assert {route.protocol for route in plan.routes.values()} == {Protocol.HTTP}
    assert caplog.messages == [
        "OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' is not offered, for no exporter of it goes with this SDK; ignored"
    ]
