"""Which rounding holds for whom and since when."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self, cast

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.storage.database import Database
from service.storage.upsert import insert_into
from service.usage.models import ANY_TENANT, RoundingRow

MAX_SECONDS = 86_400
"""The longest interval a rule may name: a day."""
_INTERVALS = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")


class RoundingError(ValueError):
    """Not a rounding rule; the message says what is one."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """A call that ran at all costs its first interval, and from there on each begun step whole.

    ``6/6`` costs in steps of six seconds, ``60/1`` a minute at least and then by the second. ``per_started_minute`` is
    another name for ``60/60``. A call of no length costs nothing under every rule.
    """

    initial_ms: int
    step_ms: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rule by its name, or in the form INITIAL/STEP in seconds."""
        initial, step = _NAMED.get(text) or _intervals(text)
        return cls(initial * 1000, step * 1000)

    def rounded(self, duration_ms: int) -> int:
        """What a call of this length costs, in milliseconds; never less than the length."""
        if duration_ms <= 0:
            return 0
        if duration_ms <= self.initial_ms:
            return self.initial_ms
        return self.initial_ms + -(-(duration_ms - self.initial_ms) // self.step_ms) * self.step_ms

    def __str__(self) -> str:
        intervals = (self.initial_ms // 1000, self.step_ms // 1000)
        return next((name for name, named in _NAMED.items() if named == intervals), f"{intervals[0]}/{intervals[1]}")


_NAMED: Final[dict[str, tuple[int, int]]] = {"per_second": (1, 1), "per_started_minute": (60, 60)}
PER_SECOND: Final = Rounding(1000, 1000)
"""What holds where nothing was agreed."""


def _intervals(text: str) -> tuple[int, int]:
    found = _INTERVALS.fullmatch(text)
    intervals = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(0 < seconds <= MAX_SECONDS for seconds in intervals):
        raise RoundingError(
            f"{text[:40]!r} is not a rounding: use per_second, per_started_minute, or INITIAL/STEP in whole seconds"
            f" from 1 to {MAX_SECONDS}, such as 6/6"
        )
    return intervals


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
    terms = {
        "initial_ms": agreed.rounding.initial_ms,
        "step_ms": agreed.rounding.step_ms,
        "set_ms": now_ms,
        "set_by": actor,
    }
    insert = insert_into(ROUNDINGS, database.engine.dialect)
    statement = insert.values(tenant_id=agreed.tenant_id, valid_from_ms=agreed.valid_from_ms, **terms)
    keys = [ROUNDINGS.c.tenant_id, ROUNDINGS.c.valid_from_ms]
    async with database.writing() as session:
        await session.execute(statement.on_conflict_do_update(index_elements=keys, set_=terms))
