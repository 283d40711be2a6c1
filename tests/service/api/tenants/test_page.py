"""The page about tenants: its commands, run one after the other, print what it shows."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.tenants.fields import MAX_ENTRIES, MAX_INSTRUCTIONS, MAX_NUMBERS
from tests.service.api.tenants.harness import TenantsHarness
from tests.support.server import serving

PAGE = Path(__file__).parents[4] / "docs" / "tenants.md"
TOKEN = "correct-horse-battery-staple"
"""The token the page was written with; its fingerprint is shown."""

END = "--- end of a command ---"
_TIME = re.compile(r"20\d\d-[01]\d-[0-3]\dT[0-9:.]+Z")


def test_the_commands_print_what_the_page_shows(sqlite_url: str) -> None:
    """Typed in order at a service without tenants, every command prints what stands below it, but for the times."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    shown = [
        step for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL) for step in _steps(block)
    ]
    with serving(TenantsHarness(sqlite_url, TOKEN).app) as url:
        printed = _run([command for command, _ in shown], url)
    for (command, expected), found in zip(shown, printed, strict=True):
        assert _plain(found) == _plain(expected), command


def test_the_limits_are_those_of_the_fields() -> None:
    """The page names the bounds that are checked."""
    text = " ".join(PAGE.read_text().split())
    assert f"at most {MAX_NUMBERS:,} numbers, {MAX_INSTRUCTIONS:,} characters of instructions, {MAX_ENTRIES}" in text


def _steps(block: str) -> list[tuple[str, str]]:
    """Each command of a block with what is shown below it."""
    steps = [step.partition("\n") for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in steps]


def _run(commands: list[str], url: str) -> list[str]:
    script = "\n".join(f"{command.replace('http://127.0.0.1:8000', url)}\necho '{END}'" for command in commands)
    done = subprocess.run(  # noqa: S603 -- the page's own commands
        ["/bin/bash", "-c", script],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "ADMIN_TOKEN": TOKEN, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.split(END)[:-1]


def _plain(text: str) -> str:
    """Without times, and without the white space that lines are broken at."""
    return "".join(_TIME.sub("TIME", text).split())
