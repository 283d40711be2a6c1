"""``callscope tenants``: who may be called, from the command line.

Exit codes: 0 done, 1 refused with the reason on standard error, 2 the command line itself is wrong.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from service.commands.databases import DatabaseUrl, on_database, operator
from service.commands.printing import Sheet, console, group, refuse_with
from service.storage.database import Database
from service.tenants.errors import ImportRefusedError, TenantError, TenantNotFoundError
from service.tenants.importing import read_file
from service.tenants.repository import MAX_PAGE, NEW, TenantRepository
from service.tenants.spec import as_change, as_entry, checked_spec
from service.tenants.sql import SqlTenantRepository
from service.tenants.tenant import AuditEntry, ImportResult, Tenant
from telemetry.terminal import printable

MAX_NUMBERS = 3
"""Numbers a table's row shows; JSON has them all."""
MAX_SHOWN = 100
"""Characters of a changed field that a table's row shows."""


def as_history(entries: Iterable[AuditEntry]) -> Sheet:
    """Return one row a change."""
    rows = [
        (
            f"{entry.at:%Y-%m-%d %H:%M:%S}Z",
            printable(entry.actor),
            printable(entry.tenant_id),
            entry.action.value,
            _line(entry.before),
            _line(entry.after),
        )
        for entry in entries
    ]
    return Sheet(("when", "who", "tenant", "what", "before", "after"), rows)


def as_table(tenants: Iterable[Tenant]) -> Sheet:
    """Return one row a tenant."""
    rows = [
        (
            tenant.tenant_id,
            printable(tenant.name),
            "enabled" if tenant.enabled else "disabled",
            _numbers(tenant),
            "default" if tenant.max_concurrent_calls is None else str(tenant.max_concurrent_calls),
            "none" if tenant.instructions is None else f"version {tenant.instructions_version}",
        )
        for tenant in tenants
    ]
    return Sheet(("tenant", "name", "state", "numbers", "calls at once", "instructions"), rows)


