"""Which rounding holds for whom and since when."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from service.database import Database
from service.usage.models import ANY_TENANT, RoundingRow
from service.usage.rounding import PER_SECOND, Rounding

ROUNDINGS = cast("Table", RoundingRow.__table__)


@dataclass(frozen=True, slots=True)
class Agreed:
    """A rule and whom it holds for: one tenant's, or everybody's who has none of their own."""

    tenant_id: str
    valid_from_ms: int
    rounding: Rounding


@dataclass(frozen=True, slots=True)
class Rules:
    """All that was agreed, each tenant's oldest first."""

    of_tenant: dict[str, list[Agreed]] = field(default_factory=dict)

    @classmethod
    def of(cls, agreed: Iterable[Agreed]) -> "Rules":
        """The rules in order."""
        rules = cls()
        for one in sorted(agreed, key=lambda a: a.valid_from_ms):
            rules.of_tenant.setdefault(one.tenant_id, []).append(one)
        return rules

    def rounding(self, tenant_id: str, at_ms: int) -> Rounding:
        """What holds for a call that starts at this moment."""
        for own in (tenant_id, ANY_TENANT):
            for one in reversed(self.of_tenant.get(own, ())):
                if one.valid_from_ms <= at_ms:
                    return one.rounding
        return PER_SECOND

    def names(self, tenant_id: str, start_ms: int, end_ms: int) -> list[str]:
        """Every rule that holds for calls of the tenant in this period, the first one first."""
        changes = [
            one.valid_from_ms
            for own in (tenant_id, ANY_TENANT)
            for one in self.of_tenant.get(own, ())
            if start_ms < one.valid_from_ms < end_ms
        ]
        moments = [start_ms, *sorted(changes)]
        return list(dict.fromkeys(str(self.rounding(tenant_id, at_ms)) for at_ms in moments))

    @property
    def general(self) -> list[Agreed]:
        """The rules for tenants without any of their own."""
        return self.of_tenant.get(ANY_TENANT, [])

    @property
    def only_general(self) -> bool:
        """Whether no tenant has a rule of its own."""
        return not set(self.of_tenant) - {ANY_TENANT}


async def read_rules(session: AsyncSession) -> Rules:
    """What was agreed until now."""
    row = ROUNDINGS.c
    found = await session.execute(select(row.tenant_id, row.valid_from_ms, row.initial_ms, row.step_ms))
    return Rules.of(
        Agreed(tenant_id, valid_from_ms, Rounding(initial_ms, step_ms))
        for tenant_id, valid_from_ms, initial_ms, step_ms in found
    )


async def agree(database: Database, agreed: Agreed, *, actor: str, now_ms: int) -> None:
    """Let a rule hold from its moment on; one that is there for the same moment is replaced."""
    insert = postgresql.insert if database.engine.dialect.name == "postgresql" else sqlite.insert
    terms = {
        "initial_ms": agreed.rounding.initial_ms,
        "step_ms": agreed.rounding.step_ms,
        "set_ms": now_ms,
        "set_by": actor,
    }
    statement = insert(ROUNDINGS).values(tenant_id=agreed.tenant_id, valid_from_ms=agreed.valid_from_ms, **terms)
    keys = [ROUNDINGS.c.tenant_id, ROUNDINGS.c.valid_from_ms]
    async with database.writing() as session:
        await session.execute(statement.on_conflict_do_update(index_elements=keys, set_=terms))
