"""Several workers behind one port."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app as command


def test_several_workers_need_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without REDIS_URL each worker would keep to the limits alone: one sentence says so, and nothing starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    result = CliRunner().invoke(command, ["serve", "--workers", "2"])
    assert result.exit_code == 1
    assert result.stderr.strip() == "REDIS_URL: several workers share one limit in a store; set it, or run one worker"
    assert list(tmp_path.iterdir()) == []
