"""Where the real programs are, and what becomes of a test when one is missing."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""


def folder() -> Path:
    """Return the folder that `make peers` builds into: the user's cache, unless `CALLSCOPE_PEERS` names another."""
    return Path(os.environ.get("CALLSCOPE_PEERS") or Path.home() / ".cache/callscope/peers")


def find(name: str) -> Path | None:
    """The program's path: what `make peers` built, else what the system has."""
    built = folder() / "bin" / name
    if os.access(built, os.X_OK):
        return built
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    installed = shutil.which(name) or (debian[-1] if debian else None)
    return Path(installed) if installed else None


def require(name: str) -> Path:
    """The program's path. Without it the test is skipped, or failed where `CALLSCOPE_REQUIRE_PEERS` is 1."""
    path = find(name)
    if path is not None:
        return path
    reason = f"{name} is not on this machine: run `make peers` (looked in {folder() / 'bin'} and PATH)"
    if os.environ.get("CALLSCOPE_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
