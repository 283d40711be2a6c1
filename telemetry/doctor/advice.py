"""Each way an export can fail, in a sentence for the person who configures it, with what to look at first."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from telemetry.export.destination import OtlpDestination
from telemetry.export.outcome import ExportFault, Failure
from telemetry.export.signals import Protocol

_ADVICE: Mapping[ExportFault, str] = {
    ExportFault.REFUSED: (
        "nothing listens on {host} (connection refused). Is the Collector running, and is the port right? "
        "OTLP's own ports are 4318 for HTTP and 4317 for gRPC."
    ),
    ExportFault.UNKNOWN_HOST: (
        "the name {hostname} is unknown. Check the spelling, and that this machine can resolve names."
    ),
    ExportFault.UNREACHABLE: "there is no way from this machine to {host}. Check the network and the firewall.",
    ExportFault.DROPPED: "the server broke the connection off without an answer. {dropped}",
    ExportFault.TIMEOUT: (
        "no answer came within {timeout:g} s. A firewall may swallow the packets, or the server is overloaded; "
        "OTEL_EXPORTER_OTLP_TIMEOUT sets how long to wait."
    ),
    ExportFault.UNTRUSTED: (
        "the server's certificate is not trusted. Name the authority that signed it in OTEL_EXPORTER_OTLP_CERTIFICATE."
    ),
    ExportFault.WRONG_NAME: (
        "the server's certificate is for another name than {hostname}. "
        "Use the name that it was issued for, or have one issued for this."
    ),
    ExportFault.NO_CLIENT_CERTIFICATE: (
        "the server wants a client certificate, and got none or one that it does not know. "
        "Set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY."
    ),
    ExportFault.TLS: (
        "an encrypted connection could not be agreed upon. Compare TLS versions and certificates of both sides."
    ),
    ExportFault.NOT_TLS: (
        "the endpoint says https://, but the server speaks plain text. Write http://, or find its TLS port."
    ),
    ExportFault.NEEDS_TLS: "the endpoint says http://, but the server wants TLS. Write https://.",
    ExportFault.UNAUTHENTICATED: (
        "the server does not know who is sending. Check the key in OTEL_EXPORTER_OTLP_HEADERS: "
        "the header's name, and that the value is URL-encoded (a space is %20)."
    ),
    ExportFault.FORBIDDEN: (
        "the server knows the key, but it is not allowed to write {signal}. Check what the key may do."
    ),
    ExportFault.NOT_FOUND: ("a server is there, but it has no place for {signal} at this address. {place}"),
    ExportFault.REDIRECTED: (
        "the server points elsewhere instead of taking the data. That is often a login page or a missing https://; "
        "set the endpoint to where the data belongs."
    ),
    ExportFault.BUSY: "a server is there, but asks to come back later. It is starting, overloaded or out of quota.",
    ExportFault.SERVER_ERROR: "the server failed over the request. Its own log says why.",
    ExportFault.REFUSED_DATA: (
        "the server understood the request and refused its content. Some backends take only deltas: "
        "then set OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta."
    ),
    ExportFault.NOT_OTLP: "what answered does not speak OTLP over {protocol}. Try OTEL_EXPORTER_OTLP_PROTOCOL={other}.",
    ExportFault.CLOSED: "the attempt was broken off.",
    ExportFault.UNSENDABLE: "the test item could not be sent at all.",
    ExportFault.UNKNOWN: "it failed in a way that has no explanation here.",
}
_PLACE: Mapping[Protocol, str] = {
    Protocol.HTTP: (
        "OTEL_EXPORTER_OTLP_ENDPOINT gets /v1/{signal} appended, OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT is used as it "
        "is. If the path is right, is the OTLP receiver part of a {signal} pipeline there?"
    ),
    Protocol.GRPC: "Is the OTLP receiver part of a {signal} pipeline there?",
}
_DROPPED: Mapping[tuple[Protocol, bool], str] = {
    (Protocol.HTTP, False): (
        "Either the port is for gRPC: then set OTEL_EXPORTER_OTLP_PROTOCOL=grpc. Or it wants TLS: then write https://."
    ),
    (Protocol.GRPC, False): (
        "Either the port wants TLS: then write https://. Or it is not for gRPC: then set "
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."
    ),
    **dict.fromkeys(
        [(Protocol.HTTP, True), (Protocol.GRPC, True)],
        "Most often it wants a client certificate: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and "
        "OTEL_EXPORTER_OTLP_CLIENT_KEY. Or it speaks the other protocol: set OTEL_EXPORTER_OTLP_PROTOCOL={other}.",
    ),
}
"""Usual reasons of a connection broken off, without and with TLS."""
_OTHER: Mapping[Protocol, Protocol] = {Protocol.HTTP: Protocol.GRPC, Protocol.GRPC: Protocol.HTTP}


def advice(failure: Failure, destination: OtlpDestination) -> str:
    """Return why nothing arrived and what to look at, in one or two sentences that end with the server's words."""
    message = _ADVICE[failure.fault]
    message = message.replace("{place}", _PLACE[destination.protocol]).replace(
        "{dropped}", _DROPPED[destination.protocol, destination.secure]
    )
    message = message.format(
        host=destination.authority,
        hostname=urlsplit(destination.url).hostname,
        timeout=destination.timeout,
        protocol=destination.protocol,
        other=_OTHER[destination.protocol],
        signal=destination.signal,
        SIGNAL=destination.signal.upper(),
    )
    return f"{message} [{failure.detail}]" if failure.detail else message
