"""`callscope serve` with a database that cannot be used: one line, exit code 1, and never said to serve."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app

SECRET = "s3cr3t-passw0rd"
SERVE = ("serve", "--port", "0")
FAILS = [
    ("postgresql://ada:{secret}@127.0.0.1:1/calls", "the server 127.0.0.1:1 cannot be reached ("),
    ("sqlite:///{folder}/no/calls.db", "the folder {folder}/no does not exist; create it,"),
    ("sqlite:///{folder}/notes.db", "{folder}/notes.db is no SQLite database; move it away,"),
    ("postgresql://ada:{secret}@127.0.0.1/calls?colour=blue", "the parameter 'colour' is not known; leave it out"),
]


def by_the_command(environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command in this process."""
    ended = CliRunner().invoke(app, SERVE, env=environment)
    return ended.exit_code, ended.stdout, ended.stderr


def by_a_process(environment: Mapping[str, str]) -> tuple[int, str, str]:
    """The same of one of its own, in which libraries might print something too."""
    ended = subprocess.run(  # noqa: S603 -- this very interpreter
        [sys.executable, "-m", "service", *SERVE],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


Serving = Callable[[Mapping[str, str]], tuple[int, str, str]]


@pytest.mark.parametrize(
    ("serving", "url", "line"), [*((by_the_command, *fails) for fails in FAILS), (by_a_process, *FAILS[0])]
)
def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path, serving: Serving, url: str, line: str) -> None:
    """Nothing is printed but variable, cause and cure; no traceback, no secret, no word of serving."""
    (tmp_path / "notes.db").write_text("Dear diary, " * 100)
    place = {"secret": SECRET, "folder": str(tmp_path)}
    code, printed, complained = serving({"DATABASE_URL": url.format(**place), "APP_ENV": "dev"})
    assert code == 1
    (said,) = complained.splitlines()
    assert said.startswith(f"DATABASE_URL: {line.format(**place)}")
    assert SECRET not in printed + complained
