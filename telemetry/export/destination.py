"""One signal's destination: endpoint, protocol, headers, TLS files. Interprets the ``OTEL_EXPORTER_OTLP_*`` variables.

Each variable exists in a general form and in one for a signal (``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``), which goes
first. Rules: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from telemetry.export.environment import OTLP_PREFIX, Environment, InvalidVariableError, Variable, otlp
from telemetry.export.signals import Compression, Protocol, Signal

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


def read_headers(variable: Variable | None) -> dict[str, str]:
    """Return comma-separated, URL-encoded ``key=value`` pairs; keys in lower case, as both protocols accept them."""
    if variable is None:
        return {}
    pairs = (part for part in variable.text.split(",") if part.strip())
    return dict(_header(variable, number, pair) for number, pair in enumerate(pairs, start=1))


def _header(variable: Variable, number: int, pair: str) -> tuple[str, str]:
    name, separator, value = pair.partition("=")
    name, value = unquote(name.strip()), unquote(value.strip())
    if not separator:
        raise variable.wrong(f"entry {number} is not of the form key=value")
    if not _HEADER_NAME.fullmatch(name):
        raise variable.wrong(f"entry {number} has a key that is not a header's name")
    if not _HEADER_VALUE.fullmatch(value):
        raise variable.wrong(f"the value of {name!r} holds a character that a header cannot carry")
    return name.lower(), value


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for TLS, each optional."""

    authority: Path | None = None
    """Certificates that the server's must lead back to; without it, the system's."""
    certificate: Path | None = None
    """The client's own certificate chain, for mutual TLS."""
    key: Path | None = None
    """The private key of ``certificate``; without it, the key is in the certificate's file."""


def read_tls_files(environment: Environment, signal: Signal) -> TlsFiles:
    """Return the files named for this signal; one that cannot be used is an error by its variable's name."""
    authority = environment.find(*otlp(signal, "CERTIFICATE"))
    certificate = environment.find(*otlp(signal, "CLIENT_CERTIFICATE"))
    key = environment.find(*otlp(signal, "CLIENT_KEY"))
    if authority:
        _check_authority(authority)
    if certificate:
        _check_client(certificate, key)
    elif key:
        raise key.wrong(f"a key needs its certificate: set {otlp(signal, 'CLIENT_CERTIFICATE')[1]} too")
    return TlsFiles(*(variable.file() if variable else None for variable in (authority, certificate, key)))


def _check_authority(variable: Variable) -> None:
    try:
        ssl.create_default_context(cafile=variable.file())
    except ssl.SSLError:
        raise variable.wrong(f"{variable.text} holds no usable PEM certificate") from None


def _check_client(certificate: Variable, key: Variable | None) -> None:
    try:
        files = certificate.file(), key.file() if key else None
        ssl.create_default_context().load_cert_chain(*files, password=_no_password)
    except InvalidVariableError:
        raise
    except (ssl.SSLError, ValueError):
        raise certificate.wrong(f"{certificate.text} is no PEM certificate with its unencrypted key") from None


def _no_password() -> str:
    """Keep OpenSSL from asking on the terminal for the password of an encrypted key."""
    return ""


_JSON = "http/json"
"""The protocol of the specification that is not offered: releases of its exporter pin other versions of what it shares
with the exporters of protobuf."""
_SOCKET = "unix://"
_MAX_SOCKET_PATH = 107
"""Bytes of a Unix socket's path, without the zero at its end (``sockaddr_un`` on Linux)."""
_DEFAULT_TIMEOUT = 10.0
"""Seconds for one export with all its retries, as specified."""
_MILLISECONDS_FROM = 100.0
"""A timeout from here on is meant in milliseconds.

The specification counts in milliseconds, Python's exporters in seconds. Nobody means a tenth of a second, nor minutes
on end, so the size tells which of the two was written.
"""


@dataclass(frozen=True, slots=True)
class OtlpDestination:
    """Address of one signal's server, and how to reach it."""

    signal: Signal
    protocol: Protocol
    url: str = field(repr=False)
    """In full, path included; may carry credentials, so it is never printed: see :attr:`address`."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = _DEFAULT_TIMEOUT
    """Seconds for one export with all its retries."""
    compression: Compression = Compression.GZIP
    tls: TlsFiles = field(default_factory=TlsFiles)
    secure: bool = False
    """True if the connection is encrypted."""
    credentials: EntryPoint | None = None
    """Entry point of a package that makes the HTTP session or the channel credentials, for what no header can carry."""

    @property
    def address(self) -> str:
        """The endpoint without user, password, query and fragment: fit for logs."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"

    @property
    def authority(self) -> str:
        """Host and port as gRPC dials them; the URL of a Unix socket."""
        return self.url if self.is_socket else urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def is_socket(self) -> bool:
        """True if the server is at a Unix socket of this machine."""
        return self.url.startswith(_SOCKET)


