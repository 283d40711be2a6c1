"""Edits into rows. Every function takes the session of an open writing transaction."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.tenants.edits import Edit, Stamp
from service.tenants.errors import NumberTakenError
from service.tenants.models import AuditRow, ChangesRow, InstructionsRow, NumberRow, TenantRow
from service.tenants.reading import batches, owners
from service.tenants.tenant import Tenant

_Rows = list[dict[str, Any]]


async def next_version(session: AsyncSession) -> int:
    """The version this transaction's changes get. Until it ends no other transaction changes tenants."""
    query = select(ChangesRow.revision).with_for_update()
    return (await session.execute(query)).scalar_one() + 1


async def store(session: AsyncSession, edits: Sequence[Edit], stamp: Stamp) -> None:
    """Make the edits the state of the database, note them in the audit and announce them to caches.

    An edit whose two sides are one object changes nothing and leaves no trace. Raises :class:`NumberTakenError`, having
    written nothing, when a number would belong to two tenants.
    """
    edits = [edit for edit in edits if edit.after is not edit.before]
    if not edits:
        return
    await _check_numbers(session, edits)
    await _drop(session, edits)
    await _save_tenants(session, edits)
    await _insert(session, NumberRow, _number_rows(edits))
    await _insert(session, InstructionsRow, _instruction_rows(edits, stamp))
    await _insert(session, AuditRow, [_audit_row(edit, stamp) for edit in edits])
    await session.execute(update(ChangesRow).values(revision=stamp.version))


async def _check_numbers(session: AsyncSession, edits: Sequence[Edit]) -> None:
    freed = {(number, edit.tenant_id) for edit in edits for number in edit.lost}
    gained = {number for edit in edits for number in edit.gained}
    taken = await owners(session, gained)
    kept = {number: owner for number, owner in taken.items() if (number, owner) not in freed}
    if kept:
        raise NumberTakenError(kept)


async def _drop(session: AsyncSession, edits: Iterable[Edit]) -> None:
    """Numbers first, so that one can move between tenants within a transaction; the rest goes with its tenant."""
    for numbers in batches(number for edit in edits for number in edit.lost):
        await session.execute(delete(NumberRow).where(NumberRow.number.in_(numbers)))
    for gone in batches(edit.tenant_id for edit in edits if edit.after is None):
        await session.execute(delete(TenantRow).where(TenantRow.tenant_id.in_(gone)))


async def _save_tenants(session: AsyncSession, edits: Iterable[Edit]) -> None:
    new = [_tenant_row(edit.after) for edit in edits if edit.after is not None and edit.before is None]
    changed = [_tenant_row(edit.after) for edit in edits if edit.after is not None and edit.before is not None]
    await _insert(session, TenantRow, new)
    if changed:
        await session.execute(update(TenantRow), changed)


async def _insert(session: AsyncSession, table: type[Any], rows: _Rows) -> None:
    if rows:
        await session.execute(insert(table), rows)


def _tenant_row(tenant: Tenant) -> dict[str, Any]:
    return {
        "tenant_id": tenant.tenant_id,
        "name": tenant.name,
        "enabled": tenant.enabled,
        "max_concurrent_calls": tenant.max_concurrent_calls,
        "transfer_targets": tenant.transfer_targets,
        "features": tenant.features,
        "created_at": tenant.created_at,
        "updated_at": tenant.updated_at,
        "version": tenant.version,
    }


def _number_rows(edits: Iterable[Edit]) -> _Rows:
    return [{"number": number, "tenant_id": edit.tenant_id} for edit in edits for number in sorted(edit.gained)]


def _instruction_rows(edits: Iterable[Edit], stamp: Stamp) -> _Rows:
    return [
        {
            "tenant_id": tenant.tenant_id,
            "version": tenant.instructions_version,
            "text": tenant.instructions,
            "created_at": stamp.at,
            "created_by": stamp.actor,
        }
        for tenant in (edit.new_instructions for edit in edits)
        if tenant is not None
    ]


def _audit_row(edit: Edit, stamp: Stamp) -> dict[str, Any]:
    before, after = edit.audited()
    return {
        "at": stamp.at,
        "actor": stamp.actor,
        "action": edit.action,
        "tenant_id": edit.tenant_id,
        "before": before,
        "after": after,
    }
