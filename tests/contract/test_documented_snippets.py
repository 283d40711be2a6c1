"""Every console block of README and docs is typed into a shell beside one running demo, and answers what is shown."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Final, NamedTuple

import httpx2
import pytest

from tests.peers.network import HOST, free_port
from tests.peers.program import Program
from tests.peers.waiting import TIMEOUT

ROOT: Final = Path(__file__).parents[2]
TOKEN: Final = "token-of-the-pages"
BIN: Final = Path(sys.executable).parent
PAGES: Final = ("README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))
ELSEWHERE: Final = {
    "pip install callscope": "asks a package registry; tests/packaging installs the wheel",
    "make run": "sets up an environment and runs the demo that these tests run",
    "make test": "runs this suite",
    "callscope serve": "runs until it is stopped; tests/service/commands/test_serve_process.py runs it",
    "callscope doctor": "needs a Collector; tests/service/commands/test_doctor.py has a receiver",
}
"""Commands that are not typed here, with the reason."""
NOT_ASKED: Final = 3
"""Exit code of ``reconcile`` without a metrics backend, which the demo does not have."""


class Typed(NamedTuple):
    """A command of a page with the answer that the page shows; empty if it shows none."""

    command: str
    shown: str


def _typed(page: str) -> list[Typed]:
    blocks = re.findall(r"^```console\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    found = []
    for block in blocks:
        assert block.startswith("$ "), f"{page}: a console block begins with a command"
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append(Typed(re.sub(r"\s+#\s.*$", "", command), shown.strip()))
    return found


SHOWN: Final = {page: typed for page in PAGES if (typed := _typed(page))}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The demo's folder and address, once calls of it are over."""
    folder, port = tmp_path_factory.mktemp("demo"), free_port()
    address = f"http://{HOST}:{port}"
    (folder / "examples").symlink_to(ROOT / "examples")
    program = Program("demo", folder)

    def calls_are_over() -> bool:
        try:
            live = httpx2.get(f"{address}/api/v1/metrics/live", headers={"X-Admin-Token": TOKEN}, trust_env=False)
        except httpx2.HTTPError:
            return False
        return live.is_success and live.json()["ended_calls"] > 0

    command = [sys.executable, "-m", "service", "demo", "--calls-per-second", "2", "--time-scale", "0.1"]
    program.start(command, calls_are_over, environment={"HOST": HOST, "PORT": str(port), "ADMIN_TOKEN": TOKEN})
    try:
        yield folder, address
    finally:
        assert program.stop() == 0, program.log[-3000:]


def _environment(address: str) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TOKEN": TOKEN,
        "ADMIN_TOKEN": TOKEN,
        "CALLSCOPE_URL": address,
        "DATABASE_URL": "sqlite:///callscope-demo.db",
        "NO_PROXY": HOST,
        "UVICORN_PORT": str(free_port()),
        "UVICORN_LOG_LEVEL": "warning",
    }


def _as_the_reader_types(command: str, base: str) -> str:
    """Put in what the pages tell the reader to: the address, the token, a call's id."""
    return (
        command.replace("http://127.0.0.1:8000", base)
        # The page on tenants makes its tenant; the demo has one of that name.
        .replace("/api/v1/tenants/acme", "/api/v1/tenants/acme-of-the-page")
        .replace("CALLSCOPE_TOKEN=...", f"CALLSCOPE_TOKEN={TOKEN}")
        .replace("rtc_123", "$(callscope calls --limit 1 --json 2>/dev/null | jq -r '.calls[0].call_id')")
    )


def _script(typed: list[Typed], base: str) -> str:
    """Return the whole page as one session, so that a variable set by one command is there for the next."""
    lines = ["set -o pipefail"]
    for number, one in enumerate(typed):
        command = _as_the_reader_types(one.command, base)
        if command.endswith("&"):
            # The reader types the next line when it runs.
            lines += [command, f"until curl -so /dev/null {base}/; do sleep 0.2; done", f"echo 0 >{number}.code"]
        else:
            lines.append(f"{{ {command}\n}} >{number}.out 2>{number}.err; echo $? >{number}.code")
    return "\n".join([*lines, "kill %% 2>/dev/null && wait", "true"])


@pytest.mark.endurance  # each command is a process of its own, and there are more than a hundred
@pytest.mark.parametrize("page", SHOWN)
def test_a_page_answers_what_it_shows(demo: tuple[Path, str], page: str) -> None:
    """Each command ends well; JSON has the keys that are shown, and nothing is refused that is not shown refused."""
    folder, address = demo
    missing = [name for name in ("bash", "curl", "jq") if which(name) is None]
    if missing:
        pytest.skip(f"the pages use {', '.join(missing)}, which this machine does not have")
    typed = [one for one in SHOWN[page] if one.command not in ELSEWHERE]
    environment = _environment(address)
    base = f"http://{HOST}:{environment['UVICORN_PORT']}" if page == "docs/own-gateway.md" else address
    ran = subprocess.run(  # noqa: S603 -- what our own pages say
        ["bash", "-c", _script(typed, base)],  # noqa: S607
        cwd=folder,
        env=environment,
        check=False,
        timeout=4 * TIMEOUT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    for number, one in enumerate(typed):
        _check(folder, number, one)


def _check(folder: Path, number: int, one: Typed) -> None:
    output, errors = (
        file.read_text() if (file := folder / f"{number}.{kind}").exists() else "" for kind in ("out", "err")
    )
    told = f"$ {one.command}\n{output}\n{errors}"
    expected = (0, NOT_ASKED) if one.command.startswith("callscope reconcile") else (0,)
    assert int((folder / f"{number}.code").read_text()) in expected, told
    answer, rest = _parted(output)
    shown, shown_rest = _parted(one.shown)
    if shown is None:
        assert not (isinstance(answer, dict) and {"title", "status"} <= answer.keys()), told
    else:
        assert _keys(answer) == _keys(shown), told
    if shown_rest:
        # A digest differs with the token, and versions with what was changed before; all else is as shown.
        alike = [re.sub(r'^[0-9a-f]{8}$|"\d+"', "N", text) for text in (rest, shown_rest)]
        assert alike[0] == alike[1], told


def _parted(text: str) -> tuple[object, str]:
    """Return the JSON that a text begins with, None if there is none, and what follows it."""
    stripped = text.strip()
    if not stripped.startswith("{"):
        return None, stripped
    value, end = json.JSONDecoder(strict=False).raw_decode(re.sub(r"\n ", " ", stripped))
    return value, re.sub(r"\n ", " ", stripped)[end:].strip()


def _keys(value: object) -> object:
    """Return the keys of a JSON value, with those of the objects in it; of a list, those of its first member."""
    if isinstance(value, dict):
        return {key: _keys(inner) for key, inner in value.items() if key not in ("before", "after")}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_keys(value[0])]
    return None


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_not_typed_is_still_shown(command: str) -> None:
    """An exception that no page needs any more is taken off the list."""
    assert any(one.command == command for typed in SHOWN.values() for one in typed)
