"""A tenant that does not exist is an error of the command line: a mistyped name in a scheduled job must not pass."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support import calls
from tests.support.server import serving

BEGINS = ("--valid-from", "2025-11-01")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with the tenant ``acme``."""
    address = f"sqlite:///{tmp_path / 'callscope.db'}"
    added = _run("tenants", "add", "acme", "--database-url", address)
    assert added.exit_code == 0, added.output
    return address


@pytest.fixture
def service(kit: TelemetryKit, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a service answers, which has had a call of ``acme``."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    calls.ordinary(kit)
    with serving(Gateway(kit).app()) as base:
        yield base


def _run(*words: str) -> Result:
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    "words",
    [
        ("usage", "--tenant", "nosuch"),
        ("usage", "--tenant", "nosuch", "--format", "json"),
        ("usage", "--tenant", "nosuch", "--format", "csv"),
        ("tenants", "audit", "nosuch"),
        ("tenants", "audit", "nosuch", "--json"),
        ("tenants", "edit", "nosuch", "--name", "X"),
        ("tenants", "delete", "nosuch", "--yes"),
        ("tenants", "enable", "nosuch"),
        ("tenants", "disable", "nosuch"),
        ("billing", "freeze", "--from", "2025-11-01", "--to", "2025-12-01", "--tenant", "nosuch"),
        ("billing", "roundings", "nosuch"),
        ("billing", "agree", "nosuch", "6/6", *BEGINS),
        ("billing", "withdraw", "nosuch", *BEGINS),
    ],
    ids=" ".join,
)
def test_a_command_on_the_database_names_a_tenant_it_does_not_know(url: str, words: tuple[str, ...]) -> None:
    """Nothing is printed as if it had been found; the name is in the error, and the code is 2."""
    shown = _run(*words, "--database-url", url)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "there is no tenant 'nosuch'" in shown.stderr.lower()
    assert "tenant" in shown.stderr.split("Invalid value for ")[1].split(":")[0].lower()


@pytest.mark.parametrize(
    "words",
    [
        ("reconcile", "--tenant", "nosuch"),
        ("reconcile", "--tenant", "nosuch", "--format", "json"),
        ("calls", "--tenant", "nosuch"),
        ("calls", "--tenant", "nosuch", "--json"),
    ],
    ids=" ".join,
)
def test_a_command_on_a_service_names_a_tenant_it_does_not_know(service: str, words: tuple[str, ...]) -> None:
    """The option and the name are in the error, and the code is 2."""
    shown = _run(*words, "--url", service, "--token", TOKEN)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "Invalid value for --tenant: there is no tenant 'nosuch'" in shown.stderr


def test_a_known_tenant_passes_on_the_same_paths(url: str, service: str) -> None:
    """The errors are about the name, not about the commands."""
    for words in (("usage", "--tenant", "acme"), ("tenants", "audit", "acme"), ("billing", "roundings", "acme")):
        assert _run(*words, "--database-url", url).exit_code == 0, words
    assert _run("calls", "--tenant", "acme", "--url", service, "--token", TOKEN).exit_code == 0


def test_the_audit_of_a_tenant_that_is_gone_is_shown(url: str) -> None:
    """Who removed it is what one looks for."""
    assert _run("tenants", "delete", "acme", "--yes", "--database-url", url).exit_code == 0
    shown = _run("tenants", "audit", "acme", "--database-url", url)
    assert (shown.exit_code, "deleted" in shown.stdout) == (0, True), shown.output
