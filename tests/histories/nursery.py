"""Forks light processes from one that has loaded everything: ``python -m tests.histories.nursery SOCKET``.

Each line on standard input is the order of a process, as JSON. A fork takes milliseconds where a start takes a second.
"""

import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path

from tests.histories.worker import Order, work


def main(socket: Path) -> None:
    """Fork until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends is not waited for
    gc.freeze()
    while line := sys.stdin.readline():
        if os.fork() == 0:
            os.close(0)
            asyncio.run(work(Order(**json.loads(line)), socket))
            os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
