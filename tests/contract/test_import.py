"""Importing the library does nothing: it reads no environment, starts no thread, opens no socket and makes no meter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("import")  # they share what takes seconds to make

PROBE = """
import importlib, json, os, pkgutil, socket, sys, threading

import requests  # urllib3 tries by a socket whether there is IPv6, once, when it is first imported

read, opened = [], []
here = os.path.join(os.getcwd(), sys.argv[1]) + os.sep


def asked_by():
    # Past the machinery of mappings and of this probe.
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith("<"):
        frame = frame.f_back
    return frame.f_code.co_filename


class Watched(type(os.environ)):
    def __getitem__(self, key):
        # What the library's dependencies ask for on their own account is not what is tested.
        if asked_by().startswith(here):
            read.append(key)
        return super().__getitem__(key)


watched = Watched.__new__(Watched)
watched.__dict__.update(os.environ.__dict__)
os.environ, os.getenv = watched, lambda key, default=None: watched.get(key, default)
sys.addaudithook(lambda event, arguments: opened.append(event) if event.startswith("socket.") else None)
threads = threading.active_count()
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, sys.argv[1] + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from opentelemetry import metrics, trace
print(json.dumps({
    "modules": sorted(name for name in sys.modules if name.split(".")[0] == sys.argv[1]),
    "read": read,
    "opened": opened,
    "threads": threading.active_count() - threads,
    "providers": [type(metrics.get_meter_provider()).__name__, type(trace.get_tracer_provider()).__name__],
}))
"""

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seen() -> dict[str, object]:
    """What happens when every module of the library is imported in a fresh process."""
    done = subprocess.run(  # noqa: S603 -- this very interpreter
        [sys.executable, "-c", PROBE, "telemetry"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_every_module_was_imported(seen: dict[str, object]) -> None:
    """The probe really walks the package."""
    modules = seen["modules"]
    assert isinstance(modules, list)
    assert {"telemetry.metrics.reader", "telemetry.setup", "telemetry.testing", "telemetry.export.pipelines"} <= set(
        modules
    )


@pytest.mark.parametrize(("what", "expected"), [("read", []), ("opened", []), ("threads", 0)])
def test_importing_the_library_does_nothing(seen: dict[str, object], what: str, expected: object) -> None:
    """No environment variable is read, no socket opened and no thread started by any module."""
    assert seen[what] == expected


def test_importing_the_library_sets_no_provider(seen: dict[str, object]) -> None:
    """The process's own meters and tracers are as they were."""
    assert seen["providers"] == ["_ProxyMeterProvider", "ProxyTracerProvider"]


def test_an_unknown_propagator_stops_neither_import_nor_start() -> None:
    """What is embedded in another program does not fail at a name that the specification wants ignored."""
    program = "import telemetry as t; t.start_telemetry().shutdown(5); import telemetry.testing"
    done = subprocess.run(  # noqa: S603 -- this very interpreter
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "OTEL_PROPAGATORS": "tracecontext,b4"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