def is_named(environment: Environment, signal: Signal) -> bool:
    """Return true if an endpoint is configured for this signal."""
    return environment.find(*otlp(signal, "ENDPOINT")) is not None


def read_destination(environment: Environment, signal: Signal) -> OtlpDestination:
    """Return the destination that the variables name; with none set, the specification's default on this machine."""
    protocol = environment.read(_protocol, Protocol.HTTP, *otlp(signal, "PROTOCOL"))
    url, secure = _READ_ENDPOINT[protocol](environment, signal)
    return OtlpDestination(
        signal=signal,
        protocol=protocol,
        url=url,
        headers=read_headers(environment.find(*otlp(signal, "HEADERS"))),
        timeout=environment.read(_timeout, _DEFAULT_TIMEOUT, *otlp(signal, "TIMEOUT")),
        compression=environment.read(_compression, Compression.GZIP, *otlp(signal, "COMPRESSION")),
        tls=read_tls_files(environment, signal),
        secure=secure,
        credentials=_credentials(environment, signal, protocol),
    )


def _protocol(variable: Variable) -> Protocol:
    if variable.text.lower() == _JSON:
        raise variable.wrong(f"{_JSON!r} is not offered, for no exporter of it goes with this SDK")
    return Protocol(variable.choice((Protocol.HTTP, Protocol.GRPC)))


def _compression(variable: Variable) -> Compression:
    return Compression(variable.choice(tuple(Compression)))


def _timeout(variable: Variable) -> float:
    value = variable.number()
    return value / 1000 if value >= _MILLISECONDS_FROM else value


def _http_endpoint(environment: Environment, signal: Signal) -> tuple[str, bool]:
    own, general = otlp(signal, "ENDPOINT")
    if variable := environment.find(own):
        url = variable.text
    else:
        variable = environment.get(general, "http://localhost:4318")
        url = _with_path(_url(variable), f"v1/{signal}")
    return url, _url(variable).scheme == "https"


def _with_path(base: SplitResult, path: str) -> str:
    return base._replace(path=f"{base.path.rstrip('/')}/{path}").geturl()


def _grpc_endpoint(environment: Environment, signal: Signal) -> tuple[str, bool]:
    variable = environment.find(*otlp(signal, "ENDPOINT")) or Variable(
        OTLP_PREFIX + "ENDPOINT", "http://localhost:4317"
    )
    if variable.text.startswith("unix:"):
        return _socket(variable), False
    if "://" in variable.text:
        return variable.text, _url(variable).scheme == "https"
    secure = not environment.read(Variable.flag, False, *otlp(signal, "INSECURE"))
    bare = Variable(variable.name, f"{'https' if secure else 'http'}://{variable.text}")
    return _url(bare).geturl(), secure


_READ_ENDPOINT = {Protocol.HTTP: _http_endpoint, Protocol.GRPC: _grpc_endpoint}


def _socket(variable: Variable) -> str:
    """Return the URL of a Unix socket, given as ``unix:///path`` or ``unix:/path`` (gRPC Name Resolution)."""
    parts = urlsplit(variable.text)
    if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise variable.wrong("must name a socket by its absolute path, as unix:///run/otlp.sock does")
    if len(unquote(parts.path).encode()) > _MAX_SOCKET_PATH:
        raise variable.wrong(f"the socket's path is longer than the {_MAX_SOCKET_PATH} bytes there may be")
    return f"{_SOCKET}{parts.path}"


def _url(variable: Variable) -> SplitResult:
    """Return the parsed endpoint. Its text is not repeated in an error, for it may hold a password."""
    try:
        parts = urlsplit(variable.text)
        _ = parts.port
    except ValueError as error:
        raise variable.wrong(f"is not a URL: {error}") from None
    if parts.scheme == "unix":
        raise variable.wrong("must begin with http:// or https://; a Unix socket takes the protocol grpc")
    if parts.scheme not in ("http", "https"):
        raise variable.wrong("must begin with http:// or https://")
    if not parts.hostname:
        raise variable.wrong("names no host")
    return parts


def _credentials(environment: Environment, signal: Signal, protocol: Protocol) -> EntryPoint | None:
    """Return the credential provider that is named, by the SDK's own variables for Python."""
    prefix = f"OTEL_PYTHON_EXPORTER_OTLP_{'GRPC' if protocol is Protocol.GRPC else 'HTTP'}"
    variable = environment.find(f"{prefix}_{signal.upper()}_CREDENTIAL_PROVIDER", f"{prefix}_CREDENTIAL_PROVIDER")
    if variable is None:
        return None
    for entry in entry_points(group="opentelemetry_otlp_credential_provider", name=variable.text):
        return entry
    raise variable.wrong(f"no credential provider is called {variable.text!r}")
