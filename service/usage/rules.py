"""Rounding rules: agreed with a tenant, or with all, from a moment on; every change keeps its author."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Final, Self, cast

from sqlalchemy import Table, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.records.store import CALLS
from service.storage.database import ROUNDING_LOCK, Database, advisory_lock, insert_into
from service.tenants.models import TenantRow
from service.usage.models import ANY_TENANT, RoundingChangeRow, RoundingRow
from telemetry.semconv.attributes import UNKNOWN_TENANT

MAX_SECONDS = 86_400
"""The longest interval a rule may name: a day."""
MAX_CHANGES = 1_000
"""Changes of rules that one listing shows, the latest first."""
_INTERVALS = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")
_NAMED: Final[dict[str, tuple[int, int]]] = {"per_second": (1, 1), "per_started_minute": (60, 60)}
ROUNDINGS = cast("Table", RoundingRow.__table__)
CHANGES = cast("Table", RoundingChangeRow.__table__)


class RoundingError(ValueError):
    """Not a rounding rule; the message says what is one."""


class UnknownTenantError(Exception):
    """No tenant has this id, and no call was ever recorded under it."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__(f"There is no tenant {tenant_id[:63]!r}.")


class RuleChangedError(Exception):
    """The tenant's rules are not at the version a change was based on, or a change of one needs to name it."""

    def __init__(self, version: int, *, demanded: bool) -> None:
        super().__init__(f"the rules are at version {version}")
        self.version = version
        self.demanded = demanded
        """True if a version was named and is not the present one."""


