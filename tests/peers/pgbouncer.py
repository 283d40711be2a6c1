"""A real PgBouncer before a real PostgreSQL."""

import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.peers.binaries import require
from tests.peers.network import HOST, free_port
from tests.peers.program import Program


class PgBouncer:
    """Shares few server connections between the transactions of many clients. It refuses to run as root."""

    def __init__(self, folder: Path, server: str, *, server_connections: int) -> None:
        self._program = Program("pgbouncer", folder)
        self._readable: Path | None = None
        self._server = urlsplit(server)
        self._connections = server_connections
        self._port = free_port()

    def url(self, database: str) -> str:
        """Return the address of one of the server's databases through this pooler."""
        return f"postgresql://{self._server.username}@{HOST}:{self._port}/{database}"

    def start(self) -> Self:
        """Start and wait until it takes connections."""
        # Where the user it drops to can read; a test's own folder is closed to others.
        self._readable = Path(tempfile.mkdtemp(prefix="callscope-pgbouncer-"))
        self._readable.chmod(0o755)
        settings = self._readable / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={self._server.hostname} port={self._server.port} user={self._server.username}\n"
            f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {self._port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = transaction\ndefault_pool_size = {self._connections}\n"
        )
        settings.chmod(0o644)
        self._program.start(
            [require("pgbouncer"), settings],
            self._listens,
            user="postgres" if os.geteuid() == 0 else None,
        )
        return self

    def stop(self) -> int | None:
        """Let it end."""
        code = self._program.stop()
        if self._readable is not None:
            shutil.rmtree(self._readable)
            self._readable = None
        return code

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self._port)) == 0
