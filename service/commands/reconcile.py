"""``callscope reconcile``: whether the ledgers of a running service agree.

Exit codes: 0 they do, 1 they differ, 2 the command line itself is wrong, 3 not all of them could be asked.
"""

import json
from enum import IntEnum, StrEnum
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from service.api.reconciled_ledgers import ReconciledLedgers
from service.commands.reconcile_table import ReconcileTable
from service.reconciliation.client import ParameterError, RefusedError, ask

_DEFAULT_URL = "http://127.0.0.1:8000"


class Form(StrEnum):
    """How the comparison is printed."""

    TABLE = "table"
    JSON = "json"


class Exit(IntEnum):
    """What a script learns."""

    AGREE = 0
    DIFFER = 1
    NOT_ASKED = 3


def reconcile(
    *,
    start: Annotated[
        str | None,
        typer.Option("--from", help="A date or moment: all processes from then on. Else one process since its start."),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="The first that no longer belongs; now.")] = None,
    tz: Annotated[str, typer.Option(help="Whose dates: an IANA time zone.")] = "UTC",
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every tenant, not those alone that differ.")] = False,
    form: Annotated[Form, typer.Option("--format", help="How to print it.")] = Form.TABLE,
    url: Annotated[str, typer.Option(envvar="CALLSCOPE_URL", help="Where the service answers.")] = _DEFAULT_URL,
    token: Annotated[
        str, typer.Option(envvar=["CALLSCOPE_TOKEN", "ADMIN_TOKEN"], help="An admin token.", show_envvar=True)
    ] = "",
) -> None:
    """Compare live counters, registry, call records and the metrics backend of a running service.

    Exit codes: 0 they agree, 1 they differ, 3 not all of them could be asked.
    """
    asked = {"from": start, "to": end, "tz": tz, "tenant_id": tenant}
    try:
        # Several tokens may be configured while one is rotated out; any of them will do.
        one_token = token.split(",", maxsplit=1)[0].strip()
        answer = ask(url, one_token, {name: text for name, text in asked.items() if text is not None})
        found = ReconciledLedgers.model_validate(answer, extra="ignore")
    except ParameterError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{error.field.removesuffix('_id')}") from None
    except RefusedError as error:
        _refuse(str(error))
    except ValidationError:
        _refuse(f"{url} does not answer as this service does; is it another version?")
    if form is Form.JSON:
        typer.echo(json.dumps(answer, indent=2))
    else:
        Console().print(ReconcileTable(found, every=every or tenant is not None))
    raise typer.Exit(_exit_code(found))


def _exit_code(found: ReconciledLedgers) -> Exit:
    if not found.consistent:
        return Exit.DIFFER
    return Exit.AGREE if found.complete else Exit.NOT_ASKED


def _refuse(reason: str) -> NoReturn:
    typer.echo(reason, err=True)
    raise typer.Exit(Exit.NOT_ASKED)
