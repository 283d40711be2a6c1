"""``callscope doctor``: does what the service exports arrive?

Exit codes: 0 everything that is exported arrives, 1 something does not, or a variable makes no sense, 2 the command
line itself is wrong.
"""

import os
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from service.settings import ENV_FILE, SettingsError, env_file_values
from telemetry.doctor import ExportFinding, Verdict, diagnose
from telemetry.export import InvalidVariableError
from telemetry.terminal import printable

_MARKS = {
    Verdict.ARRIVED: "[green]✔[/]",
    Verdict.REJECTED: "[yellow]![/]",
    Verdict.FAILED: "[red]✘[/]",
    Verdict.OFF: "[dim]·[/]",
}


def doctor(
    endpoint: Annotated[str | None, typer.Option(help="Instead of OTEL_EXPORTER_OTLP_ENDPOINT.")] = None,
) -> None:
    """Send one test point, span and log record as the service would, and say what arrived or why not.

    Exit codes: 0 everything that is exported arrives, 1 something does not, or nothing is exported.
    """
    chosen = {} if endpoint is None else {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    try:
        findings = diagnose(_environment() | chosen, {"service.version": version("callscope")})
    except (InvalidVariableError, SettingsError) as error:
        typer.echo(printable(str(error)), err=True)
        raise typer.Exit(1) from None
    _show(findings)
    if all(finding.verdict is Verdict.OFF for finding in findings) and not Path(ENV_FILE).exists():
        typer.echo(
            f"No OTEL_* variable that exports is set here, and {Path.cwd()} has no {ENV_FILE}: run the command with the"
            " service's environment or in its folder, or name an --endpoint",
            err=True,
        )
    if not all(finding.good for finding in findings) or all(finding.verdict is Verdict.OFF for finding in findings):
        raise typer.Exit(1)


def _environment() -> dict[str, str]:
    """Return the process's variables, before those of ``.env``."""
    return env_file_values() | dict(os.environ)


def _show(findings: Iterable[ExportFinding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"{_MARKS[finding.verdict]} {escape(finding.sentence)}")
        if finding.endpoint:
            console.print(f"  [dim]{escape(finding.endpoint)}[/]")
