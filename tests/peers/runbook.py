"""The runbook's commands, run as somebody types them who started the service by hand."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.peers.binaries import ROOT, folder, require

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()

BY_HAND = 'in_service() { "$@"; }'
"""The first line of the functions for a service that was started by hand."""

SECONDS = 60
"""Seconds that one command may take."""


def sections() -> dict[str, str]:
    """The runbook's sections by alert."""
    parts = re.split(r"^### ", RUNBOOK, flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0].strip(): part.split("\n", 1)[1] for part in parts}


def commands(alert: str) -> list[str]:
    """The first three commands of an alert's section."""
    _, block, *_ = sections()[alert].split("```")
    return block.strip().split("\n")[:3]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command did."""

    command: str
    code: int
    output: str

    @property
    def glance(self) -> str:
        """Its code and the beginning of what it printed, on one line."""
        return f"{self.command} -> {self.code}: {' '.join(self.output.split())[:200]}"


class Desk:
    """A shell in the service's folder, which has its `.env` and its log, as the runbook says of a start by hand."""

    def __init__(
        self,
        place: Path,
        *,
        settings: Mapping[str, str],
        addresses: Mapping[str, str],
        ports: Mapping[str, str],
        logs: Mapping[str, Path],
    ) -> None:
        """Lay out the folder.

        Args:
            place: The folder, which must not be there.
            settings: What the service was started with.
            addresses: `CALLSCOPE`, `PROMETHEUS` and `COLLECTOR`, in place of those that the runbook has.
            ports: Those of the Collector, by the one that the runbook's commands name.
            logs: Files of output by the name that `logs_of` takes.
        """
        place.mkdir()
        self._place, self._ports = place, ports
        (place / ".env").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        for name, file in logs.items():
            (place / f"{name}.log").symlink_to(file)
        exported, *_ = [block for block in RUNBOOK.split("```") if "export CALLSCOPE=" in block]
        for name, address in addresses.items():
            exported = re.sub(rf"\b{name}=\S+", f"{name}={address}", exported)
        (functions,) = [block for block in RUNBOOK.split("```") if BY_HAND in block]
        # As it is typed, and for a command of the service's only if the runbook exports it.
        token = f"ADMIN_TOKEN={shlex.quote(settings['ADMIN_TOKEN'])}"
        self._before = f"{token}\n{exported}\n{functions}\n"
        programs = [Path(sys.executable).parent, require("promtool").parent, folder() / "bin"]
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        self._environment = {"PATH": path, "HOME": str(place)}

    def type(self, command: str, **named: str) -> Shown:
        """Run one command line, after what the runbook has typed first; ``named`` is what the alert names."""
        for written, port in self._ports.items():
            command = command.replace(f"$COLLECTOR:{written}", f"$COLLECTOR:{port}")
        exports = "".join(f"export {name}={value}\n" for name, value in named.items())
        done = subprocess.run(  # noqa: S603 -- commands of our own documentation
            ["/bin/sh", "-c", f"{self._before}{exports}{command}"],
            cwd=self._place,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=SECONDS,
        )
        return Shown(command, done.returncode, done.stdout)

    def follow(self, alert: str, **named: str) -> list[Shown]:
        """Run the first three commands of an alert's section; ``named`` is what the alert names."""
        return [self.type(command, **named) for command in commands(alert)]
