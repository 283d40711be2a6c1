"""The PEM files for an encrypted connection, checked when they are named rather than when they are needed."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from telemetry.export.environment import Environment, InvalidVariableError, Variable, otlp
from telemetry.export.signals import Signal


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
    """The files named for this signal; one that cannot be used is an error by its variable's name."""
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