class NoSuchRuleError(Exception):
    """No rule of the tenant begins at this moment."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """A call that ran at all costs its first interval, and from there on each begun step whole.

    ``6/6`` costs in steps of six seconds, ``60/1`` a minute at least and then by the second. ``per_started_minute`` is
    another name for ``60/60``. A call of no length costs nothing under every rule.
    """

    initial_ms: int
    step_ms: int
    by_start: bool = False
    """True: the whole call counts where it started; False: its time counts where it ran, the surplus where it ended."""

    @classmethod
    def parse(cls, text: str, *, by_start: bool = False) -> Self:
        """Parse a rule's name, or the form INITIAL/STEP in seconds; raise :class:`RoundingError`."""
        initial, step = _NAMED.get(text) or _intervals(text)
        return cls(initial * 1000, step * 1000, by_start)

    def rounded(self, duration_ms: int) -> int:
        """Return the cost of a call of this length, in milliseconds; never less than the length."""
        if duration_ms <= 0:
            return 0
        if duration_ms <= self.initial_ms:
            return self.initial_ms
        return self.initial_ms + -(-(duration_ms - self.initial_ms) // self.step_ms) * self.step_ms

    @property
    def intervals(self) -> str:
        """Name of the rule, or INITIAL/STEP, without where calls count."""
        pair = (self.initial_ms // 1000, self.step_ms // 1000)
        return next((name for name, named in _NAMED.items() if named == pair), f"{pair[0]}/{pair[1]}")

    def __str__(self) -> str:
        return f"{self.intervals} by start" if self.by_start else self.intervals


PER_SECOND: Final = Rounding(1000, 1000)
"""The rule where nothing was agreed."""


def _intervals(text: str) -> tuple[int, int]:
    found = _INTERVALS.fullmatch(text)
    intervals = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(0 < seconds <= MAX_SECONDS for seconds in intervals):
        raise RoundingError(
            f"{text[:40]!r} is not a rounding: use per_second, per_started_minute, or INITIAL/STEP in whole seconds"
            f" from 1 to {MAX_SECONDS}, such as 6/6"
        )
    return intervals


@dataclass(frozen=True, slots=True)
class Agreed:
    """A rule of one tenant, or of every tenant that has none of its own."""

    tenant_id: str
    valid_from_ms: int
    rounding: Rounding
    set_ms: int = 0
    set_by: str = ""


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A rule that was agreed or withdrawn."""

    change_id: int
    at_ms: int
    actor: str
    tenant_id: str
    valid_from_ms: int
    before: Rounding | None
    """``None``: there was no rule for the moment."""
    after: Rounding | None
    """``None``: the rule was withdrawn."""


@dataclass(frozen=True, slots=True)
class Rules:
    """All that was agreed, each tenant's oldest first."""

    of_tenant: dict[str, list[Agreed]] = field(default_factory=dict)

    @classmethod
    def of(cls, agreed: Iterable[Agreed]) -> "Rules":
        """Return the rules in order."""
        rules = cls()
        for one in sorted(agreed, key=lambda a: a.valid_from_ms):
            rules.of_tenant.setdefault(one.tenant_id, []).append(one)
        return rules

    def rounding(self, tenant_id: str, at_ms: int) -> Rounding:
        """Return the rule for a call that starts at this moment."""
        for own in (tenant_id, ANY_TENANT):
            for one in reversed(self.of_tenant.get(own, ())):
                if one.valid_from_ms <= at_ms:
                    return one.rounding
        return PER_SECOND

    def names(self, tenant_id: str, start_ms: int, end_ms: int) -> list[str]:
        """Return every rule that holds for the tenant's calls of this period, the first one first."""
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
        """Rules for tenants without any of their own."""
        return self.of_tenant.get(ANY_TENANT, [])

    @property
    def only_general(self) -> bool:
        """True if no tenant has a rule of its own."""
        return not set(self.of_tenant) - {ANY_TENANT}


async def read_rules(session: AsyncSession) -> Rules:
    """Return the rules that are in force."""
    row = ROUNDINGS.c
    columns = (row.tenant_id, row.valid_from_ms, row.initial_ms, row.step_ms, row.by_start, row.set_ms, row.set_by)
    return Rules.of(
        Agreed(tenant_id, valid_from_ms, Rounding(initial_ms, step_ms, by_start), set_ms, set_by)
        for tenant_id, valid_from_ms, initial_ms, step_ms, by_start, set_ms, set_by in await session.execute(
            select(*columns)
        )
    )


async def read_changes(session: AsyncSession, tenant_id: str | None = None) -> list[RuleChange]:
    """Return the latest :data:`MAX_CHANGES` changes of one tenant's rules, or of all, the latest first."""
    query = select(CHANGES).order_by(CHANGES.c.change_id.desc()).limit(MAX_CHANGES)
    if tenant_id is not None:
        query = query.where(CHANGES.c.tenant_id == tenant_id)
    return [
        RuleChange(
            row["change_id"],
            row["at_ms"],
            row["actor"],
            row["tenant_id"],
            row["valid_from_ms"],
            _rounding(row["before_initial_ms"], row["before_step_ms"], row["before_by_start"]),
            _rounding(row["after_initial_ms"], row["after_step_ms"], row["after_by_start"]),
        )
        for row in (await session.execute(query)).mappings()
    ]


def _rounding(initial_ms: int | None, step_ms: int | None, by_start: bool | None) -> Rounding | None:
    return None if initial_ms is None or step_ms is None else Rounding(initial_ms, step_ms, bool(by_start))


async def rules_version(session: AsyncSession, tenant_id: str) -> int:
    """Return a number that grows with each change of the tenant's rules; 0: there never was one."""
    query = select(func.coalesce(func.max(CHANGES.c.change_id), 0)).where(CHANGES.c.tenant_id == tenant_id)
    return int(await session.scalar(query) or 0)


async def demand_known(session: AsyncSession, tenant_id: str) -> None:
    """Raise :class:`UnknownTenantError` for an id that neither a tenant nor a recorded call has.

    A deleted tenant may still owe its last month: its calls stay.
    """
    if tenant_id == ANY_TENANT:
        return
    if tenant_id == UNKNOWN_TENANT:
        # Calls that reached no tenant are recorded under it; nobody is there to pay for them.
        raise UnknownTenantError(tenant_id)
    for column in (TenantRow.tenant_id, CALLS.c.tenant_id):
        if await session.scalar(select(column).where(column == tenant_id).limit(1)) is not None:
            return
    raise UnknownTenantError(tenant_id)


async def agree(
    database: Database, agreed: Agreed, *, actor: str, now_ms: int, based_on: int | None = None, new: bool = False
) -> int:
    """Let a rule hold from its moment on, and return the version of the tenant's rules.

    Replacing another rule for the same moment takes the version it is ``based_on``; ``new`` demands that there is none.
    What is so already changes nothing.

    Raises:
        UnknownTenantError: if there is no such tenant.
        RuleChangedError: if the rules changed since ``based_on``, or one would be replaced without it.
    """
    return await _change(database, agreed, agreed.rounding, actor, now_ms, based_on, new=new)


async def withdraw(
    database: Database, tenant_id: str, valid_from_ms: int, *, actor: str, now_ms: int, based_on: int | None
) -> int:
    """Remove the rule that begins at this moment, so that the one before goes on; return the version.

    Raises:
        NoSuchRuleError: if no rule begins then.
        RuleChangedError: if the rules changed since ``based_on``, or it is ``None``.
    """
    gone = Agreed(tenant_id, valid_from_ms, PER_SECOND)
    return await _change(database, gone, None, actor, now_ms, based_on, new=False)


async def _change(
    database: Database,
    place: Agreed,
    after: Rounding | None,
    actor: str,
    now_ms: int,
    based_on: int | None,
    *,
    new: bool,
) -> int:
    async with database.writing() as session:
        await advisory_lock(session, ROUNDING_LOCK)
        version = await rules_version(session, place.tenant_id)
        if based_on is not None and based_on != version:
            raise RuleChangedError(version, demanded=True)
        before = await _at(session, place)
        if before is None and after is None:
            raise NoSuchRuleError
        if before is None:
            await demand_known(session, place.tenant_id)
        elif new:
            raise RuleChangedError(version, demanded=True)
        elif before == after:
            return version
        elif based_on is None:
            raise RuleChangedError(version, demanded=False)
        await _store(session, place, after, actor, now_ms)
        sides = _columns("before", before) | _columns("after", after)
        noted = {"at_ms": now_ms, "actor": actor, "tenant_id": place.tenant_id, "valid_from_ms": place.valid_from_ms}
        await session.execute(insert(CHANGES).values(noted | sides))
        return await rules_version(session, place.tenant_id)


async def _at(session: AsyncSession, place: Agreed) -> Rounding | None:
    row = ROUNDINGS.c
    query = select(row.initial_ms, row.step_ms, row.by_start).where(
        row.tenant_id == place.tenant_id, row.valid_from_ms == place.valid_from_ms
    )
    found = (await session.execute(query)).first()
    return None if found is None else Rounding(*found)


async def _store(session: AsyncSession, place: Agreed, after: Rounding | None, actor: str, now_ms: int) -> None:
    keys = {"tenant_id": place.tenant_id, "valid_from_ms": place.valid_from_ms}
    if after is None:
        same = (ROUNDINGS.c[name] == value for name, value in keys.items())
        await session.execute(delete(ROUNDINGS).where(*same))
        return
    terms = asdict(after) | {"set_ms": now_ms, "set_by": actor}
    statement = insert_into(ROUNDINGS, session.get_bind().dialect).values(keys | terms)
    await session.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=terms))


def _columns(side: str, rounding: Rounding | None) -> dict[str, int | bool | None]:
    return {
        f"{side}_initial_ms": None if rounding is None else rounding.initial_ms,
        f"{side}_step_ms": None if rounding is None else rounding.step_ms,
        f"{side}_by_start": None if rounding is None else rounding.by_start,
    }
