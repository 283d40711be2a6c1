"""Certificates for a test: one authority, a server on loopback, a client."""

from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.peers.network import HOST


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of PEM files."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def for_the_collector(self) -> dict[str, str]:
        """What the `mtls` layer reads."""
        return {
            "COLLECTOR_TLS_CERT": str(self.server),
            "COLLECTOR_TLS_KEY": str(self.server_key),
            "COLLECTOR_TLS_CLIENT_CA": str(self.authority),
        }

    def for_the_exporters(self) -> dict[str, str]:
        """What the standard exporters read."""
        return {
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(self.authority),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(self.client),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(self.client_key),
        }


def certificates(folder: Path) -> Certificates:
    """Issue them into a folder."""
    authority = trustme.CA()
    paths = Certificates(*(folder / f"{name}.pem" for name in ("ca", "server", "server-key", "client", "client-key")))
    authority.cert_pem.write_to_path(str(paths.authority))
    for issued, chain, key in (
        (authority.issue_cert(HOST, "localhost"), paths.server, paths.server_key),
        (authority.issue_cert("client@callscope.test"), paths.client, paths.client_key),
    ):
        issued.private_key_pem.write_to_path(str(key))
        for index, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(str(chain), append=index > 0)
    return paths
