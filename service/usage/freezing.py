"""Closing a period: each call's part is kept under a seal, later differences are found call by call and billed once."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from zoneinfo import ZoneInfo

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.records.store import CALLS
from service.storage.database import FREEZE_LOCK, Database, advisory_lock
from service.usage import documents
from service.usage.documents import (
    BilledCall,
    BilledSums,
    ChangedCall,
    Document,
    DocumentFacts,
    digest,
    seal,
    seal_of_old,
)
from service.usage.period import Grouping, Period, moment
from service.usage.query import PeriodSlots, UsageQuery, billed_parts, longest_call_ms
from service.usage.rules import demand_known, read_rules
from telemetry.clock import Clock
from telemetry.semconv.attributes import UNKNOWN_TENANT

MAX_NAMED_CALLS = 100
"""Changed calls that an answer names; it counts all."""
MAX_SETTLED_CALLS = 100_000
"""Changed calls that one adjustment settles."""
_NAMED_OPEN_CALLS = 5
_HOUR_MS = 3_600_000


class FreezeRefusedError(Exception):
    """The period cannot be frozen, or the adjustment not be made; says why."""


class NoSuchFreezeError(Exception):
    """Nothing was frozen under this number."""


class DifferencesChangedError(Exception):
    """The differences are not those that a settlement was based on."""


@dataclass(frozen=True, slots=True)
class ListedFreeze:
    """A frozen period in a list."""

    document: Document
    intact: bool
    """Its facts and lines have the seal; its calls are checked when it is examined."""
    adjustments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """One tenant's sums as they are billed, adjustments included, and as they would be billed now."""

    billed: BilledSums
    now: BilledSums

    @property
    def difference(self) -> BilledSums:
        """Sums to bill besides; negative where too much was billed."""
        return _plus(self.now, self.billed, -1)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Differences that were accepted: a document of its own."""

    document: Document
    lines: tuple[BilledSums, ...]
    intact: bool


@dataclass(frozen=True, slots=True)
class Examined:
    """A frozen period, compared with what the records say now."""

    document: Document
    lines: tuple[BilledSums, ...]
    intact: bool
    """Facts, lines and calls have the seal they were given, over the seal before it."""
    corrections: tuple[Correction, ...]
    changed_calls: int
    calls: tuple[ChangedCall, ...]
    """The first :data:`MAX_NAMED_CALLS` of them."""
    version: str
    """Digest of all differences; a settlement names it, so that it settles what was seen."""
    adjustments: tuple[Adjustment, ...]


class Freezer:
    """Freezes periods, finds what changed in them since, and settles it.

    ``key`` seals documents so that they cannot be sealed anew by those who only have the database.
    """

    def __init__(self, database: Database, clock: Clock, *, key: bytes | None = None) -> None:
        self._database = database
        self._clock = clock
        self._key = key

    async def freeze(
        self, period: Period, *, actor: str, tenant_id: str | None = None, accept_gap: bool = False
    ) -> Document:
        """Keep the calls and sums of a period that is over, of one tenant or of all.

        Raises:
            FreezeRefusedError: if it is not over, has open calls, overlaps a frozen period, or leaves a gap after the
                last one that is not accepted.
            UnknownTenantError: if there is no such tenant.
        """
        now_ms = self._clock.now().unix_ms
        if period.end_ms > now_ms:
            raise FreezeRefusedError("The period is not over yet.")
        async with self._database.writing() as session:
            await advisory_lock(session, FREEZE_LOCK)
            if tenant_id is not None:
                await demand_known(session, tenant_id)
            await _demand_closed(session, period, tenant_id)
            _demand_place(await documents.every(session), period, tenant_id, accept_gap=accept_gap)
            facts = DocumentFacts(
                0, None, tenant_id, period.start_ms, period.end_ms, period.zone.key, now_ms, actor, calls_digest=None
            )
            facts = replace(facts, document_id=await documents.add(session, _columns(facts)))
            await documents.keep_calls(session, facts.document_id, await _parts(session, facts))
            lines = await documents.sums_of(session, documents.billed(facts.document_id))
            return await self._seal(session, facts, lines)

    async def freezes(self) -> list[ListedFreeze]:
        """Return every frozen period, the latest first."""
        async with self._database.reading() as session:
            found = await documents.every(session)
            lines = await documents.lines_of(session)
        adjustments: dict[int, list[int]] = {}
        for document in found:
            if document.facts.adjusts is not None:
                adjustments.setdefault(document.facts.adjusts, []).append(document.facts.document_id)
        listed = [
            ListedFreeze(
                document,
                self._sealed(document, previous, lines.get(document.facts.document_id, [])),
                tuple(adjustments.get(document.facts.document_id, ())),
            )
            for document, previous in _with_previous(found)
            if document.facts.adjusts is None
        ]
        return sorted(
            listed, key=lambda one: (one.document.facts.from_ms, one.document.facts.document_id), reverse=True
        )

    async def examine(self, freeze_id: int) -> Examined:
        """Compare a frozen period with what the records say now; raise :class:`NoSuchFreezeError`."""
        async with self._database.reading() as session:
            every = _with_previous(await documents.every(session))
            own = [
                (document, previous)
                for document, previous in every
                if freeze_id in (document.facts.document_id, document.facts.adjusts)
            ]
            _freeze_of([document for document, _ in own], freeze_id)
            lines = await documents.lines_of(session, (document.facts.document_id for document, _ in own))
            adjustments = [
                Adjustment(
                    document,
                    tuple(lines.get(document.facts.document_id, ())),
                    await self._intact(session, document, previous, lines),
                )
                for document, previous in own[1:]
            ]
            freeze, previous = own[0]
            differences = await _Differences.read(session, freeze.facts, lines.get(freeze_id, []))
            return Examined(
                freeze,
                tuple(lines.get(freeze_id, ())),
                await self._intact(session, freeze, previous, lines),
                differences.corrections,
                differences.count,
                tuple(differences.calls[:MAX_NAMED_CALLS]),
                differences.version,
                tuple(adjustments),
            )

    async def settle(self, freeze_id: int, *, actor: str, accepts: Callable[[str], bool]) -> Adjustment:
        """Accept the differences of a frozen period, so that they are billed once, by this adjustment.

        ``accepts`` is asked if the version of the differences is the one that was seen.

        Raises:
            NoSuchFreezeError: if nothing was frozen under this number.
            DifferencesChangedError: if ``accepts`` says no.
            FreezeRefusedError: if there are none, too many, or no calls were kept.
        """
        async with self._database.writing() as session:
            await advisory_lock(session, FREEZE_LOCK)
            freeze = _freeze_of(await documents.every(session), freeze_id).facts
            if freeze.calls_digest is None:
                raise FreezeRefusedError("Its calls were not kept; settle the difference outside of it.")
            differences = await _Differences.read(session, freeze, [])
            if not accepts(differences.version):
                raise DifferencesChangedError
            if not differences.count:
                raise FreezeRefusedError("Nothing differs from what is billed.")
            if differences.count > MAX_SETTLED_CALLS:
                raise FreezeRefusedError(f"More than {MAX_SETTLED_CALLS} calls differ.")
            facts = replace(freeze, adjusts=freeze_id, made_ms=self._clock.now().unix_ms, made_by=actor)
            facts = replace(facts, document_id=await documents.add(session, _columns(facts)))
            await documents.add_states(session, freeze_id, facts.document_id, differences.calls)
            lines = [one.difference for one in differences.corrections]
            document = await self._seal(session, facts, lines)
            return Adjustment(document, tuple(lines), intact=True)

    async def document(self, freeze_id: int) -> Document:
        """Return a frozen period without lines and calls; raise :class:`NoSuchFreezeError`."""
        async with self._database.reading() as session:
            return _freeze_of(await documents.every(session), freeze_id)

    async def calls(self, freeze_id: int) -> AsyncGenerator[BilledCall, None]:
        """Yield the calls of a frozen period as they are billed, adjustments included, by call id.

        Raises:
            NoSuchFreezeError: before the first, if nothing was frozen under this number.
        """
        async with self._database.reading() as session:
            _freeze_of(await documents.every(session), freeze_id)
            async for call in documents.streamed(session, documents.billed(freeze_id)):
                yield call

    async def _seal(self, session: AsyncSession, facts: DocumentFacts, lines: Sequence[BilledSums]) -> Document:
        """Store lines and seal; the document before this one is the last there is, since the lock is held."""
        before = [one for one in await documents.every(session) if one.facts.document_id < facts.document_id]
        calls = await digest(documents.streamed(session, documents.calls_of(facts)))
        facts = replace(facts, calls_digest=calls)
        previous = before[-1].checksum if before else ""
        document = Document(facts, seal(previous, facts, lines, self._key))
        await documents.finish(session, document, lines)
        return document

    def _sealed(self, document: Document, previous: str, lines: Iterable[BilledSums]) -> bool:
        if document.facts.calls_digest is None:
            return document.checksum == seal_of_old(document.facts, lines)
        return document.checksum == seal(previous, document.facts, lines, self._key)

    async def _intact(
        self, session: AsyncSession, document: Document, previous: str, lines: dict[int, list[BilledSums]]
    ) -> bool:
        if not self._sealed(document, previous, lines.get(document.facts.document_id, [])):
            return False
        if document.facts.calls_digest is None:
            return True
        calls = documents.streamed(session, documents.calls_of(document.facts))
        return await digest(calls) == document.facts.calls_digest


@dataclass(frozen=True, slots=True)
class _Differences:
    """The calls of a frozen period that are not as they are billed, and what that makes of the sums."""

    corrections: tuple[Correction, ...]
    count: int
    calls: list[ChangedCall]
    """At most one more than :data:`MAX_SETTLED_CALLS`."""
    version: str

    @classmethod
    async def read(cls, session: AsyncSession, freeze: DocumentFacts, lines: list[BilledSums]) -> "_Differences":
        parts = await _parts(session, freeze)
        if freeze.calls_digest is None:
            pairs = _pairs(lines, await documents.sums_of(session, parts))
            return cls(tuple(one for one in pairs if one.billed != one.now), 0, [], "")
        count, version = 0, sha256()
        calls: list[ChangedCall] = []
        changes: dict[str, BilledSums] = {}
        async with aclosing(documents.changed_calls(session, freeze.document_id, parts)) as found:
            async for change in found:
                count += 1
                version.update(repr(change).encode())
                if len(calls) <= MAX_SETTLED_CALLS:
                    calls.append(change)
                for side, sign in ((change.billed, -1), (change.now, 1)):
                    if side is not None:
                        changes[side.tenant_id] = _plus(_sums(changes, side.tenant_id), side, sign)
        billed = {
            line.tenant_id: line for line in await documents.sums_of(session, documents.billed(freeze.document_id))
        }
        corrections = tuple(
            Correction(_sums(billed, tenant_id), _plus(_sums(billed, tenant_id), changes[tenant_id], 1))
            for tenant_id in sorted(changes)
        )
        return cls(corrections, count, calls, version.hexdigest()[:32])


async def _parts(session: AsyncSession, freeze: DocumentFacts) -> Select[tuple[object, ...]]:
    """Select the calls of a period's freeze as they are now."""
    period = Period(freeze.from_ms, freeze.to_ms, ZoneInfo(freeze.time_zone))
    rules, longest = await read_rules(session), await longest_call_ms(session)
    query = UsageQuery(PeriodSlots.of(period, None), Grouping(()), rules, freeze.tenant_id, longest)
    return billed_parts(query)


