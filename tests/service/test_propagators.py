"""Unknown propagators are warned of and left out before the OpenTelemetry API, which fails at them, is imported."""

import os
import subprocess
import sys

import pytest

from service.__main__ import drop_unknown_propagators


@pytest.mark.parametrize(
    ("value", "kept", "unknown"),
    [
        ("tracecontext,baggage", "tracecontext,baggage", []),
        ("none", "none", []),
        ("tracecontext, b4 ,b4", "tracecontext", ["b4"]),
        ("b4", None, ["b4"]),
        ("two\nlines", None, ["two\nlines"]),
    ],
)
def test_the_known_ones_stay(
    value: str, kept: str | None, unknown: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One line for each unknown name; with none left, the default holds."""
    environment = {"OTEL_PROPAGATORS": value}
    drop_unknown_propagators(environment)
    assert environment.get("OTEL_PROPAGATORS") == kept
    assert caplog.messages == [f"OTEL_PROPAGATORS: no propagator is called {name!r}; ignored" for name in unknown]


@pytest.mark.parametrize("value", [None, "", " , "])
def test_unset_stays_unset(value: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of nothing."""
    environment = {} if value is None else {"OTEL_PROPAGATORS": value}
    before = dict(environment)
    drop_unknown_propagators(environment)
    assert (environment, caplog.messages) == (before, [])


def test_the_command_runs_with_an_unknown_propagator() -> None:
    """One line on standard error, and the command does what it was asked."""
    ran = subprocess.run(
        [sys.executable, "-m", "service", "doctor"],
        env={"PATH": os.environ["PATH"], "OTEL_PROPAGATORS": "tracecontext,b4"},
        capture_output=True,
        text=True,
        check=False,
    )
    warnings = [line for line in ran.stderr.splitlines() if "PROPAGATORS" in line]
    assert warnings == ["OTEL_PROPAGATORS: no propagator is called 'b4'; ignored"]
    assert "Traceback" not in ran.stderr
    assert "Traceback" not in ran.stdout
    assert ran.stdout.strip()
