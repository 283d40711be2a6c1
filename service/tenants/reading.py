"""Rows into tenants. Every function takes the session of a transaction that is already open."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, ScalarSelect, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from service.e164 import Address
from service.tenants.models import AuditRow, InstructionsRow, NumberRow, TenantRow
from service.tenants.tenant import (
    AuditAction,
    AuditEntry,
    CallTenant,
    InstructionsEntry,
    InstructionsVersion,
    Sought,
    Tenant,
    TenantSummary,
)
from telemetry.semconv.attributes import TenantId

BATCH = 500
"""Keys in one ``IN (…)``; SQLite and PostgreSQL bind at most about 32,000 parameters a statement."""
_NUMBER_LIKE = re.compile(r"[+0-9 ().-]+")
_NOT_DIGITS = re.compile(r"\D")
_T = TypeVar("_T")


async def tenant(session: AsyncSession, tenant_id: str) -> Tenant | None:
    """Return the tenant with this id, whole; ``None`` if there is none."""
    return (await tenants(session, [tenant_id])).get(TenantId(tenant_id))


async def tenants(session: AsyncSession, tenant_ids: Iterable[str]) -> dict[TenantId, Tenant]:
    """Return the tenants that exist among these ids, in the order of the ids."""
    found: dict[TenantId, Tenant] = {}
    for batch in batches(sorted(set(tenant_ids))):
        query = select(TenantRow).where(TenantRow.tenant_id.in_(batch)).order_by(TenantRow.tenant_id)
        rows = (await session.execute(query)).scalars().all()
        found.update((whole.tenant_id, whole) for whole in await _whole(session, rows))
    return found


async def page(session: AsyncSession, after: str, limit: int) -> list[Tenant]:
    """Return the first ``limit`` tenants whose ids come after ``after``."""
    query = select(TenantRow).where(TenantRow.tenant_id > after).order_by(TenantRow.tenant_id).limit(limit)
    rows = (await session.execute(query)).scalars().all()
    return [whole for batch in batches(rows) for whole in await _whole(session, batch)]


async def own_limits(session: AsyncSession) -> dict[TenantId, int]:
    """Return the limits of the tenants that have one of their own."""
    query = select(TenantRow.tenant_id, TenantRow.max_concurrent_calls).where(
        TenantRow.max_concurrent_calls.is_not(None)
    )
    return {TenantId(tenant_id): limit for tenant_id, limit in await session.execute(query) if limit is not None}


async def owners(session: AsyncSession, numbers: Iterable[Address]) -> dict[Address, str]:
    """Return number → tenant id for those of the numbers that have a tenant."""
    found: dict[Address, str] = {}
    for batch in batches(sorted(numbers)):
        query = select(NumberRow.number, NumberRow.tenant_id).where(NumberRow.number.in_(batch))
        found.update((Address(number), owner) for number, owner in await session.execute(query))
    return found


async def current_instructions(session: AsyncSession, tenant_ids: Iterable[str]) -> dict[str, str]:
    """Return the texts of the newest versions, where there are any that were not withdrawn."""
    found: dict[str, str] = {}
    for batch in batches(tenant_ids):
        newest = await _newest_instructions(session, batch)
        found.update((owner, text) for owner, (_, text) in newest.items() if text is not None)
    return found


async def instructions_history(
    session: AsyncSession, tenant_id: str, before: int | None, limit: int
) -> list[InstructionsEntry]:
    """Return the newest ``limit`` versions before version ``before``, the newest first, without their texts."""
    row = InstructionsRow
    query = select(row.version, func.length(row.text), row.created_at, row.created_by).where(row.tenant_id == tenant_id)
    if before is not None:
        query = query.where(row.version < before)
    found = await session.execute(query.order_by(row.version.desc()).limit(limit))
    return [InstructionsEntry(version, characters, at, by) for version, characters, at, by in found]


async def instructions_at(session: AsyncSession, tenant_id: str, version: int) -> InstructionsVersion | None:
    """Return one version with its text, ``None`` if there never was one."""
    row = await session.get(InstructionsRow, (tenant_id, version))
    return None if row is None else InstructionsVersion(row.version, row.text, row.created_at, row.created_by)


async def audit(session: AsyncSession, tenant_id: str | None, before: int | None, limit: int) -> list[AuditEntry]:
    """Return the latest ``limit`` entries before entry ``before``, of one tenant or of all."""
    query = select(AuditRow).order_by(AuditRow.entry_id.desc()).limit(limit)
    if tenant_id is not None:
        query = query.where(AuditRow.tenant_id == tenant_id)
    if before is not None:
        query = query.where(AuditRow.entry_id < before)
    return [_entry(row) for row in (await session.execute(query)).scalars()]


def batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield the items in lists of at most :data:`BATCH`."""
    source = iter(items)
    while batch := list(islice(source, BATCH)):
        yield batch