def _line(fields: Mapping[str, object]) -> str:
    """Return the fields of one side of a change, each on a line of its own, none longer than a person reads."""
    shown = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    return "\n".join(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…" for text in shown)


def _numbers(tenant: Tenant) -> str:
    more = len(tenant.numbers) - MAX_NUMBERS
    return "\n".join([*tenant.numbers[:MAX_NUMBERS], *([f"and {more} more"] if more > 0 else [])])


T = TypeVar("T")
app = group("Manage tenants, their numbers, limits and instructions.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
TenantId = Annotated[str, typer.Argument(help="The tenant's id, such as acme.")]


@app.command("list")
def list_tenants(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show every tenant; as JSON in the shape an import takes."""
    _show(_administer(database_url, _every_tenant), as_json)


Name = Annotated[str | None, typer.Option("--name", help="For people; the id if left out.")]
Numbers = Annotated[
    list[str] | None, typer.Option("--number", help="A dialled number, such as +18005550100; repeatable.")
]
MaxCalls = Annotated[int | None, typer.Option("--max-concurrent-calls", help="Calls at once.")]
Instructions = Annotated[str | None, typer.Option("--instructions", help="What the agent is told.")]
Targets = Annotated[list[str] | None, typer.Option("--transfer-target", help="NAME=URI to transfer to; repeatable.")]


Change = Callable[[str, Mapping[str, object], str | None], Tenant]
"""Writes what is stated of the tenant of this id to a database, and returns the tenant as it is then."""


def _stating(change: Change) -> Callable[..., None]:
    """Return the command that states what its options name; what is left out is not stated."""

    def command(
        tenant_id: TenantId,
        name: Name = None,
        number: Numbers = None,
        max_concurrent_calls: MaxCalls = None,
        instructions: Instructions = None,
        transfer_target: Targets = None,
        database_url: DatabaseUrl = None,
        as_json: AsJson = False,
    ) -> None:
        named = {
            "name": name,
            "numbers": number or None,
            "max_concurrent_calls": max_concurrent_calls,
            "instructions": instructions,
            "transfer_targets": _targets(transfer_target) if transfer_target else None,
        }
        stated = {field: value for field, value in named.items() if value is not None}
        _show([change(tenant_id, stated, database_url)], as_json)

    command.__doc__ = change.__doc__
    return command


@app.command("add")
@_stating
def add_tenant(tenant_id: str, stated: Mapping[str, object], database_url: str | None) -> Tenant:
    """Add one tenant that is not there yet."""

    async def add(tenants: TenantRepository) -> Tenant:
        return await tenants.put(checked_spec(tenant_id, stated), actor=operator(), expected_version=NEW)

    return _administer(database_url, add, creates=True)


@app.command("edit")
@_stating
def edit_tenant(tenant_id: str, stated: Mapping[str, object], database_url: str | None) -> Tenant:
    """Change what is stated of a tenant; the rest stays. Numbers and transfer targets replace all there were."""
    if not stated:
        raise typer.BadParameter("name at least one option with what is to be changed")

    async def edit(tenants: TenantRepository) -> Tenant:
        return await tenants.change(checked_spec(tenant_id, stated), actor=operator())

    return _administer(database_url, edit)


@app.command("delete")
def delete_tenant(
    tenant_id: TenantId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Remove a tenant with its numbers and instructions; records and audit stay."""
    if not yes:
        typer.confirm(f"Remove {printable(tenant_id)} with its numbers and instructions?", abort=True, err=True)

    async def delete(tenants: TenantRepository) -> None:
        await tenants.delete(tenant_id, actor=operator())

    _administer(database_url, delete)
    typer.echo(f"removed {printable(tenant_id)}")


@app.command("import")
def import_tenants(
    file: Annotated[Path, typer.Argument(help="JSON or YAML: a list of tenants.")],
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Create or change every tenant of a file, or none of them; what the file does not mention stays as it is."""

    async def import_all(tenants: TenantRepository) -> ImportResult:
        return await tenants.import_all(read_file(file), actor=operator())

    result = _administer(database_url, import_all, creates=True)
    counted = {"created": result.created, "changed": result.changed, "unchanged": result.unchanged}
    if as_json:
        typer.echo(json.dumps(counted))
    else:
        typer.echo(", ".join(f"{len(tenant_ids)} {what}" for what, tenant_ids in counted.items()))


@app.command("disable")
def disable_tenant(tenant_id: TenantId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Refuse a tenant's new calls; running calls go on."""
    _show([_administer(database_url, _switch(tenant_id, enabled=False))], as_json)


@app.command("enable")
def enable_tenant(tenant_id: TenantId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Take a tenant's calls again."""
    _show([_administer(database_url, _switch(tenant_id, enabled=True))], as_json)


@app.command("audit")
def show_audit(
    tenant_id: Annotated[str | None, typer.Argument(help="Of this tenant alone; also one that is gone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="So many of the latest changes.")] = 20,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, and when, the latest first."""

    async def read(tenants: TenantRepository) -> Sequence[AuditEntry]:
        entries = (await tenants.audit(tenant_id, limit=limit)).entries
        if tenant_id is not None and not entries:
            raise TenantNotFoundError(tenant_id)  # whoever is or was one has at least been created
        return entries

    entries = _administer(database_url, read)
    if as_json:
        typer.echo(json.dumps([as_change(entry) for entry in entries], indent=2, ensure_ascii=False))
    else:
        console().print(as_history(entries))


def _switch(tenant_id: str, *, enabled: bool) -> Callable[[TenantRepository], Awaitable[Tenant]]:
    return lambda tenants: tenants.set_enabled(tenant_id, enabled, actor=operator())


async def _every_tenant(tenants: TenantRepository) -> list[Tenant]:
    page = await tenants.page(limit=MAX_PAGE)
    found = list(page.tenants)
    while page.next_after is not None:
        page = await tenants.page(after=page.next_after, limit=MAX_PAGE)
        found.extend(page.tenants)
    return found


def _administer(
    database_url: str | None, work: Callable[[TenantRepository], Awaitable[T]], *, creates: bool = False
) -> T:
    """Do the work on the database's tenants; a refusal ends the command."""

    async def with_tenants(database: Database) -> T:
        return await work(SqlTenantRepository(database))

    try:
        return on_database(database_url, with_tenants, creates=creates)
    except TenantNotFoundError as error:
        raise typer.BadParameter(printable(error.problem), param_hint="TENANT_ID") from None
    except ImportRefusedError as error:
        refuse_with(*map(str, error.problems))
    except TenantError as error:
        refuse_with(str(error))


def _show(tenants: Sequence[Tenant], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([as_entry(tenant) for tenant in tenants], indent=2, ensure_ascii=False))
    else:
        console().print(as_table(tenants))


def _targets(stated: Sequence[str]) -> dict[str, str]:
    targets: dict[str, str] = {}
    for entry in stated:
        label, equals, uri = entry.partition("=")
        if not equals or label in targets:
            refuse_with(f"transfer_targets: {entry!r} is not NAME=URI with a name of its own")
        targets[label] = uri
    return targets
