"""Every ``callscope`` command that README and docs show is one there is, with the options it is shown with."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import COMMANDS, app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = sorted(
    {
        (page.name, line)
        for page in PAGES
        for block in re.findall(r"```[a-z]*\n(.*?)```", page.read_text(), re.DOTALL)
        for line in re.findall(r"^(?:\$ )?callscope ([^\n#|>&]+)", block, re.MULTILINE)
    }
)
GROUPS = {"tenants", "billing"}


def test_commands_are_shown() -> None:
    """The pages are read: the most used commands are on them."""
    assert {"serve", "call", "usage", "tenants", "doctor"} <= {line.split()[0] for _, line in SHOWN}


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_shown_command_exists(page: str, line: str) -> None:
    """Its help is printed, and names every option it is shown with."""
    words = shlex.split(line)
    assert words[0] in COMMANDS, f"{page} shows a command that does not exist"
    command = words[: 2 if words[0] in GROUPS else 1]
    outcome = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert outcome.exit_code == 0, outcome.output
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    missing = [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", outcome.output)]
    assert not missing, f"{page} shows options that {' '.join(command)} does not have"
