"""The database a command reads: named where it is not in the way, and never made by a command that only reads."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli import app

READING = (("tenants", "list"), ("tenants", "audit"), ("usage",), ("billing", "freezes"), ("billing", "roundings"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is not the service's, and none of its variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def _run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_outside_of_the_services_environment_a_reading_command_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Code 1, which file is not there and the cure; no empty database is left behind."""
    shown = _run(*words)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr == (
        f"DATABASE_URL: there is no database {tmp_path / 'callscope.db'}; run the command with the service's"
        " environment or in its folder, or name the database with --database-url\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_the_database_is_named_without_its_driver_in_the_way(tmp_path: Path, words: tuple[str, ...]) -> None:
    """One line of standard error names it; standard output has the answer alone."""
    url = f"sqlite:///{tmp_path / 'made.db'}"
    assert _run("tenants", "add", "acme", "--database-url", url).exit_code == 0
    shown = _run(*words, "--database-url", url)
    assert (shown.exit_code, shown.stderr) == (0, f"Database: {url}\n")
    assert "Database: " not in shown.stdout


def test_json_stays_parseable(tmp_path: Path) -> None:
    """What a script reads is JSON and nothing else."""
    url = f"sqlite:///{tmp_path / 'made.db'}"
    assert json.loads(_run("tenants", "add", "acme", "--json", "--database-url", url).stdout)[0]["tenant_id"] == "acme"