async def _demand_closed(session: AsyncSession, period: Period, tenant_id: str | None) -> None:
    row = CALLS.c
    of_tenant = row.tenant_id != UNKNOWN_TENANT if tenant_id is None else row.tenant_id == tenant_id
    still_open = (row.ended_ms.is_(None), row.usage_from_ms < period.end_ms, of_tenant)
    count = await session.scalar(select(func.count()).select_from(CALLS).where(*still_open)) or 0
    if count:
        named = select(row.call_id).where(*still_open).order_by(row.usage_from_ms, row.call_id).limit(_NAMED_OPEN_CALLS)
        call_ids = ", ".join((await session.execute(named)).scalars())
        more = f" and {count - _NAMED_OPEN_CALLS} more" if count > _NAMED_OPEN_CALLS else ""
        raise FreezeRefusedError(f"Calls of the period or from before it are still open: {call_ids}{more}.")


def _demand_place(found: list[Document], period: Period, tenant_id: str | None, *, accept_gap: bool) -> None:
    """Raise :class:`FreezeRefusedError` for an overlap with a frozen period, or for a gap after the last one."""
    for one in documents.covering(found, period, tenant_id):
        hours = (min(one.to_ms, period.end_ms) - max(one.from_ms, period.start_ms)) / _HOUR_MS
        raise FreezeRefusedError(
            f"Freeze {one.document_id} ({_shown(one)}) covers {hours:g} hours of the period ({_written(period)})."
        )
    freezes = [one.facts for one in found if one.facts.adjusts is None]
    earlier = [one for one in freezes if one.to_ms <= period.start_ms and one.tenant_id in (None, tenant_id)]
    last = max(earlier, key=lambda one: one.to_ms, default=None)
    if last is not None and last.to_ms < period.start_ms and not accept_gap:
        hours = (period.start_ms - last.to_ms) / _HOUR_MS
        raise FreezeRefusedError(
            f"Freeze {last.document_id} ({_shown(last)}) ends {hours:g} hours before the period ({_written(period)})"
            " begins: begin there, or accept the gap."
        )


