"""The example for people with a gateway of their own: the very file, served as they would serve it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from examples.own_gateway import create_app
from telemetry import ReportAnswer
from telemetry.testing import TelemetryKit
from tests.support.contract import Contract
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "own_gateway.py"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx2.Client]:
    """A client of the example, with the token it was started with."""
    monkeypatch.setenv("ADMIN_TOKEN", "secret")
    app = create_app()
    hooks = {"response": [Contract(app.openapi()).check]}
    with (
        serving(app) as url,
        httpx2.Client(
            verify=TLS,
            base_url=url,
            headers={"X-Admin-Token": "secret"},
            event_hooks=hooks,
            trust_env=False,
            timeout=TIMEOUT_SECONDS,
        ) as client,
    ):
        yield client


def test_the_documentation_shows_the_file_that_runs() -> None:
    """The code block in the documentation is the example, to the letter."""
    shown, _ = documented()
    assert shown == EXAMPLE.read_text()


def test_the_documented_report_waits_for_its_call() -> None:
    """The second code block runs as it stands: an end that comes first waits for the rest of its call."""
    with TelemetryKit() as telemetry:
        names: dict[str, object] = {"telemetry": telemetry}
        exec(documented()[1], names)  # noqa: S102 -- the documentation's own code
        assert names["answer"] is ReportAnswer.WAITING


def documented() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-gateway.md").read_text(), re.DOTALL)


def test_a_reported_call_is_counted_and_listed(client: httpx2.Client) -> None:
    """A call that the gateway reports is in the live numbers, the registry and the list, each consistent."""
    client.post("/my/calls/call-1")
    live = client.get("/api/v1/metrics/live").json()
    assert (live["active_calls"], live["accepted_calls"], live["started_calls"]) == (1, 1, 1)
    assert client.get("/api/v1/metrics/live/acme").json() == live
    debug = client.get("/api/v1/metrics/capacity/debug").json()
    assert (debug["consistent"], debug["tenants"]["acme"]["available"]) == (True, 9)
    (entry,) = client.get("/api/v1/calls").json()["calls"]
    assert (entry["call_id"], entry["status"], len(entry["trace_id"])) == ("call-1", "RUNNING", 32)


def test_an_ended_call_leaves_the_lists(client: httpx2.Client) -> None:
    """Once its end is reported the call is over everywhere, and its time is counted."""
    client.post("/my/calls/call-1")
    client.delete("/my/calls/call-1")
    live = client.get("/api/v1/metrics/live").json()
    assert (live["active_calls"], live["ended_calls"], live["minutes_processed"] > 0) == (0, 1, True)
    assert client.get("/api/v1/calls").json()["calls"] == []


def test_only_configured_tenants_are_known(client: httpx2.Client) -> None:
    """The example's own directory decides which tenant without calls there is."""
    assert client.get("/api/v1/metrics/live/globex").status_code == 200
    assert client.get("/api/v1/metrics/live/nobody").status_code == 404


def test_it_does_not_start_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty token stops the start and names the key."""
    monkeypatch.setenv("ADMIN_TOKEN", "")
    with pytest.raises(ValueError, match="ADMIN_TOKEN"):
        create_app()


HEAVY = ("sqlalchemy", "alembic", "openai", "redis", "typer", "rich", "phonenumbers", "uvicorn", "aiosqlite", "asyncpg")
"""Packages that an application of one's own need not have."""


def test_it_needs_nothing_but_the_library_and_fastapi() -> None:
    """What the example imports stands without the packages of the service: the extra `fastapi` does not bring them."""
    program = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # an import of it fails
import examples.own_gateway
"""
    done = subprocess.run(  # noqa: S603 -- our own interpreter
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
