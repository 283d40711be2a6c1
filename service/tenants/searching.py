"""Which tenants are meant, by what people know of them. Takes the session of a transaction that is already open."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from service.tenants.models import InstructionsRow, NumberRow, TenantRow
from service.tenants.tenant import Sought, TenantSummary
from telemetry.attributes import TenantId

_NUMBER_LIKE = re.compile(r"[+0-9 ().-]+")
_NOT_DIGITS = re.compile(r"\D")


async def summaries(session: AsyncSession, sought: Sought, after: str, limit: int) -> list[TenantSummary]:
    """The first ``limit`` of the tenants sought whose ids come after ``after``."""
    numbers = _counted(NumberRow.number)
    versions = _counted(InstructionsRow.version, func.max)
    query = select(TenantRow, numbers, versions).where(TenantRow.tenant_id > after, *_conditions(sought))
    found = await session.execute(query.order_by(TenantRow.tenant_id).limit(limit))
    return [_summary(row, count, version) for row, count, version in found]


def _counted(column: InstrumentedAttribute[Any], how: Callable[..., Any] = func.count) -> ScalarSelect[Any]:
    """A number for each tenant of the query around, 0 where there is nothing to count."""
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
