"""The doctor says in distinct, plain sentences what arrives and what keeps the rest from arriving."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from telemetry.doctor import ExportFinding, Verdict, advice, diagnose
from telemetry.export import InvalidVariableError, Signal
from telemetry.export.destination import OtlpDestination
from telemetry.export.outcome import ExportFault, Failure
from telemetry.export.signals import Protocol
from tests.peers.network import free_port
from tests.telemetry.conftest import Certificates
from tests.telemetry.export.running import to
from tests.telemetry.otlp_receiver import (
    RECEIVERS,
    Behaviour,
    Hang,
    Receiver,
    Redirect,
    Refuse,
    RejectPart,
    TlsIdentity,
    WebPage,
)

PROTOBUF = {"Content-Type": "application/x-protobuf"}
OTHER = {"grpc": "http/protobuf", "http/protobuf": "grpc"}


def examine(environ: Mapping[str, str]) -> dict[Signal, ExportFinding]:
    return {finding.signal: finding for finding in diagnose(environ)}


def only_sentence(environ: Mapping[str, str]) -> str:
    """What is said of traces; the other signals fail or succeed alike."""
    findings = examine(environ)
    assert len({finding.verdict for finding in findings.values()}) == 1
    return findings[Signal.TRACES].sentence


def test_all_is_well(receiver: Receiver, protocol: str) -> None:
    """A good server gets one recognisable point, span and record, under the service's own name."""
    findings = examine(to(receiver.endpoint, protocol, OTEL_SERVICE_NAME="gateway"))
    assert {finding.verdict for finding in findings.values()} == {Verdict.ARRIVED}
    assert all(finding.good for finding in findings.values())
    assert findings[Signal.LOGS].sentence.startswith("Logs arrived: the server acknowledged the test item after ")
    assert [metric.name for metric in receiver.metrics] == ["callscope.doctor.checks"]
    assert [span.name for span in receiver.spans] == ["callscope doctor"]
    assert [record.body.string_value for record in receiver.log_records] == ["callscope doctor: a test record"]
    assert "gateway" in str(receiver.received[0].message)


def test_the_test_point_has_the_temporality_preferred(receiver: Receiver, protocol: str) -> None:
    """A backend that takes only deltas is asked with a delta."""
    examine(to(receiver.endpoint, protocol, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta"))
    assert receiver.metrics[0].sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Refuse(401, grpc.StatusCode.UNAUTHENTICATED), "does not know who is sending. Check the key in OTEL_EXPORTER"),
        (Refuse(403, grpc.StatusCode.PERMISSION_DENIED), "it is not allowed to write traces. Check what the key may"),
        (Refuse(404, grpc.StatusCode.UNIMPLEMENTED), "it has no place for traces at this address."),
        (Refuse(400, grpc.StatusCode.INVALID_ARGUMENT), "understood the request and refused its content."),
        (Refuse(500, grpc.StatusCode.INTERNAL), "the server failed over the request. Its own log says why."),
        (Refuse(503, grpc.StatusCode.UNAVAILABLE), "asks to come back later."),
        (Refuse(429, grpc.StatusCode.RESOURCE_EXHAUSTED), "asks to come back later."),
        (Hang(), "no answer came within 0.3 s. A firewall may swallow the packets"),
    ],
    ids=["key", "rights", "path", "content", "failure", "busy", "quota", "silence"],
)
def test_what_a_server_answers_is_explained(
    receiver: Receiver, protocol: str, behaviour: Behaviour, words: str
) -> None:
    """Each status, and silence, has a sentence of its own; one attempt is made for each signal, without retries."""
    receiver.behaviour = behaviour
    findings = examine(to(receiver.endpoint, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="0.3"))
    assert {finding.verdict for finding in findings.values()} == {Verdict.FAILED}
    assert not any(finding.good for finding in findings.values())
    assert words in findings[Signal.TRACES].sentence
    assert findings[Signal.TRACES].sentence.startswith("Traces did not arrive: ")
    if not isinstance(behaviour, Hang):
        assert receiver.attempts == len(Signal)


