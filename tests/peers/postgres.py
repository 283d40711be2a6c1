"""A real PostgreSQL with an empty database."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from tests.peers.binaries import require
from tests.peers.network import HOST, free_port
from tests.peers.program import Program

DATABASE = "postgres"
"""The database every new cluster has."""

OWNER = "callscope"
"""The role that owns the cluster; connections from the loopback interface are trusted."""


class Postgres:
    """A cluster of its own on a free port. It refuses to run as root, so root starts it as the user `postgres`."""

    def __init__(self, folder: Path) -> None:
        self._program = Program("postgres", folder)
        self._port = free_port()
        self._user = "postgres" if os.geteuid() == 0 else None
        self._cluster: Path | None = None

    @property
    def url(self) -> str:
        """Its address, for `DATABASE_URL`."""
        return f"postgresql+asyncpg://{OWNER}@{HOST}:{self._port}/{DATABASE}"

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._program.log

    def start(self) -> Self:
        """Make the cluster if there is none yet, start and wait until it takes queries."""
        server, probe = require("postgres"), require("pg_isready")
        cluster = self._cluster = self._cluster or self._made()
        options: list[str | Path] = ["-D", cluster, "-h", HOST, "-p", str(self._port), "-k", cluster, "-c", "fsync=off"]
        asked = [str(probe), "-q", "-h", HOST, "-p", str(self._port)]
        self._program.start(
            [server, *options],
            lambda: subprocess.run(asked, check=False).returncode == 0,  # noqa: S603 -- pg_isready
            user=self._user,
        )
        return self

    def stop(self) -> int | None:
        """Let it end and remove the cluster."""
        code = self._program.stop()
        if self._cluster is not None:
            shutil.rmtree(self._cluster)
            self._cluster = None
        return code

    def frozen(self) -> AbstractContextManager[None]:
        """While the context lasts no query is answered, and no connection ends."""
        return self._program.frozen()

    @contextmanager
    def halted(self) -> Iterator[None]:
        """While the context lasts it has ended in good order, and connections are refused."""
        self._program.stop(signal.SIGINT)
        try:
            yield
        finally:
            self.start()

    def kill(self) -> None:
        """End it as a crash would; the cluster stays."""
        self._program.kill()

    def _made(self) -> Path:
        # Not in the test's own folder: only root may enter that one when the tests run as root.
        cluster = Path(tempfile.mkdtemp(prefix="callscope-postgres-"))
        if self._user is not None:
            shutil.chown(cluster, self._user)
        command = [require("initdb"), "-D", cluster, "-U", OWNER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(  # noqa: S603 -- initdb
            [str(word) for word in command], check=True, stdout=subprocess.DEVNULL, user=self._user, cwd=cluster
        )
        return cluster