async def _whole(session: AsyncSession, rows: Sequence[TenantRow]) -> list[Tenant]:
    tenant_ids = [row.tenant_id for row in rows]
    numbers = await _numbers(session, tenant_ids)
    newest = await _newest_instructions(session, tenant_ids)
    return [_tenant(row, numbers[row.tenant_id], *newest.get(row.tenant_id, (0, None))) for row in rows]


async def _numbers(session: AsyncSession, tenant_ids: Sequence[str]) -> defaultdict[str, list[Address]]:
    found: defaultdict[str, list[Address]] = defaultdict(list)
    query = select(NumberRow.tenant_id, NumberRow.number).where(NumberRow.tenant_id.in_(tenant_ids))
    for owner, number in await session.execute(query):
        found[owner].append(Address(number))
    return found


async def _newest_instructions(session: AsyncSession, tenant_ids: Sequence[str]) -> dict[str, tuple[int, str | None]]:
    newest = (
        select(InstructionsRow.tenant_id, func.max(InstructionsRow.version).label("version"))
        .where(InstructionsRow.tenant_id.in_(tenant_ids))
        .group_by(InstructionsRow.tenant_id)
        .subquery()
    )
    same = and_(InstructionsRow.tenant_id == newest.c.tenant_id, InstructionsRow.version == newest.c.version)
    query = select(InstructionsRow.tenant_id, InstructionsRow.version, InstructionsRow.text).join(newest, same)
    return {owner: (version, text) for owner, version, text in await session.execute(query)}


def call_tenant(row: TenantRow) -> CallTenant:
    """Return what admission needs of a tenant's row."""
    return CallTenant(
        tenant_id=TenantId(row.tenant_id),
        name=row.name,
        enabled=row.enabled,
        max_concurrent_calls=row.max_concurrent_calls,
        transfer_targets=row.transfer_targets,
        features=row.features,
    )


def _tenant(row: TenantRow, numbers: list[Address], instructions_version: int, text: str | None) -> Tenant:
    return Tenant(
        tenant_id=TenantId(row.tenant_id),
        name=row.name,
        enabled=row.enabled,
        max_concurrent_calls=row.max_concurrent_calls,
        transfer_targets=row.transfer_targets,
        features=row.features,
        numbers=tuple(sorted(numbers)),
        instructions=text,
        instructions_version=instructions_version,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        entry_id=row.entry_id,
        at=row.at,
        actor=row.actor,
        action=AuditAction(row.action),
        tenant_id=TenantId(row.tenant_id),
        before=row.before,
        after=row.after,
    )


async def summaries(session: AsyncSession, sought: Sought, after: str, limit: int) -> list[TenantSummary]:
    """Return the first ``limit`` of the tenants sought whose ids come after ``after``."""
    numbers = _counted(NumberRow.number)
    versions = _counted(InstructionsRow.version, func.max)
    query = select(TenantRow, numbers, versions).where(TenantRow.tenant_id > after, *_conditions(sought))
    found = await session.execute(query.order_by(TenantRow.tenant_id).limit(limit))
    return [_summary(row, count, version) for row, count, version in found]


def _counted(column: InstrumentedAttribute[Any], how: Callable[..., Any] = func.count) -> ScalarSelect[Any]:
    """Return a number for each tenant of the outer query, 0 where there is nothing to count."""
    rows = select(func.coalesce(how(column), 0)).where(column.class_.tenant_id == TenantRow.tenant_id)
    return rows.correlate(TenantRow).scalar_subquery()


def _conditions(sought: Sought) -> Iterator[ColumnElement[bool]]:
    if sought.enabled is not None:
        yield TenantRow.enabled.is_(sought.enabled)
    if sought.text:
        named = (column.icontains(sought.text, autoescape=True) for column in (TenantRow.tenant_id, TenantRow.name))
        yield or_(*named, *_reached_by(sought.text))


def _reached_by(text: str) -> Iterator[ColumnElement[bool]]:
    digits = _NOT_DIGITS.sub("", text)
    if digits and _NUMBER_LIKE.fullmatch(text):
        numbers = select(NumberRow.number).where(NumberRow.tenant_id == TenantRow.tenant_id)
        yield numbers.where(NumberRow.number.contains(digits)).exists()


def _summary(row: TenantRow, numbers: int, instructions_version: int) -> TenantSummary:
    return TenantSummary(
        tenant_id=TenantId(row.tenant_id),
        name=row.name,
        enabled=row.enabled,
        max_concurrent_calls=row.max_concurrent_calls,
        numbers=numbers,
        instructions_version=instructions_version,
        features=row.features,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
