"""Tenants changed and removed from the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli import app


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with one tenant."""
    address = f"sqlite:///{tmp_path / 'callscope.db'}"
    added = _run(address, "add", "acme", "--name", "Acme", "--number", "+18005550100", "--max-concurrent-calls", "3")
    assert added.exit_code == 0, added.output
    return address


def _run(url: str, *words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["tenants", *words, "--database-url", url], input=typed, env={"COLUMNS": "200"})


def test_what_is_stated_changes_and_the_rest_stays(url: str) -> None:
    """A new limit leaves name and numbers alone."""
    edited = _run(url, "edit", "acme", "--max-concurrent-calls", "7", "--json")
    assert edited.exit_code == 0, edited.output
    (tenant,) = json.loads(edited.stdout)
    assert (tenant["max_concurrent_calls"], tenant["name"], tenant["numbers"]) == (7, "Acme", ["+18005550100"])


def test_a_tenant_is_removed_once_it_is_confirmed(url: str) -> None:
    """A no leaves it; ``--yes`` removes it, and then there is none to remove."""
    assert _run(url, "delete", "acme", typed="n\n").exit_code == 1
    assert len(json.loads(_run(url, "list", "--json").stdout)) == 1
    assert _run(url, "delete", "acme", "--yes").stdout == "removed acme\n"
    assert json.loads(_run(url, "list", "--json").stdout) == []
    assert _run(url, "delete", "acme", "--yes").exit_code == 2


def test_an_edit_needs_something_to_change_and_somebody_to_change(url: str) -> None:
    """Nothing stated is a wrong command line; an unknown tenant is refused."""
    assert _run(url, "edit", "acme").exit_code == 2
    assert _run(url, "edit", "nosuch", "--name", "X").exit_code == 2


def test_a_narrow_screen_stacks_what_would_be_cut(url: str) -> None:
    """At thirty columns each row becomes lines, with every name and number whole."""
    narrow = CliRunner().invoke(app, ["tenants", "list", "--database-url", url], env={"COLUMNS": "30"})
    assert narrow.exit_code == 0, narrow.output
    assert "…" not in narrow.output
    for whole in ("acme", "+18005550100", "enabled"):
        assert whole in narrow.output