def test_a_rejected_item_is_no_arrival(receiver: Receiver, protocol: str) -> None:
    """Partial success that rejects the item is told with the server's words."""
    receiver.behaviour = RejectPart(1, "no such tenant")
    sentence = only_sentence(to(receiver.endpoint, protocol))
    assert sentence == "Traces arrived and were rejected by the server: no such tenant."


def test_a_warning_with_a_full_success_is_passed_on(receiver: Receiver, protocol: str) -> None:
    """The item arrived, and the remark is for reading."""
    receiver.behaviour = RejectPart(0, "this endpoint will move")
    findings = examine(to(receiver.endpoint, protocol))
    assert findings[Signal.METRICS].verdict is Verdict.ARRIVED
    assert findings[Signal.METRICS].sentence.endswith("The server remarks: this endpoint will move")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Redirect(), "the server points elsewhere instead of taking the data."),
        (WebPage(), "what answered does not speak OTLP over http/protobuf. Try OTEL_EXPORTER_OTLP_PROTOCOL=grpc."),
        (Refuse(400, body=b"Client sent an HTTP request to an HTTPS server."), "the server wants TLS. Write https://."),
        (Refuse(415), "what answered does not speak OTLP over http/protobuf."),
        (Refuse(400, headers=PROTOBUF, body=Status(message="bad unit").SerializeToString()), "Request: bad unit]"),
        (Refuse(400, headers=PROTOBUF, body=b"\xff"), "[HTTP 400 Bad Request]"),
    ],
    ids=["redirect", "web page", "https", "media type", "status message", "broken status"],
)
def test_what_only_http_servers_answer_is_explained(behaviour: Behaviour, words: str) -> None:
    """Redirects, pages for people, hints in plain text, and OTLP's own error messages."""
    with RECEIVERS["http/protobuf"]() as receiver:
        receiver.behaviour = behaviour
        assert words in only_sentence(to(receiver.endpoint, "http/protobuf"))


def test_a_wrong_path_is_explained_with_the_rule_for_paths() -> None:
    """404 over HTTP tells which variable gets a path appended and which is used as it is."""
    with RECEIVERS["http/protobuf"]() as receiver:
        environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": receiver.endpoint + "/v2/spans"}
        finding = examine(environ)[Signal.TRACES]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT gets /v1/traces appended" in finding.sentence
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is" in finding.sentence
    assert finding.endpoint == receiver.endpoint + "/v2/spans"


def test_a_closed_port_is_explained(protocol: str) -> None:
    """Nothing listens, and OTLP's two ports are named."""
    port = free_port()
    sentence = only_sentence(to(f"http://127.0.0.1:{port}", protocol))
    assert f"nothing listens on 127.0.0.1:{port} (connection refused)" in sentence
    assert "4318 for HTTP and 4317 for gRPC" in sentence


def test_grpc_tells_which_of_a_names_addresses_failed() -> None:
    """A name may stand for several, and what is wrong with one need not be wrong with another."""
    port = free_port()
    assert re.search(rf"\[tried \S+:{port}\]$", only_sentence(to(f"http://localhost:{port}", "grpc")))


def test_an_unknown_name_is_explained(protocol: str) -> None:
    """A host that DNS does not know is told by its name."""
    sentence = only_sentence(to("http://collector.invalid:4318", protocol))
    assert "the name collector.invalid is unknown. Check the spelling" in sentence


@contextmanager
def tls_server(protocol: str, identity: TlsIdentity) -> Iterator[str]:
    with RECEIVERS[protocol](identity) as receiver:
        yield receiver.endpoint


def trusting(certificates: Certificates) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates.authority)}


