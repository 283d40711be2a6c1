"""Billing documents in SQL: frozen periods and adjustments, their lines and calls, and what differs from them now.

Each has a seal: a checksum over the document, its lines, its calls, and the seal before it. An edited row whose seal is
computed anew leaves the next document's seal broken, and contradicts every seal that was printed since. With a key the
seal cannot be computed at all by those who only have the database.
"""

import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    Table,
    and_,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from service.usage.models import BilledCallRow, DocumentLineRow, DocumentRow
from service.usage.period import Period


@dataclass(frozen=True, slots=True)
class BilledSums:
    """One tenant's sums in a document; of an adjustment the differences."""

    tenant_id: str
    calls: int
    answered_calls: int
    duration_ms: int
    rounded_ms: int


@dataclass(frozen=True, slots=True)
class BilledCall:
    """A call's part in a period as it was billed."""

    call_id: str
    tenant_id: str
    calls: int
    """1 if it started in the period, else 0."""
    answered_calls: int
    duration_ms: int
    rounded_ms: int


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """A document without its lines."""

    document_id: int
    adjusts: int | None
    tenant_id: str | None
    from_ms: int
    to_ms: int
    time_zone: str
    made_ms: int
    made_by: str
    calls_digest: str | None


def seal(previous: str, facts: DocumentFacts, lines: Iterable[BilledSums], key: bytes | None) -> str:
    """Return the seal in 64 hexadecimal digits: SHA-256, or HMAC-SHA-256 with a key, over JSON lines.

    The first line is the previous seal, the second the document, then its lines by tenant.
    """
    content = [json.dumps(previous), json.dumps(astuple(facts))]
    content += [json.dumps(astuple(line)) for line in sorted(lines, key=lambda line: line.tenant_id.encode())]
    text = "\n".join(content).encode()
    return hashlib.sha256(text).hexdigest() if key is None else hmac.new(key, text, hashlib.sha256).hexdigest()


async def digest(calls: AsyncIterable[BilledCall]) -> str:
    """Return the SHA-256 over the calls of a document as JSON lines, in the order they come."""
    found = hashlib.sha256()
    async for call in calls:
        found.update(json.dumps(astuple(call)).encode() + b"\n")
    return found.hexdigest()


def seal_of_old(facts: DocumentFacts, lines: Iterable[BilledSums]) -> str:
    """Return the seal of a freeze from before calls were kept: over its period and lines alone."""
    text = f"{facts.from_ms} {facts.to_ms} {facts.time_zone} {facts.made_ms}\n"
    for line in sorted(lines, key=lambda line: line.tenant_id.encode()):
        text += f"{line.tenant_id} {line.calls} {line.answered_calls} {line.duration_ms} {line.rounded_ms}\n"
    return hashlib.sha256(text.encode()).hexdigest()


DOCUMENTS = cast("Table", DocumentRow.__table__)
LINES = cast("Table", DocumentLineRow.__table__)
CALLS = cast("Table", BilledCallRow.__table__)
FETCHED_AT_ONCE: Final = 1_000
"""Rows a database hands over at a time."""
_FIGURES: Final = ("calls", "answered_calls", "duration_ms", "rounded_ms")
_STATE: Final = ("tenant_id", *_FIGURES)
_FACTS: Final = (
    "document_id",
    "adjusts",
    "tenant_id",
    "from_ms",
    "to_ms",
    "time_zone",
    "made_ms",
    "made_by",
    "calls_digest",
)


@dataclass(frozen=True, slots=True)
class Document:
    """A document with its seal."""

    facts: DocumentFacts
    checksum: str


@dataclass(frozen=True, slots=True)
class ChangedCall:
    """A call of a frozen period that is not as it was billed."""

    call_id: str
    billed: BilledCall | None
    """``None``: it was not there."""
    now: BilledCall | None
    """``None``: it is not there any more."""


async def add(session: AsyncSession, facts: Mapping[str, Any]) -> int:
    """Insert a document without lines and seal, and return its number."""
    statement = insert(DOCUMENTS).values({**facts, "checksum": ""}).returning(DOCUMENTS.c.document_id)
    return int(await session.scalar(statement) or 0)


async def finish(session: AsyncSession, document: Document, lines: Sequence[BilledSums]) -> None:
    """Store the lines and the seal of a document."""
    number = document.facts.document_id
    if lines:
        await session.execute(insert(LINES), [asdict(line) | {"document_id": number} for line in lines])
    terms = {"checksum": document.checksum, "calls_digest": document.facts.calls_digest}
    await session.execute(update(DOCUMENTS).where(DOCUMENTS.c.document_id == number).values(terms))


async def every(session: AsyncSession) -> list[Document]:
    """Return all documents, in the order of their numbers."""
    found = await session.execute(select(DOCUMENTS).order_by(DOCUMENTS.c.document_id))
    return [_document(row) for row in found.mappings()]


def covering(found: Iterable[Document], period: Period, tenant_id: str | None) -> list[DocumentFacts]:
    """Return the freezes that cover a part of a period, for one tenant or for any."""
    return [
        one.facts
        for one in found
        if one.facts.adjusts is None
        and (one.facts.tenant_id is None or tenant_id is None or one.facts.tenant_id == tenant_id)
        and one.facts.from_ms < period.end_ms
        and one.facts.to_ms > period.start_ms
    ]


