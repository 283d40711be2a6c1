"""The walk of docs/fleet.md in two terminals, typed as it stands there: the limit holds while a process is killed."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.peers.network import HOST, free_port
from tests.peers.peers import Peers
from tests.peers.waiting import TIMEOUT, until

pytestmark = [pytest.mark.endurance, pytest.mark.peers]

ROOT: Final = Path(__file__).parents[3]
BIN: Final = Path(sys.executable).parent
HEADING: Final = "## See it in two terminals"
LIMIT: Final = 20
TENANT_LIMIT: Final = 12


def typed() -> list[str]:
    """Return the walk's commands, a block each."""
    page = (ROOT / "docs" / "fleet.md").read_text()
    walk = page.partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", walk, re.DOTALL | re.MULTILINE)


class Terminal:
    """A shell that is typed into."""

    def __init__(self, folder: Path, name: str) -> None:
        self._output = folder / f"{name}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLSCOPE_")}
        with self._output.open("wb") as output:
            self.shell = subprocess.Popen(
                ["bash"],  # noqa: S607 -- wherever it is
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**environment, "PATH": f"{BIN}:{os.environ['PATH']}"},
                text=True,
                start_new_session=True,
            )

    def type(self, text: str) -> None:
        """Type lines."""
        assert self.shell.stdin is not None
        self.shell.stdin.write(text)
        self.shell.stdin.flush()

    def closes(self) -> str:
        """End the input, wait until all is done, and return what was printed."""
        assert self.shell.stdin is not None
        self.shell.stdin.close()
        self.shell.wait(TIMEOUT)
        return self.printed()

    def printed(self) -> str:
        return self._output.read_text()


@contextmanager
def terminal(folder: Path, name: str) -> Iterator[Terminal]:
    """Open a terminal, and leave nothing of it behind."""
    opened = Terminal(folder, name)
    try:
        yield opened
    finally:
        with suppress(ProcessLookupError):
            os.killpg(opened.shell.pid, signal.SIGKILL)
        opened.shell.wait()


def test_the_limit_holds_while_a_process_is_killed(peers: Peers, tmp_path: Path) -> None:
    """The carrier never has more than the limits running, each call is over at the end, and no slot is left."""
    ports = {port: str(free_port()) for port in ("8001", "8002", "8003", "9000")}
    walk = "\0".join(typed())
    walk = walk.replace("redis://127.0.0.1:6379/0", peers.redis().url)
    walk = walk.replace("postgresql+asyncpg://callscope@127.0.0.1:5432/callscope", peers.postgres().url)
    for documented, free in ports.items():
        walk = walk.replace(documented, free)
    starts, calls, kills, looks = walk.split("\0")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    addresses = [f"http://{HOST}:{ports[port]}" for port in ("8001", "8002", "8003")]
    with terminal(tmp_path, "first") as first, terminal(tmp_path, "second") as second:
        first.type(f"trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{starts}")
        until(lambda: all(map(ready, addresses)), "three processes to be ready")
        second.type(calls)
        until(lambda: re.search(r" accepted [2-9]\d", second.printed()), "twenty calls to be accepted")
        first.type(kills)
        until(lambda: not ready(addresses[-1]), "the last one to be dead")
        carrier = second.closes()
        assert second.shell.returncode == 0, carrier
        until(lambda: in_use(addresses[0]) == 0, "no slot to be left")
        first.type(f"{looks}echo looked: $?\n")
        until(lambda: "looked: " in first.printed(), "the fleet to be shown")
        shown = first.closes()
    assert "looked: 0" in shown, shown
    report = json.loads((tmp_path / "carrier.json").read_text())
    sys.stdout.write(f"{carrier}\n{shown}\n")
    assert report["global"]["most_at_once"] == LIMIT
    of_tenants = {name: row["most_at_once"] for name, row in report["tenants"].items()}
    assert max(of_tenants.values()) <= TENANT_LIMIT
    (row,) = re.findall(r"^most_at_once +(\d.*)$", carrier, re.MULTILINE)
    assert [int(word) for word in row.split()] == [LIMIT, *of_tenants.values()]
    assert report["global"]["duplicates_sent"] > 0
    assert report["global"]["sidebands_reattached"] > 0, "nobody took over what the killed process had"
    assert report["global"]["active_calls"] == 0


def ready(address: str) -> bool:
    """Return true if a service is there and takes calls."""
    try:
        return httpx2.get(f"{address}/readyz", trust_env=False).is_success
    except httpx2.HTTPError:
        return False


def in_use(address: str) -> int:
    """Return the slots that the fleet has in use."""
    answer = httpx2.get(f"{address}/api/v1/fleet", headers={"X-Admin-Token": "token-of-the-walk"}, trust_env=False)
    return int(answer.raise_for_status().json()["in_use"])
