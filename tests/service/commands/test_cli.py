"""The command line as a whole: its list, its version, and what ends no command."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from service.cli import COMMANDS

HEAVY = {"fastapi", "httpx2", "openai", "pydantic", "rich", "sqlalchemy", "starlette", "uvicorn"}

AFTER_HELP = """
import json, sys
from service.__main__ import main
sys.argv = ["callscope", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""

LIBRARY_ALONE = """
import sys
for name in ("typer", "fastapi", "sqlalchemy", "rich"):
    sys.modules[name] = None
from service.__main__ import main
sys.argv = ["callscope", *sys.argv[1:]]
main()
"""


def _python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 -- this very interpreter
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


def test_help_lists_every_command_and_imports_none() -> None:
    """The list is there before anything that takes long to import is."""
    shown = _python(AFTER_HELP)
    assert shown.returncode == 0, shown.stderr
    *help_lines, modules = shown.stdout.splitlines()
    assert not HEAVY & set(json.loads(modules))
    listed = [line for line in help_lines if line.startswith("  ")]
    assert set(COMMANDS) <= {line.split()[0] for line in listed}
    assert not [line for line in listed if line.endswith("...")], "a line of the list is cut at 80 columns"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_of_the_list_is_there(name: str) -> None:
    """The target that the list names is a command, which explains itself."""
    shown = _python("from service.__main__ import main; main()", name, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"callscope {name}" in shown.stdout


def test_the_version_is_the_packages() -> None:
    """``--version`` prints what is installed, with the library alone too."""
    for code in ("from service.__main__ import main; main()", LIBRARY_ALONE):
        shown = _python(code, "--version")
        assert (shown.returncode, shown.stdout) == (0, f"callscope {version('callscope')}\n")


def test_the_library_alone_says_which_extra_is_missing() -> None:
    """The script is installed with the library; its commands are not."""
    refused = _python(LIBRARY_ALONE, "usage")
    assert refused.returncode == 1
    assert refused.stderr == (
        "callscope: the command needs the service (typer is missing): pip install 'callscope[service]'\n"
    )


def _usage(database: Path, *, ascii_only: bool = False) -> list[str]:
    return [
        *(["env", "PYTHONIOENCODING=ascii"] if ascii_only else []),
        sys.executable,
        "-m",
        "service",
        "tenants",
        "list",
        "--database-url",
        f"sqlite:///{database}",
    ]


def _add(database: Path, name: str) -> None:
    url = f"sqlite:///{database}"
    adding = [sys.executable, "-m", "service", "tenants", "add", "acme", "--name", name, "--database-url", url]
    subprocess.run(adding, check=True, timeout=120, capture_output=True)  # noqa: S603


def _named(database: Path) -> str:
    """The one line of standard error: which database is read."""
    return f"Database: sqlite:///{database}\n"


def test_a_reader_who_leaves_does_not_end_a_command(tmp_path: Path) -> None:
    """With nobody at the other end of the pipe, the command does its work and ends well."""
    _add(tmp_path / "a.db", "Acme")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(  # noqa: S603
            _usage(tmp_path / "a.db"), stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, _named(tmp_path / "a.db"))


def test_characters_the_terminal_lacks_do_not_end_a_command(tmp_path: Path) -> None:
    """Under ASCII, a name with other letters is written with escapes, and tables without lines of their own."""
    _add(tmp_path / "a.db", "Café Ω")
    shown = subprocess.run(  # noqa: S603
        _usage(tmp_path / "a.db", ascii_only=True), capture_output=True, text=True, check=False, timeout=120
    )
    assert (shown.returncode, shown.stderr) == (0, _named(tmp_path / "a.db"))
    assert "Caf\\xe9 \\u03a9" in shown.stdout
