"""Changes of tenants: the new state computed from the old one and a statement, then stored, audited and announced."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.e164 import Address
from service.tenants.errors import NumberTakenError
from service.tenants.models import AuditRow, ChangesRow, InstructionsRow, NumberRow, TenantRow
from service.tenants.reading import batches, owners
from service.tenants.spec import TenantSpec
from service.tenants.tenant import AuditAction, Features, Tenant
from telemetry.semconv.attributes import TenantId

_Content = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Version, time and author that one transaction gives every tenant it changes."""

    version: int
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Edit:
    """One tenant as it was and as it will be: ``before`` is missing at creation, ``after`` at deletion."""

    tenant_id: TenantId
    before: Tenant | None
    after: Tenant | None

    @property
    def action(self) -> AuditAction:
        """Kind of change, by which sides there are."""
        if self.before is None:
            return AuditAction.CREATED
        return AuditAction.DELETED if self.after is None else AuditAction.CHANGED

    @property
    def gained(self) -> frozenset[Address]:
        """Numbers the tenant gets."""
        return _numbers(self.after) - _numbers(self.before)

    @property
    def lost(self) -> frozenset[Address]:
        """Numbers the tenant gives up."""
        return _numbers(self.before) - _numbers(self.after)

    @property
    def new_instructions(self) -> Tenant | None:
        """The tenant as it will be, if its instructions get a new version."""
        known = 0 if self.before is None else self.before.instructions_version
        return self.after if self.after is not None and self.after.instructions_version > known else None

    def audited(self) -> tuple[dict[str, object], dict[str, object]]:
        """Return the changed fields, as they were and as they will be; see :class:`AuditEntry`."""
        before, after = _comparable(self.before), _comparable(self.after)
        changed = [field for field in before | after if before.get(field) != after.get(field)]
        return _presented(before, after, changed), _presented(after, before, changed)


def merged(before: Tenant | None, spec: TenantSpec, stamp: Stamp) -> Tenant:
    """Return the tenant the statement describes, new or made from ``before``."""
    return _created(spec, stamp) if before is None else changed(before, spec.stated(), stamp)


def changed(before: Tenant, stated: Mapping[str, Any], stamp: Stamp) -> Tenant:
    """Return the tenant with the stated fields; the same object if they have these values already."""
    content = replace(before, **stated)
    if _same(content, before):
        return before
    renewed = content.instructions != before.instructions
    return replace(
        content,
        instructions_version=before.instructions_version + renewed,
        version=stamp.version,
        updated_at=stamp.at,
    )


def is_so(tenant: Tenant, spec: TenantSpec) -> bool:
    """Return True if the tenant is already as stated."""
    return _same(replace(tenant, **spec.stated()), tenant)


def _same(one: Tenant, other: Tenant) -> bool:
    """Compare two tenants and tell ``true`` from ``1``, which Python does not."""
    return one == other and _exactly(one.features) == _exactly(other.features)


def _exactly(features: Features) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in features.items()}


def _created(spec: TenantSpec, stamp: Stamp) -> Tenant:
    """Return a new tenant, with the defaults for what the statement leaves out."""
    content = spec.defaults()
    return Tenant(
        tenant_id=spec.tenant_id,
        instructions_version=0 if content["instructions"] is None else 1,
        version=stamp.version,
        created_at=stamp.at,
        updated_at=stamp.at,
        **content,
    )


def _numbers(tenant: Tenant | None) -> frozenset[Address]:
    return frozenset() if tenant is None else frozenset(tenant.numbers)


def _comparable(tenant: Tenant | None) -> dict[str, object]:
    if tenant is None:
        return {}
    return {
        "name": tenant.name,
        "enabled": tenant.enabled,
        "max_concurrent_calls": tenant.max_concurrent_calls,
        "numbers": tenant.numbers,
        "instructions_version": tenant.instructions_version,
        "transfer_targets": tenant.transfer_targets,
        "features": _exactly(tenant.features),
    }


def _presented(content: _Content, other: _Content, fields: list[str]) -> dict[str, object]:
    """Return the fields as the audit keeps them, given the other side of the change."""
    return {field: _shown(field, content[field], other.get(field)) for field in fields if field in content}


def _shown(field: str, value: Any, other: Any) -> object:  # noqa: ANN401 (fields have many types)
    """Return one field, of long ones only the difference, so that the audit grows with what changes."""
    match field:
        case "numbers":
            return sorted(set(value) - set(other or ()))
        case "features":
            return {name: json.loads(text) for name, text in value.items() if (other or {}).get(name) != text}
        case "transfer_targets":
            # A target may be somebody's own telephone; its name is not.
            return sorted(value)
        case _:
            return value


_Rows = list[dict[str, Any]]


async def next_version(session: AsyncSession) -> int:
    """Return the version of this transaction's changes, and lock out other changes of tenants until it ends."""
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


async def store_hang_up(session: AsyncSession, tenant_id: str, call_id: str, stamp: Stamp) -> int:
    """Note in the audit that a call of the tenant is to be hung up; return the entry's id, and announce it."""
    entry = insert(AuditRow).values(
        at=stamp.at,
        actor=stamp.actor,
        action=AuditAction.HANGING_UP,
        tenant_id=tenant_id,
        before={},
        after={"call_id": call_id},
    )
    entry_id: int = (await session.execute(entry.returning(AuditRow.entry_id))).scalar_one()
    await session.execute(update(ChangesRow).values(revision=stamp.version))
    return entry_id


async def settle_hang_up(
    session: AsyncSession, entry_id: int, action: AuditAction, after: Mapping[str, object], stamp: Stamp
) -> None:
    """Give an entry of a hang-up its outcome, once, and announce it."""
    open_entry = update(AuditRow).where(AuditRow.entry_id == entry_id, AuditRow.action == AuditAction.HANGING_UP)
    await session.execute(open_entry.values(action=action, after=dict(after)))
    await session.execute(update(ChangesRow).values(revision=stamp.version))


async def _check_numbers(session: AsyncSession, edits: Sequence[Edit]) -> None:
    freed = {(number, edit.tenant_id) for edit in edits for number in edit.lost}
    gained = {number for edit in edits for number in edit.gained}
    taken = await owners(session, gained)
    kept = {number: owner for number, owner in taken.items() if (number, owner) not in freed}
    if kept:
        raise NumberTakenError(kept)


async def _drop(session: AsyncSession, edits: Iterable[Edit]) -> None:
    """Delete numbers first, so that one can move between tenants in a transaction; the rest cascades."""
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
