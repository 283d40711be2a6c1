"""What is not understood is ignored with a warning, what cannot work stops the start; no secret is in either."""

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from telemetry.export import InvalidVariableError, Signal, build_pipelines
from telemetry.export.plan import ExportPlan, Temporality, read_plan
from telemetry.export.signals import Compression, Protocol
from tests.telemetry.conftest import Certificates
from tests.telemetry.export.running import running

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "must begin with http:// or https://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector", "must begin with http:// or https://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", "names no host"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:port", "is not a URL"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://:443/v1/traces", "names no host"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b", "entry 2 is not of the form key=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "bad key=1", "entry 1 has a key that is not a header's name"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "key=a%0Ab", "the value of 'key' holds a character"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem", "cannot read /nowhere/ca.pem: No such file"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/nowhere/client.pem", "cannot read /nowhere/client.pem"),
    ],
)
def test_what_cannot_work_is_refused_by_name(variable: str, value: str, problem: str) -> None:
    """The error names the variable and what is wrong with it."""
    with pytest.raises(InvalidVariableError) as raised:
        build_pipelines(ENDPOINT | {variable: value})
    assert raised.value.variable == variable
    assert str(raised.value).startswith(f"{variable}: {problem}")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "udp", "'udp' is not one of grpc, http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "two\nlines", "'two\\nlines' is not one of grpc, http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "'soon' is not a number"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "0 is out of range"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "nan", "nan is out of range"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "'zstd' is not one of deflate, gzip, none"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd", "'zstd' is not one of deflate, gzip, none"),
        ("OTEL_METRICS_EXPORTER", "statsd", "'statsd' is not one of console, none, otlp, prometheus"),
        ("OTEL_METRICS_EXPORTER", "otlp,statsd", "'statsd' is not one of console, none, otlp, prometheus"),
        ("OTEL_TRACES_EXPORTER", "none,otlp", "'none' cannot be combined"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "diff", "'diff' is not one of"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "exponential", "'exponential' is not one of"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some", "'some' is not one of"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "-1 is out of range"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m", "'1m' is not a number"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "inf", "inf is out of range"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "0 is too small"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "'many' is not a whole number"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5000", "5000 is more than the queue holds, which is 2048"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "0", "0 is out of range"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "no sampler is called 'sometimes'"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "1.5 is not a share between 0 and 1"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1", "-1 is too small"),
        ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "long", "'long' is not a whole number"),
        ("OTEL_RESOURCE_ATTRIBUTES", "room", "'room' is not of the form key=value"),
        ("OTEL_SDK_DISABLED", "yes", "'yes' is not one of false, true"),
    ],
)
def test_what_is_not_understood_is_warned_of_once_and_ignored(
    variable: str,
    value: str,
    problem: str,
    protocol: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line names variable and value; the plan and the resource are those without it.

    The variable is in the process's environment too, where the SDK's constructors look by themselves.
    """
    others = ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_TRACES_SAMPLER": "traceidratio"}
    others.pop(variable, None)
    monkeypatch.setenv(variable, value)
    with running(others | {variable: value}) as pipelines:
        attributes = dict(pipelines.resource.attributes)
    (warning,) = [record for record in caplog.records if record.name == "telemetry.export.environment"]
    assert warning.levelname == "WARNING"
    assert warning.getMessage().startswith(f"{variable}: {problem}")
    assert warning.getMessage().endswith("; ignored")
    assert "\n" not in warning.getMessage()
    assert "room" not in attributes
    assert _told(read_plan(others | {variable: value})) == _told(read_plan(others))


def _told(plan: ExportPlan) -> str:
    """Return all that a plan says, without the addresses of the SDK's objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(plan))


def test_a_variable_for_all_signals_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Three signals read it, and one line tells; over the default protocol they go on."""
    plan = read_plan(ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "udp"})
    assert {route.protocol for route in plan.routes.values()} == {Protocol.HTTP}
    assert [record.getMessage() for record in caplog.records] == [
        "OTEL_EXPORTER_OTLP_PROTOCOL: 'udp' is not one of grpc, http/protobuf; ignored"
    ]


def test_a_signals_own_variable_that_is_ignored_leaves_the_general_one() -> None:
    """Ignored is as good as unset, so the next that counts is asked."""
    environ = {"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "zstd", "OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}
    destination = read_plan(ENDPOINT | environ).routes[Signal.TRACES].destination
    assert destination is not None
    assert destination.compression is Compression.DEFLATE


def test_an_unknown_exporter_takes_none_of_the_others_away() -> None:
    """Of a list, what is known is done."""
    route = read_plan(ENDPOINT | {"OTEL_LOGS_EXPORTER": "statsd,console"}).routes[Signal.LOGS]
    assert (route.console, route.destination) == (True, None)


@pytest.mark.parametrize("files", ["mismatched", "keyless", "not pem", "authority"])
def test_unusable_tls_files_stop_the_start(files: str, certificates: Certificates) -> None:
    """A key of another certificate, a key without certificate and a file that is no PEM are found out at the start."""
    client, key = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"
    cases: dict[str, tuple[dict[str, str], str]] = {
        "mismatched": ({client: str(certificates.client), key: str(certificates.server.key)}, client),
        "keyless": ({key: str(certificates.client_key)}, key),
        "not pem": ({client: __file__, key: __file__}, client),
        "authority": ({"OTEL_EXPORTER_OTLP_CERTIFICATE": __file__}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
    }
    environ, wrong = cases[files]
    with pytest.raises(InvalidVariableError) as raised:
        read_plan(ENDPOINT | environ)
    assert raised.value.variable == wrong


def test_a_key_with_a_password_is_refused_without_asking_for_it(certificates: Certificates, tmp_path: Path) -> None:
    """A start that waits at a terminal nobody sits at would be worse than an error."""
    key = load_pem_private_key(certificates.client_key.read_bytes(), password=None)
    locked = tmp_path / "locked.key"
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    locked.write_bytes(key.private_bytes(*form))
    environ = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificates.client),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(locked),
    }
    with pytest.raises(InvalidVariableError, match="is no PEM certificate with its unencrypted key"):
        read_plan(ENDPOINT | environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https//user:hunter2@collector"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:hunter2@collector:port"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=hunter2%0A"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "hunter2"},
    ],
)
def test_no_secret_is_repeated_in_an_error(environ: dict[str, str]) -> None:
    """Neither a password in an endpoint nor a header's value appears in the message."""
    with pytest.raises(InvalidVariableError) as raised:
        read_plan(ENDPOINT | environ)
    assert "hunter2" not in str(raised.value)


def test_nothing_configured_exports_nothing() -> None:
    """Without an endpoint, no signal has a way out."""
    assert not any(route.enabled for route in read_plan({}).routes.values())


def test_empty_variables_count_as_unset() -> None:
    """As the specification says, an empty value is no value."""
    plan = read_plan({"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "OTEL_TRACES_SAMPLER": "", "OTEL_METRIC_EXPORT_INTERVAL": ""})
    assert not any(route.enabled for route in plan.routes.values())
    assert plan.metrics.interval == 60


def test_an_exporter_named_goes_to_this_machine_without_endpoint() -> None:
    """Who asks for otlp by name gets the specification's default address, for that signal alone."""
    routes = read_plan({"OTEL_TRACES_EXPORTER": "otlp"}).routes
    assert routes[Signal.TRACES].address == "http://localhost:4318/v1/traces"
    assert not routes[Signal.METRICS].enabled
    grpc = read_plan({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}).routes[Signal.TRACES]
    assert grpc.address == "http://localhost:4317"


@pytest.mark.parametrize("signal", Signal)
def test_none_switches_one_signal_off(signal: Signal) -> None:
    """The others go on."""
    routes = read_plan(ENDPOINT | {f"OTEL_{signal.upper()}_EXPORTER": "none"}).routes
    assert {other for other, route in routes.items() if route.enabled} == set(Signal) - {signal}


def test_a_disabled_sdk_exports_nothing_even_if_misconfigured() -> None:
    """OTEL_SDK_DISABLED goes before every exporter variable, right or wrong."""
    plan = read_plan({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"})
    assert plan.disabled
    assert not any(route.enabled for route in plan.routes.values())


def test_the_defaults_are_the_specifications() -> None:
    """Intervals, queues and temporality without any variable set."""
    plan = read_plan({})
    assert (plan.metrics.interval, plan.metrics.temporality) == (60, Temporality.CUMULATIVE)
    assert (plan.traces.batching.capacity, plan.traces.batching.batch, plan.traces.batching.delay) == (2048, 512, 5)
    assert (plan.logs.batching.capacity, plan.logs.batching.batch, plan.logs.batching.delay) == (2048, 512, 1)


def test_a_small_queue_alone_makes_the_batch_small_too() -> None:
    """Setting only the queue below the default batch size is no contradiction."""
    assert read_plan({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}).traces.batching.batch == 100


def test_an_installed_sampler_is_found_by_name() -> None:
    """Names of the standard entry point work besides the built-in ones; the argument is handed on."""
    sampler = read_plan({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"})
    assert "0.25" in sampler.traces.sampler.get_description()


def test_an_address_shows_no_credentials() -> None:
    """User, password, query and fragment are left out of what is shown; the rest is there."""
    environ = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://user:hunter2@otlp.example:8443/v1/logs?api-key=hunter2#x"}
    route = read_plan(environ).routes[Signal.LOGS]
    assert route.address == "https://otlp.example:8443/v1/logs"
    assert "hunter2" not in repr(route)