def _shown(freeze: DocumentFacts) -> str:
    return _written(Period(freeze.from_ms, freeze.to_ms, ZoneInfo(freeze.time_zone)))


def _written(period: Period) -> str:
    start, end = (moment(at_ms, period.zone).isoformat() for at_ms in (period.start_ms, period.end_ms))
    return f"{start} to {end}, {period.zone.key}"


def _freeze_of(found: Iterable[Document], freeze_id: int) -> Document:
    for document in found:
        if document.facts.document_id == freeze_id and document.facts.adjusts is None:
            return document
    raise NoSuchFreezeError


def _with_previous(found: list[Document]) -> list[tuple[Document, str]]:
    """Return each document with the seal of the one before it."""
    return list(zip(found, ["", *(one.checksum for one in found)], strict=False))


def _columns(facts: DocumentFacts) -> dict[str, object]:
    return {name: value for name, value in asdict(facts).items() if name != "document_id"}


def _sums(found: dict[str, BilledSums], tenant_id: str) -> BilledSums:
    return found.get(tenant_id) or BilledSums(tenant_id, 0, 0, 0, 0)


def _plus(one: BilledSums, other: BilledSums | BilledCall, sign: int) -> BilledSums:
    return BilledSums(
        one.tenant_id,
        one.calls + sign * other.calls,
        one.answered_calls + sign * other.answered_calls,
        one.duration_ms + sign * other.duration_ms,
        one.rounded_ms + sign * other.rounded_ms,
    )


def _pairs(before: Sequence[BilledSums], after: Sequence[BilledSums]) -> list[Correction]:
    """Return each tenant's sums then and now; zeros for a tenant that has none."""
    then, now = ({line.tenant_id: line for line in lines} for lines in (before, after))
    return [Correction(_sums(then, name), _sums(now, name)) for name in sorted(then.keys() | now.keys())]