def test_an_unknown_authority_is_explained(protocol: str, certificates: Certificates) -> None:
    """The variable that names an authority is named."""
    with tls_server(protocol, certificates.server) as endpoint:
        sentence = only_sentence(to(endpoint, protocol))
    assert "Name the authority that signed it in OTEL_EXPORTER_OTLP_CERTIFICATE." in sentence


def test_a_certificate_for_another_name_is_explained(protocol: str, certificates: Certificates) -> None:
    """The name that was dialled is told."""
    with tls_server(protocol, certificates.misnamed) as endpoint:
        sentence = only_sentence(to(endpoint, protocol, **trusting(certificates)))
    assert "the server's certificate is for another name than 127.0.0.1." in sentence


def test_a_client_certificate_wanted_is_explained(protocol: str, certificates: Certificates) -> None:
    """A server that hangs up without one leads to the variables that set it."""
    with tls_server(protocol, certificates.demanding) as endpoint:
        sentence = only_sentence(to(endpoint, protocol, **trusting(certificates)))
    assert "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and" in sentence


def test_tls_to_a_plain_port_is_explained(receiver: Receiver, protocol: str) -> None:
    """The endpoint says https:// and the server does not."""
    sentence = only_sentence(to(receiver.endpoint.replace("http:", "https:"), protocol))
    assert "the endpoint says https://, but the server speaks plain text." in sentence


def test_plain_text_to_a_tls_port_is_explained(protocol: str, certificates: Certificates) -> None:
    """The server hangs up, and the sentence says what to write where it wants TLS."""
    with tls_server(protocol, certificates.server) as endpoint:
        sentence = only_sentence(to(endpoint.replace("https:", "http:"), protocol))
    assert "wants TLS: then write https://." in sentence


def test_the_other_protocol_is_explained(protocol: str) -> None:
    """GRPC spoken to an HTTP port, and HTTP to a gRPC port: the right value of the variable is told."""
    with RECEIVERS[OTHER[protocol]]() as receiver:
        sentence = only_sentence(to(receiver.endpoint, protocol))
    assert f"does not speak OTLP over {protocol}. Try OTEL_EXPORTER_OTLP_PROTOCOL={OTHER[protocol]}." in sentence


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "Logs are not exported. Set OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, "OTEL_SDK_DISABLED is true."),
        ({"OTEL_LOGS_EXPORTER": "none"}, "see that OTEL_LOGS_EXPORTER is not none."),
        ({"OTEL_LOGS_EXPORTER": "console"}, "Logs are printed to the console"),
    ],
)
def test_what_is_off_is_said_to_be_off(environ: dict[str, str], words: str) -> None:
    """Nothing is sent, which is no fault, and the reason is told."""
    finding = examine(environ | {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none"})[Signal.LOGS]
    assert (finding.verdict, finding.good) == (Verdict.OFF, True)
    assert words in finding.sentence


def test_a_bad_variable_is_an_error_by_name() -> None:
    """The doctor stops where the service would, with the same words."""
    with pytest.raises(InvalidVariableError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: "):
        diagnose({"OTEL_EXPORTER_OTLP_ENDPOINT": "smoke://c"})


def test_no_secret_is_told(protocol: str) -> None:
    """Neither password, header nor query appears in a sentence or an endpoint."""
    port = free_port()
    environ = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://user:hunter2@127.0.0.1:{port}/v1/traces?key=hunter2",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=hunter2",
    }
    assert "hunter2" not in str(diagnose(environ))


@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.GRPC])
@pytest.mark.parametrize("secure", [True, False])
def test_every_fault_has_advice_of_its_own(protocol: Protocol, secure: bool) -> None:
    """No fault is without a sentence, no two share one, and every blank in it is filled."""
    destination = OtlpDestination(Signal.LOGS, protocol, "https://otlp.example:4318/v1/logs", secure=secure)
    sentences = [advice(Failure(fault, "detail"), destination) for fault in ExportFault]
    assert len(set(sentences)) == len(ExportFault)
    assert not any("{" in sentence for sentence in sentences)
