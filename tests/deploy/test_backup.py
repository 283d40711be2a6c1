"""A backup, made and restored by the commands of docs/operations.md, has every tenant and every minute."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallerSpeaks, CallScript
from tests.peers.binaries import ROOT, require
from tests.peers.gateway import gateway
from tests.peers.peers import Peers

TALK = CallScript(
    "talk", (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"), AgentSpeaks("Goodbye")), CallerHangsUp()
)
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = re.findall(r"^pg_(?:dump|restore) .+$", OPERATIONS, re.MULTILINE)


async def test_a_restored_database_has_what_the_other_had(peers: Peers, tmp_path: Path) -> None:
    """Tenants and usage of a database with calls are the same on another server, where a service then takes calls."""
    source, target = peers.postgres(), peers.postgres()
    async with gateway(tmp_path / "before", {"DATABASE_URL": source.url}) as line:
        for _ in range(2):
            await line.call(TALK)
    urls = {name: server.url.replace("+asyncpg", "") for name, server in (("SOURCE", source), ("TARGET", target))}
    assert len(COMMANDS) == 2
    await asyncio.to_thread(_run_as_written, tmp_path, urls)
    told = [await asyncio.to_thread(_told, tmp_path, server.url) for server in (source, target)]
    assert told[0] == told[1]
    tenants, usage = told[1]
    assert len(tenants) == 2
    assert usage["total"]["calls"] == 2
    async with gateway(tmp_path / "after", {"DATABASE_URL": target.url}) as restored:
        await restored.call(TALK)
    _, usage = await asyncio.to_thread(_told, tmp_path, target.url)
    assert usage["total"]["calls"] == 3


def _run_as_written(folder: Path, urls: dict[str, str]) -> None:
    """Run the page's commands in their order, with the programs that are there."""
    for command in COMMANDS:
        program, _, rest = command.partition(" ")
        done = subprocess.run(  # noqa: S603 -- commands of our own documentation
            ["/bin/sh", "-c", f"{require(program)} {rest}"], cwd=folder, env=urls, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


def _told(folder: Path, url: str) -> tuple[Any, Any]:
    """What the commands say of a database: its tenants, and its usage."""

    def said(*words: str) -> Any:  # noqa: ANN401 -- JSON
        command = [sys.executable, "-m", "service", *words, "--database-url", url]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 -- our own program
        return json.loads(done.stdout)

    return said("tenants", "list", "--json"), said("usage", "--from", "2020-01-01", "--format", "json")
