"""Tenants for people and for programs."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from service.tenants.tenant import Tenant

MAX_NUMBERS = 3
"""Numbers a table's row shows; JSON has them all."""


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


def _numbers(tenant: Tenant) -> str:
    more = len(tenant.numbers) - MAX_NUMBERS
    return "\n".join([*tenant.numbers[:MAX_NUMBERS], *([f"and {more} more"] if more > 0 else [])])
