"""What packages offer under OpenTelemetry's entry points is found by the names in the variables."""

import textwrap
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import DEFAULT_ON

from telemetry.export import InvalidVariableError
from telemetry.export.plan import read_plan
from tests.telemetry.conftest import Certificates
from tests.telemetry.export.running import end_spans, running, to
from tests.telemetry.otlp_receiver import RECEIVERS

MODULE = """
    import os
    from pathlib import Path

    import grpc
    import requests
    from opentelemetry.sdk.trace.sampling import Decision, StaticSampler

    def session():
        made = requests.Session()
        made.headers["x-signed-by"] = "provider"
        return made

    def channel():
        return grpc.ssl_channel_credentials(Path(os.environ["TEST_AUTHORITY"]).read_bytes())

    def nonsense(argument=None):
        return "nothing to send with"

    class Picky(StaticSampler):
        def __init__(self, argument):
            super().__init__(Decision.DROP)
            self.argument = argument
"""
ENTRY_POINTS = """
    [opentelemetry_otlp_credential_provider]
    session = installed_for_test:session
    channel = installed_for_test:channel
    nonsense = installed_for_test:nonsense

    [opentelemetry_traces_sampler]
    picky = installed_for_test:Picky
    nonsense = installed_for_test:nonsense
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package, installed as far as Python's metadata goes."""
    (tmp_path / "installed_for_test.py").write_text(textwrap.dedent(MODULE))
    metadata = tmp_path / "installed_for_test-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-for-test\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(textwrap.dedent(ENTRY_POINTS))
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_credential_provider_makes_the_http_session() -> None:
    """What it has prepared is sent, and the answers are watched all the same."""
    with RECEIVERS["http/protobuf"]() as receiver:
        environ = to(
            receiver.endpoint, "http/protobuf", OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER="session"
        )
        with running(environ) as pipelines:
            end_spans(pipelines, 1)
            assert pipelines.flush()
            assert pipelines.health().traces.last_success_seconds is not None
        assert receiver.received[0].headers["x-signed-by"] == "provider"


def test_a_credential_provider_makes_the_channel_credentials(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority that only the provider knows is trusted."""
    monkeypatch.setenv("TEST_AUTHORITY", str(certificates.authority))
    with RECEIVERS["grpc"](certificates.server) as receiver:
        environ = to(receiver.endpoint, "grpc", OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER="channel")
        with running(environ) as pipelines:
            end_spans(pipelines, 1)
            assert pipelines.flush()


@pytest.mark.parametrize(("protocol", "kind"), [("http/protobuf", "HTTP"), ("grpc", "GRPC")])
def test_a_provider_of_something_else_stops_the_start(protocol: str, kind: str) -> None:
    """The error tells what was made and what was wanted."""
    environ = to("https://localhost:1", protocol)
    environ[f"OTEL_PYTHON_EXPORTER_OTLP_{kind}_CREDENTIAL_PROVIDER"] = "nonsense"
    with pytest.raises(TypeError, match="the credential provider made a str, not "), running(environ):
        pass


def test_a_provider_that_is_not_installed_stops_the_start() -> None:
    """By the variable's name."""
    environ = to("http://localhost:1", "grpc", OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER="aws")
    with pytest.raises(InvalidVariableError, match="GRPC_CREDENTIAL_PROVIDER: no credential provider is called 'aws'"):
        read_plan(environ)


def test_an_installed_sampler_is_given_its_argument() -> None:
    """By its name, with the text of the argument's variable."""
    plan = read_plan({"OTEL_TRACES_SAMPLER": "picky", "OTEL_TRACES_SAMPLER_ARG": "acme=1"})
    assert getattr(plan.traces.sampler, "argument", None) == "acme=1"


def test_an_installed_sampler_that_is_none_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """An entry point that cannot make a sampler is as good as none."""
    assert read_plan({"OTEL_TRACES_SAMPLER": "nonsense"}).traces.sampler is DEFAULT_ON
    assert caplog.messages == ["OTEL_TRACES_SAMPLER: no sampler is called 'nonsense'; ignored"]
