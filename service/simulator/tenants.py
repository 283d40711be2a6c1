"""The tenants whose numbers simulated callers dial, in the shape ``tenants import`` reads."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

DEMO_NAMES = ("Acme", "Globex", "Initech")
"""The demo's tenants; their ids are the names in lower case."""

TOLL_FREE = ("800", "888", "877", "866", "855", "844", "833")
"""Area codes of the numbers given out; nobody is billed for a call to one."""

UNASSIGNED_AREA = "212"
"""Numbers in this area belong to no tenant."""

NUMBERS_AN_AREA = 10_000
"""Subscriber numbers after the exchange 555."""

Tenant = Mapping[str, Any]
"""One tenant in the import's shape."""


def number_of(index: int) -> str:
    """Return a tenant's number by its index from 0, in E.164; raises :class:`ValueError` when there are no more."""
    area, subscriber = divmod(index, NUMBERS_AN_AREA)
    if not 0 <= area < len(TOLL_FREE):
        raise ValueError(f"only {len(TOLL_FREE) * NUMBERS_AN_AREA} numbers can be given out, asked for number {index}")
    return f"+1{TOLL_FREE[area]}555{subscriber:04d}"


def unassigned_number(rng: Random) -> str:
    """Return a number no tenant here has."""
    return f"+1{UNASSIGNED_AREA}555{rng.randrange(NUMBERS_AN_AREA):04d}"


def _tenant(tenant_id: str, name: str, index: int, max_concurrent_calls: int | None) -> Tenant:
    return {
        "tenant_id": tenant_id,
        "name": name,
        "numbers": [number_of(index)],
        "max_concurrent_calls": max_concurrent_calls,
        "instructions": f"You answer the telephone of {name}. Be brief and kind.",
        "enabled": True,
        "transfer_targets": {"sales": "tel:+14155550110", "support": "sip:support@pbx.example.com"},
    }


def simulated_tenants(count: int, *, max_concurrent_calls: int | None = None) -> list[Tenant]:
    """Return tenants ``tenant-001`` and on, each with one number."""
    ids = [f"tenant-{index + 1:03d}" for index in range(count)]
    return [_tenant(tenant_id, tenant_id.title(), index, max_concurrent_calls) for index, tenant_id in enumerate(ids)]


def demo_tenants(*, max_concurrent_calls: int | None = None) -> list[Tenant]:
    """Return three tenants with names; their numbers are those of the first three simulated tenants."""
    return [_tenant(name.lower(), name, index, max_concurrent_calls) for index, name in enumerate(DEMO_NAMES)]


def numbers_of(tenants: Sequence[Tenant]) -> dict[str, str]:
    """Return every number with the id of the tenant that has it."""
    return {number: tenant["tenant_id"] for tenant in tenants for number in tenant["numbers"]}
