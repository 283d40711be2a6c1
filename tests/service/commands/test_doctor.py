"""The doctor's command prints its findings and ends with a code for scripts."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from service.commands.doctor import doctor
from tests.telemetry.otlp_receiver import Receiver, Refuse, http_receiver

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without ``.env``."""
    monkeypatch.chdir(tmp_path)


def call(**variables: str) -> Result:
    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, env=variables)


def test_it_ends_well_when_everything_arrives() -> None:
    """Code 0, one line of good news a signal, each with its endpoint."""
    with http_receiver() as receiver:
        result = call(**{ENDPOINT: receiver.endpoint})
    assert result.exit_code == 0
    assert result.output.count("✔") == 3
    assert f"{receiver.endpoint}/v1/traces" in result.output
    assert len(receiver.received) == 3


def test_it_ends_badly_when_something_does_not() -> None:
    """Code 1, and the advice in full on one line, square brackets and all."""
    with http_receiver() as receiver:
        receiver.behaviour = Refuse(401)
        result = call(**{ENDPOINT: receiver.endpoint})
    assert result.exit_code == 1
    assert result.output.count("✘") == 3
    assert "(a space is %20). [HTTP 401 Unauthorized]" in result.output


def test_it_ends_badly_over_a_bad_variable() -> None:
    """Code 1, and the variable named; nothing is sent."""
    result = call(**{ENDPOINT: "collector:4318"})
    assert result.exit_code == 1
    assert result.output.strip() == f"{ENDPOINT}: must begin with http:// or https://"


def test_nothing_configured_is_told(tmp_path: Path) -> None:
    """Code 1, for nothing arrives; which variables to set, and that this may not be the service's environment."""
    result = call()
    assert result.exit_code == 1
    assert f"{tmp_path} has no .env: run the command with the service's environment" in result.stderr
    assert result.output.count(f"not exported. Set {ENDPOINT}") == 3


def test_it_reads_what_the_service_reads(tmp_path: Path) -> None:
    """Variables in ``.env`` count, after those of the process."""
    with http_receiver() as receiver, http_receiver() as other:
        _write_env(tmp_path, receiver)
        assert call().exit_code == 0
        assert call(**{ENDPOINT: other.endpoint}).exit_code == 0
        assert (receiver.attempts, other.attempts) == (3, 3)


def _write_env(folder: Path, receiver: Receiver) -> None:
    (folder / ".env").write_text(f"{ENDPOINT}={receiver.endpoint}\nADMIN_TOKEN=\n")


def test_an_endpoint_can_be_named() -> None:
    """``--endpoint`` tries one before it is written anywhere."""
    app = typer.Typer()
    app.command()(doctor)
    with http_receiver() as receiver:
        result = CliRunner().invoke(app, ["--endpoint", receiver.endpoint])
    assert (result.exit_code, len(receiver.received)) == (0, 3)