async def lines_of(session: AsyncSession, document_ids: Iterable[int] | None = None) -> dict[int, list[BilledSums]]:
    """Return the lines of these documents, or of all, by document and in the order of tenants."""
    row = LINES.c
    query = select(row.document_id, *(row[name] for name in _STATE)).order_by(row.document_id, row.tenant_id)
    if document_ids is not None:
        query = query.where(row.document_id.in_(list(document_ids)))
    found: dict[int, list[BilledSums]] = {}
    for number, *state in await session.execute(query):
        found.setdefault(number, []).append(BilledSums(*state))
    return found


async def keep_calls(session: AsyncSession, freeze_id: int, parts: Select[Any]) -> None:
    """Keep the calls that ``parts`` selects as those of a freeze."""
    chosen = parts.subquery()
    numbers = (literal(freeze_id, BigInteger), literal(freeze_id, BigInteger))
    source = select(*numbers, chosen.c.call_id, *(chosen.c[name] for name in _STATE))
    await session.execute(insert(CALLS).from_select(["freeze_id", "document_id", "call_id", *_STATE], source))


async def add_states(session: AsyncSession, freeze_id: int, document_id: int, changed: Sequence[ChangedCall]) -> None:
    """Let an adjustment bring the present states of these calls."""
    rows = [
        asdict(call.now or BilledCall(call.call_id, call.billed.tenant_id if call.billed else "", 0, 0, 0, 0))
        | {"freeze_id": freeze_id, "document_id": document_id}
        for call in changed
    ]
    if rows:
        await session.execute(insert(CALLS), rows)


async def sums_of(session: AsyncSession, parts: Select[Any]) -> list[BilledSums]:
    """Add up the calls that ``parts`` selects by tenant."""
    chosen = parts.subquery()
    sums = (func.sum(chosen.c[name]) for name in _FIGURES)
    query = select(chosen.c.tenant_id, *sums).group_by(chosen.c.tenant_id).order_by(chosen.c.tenant_id)
    return [
        BilledSums(tenant_id, *(int(figure) for figure in figures))
        for tenant_id, *figures in await session.execute(query)
    ]


def calls_of(document: DocumentFacts) -> Select[Any]:
    """Select the calls a document brought: all of a freeze, the changed ones of an adjustment; by call id."""
    row = CALLS.c
    freeze_id = document.document_id if document.adjusts is None else document.adjusts
    return (
        select(row.call_id, *(row[name] for name in _STATE))
        .where(row.freeze_id == freeze_id, row.document_id == document.document_id)
        .order_by(row.call_id)
    )


def billed(freeze_id: int) -> Select[Any]:
    """Select the calls of a freeze as they are billed, adjustments included; by call id."""
    row, later = CALLS.c, aliased(BilledCallRow)
    newer = select(later.document_id).where(
        later.freeze_id == row.freeze_id, later.call_id == row.call_id, later.document_id > row.document_id
    )
    return (
        select(row.call_id, *(row[name] for name in _STATE))
        .where(row.freeze_id == freeze_id, ~newer.exists())
        .order_by(row.call_id)
    )


async def streamed(session: AsyncSession, query: Select[Any]) -> AsyncIterator[BilledCall]:
    """Yield the calls that a query selects, never more in memory than the database hands over at a time."""
    rows = await session.stream(query, execution_options={"yield_per": FETCHED_AT_ONCE})
    async for row in rows:
        yield BilledCall(*row)


async def changed_calls(session: AsyncSession, freeze_id: int, parts: Select[Any]) -> AsyncGenerator[ChangedCall, None]:
    """Yield the calls that are not as they are billed; ``parts`` selects them as they are now."""
    then, now = billed(freeze_id).order_by(None).subquery("billed"), parts.subquery("present")
    differ = or_(*(then.c[name] != now.c[name] for name in _STATE))
    worth = or_(*(then.c[name] != 0 for name in _FIGURES))
    # Two statements, since not every SQLite knows a full outer join.
    gone_or_changed = (
        select(then, *_aliased(now))
        .select_from(then.outerjoin(now, then.c.call_id == now.c.call_id))
        .where(or_(and_(now.c.call_id.is_(None), worth), differ))
        .order_by(then.c.call_id)
    )
    new = (
        select(now)
        .select_from(now.outerjoin(then, then.c.call_id == now.c.call_id))
        .where(then.c.call_id.is_(None))
        .order_by(now.c.call_id)
    )
    options = {"yield_per": FETCHED_AT_ONCE}
    width = len(_STATE) + 1
    async for row in await session.stream(gone_or_changed, execution_options=options):
        was, there = BilledCall(*row[:width]), row[width] is not None
        yield ChangedCall(was.call_id, was if any(row[2:width]) else None, BilledCall(*row[width:]) if there else None)
    async for row in await session.stream(new, execution_options=options):
        yield ChangedCall(row[0], None, BilledCall(*row))


def _aliased(now: Subquery) -> list[ColumnElement[Any]]:
    return [now.c[name].label(f"now_{name}") for name in ("call_id", *_STATE)]


def _document(row: Mapping[Any, Any]) -> Document:
    facts = DocumentFacts(*(row[name] for name in _FACTS))
    return Document(facts, row["checksum"])
