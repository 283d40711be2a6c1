"""A real Redis, in memory only."""

from pathlib import Path
from typing import Self

from tests.peers.binaries import require
from tests.peers.network import HOST, free_port
from tests.peers.program import Program


class Redis:
    """A Redis on a free port. Nothing is kept over a restart."""

    def __init__(self, folder: Path) -> None:
        self._program = Program("redis", folder)
        self._port = free_port()

    @property
    def url(self) -> str:
        """Its address, for `REDIS_URL`."""
        return f"redis://{HOST}:{self._port}/0"

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._program.log

    def start(self) -> Self:
        """Start and wait until it takes connections."""
        binary = require("redis-server")
        options = ["--bind", HOST, "--port", str(self._port), "--save", "", "--appendonly", "no"]
        # Not by connecting: if the port was taken meanwhile, somebody else would answer.
        self._program.start([binary, *options], lambda: self._program.said("Ready to accept connections"))
        return self

    def stop(self) -> int | None:
        """Let it end."""
        return self._program.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        self._program.kill()
