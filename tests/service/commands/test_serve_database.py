"""`callscope serve` with a database that cannot be used: one line, exit code 1, and never said to serve."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "s3cr3t-passw0rd"


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("postgresql://ada:{secret}@127.0.0.1:1/calls", "the server 127.0.0.1:1 cannot be reached ("),
        ("sqlite:///{folder}/no/calls.db", "the folder {folder}/no does not exist; create it,"),
        ("sqlite:///{folder}/notes.db", "{folder}/notes.db is no SQLite database; move it away,"),
        ("postgresql://ada:{secret}@127.0.0.1/calls?colour=blue", "the parameter 'colour' is not known; leave it out"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path, url: str, line: str) -> None:
    """Nothing is printed but variable, cause and cure; no traceback, no secret, no word of serving."""
    (tmp_path / "notes.db").write_text("Dear diary, " * 100)
    place = {"secret": SECRET, "folder": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        env={**os.environ, "DATABASE_URL": url.format(**place), "APP_ENV": "dev"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    (said,) = ended.stderr.splitlines()
    assert said.startswith(f"DATABASE_URL: {line.format(**place)}")
    assert SECRET not in ended.stdout + ended.stderr
