"""A real Redis, in memory only."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from tests.peers.binaries import require
from tests.peers.network import HOST, free_port
from tests.peers.program import Program


class Redis:
    """A Redis on a free port, with further options of its own. Nothing is kept over a restart."""

    def __init__(self, folder: Path, options: Sequence[str | Path] = (), *, tls: bool = False) -> None:
        self._program = Program("redis", folder)
        self.port = free_port()
        ports = ("--port", "0", "--tls-port", str(self.port)) if tls else ("--port", str(self.port))
        self._options = [*ports, *options]

    @property
    def url(self) -> str:
        """Its address, for `REDIS_URL`."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def log_file(self) -> Path:
        """The file of what it prints."""
        return self._program.log_file

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._program.log

    def start(self) -> Self:
        """Start and wait until it takes connections."""
        binary = require("redis-server")
        options = ["--bind", HOST, "--save", "", "--appendonly", "no", *self._options]
        # Not by connecting: if the port was taken meanwhile, somebody else would answer.
        self._program.start([binary, *options], lambda: self._program.said("Ready to accept connections"))
        return self

    def stop(self) -> int | None:
        """Let it end."""
        return self._program.stop()

    def frozen(self) -> AbstractContextManager[None]:
        """While the context lasts it does not answer; connections stay open."""
        return self._program.frozen()

    def kill(self) -> None:
        """End it as a crash would."""
        self._program.kill()
