"""Addresses on the loopback interface."""

import socket
import urllib.error
import urllib.request

HOST = "127.0.0.1"


def free_port() -> int:
    """A port nobody listens on now. Another process may take it before it is used: starting is tried again then."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a GET of this address is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 -- always a loopback address
            return bool(response.status < 300)
    except (urllib.error.URLError, OSError):
        return False
