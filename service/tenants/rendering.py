"""Tenants for people and for programs."""

import json
from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

from service.tenants.tenant import AuditEntry, Tenant

MAX_NUMBERS = 3
"""Numbers a table's row shows; JSON has them all."""

MAX_SHOWN = 100
"""Characters of a changed field that a table's row shows."""


def as_entry(tenant: Tenant) -> dict[str, object]:
    """The tenant in the shape an import takes."""
    return {
        "tenant_id": tenant.tenant_id,
        "name": tenant.name,
        "numbers": list(tenant.numbers),
        "max_concurrent_calls": tenant.max_concurrent_calls,
        "instructions": tenant.instructions,
        "enabled": tenant.enabled,
        "transfer_targets": dict(tenant.transfer_targets),
        "features": dict(tenant.features),
    }


def as_change(entry: AuditEntry) -> dict[str, object]:
    """One change of a tenant."""
    return {
        "entry_id": entry.entry_id,
        "at": entry.at.isoformat().replace("+00:00", "Z"),
        "actor": entry.actor,
        "action": entry.action,
        "tenant_id": entry.tenant_id,
        "before": dict(entry.before),
        "after": dict(entry.after),
    }


def as_history(entries: Iterable[AuditEntry]) -> Table:
    """One row a change."""
    table = Table("when", "who", "tenant", "what", "before", "after")
    for entry in entries:
        changed = (Text(_line(side)) for side in (entry.before, entry.after))
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S}Z", Text(entry.actor), entry.tenant_id, entry.action.value, *changed
        )
    return table


def as_table(tenants: Iterable[Tenant]) -> Table:
    """One row a tenant."""
    table = Table("tenant", "name", "state", "numbers", "calls at once", "instructions")
    for tenant in tenants:
        table.add_row(
            tenant.tenant_id,
            Text(tenant.name),
            "enabled" if tenant.enabled else "disabled",
            _numbers(tenant),
            "default" if tenant.max_concurrent_calls is None else str(tenant.max_concurrent_calls),
            "none" if tenant.instructions is None else f"version {tenant.instructions_version}",
        )
    return table


def _line(fields: Mapping[str, object]) -> str:
    """The fields of one side of a change, each on a line of its own, none longer than a person reads."""
    shown = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    return "\n".join(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…" for text in shown)


def _numbers(tenant: Tenant) -> str:
    more = len(tenant.numbers) - MAX_NUMBERS
    return "\n".join([*tenant.numbers[:MAX_NUMBERS], *([f"and {more} more"] if more > 0 else [])])
