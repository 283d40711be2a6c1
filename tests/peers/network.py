"""Addresses on the loopback interface."""

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from random import Random
from typing import Final

HOST = "127.0.0.1"

PORTS: Final = range(10_000, 32_000)
"""Ports for programs: below those that Linux gives to connections, of which another one takes any at any time."""

_SLICES: Final = 16
# Workers of a parallel run take ports of their own, also while a program that had one is started again.


def _own() -> Iterator[int]:
    """Yield the ports of this worker, from any of them on, again and again."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = PORTS[worker % _SLICES :: _SLICES]
    place = Random().randrange(len(ports))  # noqa: S311 -- not secret
    while True:
        yield ports[place % len(ports)]
        place += 1


_ports: Final = _own()


def free_port() -> int:
    """A port that nobody listens on, and that no other test is given for a long time."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise AssertionError("the ports of a worker have no end")


def answers(url: str) -> bool:
    """Whether a GET of this address is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 -- always a loopback address
            return bool(response.status < 300)
    except (urllib.error.URLError, OSError):
        return False
