"""The command line as a whole: its list, its version, and what ends no command."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from service.cli import COMMANDS, app
from service.commands.loading import load
from telemetry.semconv.attributes import EndReason
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support import calls
from tests.support.server import serving

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


@pytest.mark.endurance
@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_of_the_list_is_there(name: str) -> None:
    """The target that the list names is a command, which explains itself in a process that has loaded nothing else."""
    shown = _python("from service.__main__ import main; main()", name, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"callscope {name}" in shown.stdout


def _every_command() -> Iterator[tuple[str, ...]]:
    for name, listed in COMMANDS.items():
        yield (name,)
        found = load(listed.target)
        if isinstance(found, typer.Typer):
            yield from ((name, str(command.name)) for command in found.registered_commands)


def test_every_help_is_plain() -> None:
    """Of commands and of those below them: no boxes, and no completion to install but that of the whole."""
    words = list(_every_command())
    assert ("billing", "freeze") in words
    for one in words:
        shown = CliRunner().invoke(app, [*one, "--help"])
        assert (shown.exit_code, shown.output.startswith("Usage: ")) == (0, True), shown.output
        assert "\u2500" not in shown.output
        assert "--install-completion" not in shown.output


def test_a_value_that_is_none_of_several_is_told_in_plain_words() -> None:
    """Nothing of the library that checks it is in the message."""
    refused = CliRunner().invoke(app, ["calls", "--outcome", "bogus"])
    assert refused.exit_code == 2
    assert "Invalid value for '--outcome': 'bogus' is not one of 'rejected'," in refused.output


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


def _command(*words: str, encoding: str = "utf-8") -> list[str]:
    return ["env", f"PYTHONIOENCODING={encoding}", "LOGNAME=Zoë", sys.executable, "-m", "service", *words]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database whose tenant and whose operator have names beyond ASCII."""
    url = f"sqlite:///{tmp_path_factory.mktemp('cli') / 'a.db'}"
    for words in (
        ("tenants", "add", "acme", "--name", "Café Ω"),
        ("billing", "agree", "acme", "6/6", "--valid-from", "2025-11-01"),
        ("billing", "freeze", "--from", "2025-11-01", "--to", "2025-12-01"),
    ):
        subprocess.run(_command(*words, "--database-url", url), check=True, timeout=120, capture_output=True)  # noqa: S603
    return url


@pytest.fixture
def service(kit: TelemetryKit, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a service answers that has had a call with an id beyond ASCII."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    calls.started(kit, "rtc_é").ended(EndReason.HANGUP)
    with serving(Gateway(kit).app()) as base:
        yield base


READING = (("tenants", "list"), ("billing", "roundings"), ("billing", "freezes"), ("calls",), ("calls", "--json"))
"""Commands that print tables, or what people may read."""


@pytest.fixture(params=READING, ids=" ".join)
def words(request: pytest.FixtureRequest, database: str) -> tuple[str, ...]:
    """A command with where it reads from."""
    if request.param[0] == "calls":
        return (*request.param, "--url", request.getfixturevalue("service"), "--token", TOKEN)
    return (*request.param, "--database-url", database)


def _named(words: Sequence[str]) -> str:
    """The one line of standard error: which database is read, if one is."""
    return f"Database: {words[-1]}\n" if "--database-url" in words else ""


@pytest.mark.endurance
def test_a_reader_who_leaves_does_not_end_a_command(words: tuple[str, ...]) -> None:
    """With nobody at the other end of the pipe, the command does its work and ends well."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(  # noqa: S603
            _command(*words), stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, _named(words))


@pytest.mark.endurance
def test_characters_the_terminal_lacks_do_not_end_a_command(words: tuple[str, ...]) -> None:
    """Under ASCII, other letters are written with escapes, and tables without lines of their own."""
    shown = subprocess.run(  # noqa: S603
        _command(*words, encoding="ascii"), capture_output=True, text=True, check=False, timeout=120
    )
    assert (shown.returncode, shown.stderr) == (0, _named(words))
    assert shown.stdout.isascii()
    assert any(escape in shown.stdout for escape in ("Caf\\xe9 \\u03a9", "Zo\\xeb", "rtc_\\xe9", "rtc_\\u00e9"))


@pytest.mark.endurance
def test_a_pipe_gets_every_word_of_a_table(words: tuple[str, ...]) -> None:
    """Nothing is cut where nobody said how wide the page is."""
    shown = subprocess.run(_command(*words), capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    assert (shown.returncode, "…" in shown.stdout.replace("…5678", "").replace("…0100", "")) == (0, False)
    assert any(name in shown.stdout for name in ("Café Ω", "Zoë", "rtc_é", "rtc_\\u00e9"))
