"""Tenants in a SQL database."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from service.e164 import Address
from service.storage.database import Database
from service.tenants import reading
from service.tenants.edits import Edit, Stamp, changed, merged, next_version, settle_hang_up, store, store_hang_up
from service.tenants.errors import (
    ImportRefusedError,
    InvalidFieldError,
    NumberNotFoundError,
    NumberTakenError,
    StaleVersionError,
    TenantExistsError,
    TenantNotFoundError,
)
from service.tenants.importing import duplicates, taken
from service.tenants.models import ChangesRow, NumberRow, TenantRow
from service.tenants.repository import MAX_PAGE, NEW
from service.tenants.spec import TenantSpec, checked_spec
from service.tenants.tenant import (
    AuditAction,
    AuditPage,
    CallTenant,
    HangUpNote,
    ImportResult,
    InstructionsPage,
    InstructionsVersion,
    Sought,
    SummaryPage,
    Tenant,
    TenantPage,
)
from telemetry.clock import Clock, SystemClock
from telemetry.semconv.attributes import TenantId

MAX_ACTOR = 200
"""Characters of the name a change is made under."""

_Stated = Mapping[str, Any]


class SqlTenantRepository:
    """A :class:`~service.tenants.repository.TenantRepository`; changes queue on one row, so each sees the last."""

    __slots__ = ("_clock", "_database")

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    async def revision(self) -> int:
        """Return a number that grows with every change of any tenant."""
        async with self._database.reading() as session:
            return (await session.execute(select(ChangesRow.revision))).scalar_one()

    async def for_calls(self, numbers: Collection[str]) -> Mapping[str, CallTenant]:
        """Return the tenants the dialled numbers reach, enabled or not; a number without a tenant is left out."""
        found: dict[str, CallTenant] = {}
        async with self._database.reading() as session:
            for batch in reading.batches(numbers):
                # No more than the two tables that say so: a call waits for this.
                query = select(NumberRow.number, TenantRow).join(TenantRow).where(NumberRow.number.in_(batch))
                found.update((number, reading.call_tenant(row)) for number, row in await session.execute(query))
        return found

    async def current_instructions(self, tenant_ids: Collection[str]) -> Mapping[str, str]:
        """Return the tenants' instructions; a tenant that has none is left out."""
        async with self._database.reading() as session:
            return await reading.current_instructions(session, tenant_ids)

    async def by_id(self, tenant_id: str) -> Tenant | None:
        """Return the tenant with this id, ``None`` if there is none."""
        async with self._database.reading() as session:
            return await reading.tenant(session, tenant_id)

    async def page(self, *, after: str = "", limit: int = 100) -> TenantPage:
        """Return tenants in the order of their ids, from the first one after ``after``."""
        _check_limit(limit)
        async with self._database.reading() as session:
            found = await reading.page(session, after, limit + 1)
        shown = tuple(found[:limit])
        return TenantPage(shown, shown[-1].tenant_id if len(found) > limit else None)

    async def find(self, sought: Sought, *, after: str = "", limit: int = 100) -> SummaryPage:
        """Return the tenants sought, in the order of their ids, from the first one after ``after``."""
        _check_limit(limit)
        async with self._database.reading() as session:
            found = await reading.summaries(session, sought, after, limit + 1)
        shown = tuple(found[:limit])
        return SummaryPage(shown, shown[-1].tenant_id if len(found) > limit else None)

    async def own_limits(self) -> Mapping[TenantId, int]:
        """Return the calls at once of the tenants that have a limit of their own."""
        async with self._database.reading() as session:
            return await reading.own_limits(session)

    async def instructions_history(
        self, tenant_id: str, *, before: int | None = None, limit: int = 100
    ) -> InstructionsPage:
        """Return the instructions' versions, newest first, from the first one before version ``before``."""
        _check_limit(limit)
        async with self._database.reading() as session:
            found = await reading.instructions_history(session, tenant_id, before, limit + 1)
        shown = tuple(found[:limit])
        return InstructionsPage(shown, shown[-1].version if len(found) > limit else None)

    async def instructions_at(self, tenant_id: str, version: int) -> InstructionsVersion | None:
        """Return one version of the instructions with its text, ``None`` if there never was one."""
        async with self._database.reading() as session:
            return await reading.instructions_at(session, tenant_id, version)

    async def audit(self, tenant_id: str | None = None, *, before: int | None = None, limit: int = 100) -> AuditPage:
        """Return changes of one tenant or of all, latest first, from the first entry before ``before``."""
        _check_limit(limit)
        async with self._database.reading() as session:
            found = await reading.audit(session, tenant_id, before, limit + 1)
        shown = tuple(found[:limit])
        return AuditPage(shown, shown[-1].entry_id if len(found) > limit else None)

    async def import_all(self, specs: Sequence[TenantSpec], *, actor: str) -> ImportResult:
        """Create or change all of these tenants, or none: :class:`ImportRefusedError` lists every problem."""
        if problems := duplicates(specs):
            raise ImportRefusedError(problems)
        try:
            return _result(await self._put_all(specs, actor))
        except NumberTakenError as error:
            raise ImportRefusedError(taken(specs, error.owners)) from None

    async def put(self, spec: TenantSpec, *, actor: str, expected_version: int | None = None) -> Tenant:
        """Create or change one; with ``expected_version`` :data:`NEW` only create (:class:`TenantExistsError`)."""
        async with self._database.writing() as session:
            stamp = await self._stamp(session, actor)
            before = await reading.tenant(session, spec.tenant_id)
            _check_version(spec.tenant_id, before, expected_version)
            after = merged(before, spec, stamp)
            await store(session, [Edit(after.tenant_id, before, after)], stamp)
        return after

    async def change(self, spec: TenantSpec, *, actor: str, expected_version: int | None = None) -> Tenant:
        """Change what is stated of a tenant that exists (:class:`TenantNotFoundError`)."""
        return await self._change(spec.tenant_id, lambda _: spec.stated(), actor, expected_version)

    async def set_enabled(
        self, tenant_id: str, enabled: bool, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Let new calls in, or none; running calls go on."""
        return await self._state(tenant_id, {"enabled": enabled}, actor, expected_version)

    async def set_instructions(
        self, tenant_id: str, text: str | None, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Store a new version of the instructions; ``None`` withdraws them."""
        return await self._state(tenant_id, {"instructions": text}, actor, expected_version)

    async def add_number(
        self, tenant_id: str, number: str, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Give the tenant a number that no other has (:class:`NumberTakenError`)."""
        added = checked_spec(tenant_id, {"numbers": [number]}).numbers
        return await self._change(tenant_id, lambda before: _with_numbers(before, added), actor, expected_version)

    async def remove_number(
        self, tenant_id: str, number: str, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Take a number from the tenant that has it (:class:`NumberNotFoundError`)."""
        return await self._change(tenant_id, lambda before: _without_number(before, number), actor, expected_version)

    async def note_hang_up(self, tenant_id: str, call_id: str, *, actor: str) -> HangUpNote:
        """Put into the audit that an operator wants a call ended; the tenant itself stays as it is."""
        async with self._database.writing() as session:
            entry_id = await store_hang_up(session, tenant_id, call_id, await self._stamp(session, actor))
        return HangUpNote(entry_id, call_id, actor)

    async def settle_hang_up(self, note: HangUpNote, *, error: str | None) -> None:
        """Give the entry its outcome: the call was hung up, or was not, for this ``error``."""
        action = AuditAction.HUNG_UP if error is None else AuditAction.HANG_UP_FAILED
        after = {"call_id": note.call_id} | ({} if error is None else {"error": error})
        async with self._database.writing() as session:
            await settle_hang_up(session, note.entry_id, action, after, await self._stamp(session, note.actor))

    async def delete(self, tenant_id: str, *, actor: str, expected_version: int | None = None) -> None:
        """Remove the tenant with its numbers and instructions; its audit stays."""
        async with self._database.writing() as session:
            stamp = await self._stamp(session, actor)
            before = await _existing(session, tenant_id, expected_version)
            await store(session, [Edit(before.tenant_id, before, None)], stamp)

    async def _state(
        self, tenant_id: str, stated: Mapping[str, object], actor: str, expected_version: int | None
    ) -> Tenant:
        return await self.change(checked_spec(tenant_id, stated), actor=actor, expected_version=expected_version)

    async def _change(
        self, tenant_id: str, stated_for: Callable[[Tenant], _Stated], actor: str, expected_version: int | None
    ) -> Tenant:
        """Store what ``stated_for`` makes of the tenant as it is."""
        async with self._database.writing() as session:
            stamp = await self._stamp(session, actor)
            before = await _existing(session, tenant_id, expected_version)
            after = changed(before, stated_for(before), stamp)
            await store(session, [Edit(before.tenant_id, before, after)], stamp)
        return after

    async def _put_all(self, specs: Sequence[TenantSpec], actor: str) -> list[Edit]:
        async with self._database.writing() as session:
            stamp = await self._stamp(session, actor)
            known = await reading.tenants(session, (spec.tenant_id for spec in specs))
            edits = [_edit(known.get(spec.tenant_id), spec, stamp) for spec in specs]
            await store(session, edits, stamp)
        return edits

    async def _stamp(self, session: AsyncSession, actor: str) -> Stamp:
        if not actor.strip() or len(actor) > MAX_ACTOR:
            raise InvalidFieldError("actor", f"must be 1 to {MAX_ACTOR} characters")
        now = datetime.fromtimestamp(self._clock.now().unix_nanos / 1e9, UTC)
        return Stamp(await next_version(session), now, actor)


async def _existing(session: AsyncSession, tenant_id: str, expected_version: int | None) -> Tenant:
    tenant = await reading.tenant(session, tenant_id)
    if tenant is None:
        raise TenantNotFoundError(tenant_id)
    _check_version(tenant_id, tenant, expected_version)
    return tenant


def _check_version(tenant_id: str, tenant: Tenant | None, expected: int | None) -> None:
    if expected is None:
        return
    actual = NEW if tenant is None else tenant.version
    if actual == expected:
        return
    if expected == NEW:
        raise TenantExistsError(tenant_id)
    raise StaleVersionError(tenant_id, expected=expected, actual=actual)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidFieldError("limit", f"must be 1 to {MAX_PAGE}")


def _edit(before: Tenant | None, spec: TenantSpec, stamp: Stamp) -> Edit:
    after = merged(before, spec, stamp)
    return Edit(after.tenant_id, before, after)


def _with_numbers(tenant: Tenant, added: Sequence[Address]) -> _Stated:
    return {"numbers": tuple(sorted({*tenant.numbers, *added}))}


def _without_number(tenant: Tenant, number: str) -> _Stated:
    if number not in tenant.numbers:
        raise NumberNotFoundError(tenant.tenant_id, number)
    return {"numbers": tuple(kept for kept in tenant.numbers if kept != number)}


def _result(edits: Sequence[Edit]) -> ImportResult:
    return ImportResult(
        created=tuple(edit.tenant_id for edit in edits if edit.before is None),
        changed=tuple(edit.tenant_id for edit in edits if edit.before not in (None, edit.after)),
        unchanged=tuple(edit.tenant_id for edit in edits if edit.before is edit.after),
    )
