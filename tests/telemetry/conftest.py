"""Receivers of both protocols, and certificates for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.telemetry.otlp_receiver import RECEIVERS, Receiver, TlsIdentity


@pytest.fixture(params=sorted(RECEIVERS))
def protocol(request: pytest.FixtureRequest) -> str:
    """Each of the two protocols, by the word of the standard variable."""
    return str(request.param)


@pytest.fixture
def receiver(protocol: str) -> Iterator[Receiver]:
    """A receiver that speaks the protocol."""
    with RECEIVERS[protocol]() as receiver:
        yield receiver


@dataclass(frozen=True)
class Certificates:
    """PEM files of one authority, a server and a client, and of an authority nobody trusts."""

    authority: Path
    server: TlsIdentity
    """For this machine."""
    misnamed: TlsIdentity
    """For another name."""
    demanding: TlsIdentity
    """The server, wanting a client certificate."""
    client: Path
    client_key: Path
    client_both: Path
    """Certificate and key in one file."""
    stranger: Path
    """An authority that signed none of these."""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Freshly made certificates."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()

    def identity(name: str, *others: str) -> tuple[Path, Path]:
        leaf = authority.issue_cert(name, *others)
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())
        return chain, key

    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    stranger.cert_pem.write_to_path(str(folder / "stranger.pem"))
    client, client_key = identity("client.example")
    both = folder / "both.pem"
    both.write_bytes(client_key.read_bytes() + client.read_bytes())
    server = identity("localhost", "127.0.0.1")
    return Certificates(
        authority=folder / "authority.pem",
        server=TlsIdentity(*server),
        misnamed=TlsIdentity(*identity("elsewhere.example")),
        demanding=TlsIdentity(*server, client_authority=folder / "authority.pem"),
        client=client,
        client_key=client_key,
        client_both=both,
        stranger=folder / "stranger.pem",
    )
